//! Optimizer steps.

use crate::backend::AdamW;

pub(super) fn adamw(call: AdamW<'_>) {
    let AdamW { weights, mut rounded, first, second, gradient, .. } = call;
    let correction = |beta: f32| (1.0 - f64::from(beta).powf(call.step as f64)) as f32;
    let (correction1, correction2) = (correction(call.beta1), correction(call.beta2));
    for i in 0..weights.len() {
        let g = gradient[i] * call.gradient_scale;
        first[i] = call.beta1 * first[i] + (1.0 - call.beta1) * g;
        second[i] = call.beta2 * second[i] + (1.0 - call.beta2) * g * g;
        let direction = (first[i] / correction1) / ((second[i] / correction2).sqrt() + call.eps);
        weights[i] -= call.learning_rate * (direction + call.weight_decay * weights[i]);
        if let Some(rounded) = &mut rounded {
            rounded.set(i, weights[i]);
        }
    }
}

pub(super) fn move_average(share: f32, x: &[f32], average: &mut [f32]) {
    for i in 0..x.len() {
        average[i] += share * (x[i] - average[i]);
    }
}
