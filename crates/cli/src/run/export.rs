//! `model/`: the trained model in the layout that others read.

use super::log::ValidationRow;
use super::session::origin;
use crate::failure::{Failure, Outcome};
use crate::model::reads;
use crate::plan;
use crate::provenance::Provenance;
use genera_data::export_tokenizer;
use genera_data::prepare::Prepared;
use genera_engine::model::Transformer;
use genera_engine::recipe::Recipe;
use genera_engine::weights::{CardFacts, Origin, PublishedGeneration, SpecialIds, export_hf};
use std::path::Path;

/// What the model card says.
pub struct Facts<'r> {
    /// How it was trained.
    pub recipe: &'r Recipe,
    /// On what.
    pub prepared: &'r Prepared,
    /// Ids that open, close and fill.
    pub special: &'r SpecialIds,
    /// How the authors of its base want answers made.
    pub generation: &'r PublishedGeneration,
    /// Steps done.
    pub step: u64,
    /// Tokens seen.
    pub n_tokens: u64,
    /// Arithmetic of training.
    pub n_flops: f64,
    /// Time spent.
    pub seconds: f64,
    /// The last measurement.
    pub validation: Option<&'r ValidationRow>,
}

/// Writes configuration, weights, tokenizer and card. Returns what a user of other tools should know.
///
/// # Errors
/// When a file cannot be written.
pub fn write(model: &Transformer, directory: &Path, facts: &Facts<'_>) -> Outcome<Option<String>> {
    let special = facts.special.with_all_ends(&facts.prepared.tokenizer.vocab().special, model.config().vocab_size);
    let provenance = provenance(facts.recipe);
    let card = card(facts, provenance.origin.clone());
    let exported = export_hf(model, directory, &special, facts.generation, &card, None)?;
    export_tokenizer(&*facts.prepared.tokenizer, directory, reads(model))?;
    Ok(exported.note.into_iter().chain(copy_terms(&provenance, directory)).reduce(|all, note| format!("{all}; {note}")))
}

/// Where the base of a run comes from. What cannot be read of a base must not cost a run its model.
pub fn provenance(recipe: &Recipe) -> Provenance {
    let tuned = recipe.base.path.as_deref().and_then(|base| Provenance::of_tuned(Path::new(base)).ok());
    tuned.unwrap_or_default()
}

/// Copies the terms of the base beside what was made of it; says where that failed.
pub fn copy_terms(provenance: &Provenance, directory: &Path) -> Option<String> {
    provenance.copy(directory).err().map(|failure: Failure| format!("the terms of the base: {}", failure.message()))
}

fn card(facts: &Facts<'_>, provenance: Origin) -> CardFacts {
    let recipe = facts.recipe;
    let summary = &facts.prepared.summary;
    if plan::privacy::is_on(recipe) {
        // Counts and losses are not covered by the guarantee.
        return CardFacts {
            name: format!("{} ({})", recipe.data.kind, origin(recipe)),
            data: vec![private_data(facts)],
            steps: Some(facts.step),
            origin: provenance,
            ..CardFacts::default()
        };
    }
    CardFacts {
        name: format!("{} ({})", recipe.data.kind, origin(recipe)),
        data: vec![format!("{} ({} documents, {} tokens)", summary.corpus, summary.n_documents, summary.n_tokens)],
        n_tokens: Some(facts.n_tokens),
        steps: Some(facts.step),
        validation_loss: facts.validation.map(|row| row.validation_loss),
        bits_per_byte: facts.validation.and_then(|row| row.bits_per_byte),
        flops: Some(facts.n_flops),
        seconds: Some(facts.seconds),
        seed: Some(recipe.train.seed),
        origin: provenance,
        ..CardFacts::default()
    }
}

/// What the card of a model with privacy says of its data.
fn private_data(facts: &Facts<'_>) -> String {
    let n_rows = facts.prepared.train.info().n_documents;
    let spent = plan::privacy::spent(facts.recipe, n_rows, facts.step);
    let (epsilon, delta) = spent.unwrap_or((f64::INFINITY, 1.0));
    format!(
        "a table, with differential privacy of ε = {epsilon:.3} at δ = {delta} for each row (DP-SGD; tables that differ by one \
         row; the seed of the noise is secret)"
    )
}
