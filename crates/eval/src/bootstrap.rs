//! How sure a score is: the scores of corpora drawn again from the corpus.

use crate::metric::Metric;
use crate::report::signature;
use crate::rng::Stream;
use crate::{Figure, Interval, Statistics};

/// Percentile bootstrap over examples.
///
/// A resample draws as many examples as there are, with replacement, and is scored from the sum of their statistics, as
/// sacrebleu does. The draws come from a generator of our own, a pure function of (seed, resample, draw), so the same
/// seed gives other resamples here than in sacrebleu: intervals agree as two seeds do, not to the last digit.
///
/// # Source
/// Koehn 2004, "Statistical significance tests for machine translation evaluation", EMNLP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// How many corpora are drawn.
    pub n_resamples: usize,
    /// Which ones.
    pub seed: u64,
    /// Share of them that the interval holds, between 0 and 1.
    pub confidence: f64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { n_resamples: 1000, seed: 12345, confidence: 0.95 }
    }
}

/// Two systems on the same examples.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// Score of the system less that of the baseline.
    pub difference: f64,
    /// Where that difference lies when the examples are drawn again, the same ones for both.
    pub interval: Interval,
    /// How often chance alone would give as large a difference, in either direction.
    pub p_value: f64,
}

impl Bootstrap {
    /// The score of all examples with its interval, and everything needed to have it again.
    pub fn figure(&self, metric: &dyn Metric, statistics: &Statistics) -> Figure {
        let sampling = format!("bs:{}|seed:{}", self.n_resamples, self.seed);
        let signature = signature(metric, statistics, &sampling);
        let interval = Some(self.interval(metric, statistics));
        Figure { interval, seed: Some(self.seed), signature, ..Figure::of(metric, statistics) }
    }

    /// The interval that holds the middle `confidence` of the scores of the resamples.
    ///
    /// # Cost
    /// `n_resamples` × the number of statistics.
    pub fn interval(&self, metric: &dyn Metric, statistics: &Statistics) -> Interval {
        self.percentiles(self.resamples(statistics).map(|sums| metric.score(&sums)).collect())
    }

    /// Compares a system with a baseline on the same examples (paired bootstrap).
    ///
    /// The p-value counts the c of n resamples whose difference d is as far from the mean of all d as the observed
    /// difference is from 0: (c + 1) / (n + 1). sacrebleu centres |d| instead of d, which is one-sided in effect (about
    /// half of this value), and counts only larger ones, so it calls a system significantly different from itself.
    ///
    /// # Panics
    /// When the two do not have the same number of examples.
    pub fn compare(&self, metric: &dyn Metric, system: &Statistics, baseline: &Statistics) -> Comparison {
        let (n, n_baseline) = (system.n_rows(), baseline.n_rows());
        assert_eq!(n, n_baseline, "paired systems need the same examples: {n} and {n_baseline}");
        let difference = metric.score(&system.sum()) - metric.score(&baseline.sum());
        let resampled = self.resamples(system).zip(self.resamples(baseline));
        let differences: Vec<f64> = resampled.map(|(s, b)| metric.score(&s) - metric.score(&b)).collect();
        let p_value = p_value(&differences, difference);
        Comparison { difference, interval: self.percentiles(differences), p_value }
    }

    /// The summed statistics of each resample; the same draws for any statistics of the same number of rows.
    fn resamples(&self, statistics: &Statistics) -> impl Iterator<Item = Vec<f64>> {
        assert!(self.n_resamples > 0, "a bootstrap needs at least one resample");
        let (n, seed) = (statistics.n_rows(), self.seed);
        (0..self.n_resamples).map(move |resample| {
            let draws = Stream::new(seed, resample as u64);
            statistics.sum_of((0..n).map(|draw| draws.below(n, draw)))
        })
    }

    fn percentiles(&self, mut scores: Vec<f64>) -> Interval {
        assert!(self.confidence > 0.0 && self.confidence < 1.0, "confidence {} is not in (0, 1)", self.confidence);
        scores.sort_unstable_by(f64::total_cmp);
        // Rounded down as sacrebleu does; the small term undoes the rounding of 1 − confidence.
        let n_below = (scores.len() as f64 * (1.0 - self.confidence) / 2.0 + 1e-9) as usize;
        Interval { low: scores[n_below], high: scores[scores.len() - 1 - n_below], confidence: self.confidence }
    }
}

fn p_value(differences: &[f64], observed: f64) -> f64 {
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let n_as_far = differences.iter().filter(|&d| (d - mean).abs() >= observed.abs()).count();
    (n_as_far as f64 + 1.0) / (n + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::ExactMatch;

    /// `n` examples of which `n_right` are right.
    fn outcomes(n: usize, n_right: usize) -> Statistics {
        Statistics::new((0..n).map(|i| [f64::from(i < n_right), 1.0]), "nrefs:1")
    }

    #[test]
    fn interval_of_a_share_is_the_binomial_one() {
        let bootstrap = Bootstrap { n_resamples: 4000, ..Bootstrap::default() };
        let interval = bootstrap.interval(&ExactMatch, &outcomes(400, 100));
        // 25 % ± 1.96 · √(0.25 · 0.75 / 400) = 25 ± 4.24
        assert!((interval.low - 20.76).abs() < 0.6, "{interval:?}");
        assert!((interval.high - 29.24).abs() < 0.6, "{interval:?}");
    }

    #[test]
    fn interval_depends_on_seed_alone() {
        let interval = |seed| Bootstrap { seed, ..Bootstrap::default() }.interval(&ExactMatch, &outcomes(997, 321));
        assert_eq!(interval(7), interval(7));
        assert_ne!(interval(7), interval(8));
    }

    #[test]
    fn percentiles_cut_the_same_share_on_both_sides() {
        for (n, confidence, expect) in [(1000, 0.95, (25.0, 974.0)), (20, 0.9, (1.0, 18.0)), (10, 0.95, (0.0, 9.0))] {
            let bootstrap = Bootstrap { confidence, ..Bootstrap::default() };
            let interval = bootstrap.percentiles((0..n).rev().map(f64::from).collect());
            assert_eq!((interval.low, interval.high), expect, "{n} at {confidence}");
        }
    }

    #[test]
    fn comparison_tells_better_from_equal() {
        let bootstrap = Bootstrap::default();
        let better = bootstrap.compare(&ExactMatch, &outcomes(500, 300), &outcomes(500, 250));
        assert!((better.difference - 10.0).abs() < 1e-12 && better.p_value < 0.01, "{better:?}");
        assert!(better.interval.low > 0.0, "{better:?}");
        let same = bootstrap.compare(&ExactMatch, &outcomes(500, 250), &outcomes(500, 250));
        assert_eq!((same.difference, same.interval.low, same.interval.high), (0.0, 0.0, 0.0));
        assert_eq!(same.p_value, 1.0);
    }
}
