//! Limits how long a gradient may be.

use genera_tensor::Gradients;

/// Length of the gradient of all parameters together.
///
/// # Determinism
/// Summed in f64, in a fixed order. Not finite exactly when some gradient is not.
pub(crate) fn global_norm(gradients: &Gradients) -> f64 {
    let Some((_, first)) = gradients.iter().next() else { return 0.0 };
    let views: Vec<_> = gradients.iter().map(|(_, gradient)| gradient.view()).collect();
    first.device().kernels().sum_of_squares(&views).sqrt()
}

/// Factor that shortens a gradient of length `norm` to `longest`; 1 where it is no longer, or where there is no limit (0).
///
/// # Source
/// Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", arXiv 1211.5063, section 3.2.
pub(super) fn factor(norm: f64, longest: f64) -> f32 {
    if longest > 0.0 && norm > longest { (longest / norm) as f32 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_tensor::{Device, ParamId, Tensor};

    #[test]
    fn long_gradients_are_shortened() {
        let device = Device::reference();
        let mut gradients = Gradients::new(3);
        *gradients.get_mut(ParamId(0)) = Some(Tensor::from_f32(&device, [2], &[2.0, 4.0]));
        *gradients.get_mut(ParamId(2)) = Some(Tensor::from_f32(&device, [1], &[4.0]));
        assert_eq!(global_norm(&gradients), 6.0);
        assert_eq!(factor(6.0, 3.0), 0.5);
        assert_eq!(factor(6.0, 7.0), 1.0);
        assert_eq!(factor(6.0, 0.0), 1.0);
    }
}
