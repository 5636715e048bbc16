//! What is counted: targets, tokens, bytes, and the nats spent on them.

use crate::model::Loss;
use genera_tokens::Batch;
use serde::Serialize;

/// How well a model predicts data that it was not trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// Mean of −ln p(target).
    ///
    /// # Units
    /// Nats a token.
    pub loss: f64,
    /// Number of targets.
    pub n_tokens: u64,
    /// Number of bytes that the targets stand for; 0 where unknown.
    pub n_bytes: u64,
    /// The loss in bits for each byte of the original data, which does not depend on the tokenizer.
    pub bits_per_byte: Option<f64>,
    /// Share of targets that were the most probable token.
    pub accuracy: f64,
}

/// Sums over batches, in f64 and in order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    nats: f64,
    n_hits: f64,
    n_targets: u64,
    n_bytes: u64,
    has_unknown_bytes: bool,
}

impl Sums {
    /// Counts a batch, and what its loss was made of.
    pub(super) fn add(&mut self, batch: &Batch, loss: &Loss) {
        self.nats += sum(&loss.nlls);
        self.n_hits += sum(&loss.hits);
        self.n_targets += batch.n_targets() as u64;
        self.n_bytes += batch.n_bytes;
        self.has_unknown_bytes |= batch.n_bytes == 0 && batch.n_targets() > 0;
    }

    /// Mean of −ln p(target), in nats.
    pub(super) fn mean_nats(&self) -> f64 {
        self.nats / self.n_targets as f64
    }

    pub(super) fn n_targets(&self) -> u64 {
        self.n_targets
    }

    pub(super) fn validation(&self) -> Validation {
        let n_bytes = if self.has_unknown_bytes { 0 } else { self.n_bytes };
        let bits = self.nats / std::f64::consts::LN_2;
        Validation {
            loss: self.mean_nats(),
            n_tokens: self.n_targets,
            n_bytes,
            bits_per_byte: (n_bytes > 0).then(|| bits / n_bytes as f64),
            accuracy: self.n_hits / self.n_targets as f64,
        }
    }
}

fn sum(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum()
}

/// Number of targets of a whole step. Every micro-batch's loss is divided by it, so that a token weighs the same
/// wherever it stands, and micro-batches add up to what one batch would give.
pub(super) fn n_targets<'a>(micro_batches: impl Iterator<Item = &'a Batch>) -> usize {
    micro_batches.map(Batch::n_targets).sum()
}

/// Number of tokens read, padding not counted.
pub(super) fn n_real_tokens(batch: &Batch) -> u64 {
    let own = batch.segments.iter().filter(|&&segment| segment != 0).count() as u64;
    let source = batch.source.as_ref().map_or(0, |source| source.lens.iter().map(|&len| u64::from(len)).sum());
    own + source
}
