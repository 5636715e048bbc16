//! How much a run of noisy steps tells about any one row, in Rényi's divergence and as (ε, δ).

/// Orders of the divergence that are tried: all from 1.1 to 256.
const HIGHEST_ORDER: u32 = 256;

/// Noise that is tried at most, as a multiple of the clipping length.
const MOST_NOISE: f64 = 1e4;

/// Steps that each see every row with the same small probability, and whose sum of clipped gradients gets Gaussian noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoisySteps {
    /// Probability that a row takes part in a step.
    pub rate: f64,
    /// Standard deviation of the noise, as a multiple of the longest gradient of a row.
    pub noise_multiplier: f64,
    /// Number of steps.
    pub n_steps: u64,
}

impl NoisySteps {
    /// The ε that all steps together spend at `delta`, for two tables of which one has a row more; infinite where no bound
    /// can be given.
    ///
    /// # Source
    /// Mironov, Talwar, Zhang, "Rényi differential privacy of the sampled Gaussian mechanism", arXiv 1908.10530, section 3.3;
    /// from Rényi's divergence to (ε, δ): Canonne, Kamath, Steinke, arXiv 2004.00010, proposition 12.
    pub fn epsilon(&self, delta: f64) -> f64 {
        let valid = self.rate > 0.0 && self.rate <= 1.0 && self.noise_multiplier > 0.0 && delta > 0.0 && delta < 1.0;
        if !valid {
            return if self.n_steps == 0 || self.rate == 0.0 { 0.0 } else { f64::INFINITY };
        }
        let moments: Vec<f64> = (1..=HIGHEST_ORDER).map(|order| self.log_moment(order)).collect();
        let epsilon = |order: f64| {
            let divergence = self.n_steps as f64 * interpolated(&moments, order) / (order - 1.0);
            divergence + ((order - 1.0) / order).ln() - (delta.ln() + order.ln()) / (order - 1.0)
        };
        let fine = (11..=100).map(|tenths| f64::from(tenths) / 10.0);
        let all = fine.chain((11..=HIGHEST_ORDER).map(f64::from));
        all.map(epsilon).fold(f64::INFINITY, f64::min).max(0.0)
    }

    /// ln E[(p / q)^α] of one step under q, for a whole order α.
    fn log_moment(&self, order: u32) -> f64 {
        let (q, variance) = (self.rate, self.noise_multiplier * self.noise_multiplier);
        if q >= 1.0 {
            return f64::from(order) * f64::from(order - 1) / (2.0 * variance);
        }
        let mut log_binomial = 0.0;
        let mut terms = Vec::with_capacity(order as usize + 1);
        for k in 0..=order {
            let (n, of) = (f64::from(k), f64::from(order));
            terms.push(log_binomial + n * q.ln() + (of - n) * (-q).ln_1p() + (n * n - n) / (2.0 * variance));
            log_binomial += ((of - n) / (n + 1.0)).ln();
        }
        let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // A divergence is never below 0; rounding may be.
        (largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln()).max(0.0)
    }
}

/// The logarithm of a moment is convex in its order, so that a line between two whole orders bounds it from above.
fn interpolated(moments: &[f64], order: f64) -> f64 {
    let below = order.floor();
    let (place, share) = (below as usize - 1, order - below);
    if share == 0.0 { moments[place] } else { (1.0 - share) * moments[place] + share * moments[place + 1] }
}

/// The least noise with which so many steps spend at most `epsilon` at `delta`; `None` when no noise of at most ten thousand
/// times the clipping length does.
pub fn noise_multiplier(epsilon: f64, delta: f64, rate: f64, n_steps: u64) -> Option<f64> {
    let spends = |noise_multiplier: f64| NoisySteps { rate, noise_multiplier, n_steps }.epsilon(delta);
    let (mut low, mut high) = (1e-2, MOST_NOISE);
    if spends(high) > epsilon {
        return None;
    }
    while high / low > 1.0 + 1e-4 {
        let middle = (low * high).sqrt();
        if spends(middle) > epsilon { low = middle } else { high = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rate, noise multiplier, steps, δ, and the ε of `dp_accounting.rdp.RdpAccountant` 0.6 with its own orders for
    /// Poisson-sampled Gaussian events.
    const PUBLISHED: [(f64, f64, u64, f64, f64); 7] = [
        (0.01, 1.0, 1_000, 1e-5, 2.101_366_525),
        (0.0087, 0.8, 500, 1e-5, 2.692_300_297),
        (0.004, 0.6, 10_000, 1e-6, 10.846_766_066),
        (0.1, 2.0, 100, 1e-5, 2.580_570_950),
        (1.0, 10.0, 10, 1e-5, 1.308_497_269),
        (0.001, 4.0, 100_000, 1e-7, 0.381_039_149),
        (256.0 / 60_000.0, 1.1, 14_063, 1e-5, 2.596_655_530),
    ];

    #[test]
    fn agrees_with_the_published_accountant() {
        for (rate, noise_multiplier, n_steps, delta, expect) in PUBLISHED {
            let found = NoisySteps { rate, noise_multiplier, n_steps }.epsilon(delta);
            assert!(
                found >= expect * 0.9999 && found <= expect * 1.03,
                "{rate} {noise_multiplier}: {found}, published {expect}"
            );
        }
    }

    #[test]
    fn noise_is_found_for_a_budget() {
        for (epsilon, rate, n_steps) in [(3.0, 0.01, 500), (0.5, 0.002, 10_000), (8.0, 0.1, 100)] {
            let noise_multiplier = noise_multiplier(epsilon, 1e-5, rate, n_steps).unwrap();
            let spent = NoisySteps { rate, noise_multiplier, n_steps }.epsilon(1e-5);
            assert!(spent <= epsilon && spent > 0.99 * epsilon, "{spent} of {epsilon}");
        }
        assert_eq!(noise_multiplier(1e-9, 1e-5, 0.5, 1_000_000), None);
    }

    #[test]
    fn nothing_is_promised_without_noise() {
        let steps = NoisySteps { rate: 0.01, noise_multiplier: 0.0, n_steps: 10 };
        assert_eq!(steps.epsilon(1e-5), f64::INFINITY);
        assert_eq!(NoisySteps { noise_multiplier: 1.0, ..steps }.epsilon(0.0), f64::INFINITY);
        assert_eq!(NoisySteps { n_steps: 0, ..steps }.epsilon(1e-5), 0.0);
    }
}
