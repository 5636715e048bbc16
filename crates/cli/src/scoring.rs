//! How probable a model finds documents.

use crate::failure::{Failure, Outcome};
use crate::model::SpeakingModel;
use genera_data::Document;
use genera_engine::generate::{Score, ScoreSettings, Scored, score};
use genera_tokens::Role;

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

/// Scores documents.
///
/// # Errors
/// When one cannot be read, or the model cannot read it.
pub fn tally<E>(model: &SpeakingModel<'_>, documents: impl Iterator<Item = Result<Document, E>>) -> Outcome<Tally>
where
    Failure: From<E>,
{
    let mut tally = Tally::default();
    let mut group: Vec<Scored> = Vec::new();
    let mut documents = documents.peekable();
    while let Some(document) = documents.next() {
        let document = document?;
        tally.n_bytes += document.target.as_ref().map_or_else(|| document.n_bytes(), String::len) as u64;
        let sequence = scored(model, &document)?;
        tally.n_unknown += model.n_unknown(&sequence.tokens);
        group.push(sequence);
        let n_tokens: usize = group.iter().map(|sequence| sequence.tokens.len()).sum();
        if n_tokens > GROUP_TOKENS || documents.peek().is_none() {
            let scores = score(model.transformer, &std::mem::take(&mut group), &ScoreSettings::default())?;
            scores.into_iter().for_each(|part| tally.score += part);
        }
    }
    Ok(tally)
}

fn scored(model: &SpeakingModel<'_>, document: &Document) -> Outcome<Scored> {
    let sequence = model.modality.encode(model.codebook, document)?;
    let target = sequence.ids_of(Role::Target);
    if !model.modality.is_paired() {
        // Without an opening token nothing predicts the first one.
        return Ok(Scored { source: None, tokens: target, n_given: 1 });
    }
    let tokens = [vec![model.decoder_start()?], target].concat();
    Ok(Scored { source: Some(sequence.ids_of(Role::Condition)), tokens, n_given: 1 })
}
