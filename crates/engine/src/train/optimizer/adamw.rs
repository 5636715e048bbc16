//! Adam with decoupled weight decay.

use super::{Optimizer, Sweep, Update, Weights};
use genera_tensor::{DType, Tensor, backend};

/// How AdamW is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// Highest learning rate.
    pub learning_rate: f64,
    /// How slowly the mean of the gradients is forgotten.
    pub beta1: f32,
    /// How slowly the mean of their squares is forgotten.
    pub beta2: f32,
    /// Added to the root of the mean square.
    pub eps: f32,
    /// How much matrices shrink, times the learning rate.
    pub weight_decay: f64,
}

/// The moments of one parameter. See [`backend::AdamW`] for the formula.
#[derive(Debug)]
pub(super) struct AdamW {
    settings: AdamWSettings,
    decays: bool,
    first: Tensor,
    second: Tensor,
}

impl AdamW {
    pub(super) fn new(settings: AdamWSettings, weights: &Tensor, decays: bool) -> Self {
        let zeros = || Tensor::zeros(weights.device(), weights.shape(), DType::F32);
        Self { settings, decays, first: zeros(), second: zeros() }
    }
}

impl Optimizer for AdamW {
    fn update<'s>(&'s mut self, weights: Weights<'s>, gradient: &'s Tensor, update: &Update, sweep: &mut Sweep<'s>) {
        let AdamWSettings { learning_rate, beta1, beta2, eps, weight_decay } = self.settings;
        sweep.push(backend::AdamW {
            weights: weights.master.view_mut().into_f32(),
            rounded: weights.rounded.map(|rounded| rounded.view_mut()),
            first: self.first.view_mut().into_f32(),
            second: self.second.view_mut().into_f32(),
            gradient: gradient.view().f32(),
            gradient_scale: update.gradient_scale,
            learning_rate: (learning_rate * update.share) as f32,
            beta1,
            beta2,
            eps,
            weight_decay: if self.decays { weight_decay as f32 } else { 0.0 },
            step: update.step,
        });
    }

    fn state(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("first", &self.first), ("second", &self.second)]
    }

    fn state_mut(&mut self) -> Vec<(&'static str, &mut Tensor)> {
        vec![("first", &mut self.first), ("second", &mut self.second)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_tensor::Device;

    /// Algorithm 2 of arXiv 1711.05101, in f64, for three steps with a gradient that is clipped and a rate that changes.
    #[test]
    fn follows_the_published_algorithm() {
        let device = Device::cpu(1);
        let start = [0.5_f64, -1.25, 2.0, 0.0];
        let settings = AdamWSettings { learning_rate: 0.1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
        let mut tensor = Tensor::from_f32(&device, [4], &start.map(|x| x as f32));
        let mut rounded = tensor.cast(DType::Bf16);
        let mut optimizer = AdamW::new(settings, &tensor, true);
        let (mut w, mut m, mut v) = (start, [0.0; 4], [0.0; 4]);
        for step in 1..=3_u64 {
            let gradients = [1.0, -3.0, 0.25, 1e-3].map(|x: f64| x * step as f64);
            let update = Update { step, share: 1.0 / step as f64, gradient_scale: 0.5 };
            let weights = Weights { master: &mut tensor, rounded: Some(&mut rounded) };
            let (gradient, mut sweep) = (Tensor::from_f32(&device, [4], &gradients.map(|x| x as f32)), Sweep::new());
            optimizer.update(weights, &gradient, &update, &mut sweep);
            device.kernels().adamw(sweep);
            for i in 0..4 {
                let (g, rate, t) = (0.5 * gradients[i], 0.1 / step as f64, step as i32);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.95 * v[i] + 0.05 * g * g;
                let direction = m[i] / (1.0 - 0.9_f64.powi(t)) / ((v[i] / (1.0 - 0.95_f64.powi(t))).sqrt() + 1e-8);
                w[i] -= rate * (direction + 0.1 * w[i]);
            }
        }
        for (found, expect) in tensor.to_vec().into_iter().zip(w) {
            assert!((f64::from(found) - expect).abs() < 1e-6, "{found}, expected {expect}");
        }
        assert_eq!(rounded.to_vec(), tensor.cast(DType::Bf16).to_vec());
    }
}
