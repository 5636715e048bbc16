//! The pairs that a run learns preferences from, each with what the reference says of it.

use super::directory::RunDirectory;
use crate::failure::{Failure, Outcome, While};
use crate::show::status_line::StatusLine;
use genera_data::prepare::Prepared;
use genera_data::{PreferenceRows, Preferences, Shard};
use genera_engine::model::Transformer;
use genera_engine::recipe::Recipe;
use genera_engine::train::{PreferencePair, answer_nll};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// The pairs of a run.
pub struct PreferenceData {
    /// How dear it is to leave the reference.
    pub beta: f64,
    train: Part,
    validation: Option<Part>,
}

/// Pairs, and the margins of the reference by document.
struct Part {
    pairs: Preferences,
    margins: Vec<f64>,
}

/// ln p(chosen) − ln p(rejected) of the reference, by document, as the bits of an f64; 0 for pairs that are left out.
#[derive(Serialize, Deserialize)]
struct Reference {
    base: String,
    train: Vec<u64>,
    validation: Vec<u64>,
}

impl PreferenceData {
    /// The pairs of a run that learns preferences, else `None`. The reference is asked once, before the first step, and
    /// what it says is kept with the data.
    ///
    /// # Errors
    /// When the data cannot be read or written, or the reference is needed later and its answers are gone.
    pub fn open(
        recipe: &Recipe,
        run: &RunDirectory,
        prepared: &Prepared,
        model: &Transformer,
        n_steps: u64,
    ) -> Outcome<Option<Self>> {
        if recipe.data.kind != genera_modality::Modality::name(&genera_modality::Preference) {
            return Ok(None);
        }
        let pairs = |shard: &Arc<Shard>| {
            Preferences::new(shard.clone(), recipe.model.context_len, recipe.train.batch_size, recipe.train.seed)
        };
        let train = pairs(&prepared.train)?.ok_or_else(|| {
            let context_len = recipe.model.context_len;
            Failure::new(format!("no pair of answers fits into {context_len} tokens; raise model.context_len"))
        })?;
        let validation = prepared.validation.as_ref().map(pairs).transpose()?.flatten();
        let base = recipe.base.sha256.clone().unwrap_or_default();
        let path = run.data().join("reference.json");
        let reference = match read(&path, &base) {
            Some(reference) => reference,
            None if n_steps == 0 => {
                let of_part = |part: Option<(&Preferences, &Arc<Shard>)>| {
                    part.map_or_else(|| Ok(Vec::new()), |(pairs, shard)| margins(model, pairs, shard))
                };
                let train = of_part(Some((&train, &prepared.train)))?;
                let validation = of_part(validation.as_ref().zip(prepared.validation.as_ref()))?;
                let reference = Reference { base, train, validation };
                genera_data::write_atomically(&path, &serde_json::to_vec(&reference)?)?;
                reference
            }
            None => {
                return Err(Failure::new(format!(
                    "{} is missing or of another base: it holds what the reference said before training, which the \
                     trained model no longer knows; put it back, or train anew",
                    path.display()
                )));
            }
        };
        let of_bits = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect();
        let part = |pairs: Preferences, margins: Vec<u64>| Part { pairs, margins: of_bits(margins) };
        Ok(Some(Self {
            beta: beta(recipe)?,
            train: part(train, reference.train),
            validation: validation.map(|pairs| part(pairs, reference.validation)),
        }))
    }

    /// Number of pairs that are learned.
    pub fn n(&self) -> u64 {
        self.train.pairs.n()
    }

    /// Number of pairs that are too long.
    pub fn n_left_out(&self) -> u64 {
        self.train.pairs.n_left_out()
    }

    /// The pairs of `n` batches from number `first` on.
    ///
    /// # Errors
    /// When the data can no longer be read.
    pub fn batches(&self, first: u64, n: usize) -> Outcome<Vec<PreferencePair>> {
        let mut pairs = Vec::new();
        for index in first..first + n as u64 {
            pairs.extend(self.train.pairs.batch(index)?.into_iter().map(|rows| self.train.pair(rows)));
        }
        Ok(pairs)
    }

    /// The pairs that are kept aside and not too long; `None` when there are none.
    pub fn validation(&self) -> Option<impl Iterator<Item = Outcome<PreferencePair>> + '_> {
        let part = self.validation.as_ref()?;
        Some(part.pairs.all().map(|rows| Ok(part.pair(rows?))))
    }
}

impl Part {
    fn pair(&self, rows: PreferenceRows) -> PreferencePair {
        let reference_margin = self.margins.get(rows.document as usize).copied().unwrap_or(0.0);
        PreferencePair { chosen: rows.chosen, rejected: rows.rejected, reference_margin }
    }
}

/// How dear it is to leave the reference.
///
/// # Errors
/// When the recipe's value would have the rejected answers preferred.
pub fn beta(recipe: &Recipe) -> Outcome<f64> {
    let beta = recipe.dpo.beta.unwrap_or(0.1);
    if beta > 0.0 && beta.is_finite() {
        return Ok(beta);
    }
    Err(Failure::new(format!(
        "train.dpo.beta is {beta}; expected a number above 0 (0.1 is usual): with others nothing is learned, or the rejected \
         answers are"
    )))
}

fn read(path: &PathBuf, base: &str) -> Option<Reference> {
    let reference: Reference = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (reference.base == base).then_some(reference)
}

fn margins(model: &Transformer, pairs: &Preferences, shard: &Shard) -> Outcome<Vec<u64>> {
    let mut margins = vec![0_f64.to_bits(); usize::try_from(shard.info().n_documents).during("too many pairs")?];
    let mut status = StatusLine::new();
    for (i, rows) in pairs.all().enumerate() {
        let PreferenceRows { document, chosen, rejected } = rows?;
        margins[document as usize] = (answer_nll(model, &rejected) - answer_nll(model, &chosen)).to_bits();
        status.show(|| format!("asking the reference: {} of {} pairs", i + 1, pairs.n()));
    }
    Ok(margins)
}
