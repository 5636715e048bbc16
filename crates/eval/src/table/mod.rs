//! What a synthetic table is worth beside the real one: how alike columns and pairs of columns are, whether a model tells
//! the two apart, what a model learns from it, and how near it comes to single real rows.
//!
//! Definitions of shapes and trends are those of SDMetrics 0.32 (`QualityReport`), so that figures may stand in one table.

mod boosting;
mod privacy;
mod shapes;
mod trends;
mod usefulness;

pub use boosting::{Boosted, BoostingSettings, Objective};
pub use privacy::{Closest, closest, n_copies};
pub use shapes::{column_shape, column_shapes};
pub use trends::{PairTrend, correlation, is_related, mean_trend, pair_trend, pair_trends};
pub use usefulness::{Usefulness, auc, discriminator_auc, usefulness};

use std::sync::Arc;

/// Stands for a category that is missing.
pub const MISSING: u32 = u32::MAX;

/// The cells of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers or dates; NaN where missing.
    Numeric(Vec<f64>),
    /// Categories by their place in a list that all compared tables share.
    Categorical {
        /// One for each row; [`MISSING`] where missing.
        codes: Vec<u32>,
        /// What they are called.
        labels: Arc<[String]>,
    },
}

impl Values {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Numeric(values) => values.len(),
            Self::Categorical { codes, .. } => codes.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn at(&self, rows: &[usize]) -> Self {
        match self {
            Self::Numeric(values) => Self::Numeric(rows.iter().map(|&i| values[i]).collect()),
            Self::Categorical { codes, labels } => {
                Self::Categorical { codes: rows.iter().map(|&i| codes[i]).collect(), labels: labels.clone() }
            }
        }
    }
}

/// A table by columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names with cells; all of one length.
    pub columns: Vec<(String, Values)>,
    /// Names of those whose numbers are days since 1970-01-01.
    pub dates: Vec<String>,
}

impl Table {
    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, values)| values.len())
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn at(&self, rows: &[usize]) -> Self {
        let columns = self.columns.iter().map(|(name, values)| (name.clone(), values.at(rows))).collect();
        Self { columns, dates: self.dates.clone() }
    }

    /// At most `n` rows, drawn by `seed` without putting back.
    pub fn sample(&self, n: usize, seed: u64) -> Self {
        self.at(&draw(self.n_rows(), n, seed))
    }
}

/// At most `n` different numbers below `n_all`, in random order.
fn draw(n_all: usize, n: usize, seed: u64) -> Vec<usize> {
    let stream = crate::rng::Stream::new(seed, 0);
    let mut places: Vec<usize> = (0..n_all).collect();
    for i in 0..n.min(n_all) {
        let j = i + stream.below(n_all - i, i);
        places.swap(i, j);
    }
    places.truncate(n);
    places
}

#[cfg(test)]
mod tests;
