//! Rows for training with differential privacy: each document takes part in a step by itself, whatever the others do.

use super::rows::Rows;
use super::{Layout, LoaderSettings};
use crate::order::random;
use crate::pack::Stretch;
use crate::{Error, Result, Shard};
use genera_tokens::Batch;
use std::sync::Arc;

/// Tells the choice of rows from everything else that grows from one secret.
const STREAM: u64 = 0x5A3D;

/// Draws each document of a shard with the same probability at each step (Poisson sampling).
pub struct Poisson {
    shard: Arc<Shard>,
    settings: LoaderSettings,
    rate: f64,
    secret: u64,
}

impl Poisson {
    /// Steps over a shard whose documents each stand in one row, on average `n_expected` of them a step.
    ///
    /// # Errors
    /// When there are fewer documents than are expected in a step, or none.
    pub fn new(shard: Arc<Shard>, settings: LoaderSettings, n_expected: usize, secret: u64) -> Result<Self> {
        let n = shard.info().n_documents;
        if n_expected == 0 || n_expected as u64 > n {
            return Err(Error::settings(format!(
                "a step is to see {n_expected} rows on average, but there are {n}; make train.batch_size at most that"
            )));
        }
        let settings = LoaderSettings { layout: Layout::Packed, ..settings };
        Ok(Self { shard, settings, rate: n_expected as f64 / n as f64, secret })
    }

    /// Probability that a document takes part in a step.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// The documents of a step, each a batch of its own; perhaps none.
    ///
    /// # Errors
    /// When the shard can no longer be read.
    ///
    /// # Determinism
    /// A function of the shard, the settings, the secret and the number of the step.
    pub fn step(&self, step: u64) -> Result<Vec<Batch>> {
        let key = random(random(self.secret, STREAM), step);
        let is_drawn = |&document: &u64| unit(random(key, document)) < self.rate;
        (0..self.shard.info().n_documents).filter(is_drawn).map(|document| self.row(document, key)).collect()
    }

    fn row(&self, document: u64, key: u64) -> Result<Batch> {
        let range = self.shard.document_range(document)?;
        let len = (range.end - range.start).saturating_sub(1) as usize;
        let mut rows = Rows::new(&LoaderSettings { context_len: len, ..self.settings.clone() });
        rows.read_anew(!key);
        rows.push_row(&self.shard, &[Stretch { document, start: range.start, len, n_seen: 0 }])?;
        Ok(rows.finish())
    }
}

/// A number in [0, 1) of 53 bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
