//! How probable a model finds documents.

use crate::failure::{Failure, Outcome};
use crate::model::SpeakingModel;
use crate::plan::data::conversation_columns;
use crate::plan::records::record_of;
use genera_data::source::Record;
use genera_data::{ByteCounter, Columns, Corpus, Document, Documents, Files, ReadOptions};
use genera_engine::generate::{Score, ScoreSettings, Scored, score};
use genera_modality::{Chat, Modality, Preference, Text};
use genera_tokens::Role;
use std::path::Path;

/// Tokens that are scored at a time at least, so that a file larger than memory can be scored too.
const GROUP_TOKENS: usize = 1 << 16;

/// What became of all documents together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Their score.
    pub score: Score,
    /// Bytes that were predicted.
    pub n_bytes: u64,
    /// Tokens that stand for something that the vocabulary lacks.
    pub n_unknown: usize,
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
    let mut group: Vec<Scored> = Vec::new();
    let mut documents = documents.peekable();
    while let Some(document) = documents.next() {
        let document = document?;
        let part = Sequences::of(model, &document)?;
        tally.n_bytes += part.n_bytes;
        tally.n_unknown += part.n_unknown;
        group.extend(part.sequences);
        let n_tokens: usize = group.iter().map(|sequence| sequence.tokens.len()).sum();
        if n_tokens > GROUP_TOKENS || documents.peek().is_none() {
            let scores = score(model.transformer, &std::mem::take(&mut group), &ScoreSettings::default())?;
            scores.into_iter().for_each(|part| tally.score += part);
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
