//! Numbers as one of a few modes and the place beside it (mode-specific normalisation).
//!
//! # Source
//! Xu et al., arXiv 1907.00503, section 4.2; the fit is that of Bishop, "Pattern recognition and machine learning" (2006), section
//! 10.2, for one dimension: modes that are not needed get no weight.

use genera_data::{Error, Result};
use serde::{Deserialize, Serialize};

/// Modes at most.
const MOST_MODES: usize = 10;

/// A mode of less weight is none.
const LEAST_WEIGHT: f64 = 0.005;

/// Prior weight of a mode: the smaller, the fewer modes.
const CONCENTRATION: f64 = 1e-3;

/// Passes over the numbers at most, and the change of the means, as a share of the spread, below which they end.
const MOST_PASSES: usize = 100;
const STILL: f64 = 1e-3;

/// Passes of k-means that the fit starts from.
const FIRST_PASSES: usize = 20;

/// Standard deviations on either side of a mode that its numbers are told apart in.
const REACH: f64 = 4.0;

/// The largest place beside a mode.
const MOST_BESIDE: f64 = 0.99;

/// A mode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mode {
    /// Share of the numbers.
    pub(super) weight: f64,
    pub(super) mean: f64,
    pub(super) deviation: f64,
}

/// The modes of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Mixture(Vec<Mode>);

impl Mixture {
    /// Fits modes to numbers in any order.
    pub(super) fn fit(values: &[f64]) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else {
            return Self(vec![Mode { weight: 1.0, mean: 0.0, deviation: 1.0 }]);
        };
        let spread = (high - low) / 2.0;
        if spread <= 0.0 {
            return Self(vec![Mode { weight: 1.0, mean: low, deviation: 1.0 }]);
        }
        // In units of the range, so that no square overflows.
        let scaled: Vec<f64> = sorted.iter().map(|value| (value - low) / spread - 1.0).collect();
        let back =
            |mode: Mode| Mode { mean: (mode.mean + 1.0) * spread + low, deviation: mode.deviation * spread, ..mode };
        Self(modes(&scaled).into_iter().map(back).collect())
    }

    /// Makes sure of what may come from a file.
    pub(super) fn check(&self) -> Result<()> {
        let is_good = |mode: &Mode| {
            mode.weight > 0.0 && mode.mean.is_finite() && mode.deviation > 0.0 && mode.deviation.is_finite()
        };
        if self.0.is_empty() || self.0.len() > MOST_MODES || !self.0.iter().all(is_good) {
            return Err(Error::Settings { problem: "the modes of a column are damaged; train anew".to_owned() });
        }
        Ok(())
    }

    pub(super) fn n_modes(&self) -> usize {
        self.0.len()
    }

    /// The mode that a number is said to come from, drawn by `share` in [0, 1) among those it may come from, and its place
    /// beside it, −1 to 1.
    pub(super) fn place(&self, value: f64, share: f64) -> (usize, f64) {
        let log =
            |mode: &Mode| mode.weight.ln() - mode.deviation.ln() - 0.5 * ((value - mode.mean) / mode.deviation).powi(2);
        let logs: Vec<f64> = self.0.iter().map(log).collect();
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logs.iter().map(|log| (log - largest).exp()).collect();
        let mut left = share * weights.iter().sum::<f64>();
        let drawn = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        let i = drawn.unwrap_or(weights.len() - 1);
        let beside = (value - self.0[i].mean) / (REACH * self.0[i].deviation);
        (i, beside.clamp(-MOST_BESIDE, MOST_BESIDE))
    }

    /// The number at a place beside a mode.
    pub(super) fn value(&self, mode: usize, beside: f64) -> f64 {
        let Mode { mean, deviation, .. } = self.0[mode.min(self.0.len() - 1)];
        mean + REACH * deviation * beside
    }
}

/// What the numbers say of one mode: how many they are, their mean, and their mean square about it.
#[derive(Clone, Copy, Default)]
struct Moments {
    n: f64,
    mean: f64,
    square: f64,
}

/// The modes of numbers in ascending order, none of which is far from 1.
fn modes(sorted: &[f64]) -> Vec<Mode> {
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    let variance = (sorted.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).max(1e-12);
    let mut of_modes = first_moments(sorted);
    let mut posterior = Vec::new();
    for _ in 0..MOST_PASSES {
        let before: Vec<f64> = of_modes.iter().map(|moments| moments.mean).collect();
        posterior = of_modes.iter().map(|moments| Posterior::of(*moments, mean, variance)).collect::<Vec<_>>();
        of_modes = assign(sorted, &posterior);
        let moved = before.iter().zip(&of_modes).map(|(before, now)| (before - now.mean).abs()).fold(0.0, f64::max);
        if moved < STILL * variance.sqrt() {
            break;
        }
    }
    let all: f64 = posterior.iter().map(|mode| mode.concentration).sum();
    let mode = |posterior: &Posterior| Mode {
        weight: posterior.concentration / all,
        mean: posterior.mean,
        deviation: (posterior.scatter / posterior.freedom).sqrt(),
    };
    let modes: Vec<Mode> = posterior.iter().map(mode).collect();
    let kept: Vec<Mode> = modes.iter().copied().filter(|mode| mode.weight > LEAST_WEIGHT).collect();
    if kept.is_empty() { modes.into_iter().take(1).collect() } else { kept }
}

/// Moments by k-means from evenly spaced ones of the distinct numbers. From quantiles, as many modes would stand on a frequent
/// number as it has shares, and stay together for ever.
fn first_moments(sorted: &[f64]) -> Vec<Moments> {
    let mut distinct = sorted.to_vec();
    distinct.dedup();
    let n = MOST_MODES.min(distinct.len());
    let mut means: Vec<f64> = (0..n).map(|i| distinct[(2 * i + 1) * distinct.len() / (2 * n)]).collect();
    for _ in 0..FIRST_PASSES {
        let parts = nearest(sorted, &means);
        for (mean, part) in means.iter_mut().zip(parts).filter(|(_, part)| !part.is_empty()) {
            *mean = moments(part).mean;
        }
    }
    let parts = nearest(sorted, &means);
    means.iter().zip(parts).map(|(&mean, part)| Moments { mean, ..moments(part) }).collect()
}

/// The numbers that are nearest to each of some means, all in ascending order.
fn nearest<'v>(sorted: &'v [f64], means: &[f64]) -> Vec<&'v [f64]> {
    let ends = means.windows(2).map(|pair| sorted.partition_point(|&x| x < (pair[0] + pair[1]) / 2.0));
    let mut start = 0;
    let mut part = |end: usize| {
        let part = &sorted[start..end.max(start)];
        start = end.max(start);
        part
    };
    ends.chain([sorted.len()]).map(&mut part).collect()
}

fn moments(values: &[f64]) -> Moments {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    Moments { n, mean, square: values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n.max(1.0) }
}

/// Normal and Wishart posterior of a mode, equations 10.58 to 10.63.
#[derive(Clone, Copy)]
struct Posterior {
    concentration: f64,
    certainty: f64,
    mean: f64,
    freedom: f64,
    /// 1 / W
    scatter: f64,
}

impl Posterior {
    fn of(Moments { n, mean, square }: Moments, of_all: f64, variance: f64) -> Self {
        let (certainty, freedom) = (1.0 + n, 1.0 + n);
        Self {
            concentration: CONCENTRATION + n,
            certainty,
            mean: (of_all + n * mean) / certainty,
            freedom,
            scatter: variance + n * square + n / certainty * (mean - of_all).powi(2),
        }
    }

    /// ln of the unscaled responsibility for `x`, equations 10.46 and 10.64 to 10.66.
    fn log(&self, x: f64) -> f64 {
        let precision = digamma(self.freedom / 2.0) + std::f64::consts::LN_2 - self.scatter.ln();
        let distance = 1.0 / self.certainty + self.freedom / self.scatter * (x - self.mean).powi(2);
        digamma(self.concentration) + 0.5 * (precision - distance)
    }
}

/// The moments of the numbers that each mode is responsible for.
fn assign(sorted: &[f64], modes: &[Posterior]) -> Vec<Moments> {
    // The parts that do not depend on x are computed once.
    let constants: Vec<f64> = modes.iter().map(|mode| mode.log(mode.mean)).collect();
    let mut sums = vec![[0.0; 3]; modes.len()];
    let mut shares = vec![0.0; modes.len()];
    for &x in sorted {
        let logs = modes.iter().zip(&constants);
        let logs = logs.map(|(mode, constant)| constant - 0.5 * mode.freedom / mode.scatter * (x - mode.mean).powi(2));
        shares.iter_mut().zip(logs).for_each(|(share, log)| *share = log);
        let largest = shares.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        shares.iter_mut().for_each(|share| *share = (*share - largest).exp());
        let all: f64 = shares.iter().sum();
        for (sums, share) in sums.iter_mut().zip(&shares) {
            let share = share / all;
            *sums = [sums[0] + share, sums[1] + share * x, sums[2] + share * x * x];
        }
    }
    let moments = |[n, sum, square]: [f64; 3]| {
        let mean = sum / n.max(1e-12);
        Moments { n, mean, square: (square / n.max(1e-12) - mean * mean).max(0.0) }
    };
    sums.into_iter().map(moments).collect()
}

/// ψ(x), the derivative of ln Γ, for x > 0: recurrence to x ≥ 6, then the asymptotic series.
fn digamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 6.0 {
        below -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    below + x.ln() - 0.5 / x - square * (1.0 / 12.0 - square * (1.0 / 120.0 - square * (1.0 / 252.0 - square / 240.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Dice;

    #[test]
    fn digamma_has_its_known_values() {
        for (x, expect) in [(1.0, -0.577_215_664_9), (0.5, -1.963_510_026_0), (10.0, 2.251_752_589_1)] {
            assert!((digamma(x) - expect).abs() < 1e-8, "{x}");
        }
    }

    #[test]
    fn separate_modes_are_found_and_others_vanish() {
        let mut dice = Dice::new(1, 0);
        let mut normal = || (0..12).map(|_| dice.below(1000) as f64 / 1000.0).sum::<f64>() - 6.0;
        let values: Vec<f64> =
            (0..6000).map(|i| if i % 3 == 0 { 1000.0 + normal() * 5.0 } else { normal() * 20.0 }).collect();
        let mixture = Mixture::fit(&values);
        let near = |mean: f64| {
            mixture.0.iter().filter(|mode| (mode.mean - mean).abs() < 60.0).map(|mode| mode.weight).sum::<f64>()
        };
        assert!((near(0.0) - 2.0 / 3.0).abs() < 0.02 && (near(1000.0) - 1.0 / 3.0).abs() < 0.02, "{mixture:?}");
        for value in [-30.0, 0.0, 12.0, 1003.0] {
            let (mode, beside) = mixture.place(value, 0.5);
            assert!((mixture.value(mode, beside) - value).abs() < 1e-9, "{value}");
        }
        mixture.check().unwrap();
    }

    #[test]
    fn a_frequent_number_has_one_mode() {
        let values: Vec<f64> = (0..5000).map(|i| if i % 10 > 0 { 0.0 } else { f64::from(3000 + i) }).collect();
        let mixture = Mixture::fit(&values);
        let at_zero: Vec<&Mode> = mixture.0.iter().filter(|mode| mode.mean.abs() < 100.0).collect();
        assert!(at_zero.len() == 1 && (at_zero[0].weight - 0.9).abs() < 0.01, "{mixture:?}");
    }

    #[test]
    fn few_or_equal_or_extreme_numbers_have_modes_too() {
        for values in [&[][..], &[7.0; 5], &[1.0, 2.0], &[f64::MAX / 4.0, -f64::MAX / 4.0, 0.0], &[f64::NAN]] {
            let mixture = Mixture::fit(values);
            mixture.check().unwrap();
            let (mode, beside) =
                mixture.place(values.first().copied().filter(|value| value.is_finite()).unwrap_or(0.0), 0.0);
            assert!(mode < mixture.n_modes() && (-1.0..=1.0).contains(&beside));
        }
    }
}
