//! How probable a model finds documents.

use crate::failure::{Failure, Outcome};
use crate::model::SpeakingModel;
use crate::plan::data::columns_of;
use crate::plan::records::{kind_of, record_of};
use genera_data::source::Record;
use genera_data::{ByteCounter, Columns, Corpus, Document, Documents, Files, ReadOptions};
use genera_engine::generate::{Score, ScoreSettings, Scored, score_blocks};
use genera_eval::metric::{BitsPerByte, ExactMatch, Likelihood, Metric, NatsPerToken, Perplexity};
use genera_eval::{Bootstrap, Interval, Statistics};
use genera_modality::{Chat, Modality, Preference, Text, by_name};
use genera_tokens::{Role, Span, TokenSeq};
use serde::Serialize;
use std::path::Path;

/// With fewer tokens, a perplexity says little of a model.
const N_TOKENS_TO_JUDGE: u64 = 1000;

/// Tokens that are scored at a time at least, so that a file larger than memory can be scored too.
const GROUP_TOKENS: usize = 1 << 16;

/// What became of all documents together.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Their score.
    pub score: Score,
    /// Bytes that were predicted.
    pub n_bytes: u64,
    /// Tokens that stand for something that the vocabulary lacks.
    pub n_unknown: usize,
    /// The same by blocks of tokens, for intervals.
    blocks: Vec<Block>,
}

/// What became of some tokens behind each other.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Counted from 0.
    document: usize,
    likelihood: Likelihood,
    n_hits: u64,
}

/// Where figures would lie on other texts of the same kind, or, where the documents are few, on other pieces of these; `None` for
/// what one piece cannot tell.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Intervals {
    /// What was drawn again.
    pub interval_unit: Option<&'static str>,
    #[serde(rename = "nats_per_token_interval")]
    pub nats_per_token: Option<Interval>,
    #[serde(rename = "perplexity_interval")]
    pub perplexity: Option<Interval>,
    #[serde(rename = "bits_per_byte_interval")]
    pub bits_per_byte: Option<Interval>,
    /// Of a share between 0 and 1.
    #[serde(rename = "accuracy_interval")]
    pub accuracy: Option<Interval>,
}

impl Tally {
    fn add(&mut self, document: usize, block: Score, bytes_per_token: f64) {
        self.score += block;
        let Score { n_tokens, nats, n_hits } = block;
        let n_bytes = (n_tokens as f64 * bytes_per_token).round() as usize;
        self.blocks.push(Block {
            document,
            likelihood: Likelihood { nats, n_tokens: n_tokens as usize, n_bytes },
            n_hits,
        });
    }

    /// Documents, where there are enough of them to be drawn again; or else blocks of at most 256 tokens, none of which holds
    /// tokens of two documents. Pieces of one document are more alike than those of others, so that blocks tell of these documents
    /// alone.
    fn units(&self) -> (Vec<Block>, &'static str) {
        let n_documents = self.blocks.chunk_by(|a, b| a.document == b.document).count();
        if n_documents < MIN_DOCUMENTS {
            return (joined(&self.blocks, |_, _| false), "block of 256 tokens");
        }
        (joined(&self.blocks, |a, b| a.document == b.document), "document")
    }

    fn statistics(units: &[Block]) -> Option<Statistics> {
        let likelihoods: Vec<Likelihood> = units.iter().map(|unit| unit.likelihood).collect();
        Likelihood::statistics(&likelihoods).ok().filter(|_| units.len() > 1)
    }

    /// The intervals of its figures: a bootstrap over documents or blocks.
    pub fn intervals(&self) -> Intervals {
        let (units, name) = self.units();
        let (Some(statistics), bootstrap) = (Self::statistics(&units), Bootstrap::default()) else {
            return Intervals::default();
        };
        let of = |metric: &dyn Metric| bootstrap.interval(metric, &statistics);
        let hits = units.iter().map(|unit| [unit.n_hits as f64, unit.likelihood.n_tokens as f64]);
        let percent = bootstrap.interval(&ExactMatch, &Statistics::new(hits, ""));
        let accuracy = Interval { low: percent.low / 100.0, high: percent.high / 100.0, ..percent };
        let nats = of(&NatsPerToken);
        Intervals {
            interval_unit: Some(name),
            nats_per_token: Some(nats),
            // Of a mean that only grows with the other the interval is that of the other.
            perplexity: Some(Interval { low: nats.low.exp(), high: nats.high.exp(), ..nats }),
            bits_per_byte: Some(of(&BitsPerByte)),
            accuracy: Some(accuracy),
        }
    }

    /// By how many percent its perplexity is above that of the same documents before, and where that lies when documents or blocks are
    /// drawn again, the same ones for both.
    pub fn change_since(&self, before: &Self) -> (f64, Option<Interval>) {
        let perplexity = before.score.nats_per_token().exp();
        let percent = 100.0 / perplexity;
        let [after, before] = [self, before].map(|tally| Self::statistics(&tally.units().0));
        let pair = after.zip(before).filter(|(after, before)| after.n_rows() == before.n_rows());
        let interval = pair.map(|(after, before)| {
            let Interval { low, high, confidence } =
                Bootstrap::default().compare(&Perplexity, &after, &before).interval;
            Interval { low: percent * low, high: percent * high, confidence }
        });
        (percent * (self.score.nats_per_token().exp() - perplexity), interval)
    }
}

/// Fewest documents that are drawn again as wholes.
const MIN_DOCUMENTS: usize = 20;

/// Most units that are drawn again: more would take long and change nothing.
const MAX_UNITS: usize = 4096;

/// Blocks with those behind them that belong together; where these are very many, some neighbours together as well.
fn joined(blocks: &[Block], belong_together: fn(&Block, &Block) -> bool) -> Vec<Block> {
    let sum = |blocks: &[Block]| {
        let [first, others @ ..] = blocks else { unreachable!("chunks hold a block at least") };
        others.iter().fold(*first, |sum, block| Block {
            document: sum.document,
            likelihood: Likelihood {
                nats: sum.likelihood.nats + block.likelihood.nats,
                n_tokens: sum.likelihood.n_tokens + block.likelihood.n_tokens,
                n_bytes: sum.likelihood.n_bytes + block.likelihood.n_bytes,
            },
            n_hits: sum.n_hits + block.n_hits,
        })
    };
    let units: Vec<Block> = blocks.chunk_by(belong_together).map(sum).collect();
    units.chunks(units.len().div_ceil(MAX_UNITS).max(1)).map(sum).collect()
}

/// An interval in words, empty where there is none.
pub fn in_words(interval: Option<Interval>, n_decimals: usize) -> String {
    interval.map_or_else(String::new, |Interval { low, high, confidence }| {
        format!("{:.0} % interval {low:.n_decimals$} to {high:.n_decimals$}", 100.0 * confidence)
    })
}

/// The documents of a file or a directory, and as what a model reads them: what fine-tuning would learn from as it would read it, by the chat template
/// where the model `has_template`; everything else as a model of this kind does, those that learned from conversations as text. `given`
/// are the columns or fields that hold the text and what it is to become, where somebody says so.
///
/// # Errors
/// When there is no such file, it cannot be read, the files of a directory are of different kinds, or there are no pairs for a model
/// of pairs.
pub fn documents(
    path: &Path,
    given: (Option<&str>, Option<&str>),
    kind: &'static dyn Modality,
    has_template: bool,
) -> Outcome<(Documents, &'static dyn Modality)> {
    let (column, target) = (given.0.map(str::to_owned), given.1.map(str::to_owned));
    let (is_said, is_pair) = (as_text(kind).name() == Text.name(), target.is_some());
    let is_open = column.is_none() && !is_pair && (is_said || kind.is_paired());
    // Without a template a text that stands beside what could be said is what counts.
    let record = if is_open { record_of(path, has_template || kind.is_paired())? } else { None };
    let as_given = Columns { text: column, target, ..Columns::default() };
    let (columns, kind) = match record {
        Some(Record::Completion) if kind.is_paired() => (columns_of(Record::Completion), kind),
        _ if kind.is_paired() && !is_pair => {
            return Err(Failure::new(
                "a sequence-to-sequence model also needs what it should produce: --target FILE with a line for each of --file, or \
             --target-column NAME",
            ));
        }
        Some(record) => (columns_of(record), by_name(kind_of(record)).expect("each is learned as a kind")),
        None if is_said && is_pair && has_template => {
            (Columns { structured: true, ..as_given }, &Chat as &dyn Modality)
        }
        None => (as_given, as_text(kind)),
    };
    let files = Files::open(&[path.to_owned()], ReadOptions { columns, lines: false })?;
    Ok((files.documents(&ByteCounter::default())?, kind))
}

/// Says where so few tokens were scored that the figures say little; `option` is the one that names the text.
pub fn warn_of_few(n_tokens: u64, option: &str) {
    if n_tokens < N_TOKENS_TO_JUDGE {
        eprintln!(
            "genera: {n_tokens} tokens are too few to judge by; give at least {N_TOKENS_TO_JUDGE} ({option} FILE)"
        );
    }
}

/// What a model of this kind makes of a plain text.
pub fn as_text(kind: &'static dyn Modality) -> &'static dyn Modality {
    if [Chat.name(), Preference.name()].contains(&kind.name()) { &Text } else { kind }
}

/// Scores documents; `progress` is told of the tokens that were scored so far.
///
/// # Errors
/// When one cannot be read, or the model cannot read it.
pub fn tally<E>(
    model: &SpeakingModel<'_>,
    documents: impl Iterator<Item = Result<Document, E>>,
    mut progress: impl FnMut(u64),
) -> Outcome<Tally>
where
    Failure: From<E>,
{
    let mut tally = Tally::default();
    // Of each sequence its document, and how many bytes a token of it has.
    let (mut group, mut origins, mut n_documents): (Vec<Scored>, Vec<(usize, f64)>, _) = Default::default();
    let mut documents = documents.peekable();
    while let Some(document) = documents.next() {
        let document = document?;
        let part = Sequences::of(model, &document)?;
        tally.n_bytes += part.n_bytes;
        tally.n_unknown += part.n_unknown;
        // Which bytes a token stands for is not asked for each; those of a document are shared out evenly.
        let per_token = part.n_bytes as f64 / part.n_scored().max(1) as f64;
        origins.resize(origins.len() + part.sequences.len(), (n_documents, per_token));
        n_documents += 1;
        group.extend(part.sequences);
        let n_tokens: usize = group.iter().map(|sequence| sequence.tokens.len()).sum();
        if n_tokens > GROUP_TOKENS || documents.peek().is_none() {
            let scores = score_blocks(model.transformer, &std::mem::take(&mut group), &ScoreSettings::default())?;
            for (blocks, (document, bytes_per_token)) in scores.into_iter().zip(std::mem::take(&mut origins)) {
                blocks.into_iter().for_each(|block| tally.add(document, block, bytes_per_token));
            }
            progress(tally.score.n_tokens);
        }
    }
    Ok(tally)
}

/// How many tokens of documents [`tally`] would score.
///
/// # Errors
/// As [`tally`].
pub fn n_scored<E>(model: &SpeakingModel<'_>, documents: impl Iterator<Item = Result<Document, E>>) -> Outcome<usize>
where
    Failure: From<E>,
{
    let n_of = |document: Result<Document, E>| Ok(Sequences::of(model, &document?)?.n_scored());
    documents.map(n_of).sum()
}

/// What is scored of a document.
struct Sequences {
    sequences: Vec<Scored>,
    n_bytes: u64,
    n_unknown: usize,
}

impl Sequences {
    fn of(model: &SpeakingModel<'_>, document: &Document) -> Outcome<Self> {
        let sequence = model.modality.encode(model.codebook, document)?;
        let is_answer = model.modality.name() == Chat.name() || document.target.is_some();
        if is_answer && !model.modality.is_paired() {
            return Ok(Self::behind_what_is_given(model, &sequence));
        }
        let target = sequence.ids_of(Role::Target);
        let n_unknown = model.n_unknown(&target);
        let n_bytes = document.target.as_ref().map_or_else(|| document.n_bytes(), String::len) as u64;
        let scored = if model.modality.is_paired() {
            let tokens = [vec![model.decoder_start()?], target].concat();
            Scored { source: Some(sequence.ids_of(Role::Condition)), tokens, n_given: 1 }
        } else {
            // Without an opening token nothing predicts the first one.
            Scored { source: None, tokens: target, n_given: 1 }
        };
        Ok(Self { sequences: vec![scored], n_bytes, n_unknown })
    }

    /// Each answer behind all that was said before it; of a preference the chosen one alone.
    fn behind_what_is_given(model: &SpeakingModel<'_>, sequence: &TokenSeq) -> Self {
        let n = if model.modality.name() == Preference.name() { 1 } else { usize::MAX };
        let is_answer = |span: &&Span| span.role == Role::Target;
        let spans: Vec<_> = sequence.spans().iter().filter(is_answer).take(n).map(|span| span.range.clone()).collect();
        let target: Vec<_> = spans.iter().flat_map(|range| sequence.ids()[range.clone()].to_vec()).collect();
        let answers = spans.iter().map(|range| {
            let tokens = sequence.ids()[..range.end].to_vec();
            Scored { source: None, tokens, n_given: range.start.max(1) }
        });
        Self {
            sequences: answers.collect(),
            n_bytes: model.codebook.decode(&target).len() as u64,
            n_unknown: model.n_unknown(&target),
        }
    }

    fn n_scored(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.tokens.len().saturating_sub(sequence.n_given)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents of ten blocks each, alike within and not among each other.
    fn tally(n_documents: usize) -> Tally {
        let mut tally = Tally::default();
        for document in 0..n_documents {
            let nats = if document % 2 == 0 { 256.0 } else { 512.0 };
            (0..10).for_each(|_| tally.add(document, Score { n_tokens: 256, nats, n_hits: 64 }, 1.0));
        }
        tally
    }

    #[test]
    fn many_documents_are_drawn_again_as_wholes() {
        let width = |tally: &Tally| {
            let Intervals { nats_per_token, interval_unit, .. } = tally.intervals();
            let Interval { low, high, .. } = nats_per_token.unwrap();
            assert!(low < 1.5 && high > 1.5, "{low} to {high}");
            (high - low, interval_unit.unwrap())
        };
        let (of_blocks, of_documents) = (width(&tally(MIN_DOCUMENTS - 2)), width(&tally(MIN_DOCUMENTS)));
        assert_eq!((of_blocks.1, of_documents.1), ("block of 256 tokens", "document"));
        // As many blocks that tell as much as one each: √10 times as wide, a little less for there being two more.
        let ratio = of_documents.0 / of_blocks.0;
        assert!((2.2..4.0).contains(&ratio), "{ratio}");
        // A hundred times as many documents tell ten times as much, though neighbours are then drawn together.
        let narrow = width(&tally(100 * MIN_DOCUMENTS)).0;
        assert!((7.0..14.0).contains(&(of_documents.0 / narrow)), "{narrow}");
    }

    #[test]
    fn perplexity_has_the_interval_of_its_logarithm() {
        let Intervals { nats_per_token, perplexity, .. } = tally(40).intervals();
        let (nats, perplexity) = (nats_per_token.unwrap(), perplexity.unwrap());
        assert_eq!([nats.low.exp(), nats.high.exp()], [perplexity.low, perplexity.high]);
        assert!(tally(0).intervals().perplexity.is_none());
    }
}
