//! Plain gradients with momentum.

use super::{Optimizer, Sweep, Update, Weights};
use genera_tensor::{DType, Tensor};

/// How SGD is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdSettings {
    /// Highest learning rate.
    pub learning_rate: f64,
    /// How slowly earlier gradients are forgotten.
    pub momentum: f32,
    /// How much matrices shrink, times the learning rate.
    pub weight_decay: f64,
}

/// v ← μ·v + g, then w ← (1 − η·λ)·w − η·v.
#[derive(Debug)]
pub(super) struct Sgd {
    settings: SgdSettings,
    decays: bool,
    velocity: Tensor,
}

impl Sgd {
    pub(super) fn new(settings: SgdSettings, weights: &Tensor, decays: bool) -> Self {
        Self { settings, decays, velocity: Tensor::zeros(weights.device(), weights.shape(), DType::F32) }
    }
}

impl Optimizer for Sgd {
    fn update<'s>(&'s mut self, weights: Weights<'s>, gradient: &'s Tensor, update: &Update, _: &mut Sweep<'s>) {
        let SgdSettings { learning_rate, momentum, weight_decay } = self.settings;
        let rate = learning_rate * update.share;
        let kept = if self.decays { 1.0 - rate * weight_decay } else { 1.0 };
        let kernels = gradient.device().kernels();
        kernels.scale_add(update.gradient_scale, gradient.view(), momentum, self.velocity.view_mut());
        kernels.scale_add(-rate as f32, self.velocity.view(), kept as f32, weights.master.view_mut());
        weights.round();
    }

    fn state(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("velocity", &self.velocity)]
    }

    fn state_mut(&mut self) -> Vec<(&'static str, &mut Tensor)> {
        vec![("velocity", &mut self.velocity)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_tensor::Device;

    #[test]
    fn two_steps_by_hand() {
        let device = Device::reference();
        let mut tensor = Tensor::from_f32(&device, [1], &[8.0]);
        let settings = SgdSettings { learning_rate: 0.5, momentum: 0.5, weight_decay: 0.5 };
        let mut sgd = Sgd::new(settings, &tensor, true);
        for step in 1..=2 {
            let update = Update { step, share: 1.0, gradient_scale: 0.5 };
            let gradient = Tensor::from_f32(&device, [1], &[4.0]);
            sgd.update(Weights { master: &mut tensor, rounded: None }, &gradient, &update, &mut Sweep::new());
        }
        // v: 2, then 3; w: 0.75·8 − 1 = 5, then 0.75·5 − 1.5 = 2.25.
        assert_eq!(tensor.to_vec(), [2.25]);
    }
}
