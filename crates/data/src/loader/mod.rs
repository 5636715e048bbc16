//! From shards to batches: each batch is a function of the seed and its number, so a run that was interrupted goes on
//! with exactly the rows that would have come.

mod pairs;
mod poisson;
mod preferences;
mod prefetch;
mod rows;
mod validation;
mod vary;

pub use poisson::Poisson;
pub use preferences::{PreferenceRows, Preferences};
pub use prefetch::Prefetch;
pub use validation::Validation;
pub use vary::Vary;

use crate::mix::Mixture;
use crate::order::{Permutation, random, random_below};
use crate::pack::{Packing, Stretch};
use crate::{Error, Result, Shard};
use genera_tokens::{Batch, TokenId};
use pairs::Pairs;
use rows::Rows;
use std::sync::Arc;

/// How documents fill rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Windows of one long stream of tokens; where documents end makes no difference. An epoch cuts the stream at a
    /// random offset into windows that follow one another, and visits them in random order.
    Contiguous,
    /// Whole documents, as many as fit into a row, none of which sees another; a document longer than a row is split.
    Packed,
    /// Pairs for an encoder-decoder, padded to the longest of the batch; pairs of similar length stand together.
    Padded(Padded),
}

/// How pairs are padded and limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padded {
    /// The decoder's first input.
    pub begin: TokenId,
    /// Pairs with a longer source are left out.
    pub max_source_len: usize,
    /// Pairs with a longer target are left out.
    pub max_target_len: usize,
    /// Number of source and target tokens of a batch at most, padding included; without it `rows` alone limits.
    pub max_tokens: Option<usize>,
}

/// What a [`Loader`] makes of its shards.
#[derive(Clone)]
pub struct LoaderSettings {
    /// How documents fill rows.
    pub layout: Layout,
    /// Number of rows B of a batch; for pairs with a limit on tokens, at most.
    pub rows: usize,
    /// Length T of a row; pairs have limits of their own.
    pub context_len: usize,
    /// Determines the order.
    pub seed: u64,
    /// The id that fills the rest of a row; any valid id serves, since nothing sees it.
    pub padding: TokenId,
    /// [`Tokenizer::token_bytes`](crate::Tokenizer::token_bytes), for [`Batch::n_bytes`]; may be empty.
    pub token_bytes: Arc<[u32]>,
    /// Rewrites documents as they are read.
    pub vary: Option<Arc<dyn Vary>>,
}

/// Number of rows that [`Layout::Packed`] makes of a shard.
///
/// # Errors
/// When the shard cannot be read.
///
/// # Cost
/// Reads where all documents end.
pub fn n_packed_rows(shard: &Shard, context_len: usize) -> Result<u64> {
    Ok(Packing::new(shard, context_len)?.n_rows())
}

/// One shard and how its units (windows, rows or pairs) are found.
struct Source {
    shard: Arc<Shard>,
    units: Units,
    seed: u64,
}

enum Units {
    Windows { n: u64 },
    Rows(Packing),
    Pairs(Vec<pairs::Pair>),
}

/// Makes batches of one or several shards.
///
/// # Determinism
/// `batch(i)` is a function of the shards, the settings and i alone.
pub struct Loader {
    sources: Vec<Source>,
    mixture: Mixture,
    settings: LoaderSettings,
    pairs: Option<Pairs>,
}

impl Loader {
    /// A loader of `shards`, each with its weight: its share of all rows.
    ///
    /// # Errors
    /// When a shard is too small for a single row, a weight is not positive, or a shard cannot be read.
    pub fn new(shards: Vec<(Arc<Shard>, f64)>, settings: LoaderSettings) -> Result<Self> {
        if settings.rows == 0 || settings.context_len == 0 {
            return Err(Error::settings("a batch needs at least one row of at least one token"));
        }
        let weights: Vec<f64> = shards.iter().map(|(_, weight)| *weight).collect();
        let mixture = Mixture::new(&weights, random(settings.seed, 0))?;
        let sources = (1..).zip(shards).map(|(i, (shard, _))| Source::new(shard, &settings, random(settings.seed, i)));
        let sources = sources.collect::<Result<Vec<_>>>()?;
        let pairs = match settings.layout {
            Layout::Padded(padded) => Some(Pairs::new(padded, &settings)),
            Layout::Contiguous | Layout::Packed => None,
        };
        Ok(Self { sources, mixture, settings, pairs })
    }

    /// Batch number `index` of the run. With n micro-batches a step and m ranks, rank r takes for micro-batch i of
    /// step s the batch `(s * n + i) * m + r`.
    ///
    /// # Errors
    /// When a shard can no longer be read.
    pub fn batch(&self, index: u64) -> Result<Batch> {
        if let Some(pairs) = &self.pairs {
            return pairs.batch(self, index);
        }
        let mut rows = Rows::new(&self.settings);
        let n_rows = self.settings.rows as u64;
        for row in index * n_rows..(index + 1) * n_rows {
            let (source, unit) = self.mixture.pick(row);
            self.sources[source].write_row(unit, &mut rows)?;
        }
        Ok(rows.finish())
    }

    /// Number of rows (or pairs) in all shards together: after so many, each has been seen once on average.
    pub fn rows_per_epoch(&self) -> u64 {
        self.sources.iter().map(Source::n_units).sum()
    }

    /// Number of pairs left out because they are longer than allowed, or have an empty side.
    pub fn n_left_out(&self) -> u64 {
        let n_used =
            |source: &Source| if self.pairs.is_some() { source.n_units() } else { source.shard.info().n_documents };
        self.sources.iter().map(|source| source.shard.info().n_documents - n_used(source)).sum()
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &LoaderSettings {
        &self.settings
    }
}

impl Source {
    fn new(shard: Arc<Shard>, settings: &LoaderSettings, seed: u64) -> Result<Self> {
        let n_tokens = shard.info().n_tokens;
        let units = match settings.layout {
            // One window less than fits, so that every epoch can cut at another offset.
            Layout::Contiguous => {
                let n_fitting = n_tokens.saturating_sub(1) / settings.context_len as u64;
                Units::Windows { n: n_fitting.saturating_sub(1).max(n_fitting.min(1)) }
            }
            Layout::Packed => Units::Rows(Packing::new(&shard, settings.context_len)?),
            Layout::Padded(padded) => Units::Pairs(pairs::admitted(&shard, padded)?),
        };
        let source = Self { shard, units, seed };
        if source.n_units() == 0 {
            return Err(source.too_small(settings));
        }
        Ok(source)
    }

    fn too_small(&self, settings: &LoaderSettings) -> Error {
        let info = self.shard.info();
        Error::settings(match settings.layout {
            Layout::Contiguous => format!(
                "the data has {} tokens, but one row takes {} (a context of {} and the token after it); give more data or \
                 a shorter context",
                info.n_tokens,
                settings.context_len + 1,
                settings.context_len
            ),
            Layout::Packed => format!("none of the {} documents has two tokens or more", info.n_documents),
            Layout::Padded(padded) => format!(
                "none of the {} pairs has a source of 1 to {} tokens and a target of 1 to {} tokens",
                info.n_documents, padded.max_source_len, padded.max_target_len
            ),
        })
    }

    fn n_units(&self) -> u64 {
        match &self.units {
            Units::Windows { n } => *n,
            Units::Rows(packing) => packing.n_rows(),
            Units::Pairs(pairs) => pairs.len() as u64,
        }
    }

    /// The unit that comes as number `i` of this source, epoch after epoch, and the epoch.
    fn unit(&self, i: u64) -> (u64, u64) {
        let n = self.n_units();
        let epoch = i / n;
        (Permutation::new(n, self.seed, epoch).at(i % n), epoch)
    }

    fn write_row(&self, i: u64, rows: &mut Rows) -> Result<()> {
        let (unit, epoch) = self.unit(i);
        match &self.units {
            Units::Windows { n } => {
                let len = rows.row_len();
                let n_spare = self.shard.info().n_tokens - 1 - n * len as u64;
                let offset = random_below(!self.seed, epoch, n_spare + 1);
                rows.push_row(
                    &self.shard,
                    &[Stretch { document: 0, start: offset + unit * len as u64, len, n_seen: 0 }],
                )
            }
            Units::Rows(packing) => {
                rows.read_anew(random(self.seed ^ unit, epoch));
                rows.push_row(&self.shard, &packing.row(&self.shard, unit)?)
            }
            Units::Pairs(_) => unreachable!("pairs are gathered by length, not row by row"),
        }
    }
}

#[cfg(test)]
mod tests;
