//! How probable a model finds documents.

use crate::failure::{Failure, Outcome};
use crate::model::SpeakingModel;
use crate::plan::data::conversation_columns;
use crate::plan::records::record_of;
use genera_data::source::Record;
use genera_data::{ByteCounter, Columns, Corpus, Document, Documents, Files, ReadOptions};
use genera_engine::generate::{Score, ScoreSettings, Scored, score_blocks};
use genera_eval::metric::{BitsPerByte, ExactMatch, Likelihood, Metric, NatsPerToken, Perplexity};
use genera_eval::{Bootstrap, Interval, Statistics};
use genera_modality::{Chat, Modality, Preference, Text};
use genera_tokens::Role;
use serde::Serialize;
use std::path::Path;

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
    likelihood: Likelihood,
    n_hits: u64,
}

/// Where figures would lie on other texts of the same kind; `None` for what one block cannot tell.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Intervals {
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
    fn add(&mut self, block: Score, bytes_per_token: f64) {
        self.score += block;
        let Score { n_tokens, nats, n_hits } = block;
        let n_bytes = (n_tokens as f64 * bytes_per_token).round() as usize;
        self.blocks.push(Block { likelihood: Likelihood { nats, n_tokens: n_tokens as usize, n_bytes }, n_hits });
    }

    fn statistics(&self) -> Option<Statistics> {
        let blocks: Vec<Likelihood> = self.blocks.iter().map(|block| block.likelihood).collect();
        Likelihood::statistics(&blocks).ok().filter(|_| blocks.len() > 1)
    }

    /// The intervals of its figures: a bootstrap over blocks of at most 256 tokens, none of which holds tokens of two documents.
    pub fn intervals(&self) -> Intervals {
        let (Some(statistics), bootstrap) = (self.statistics(), Bootstrap::default()) else {
            return Intervals::default();
        };
        let of = |metric: &dyn Metric| Some(bootstrap.interval(metric, &statistics));
        let hits = self.blocks.iter().map(|block| [block.n_hits as f64, block.likelihood.n_tokens as f64]);
        let percent = bootstrap.interval(&ExactMatch, &Statistics::new(hits, ""));
        let accuracy = Interval { low: percent.low / 100.0, high: percent.high / 100.0, ..percent };
        Intervals {
            nats_per_token: of(&NatsPerToken),
            perplexity: of(&Perplexity),
            bits_per_byte: of(&BitsPerByte),
            accuracy: Some(accuracy),
        }
    }

    /// By how many percent its perplexity is above that of the same documents before, and where that lies when the blocks are
    /// drawn again, the same ones for both.
    pub fn change_since(&self, before: &Self) -> (f64, Option<Interval>) {
        let perplexity = before.score.nats_per_token().exp();
        let percent = 100.0 / perplexity;
        let pair =
            self.statistics().zip(before.statistics()).filter(|(after, before)| after.n_rows() == before.n_rows());
        let interval = pair.map(|(after, before)| {
            let Interval { low, high, confidence } =
                Bootstrap::default().compare(&Perplexity, &after, &before).interval;
            Interval { low: percent * low, high: percent * high, confidence }
        });
        (percent * (self.score.nats_per_token().exp() - perplexity), interval)
    }
}

/// An interval in words, empty where there is none.
pub fn in_words(interval: Option<Interval>, n_decimals: usize) -> String {
    interval.map_or_else(String::new, |Interval { low, high, confidence }| {
        format!("{:.0} % interval {low:.n_decimals$} to {high:.n_decimals$}", 100.0 * confidence)
    })
}

/// The documents of a file, and as what a model reads them: conversations by its chat template; everything else as a model of
/// this kind does, those that learned from conversations as text. `column` holds the text of tables and JSON lines.
///
/// # Errors
/// When there is no such file, or it cannot be read.
pub fn documents(
    path: &Path,
    column: Option<&str>,
    kind: &'static dyn Modality,
) -> Outcome<(Documents, &'static dyn Modality)> {
    let column = column.map(str::to_owned);
    let is_chat = column.is_none() && !kind.is_paired() && record_of(path, true)? == Some(Record::Conversation);
    let (columns, kind): (_, &dyn Modality) = match is_chat {
        true => (conversation_columns(column), &Chat),
        false => (Columns { text: column, ..Columns::default() }, as_text(kind)),
    };
    let files = Files::open(&[path.to_owned()], ReadOptions { columns, lines: false })?;
    Ok((files.documents(&ByteCounter::default())?, kind))
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
    let (mut group, mut bytes_per_token): (Vec<Scored>, Vec<f64>) = Default::default();
    let mut documents = documents.peekable();
    while let Some(document) = documents.next() {
        let document = document?;
        let part = Sequences::of(model, &document)?;
        tally.n_bytes += part.n_bytes;
        tally.n_unknown += part.n_unknown;
        // Which bytes a token stands for is not asked for each; those of a document are shared out evenly.
        let per_token = part.n_bytes as f64 / part.n_scored().max(1) as f64;
        bytes_per_token.resize(bytes_per_token.len() + part.sequences.len(), per_token);
        group.extend(part.sequences);
        let n_tokens: usize = group.iter().map(|sequence| sequence.tokens.len()).sum();
        if n_tokens > GROUP_TOKENS || documents.peek().is_none() {
            let scores = score_blocks(model.transformer, &std::mem::take(&mut group), &ScoreSettings::default())?;
            for (blocks, bytes_per_token) in scores.into_iter().zip(std::mem::take(&mut bytes_per_token)) {
                blocks.into_iter().for_each(|block| tally.add(block, bytes_per_token));
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
        let target = sequence.ids_of(Role::Target);
        let n_unknown = model.n_unknown(&target);
        if model.modality.name() == Chat.name() {
            let n_bytes = model.codebook.decode(&target).len() as u64;
            let spans = sequence.spans().iter().filter(|span| span.role == Role::Target);
            // Each answer behind all that was said before it.
            let answers = spans.map(|span| {
                let tokens = sequence.ids()[..span.range.end].to_vec();
                Scored { source: None, tokens, n_given: span.range.start.max(1) }
            });
            return Ok(Self { sequences: answers.collect(), n_bytes, n_unknown });
        }
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

    fn n_scored(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.tokens.len().saturating_sub(sequence.n_given)).sum()
    }
}
