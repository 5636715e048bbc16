//! Which source each row comes from, when there are several.

use crate::order::Permutation;
use crate::{Error, Result};

/// Shares rows out to sources by weight: exactly so in every cycle of [`CYCLE`](Self::CYCLE) rows, and in an order that
/// is a function of the seed and the row's number.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    /// Where the slots of each source end within a cycle.
    ends: Vec<u64>,
    seed: u64,
}

impl Mixture {
    const CYCLE: u64 = 1024;

    pub(crate) fn new(weights: &[f64], seed: u64) -> Result<Self> {
        if weights.is_empty() || weights.len() as u64 > Self::CYCLE / 2 {
            return Err(Error::settings(format!("a mixture of {} sources; expected 1 to 512", weights.len())));
        }
        if let Some(weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight > 0.0)) {
            return Err(Error::settings(format!("the weight {weight} of a source; expected a positive number")));
        }
        let total: f64 = weights.iter().sum();
        let n_free = (Self::CYCLE - weights.len() as u64) as f64;
        let mut sum = 0.0;
        let ends = (1..).zip(weights).map(|(n_before, weight)| {
            sum += weight;
            // One slot for each source, so that none is forgotten, and the rest by weight.
            n_before + (sum / total * n_free).round() as u64
        });
        Ok(Self { ends: ends.collect(), seed })
    }

    /// The source of row number `row` of the whole run, and the row's number among those of that source.
    pub(crate) fn pick(&self, row: u64) -> (usize, u64) {
        if self.ends.len() == 1 {
            return (0, row);
        }
        let (cycle, turn) = (row / Self::CYCLE, row % Self::CYCLE);
        let slot = Permutation::new(Self::CYCLE, self.seed, cycle).at(turn);
        let source = self.ends.partition_point(|&end| end <= slot);
        let start = if source == 0 { 0 } else { self.ends[source - 1] };
        (source, cycle * (self.ends[source] - start) + slot - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rows_are_shared_by_weight_and_none_is_skipped() {
        let mixture = Mixture::new(&[3.0, 1.0, 1e-9], 7).unwrap();
        let picks: Vec<(usize, u64)> = (0..10 * Mixture::CYCLE).map(|row| mixture.pick(row)).collect();
        let share = |source| picks.iter().filter(|pick| pick.0 == source).count() as u64;
        assert_eq!((share(0), share(1), share(2)), (7670, 2560, 10));
        assert_eq!(picks.iter().collect::<HashSet<_>>().len(), picks.len());
        for source in 0..3 {
            let last = picks.iter().filter(|pick| pick.0 == source).map(|pick| pick.1).max().unwrap();
            assert_eq!(last + 1, share(source), "rows of source {source} are numbered without gap");
        }
    }

    #[test]
    fn bad_weights_are_errors() {
        for weights in [&[][..], &[1.0, 0.0], &[f64::NAN], &[-1.0, 2.0]] {
            assert!(Mixture::new(weights, 0).is_err(), "{weights:?}");
        }
    }
}
