//! Training with differential privacy: the gradient of each row is clipped, and noise is added to their sum.
//!
//! # Source
//! Abadi et al., "Deep learning with differential privacy", arXiv 1607.00133, algorithm 1.

mod accountant;

pub use accountant::{NoisySteps, noise_multiplier};

use super::clip;
use crate::params::Params;
use genera_tensor::{DType, Gradients, Key, ParamId, Tensor};

/// Tells the noise from everything else that grows from one secret.
const NOISE_STREAM: u64 = 0x4E01;

/// How rows are kept from showing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrivacySettings {
    /// Longest gradient of a row; a longer one is shortened to it.
    pub clip: f64,
    /// Standard deviation of the noise, as a multiple of `clip`.
    pub noise_multiplier: f64,
    /// Rows of a step on average, by which the sum is divided.
    pub expected_rows: f64,
    /// Decides the noise. Whoever knows it can take the noise off.
    pub secret: u64,
}

impl PrivacySettings {
    /// Adds the gradient of one row, shortened; one that is not finite counts as none.
    ///
    /// # Determinism
    /// Rows add up in the order in which they come.
    pub(super) fn add_clipped(&self, gradients: &Gradients, sum: &mut Gradients) {
        let norm = clip::global_norm(gradients);
        if !norm.is_finite() {
            return;
        }
        // A little less, so that rounding makes none longer than `clip`.
        let factor = clip::factor(norm, self.clip * (1.0 - 1e-6));
        for (id, gradient) in gradients.iter() {
            let device = gradient.device();
            let sum = sum.get_mut(id).get_or_insert_with(|| Tensor::zeros(device, gradient.shape(), DType::F32));
            device.kernels().scale_add(factor, gradient.view(), 1.0, sum.view_mut());
        }
    }

    /// Adds noise to the sum of every parameter that is trained, and divides by the number of rows to be expected.
    pub(super) fn add_noise(&self, params: &Params, step: u64, sum: &mut Gradients) {
        let key = Key::new(self.secret).fold(NOISE_STREAM).fold(step);
        let deviation = self.noise_multiplier * self.clip;
        for id in (0..params.len()).map(ParamId).filter(|&id| params.is_trained(id)) {
            let master = params.master(id);
            let sum = sum.get_mut(id).get_or_insert_with(|| Tensor::zeros(master.device(), master.shape(), DType::F32));
            let key = key.fold(id.0 as u64);
            for (i, value) in sum.view_mut().into_f32().iter_mut().enumerate() {
                *value = ((f64::from(*value) + deviation * normal(key, i as u64)) / self.expected_rows) as f32;
            }
        }
    }
}

/// A normal deviate at `index` by Box and Muller, from 128 random bits: its tail reaches to 8.5 standard deviations, beyond
/// which 2⁻⁵³ lies.
fn normal(key: Key, index: u64) -> f64 {
    let [a, b, c, d] = key.bits(index);
    let unit = |low: u32, high: u32| ((u64::from(high) << 32 | u64::from(low)) >> 11) as f64 / (1_u64 << 53) as f64;
    // 1 − u lies in (0, 1], so the logarithm is finite.
    (-2.0 * (1.0 - unit(a, b)).ln()).sqrt() * (std::f64::consts::TAU * unit(c, d)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_tensor::Device;

    #[test]
    fn each_row_is_clipped_by_itself() {
        let device = Device::reference();
        let privacy = PrivacySettings { clip: 1.0, noise_multiplier: 1.0, expected_rows: 2.0, secret: 1 };
        let mut sum = Gradients::new(2);
        let mut add = |values: [f32; 2]| {
            let mut row = Gradients::new(2);
            *row.get_mut(ParamId(1)) = Some(Tensor::from_f32(&device, [2], &values));
            privacy.add_clipped(&row, &mut sum);
        };
        add([30.0, 40.0]);
        add([0.0, -0.5]);
        add([f32::NAN, 1.0]);
        add([f32::INFINITY, 0.0]);
        let found = sum.get(ParamId(1)).unwrap().to_vec();
        assert!((found[0] - 0.6).abs() < 1e-6 && (found[1] - 0.3).abs() < 1e-6, "{found:?}");
        assert!(sum.get(ParamId(0)).is_none());
    }

    #[test]
    fn noise_is_normal_and_has_far_tails() {
        let key = Key::new(3);
        let values: Vec<f64> = (0..200_000).map(|i| normal(key, i)).collect();
        let moment = |n: i32| values.iter().map(|x| x.powi(n)).sum::<f64>() / values.len() as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.02 && (moment(4) - 3.0).abs() < 0.1);
        assert!(values.iter().any(|x| x.abs() > 4.0));
    }
}
