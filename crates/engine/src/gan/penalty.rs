//! The gradient penalty: λ · mean (‖∂D/∂x‖ − 1)² between real and made rows.
//!
//! The discriminator is linear wherever its leaky ReLUs stand as they stand, so its gradient with respect to x is itself a
//! product of its weights with constant factors, w₁ᵀ f₁ w₂ᵀ f₂ … w_out. Written as such on a tape, it is differentiated by the
//! weights exactly, without second derivatives of any operation.
//!
//! # Source
//! Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved training of Wasserstein GANs", arXiv 1704.00028, algorithm 1.

use super::networks::Discriminator;
use genera_tensor::op::{gather_rows, matmul, multiply};
use genera_tensor::{Gradients, Key, Tape, Tensor, Var};
use std::sync::Arc;

/// λ
const WEIGHT: f32 = 10.0;

/// Points between real and made rows, each somewhere else on the line.
///
/// # Shapes
/// real, made and the result: [B, P · (F + C)].
pub(super) fn between(real: &Tensor, made: &Tensor, key: Key) -> Tensor {
    let width = real.shape().last();
    let pairs = real.view().f32().chunks(width).zip(made.view().f32().chunks(width)).zip(0..);
    let values: Vec<f32> = pairs
        .flat_map(|((real, made), i)| {
            let share = key.uniform(i);
            real.iter().zip(made).map(move |(real, made)| share * real + (1.0 - share) * made)
        })
        .collect();
    Tensor::from_f32(real.device(), real.shape(), &values)
}

/// Adds the penalty's gradients by the discriminator's weights to `gradients`, and gives the penalty.
pub(super) fn penalise(discriminator: &Discriminator<'_>, points: &Tensor, gradients: &mut Gradients) -> f64 {
    let device = points.device();
    let (_, factors) = discriminator.forward(&Tape::inference(device), &Var::constant(points.clone()));
    let tape = Tape::new(device);
    let slopes = slopes(&tape, discriminator, &factors);
    let (penalty, dslopes) = of_slopes(slopes.tensor());
    tape.backward_from(&slopes, dslopes, gradients);
    penalty
}

/// ∂D/∂x at the points where the factors were taken: [B, P · (F + C)].
fn slopes(tape: &Tape<'_>, discriminator: &Discriminator<'_>, factors: &[Tensor]) -> Var {
    let n = factors.first().map_or(0, |factor| factor.shape().n_rows());
    let out = discriminator.parameter(tape, "out", "weight");
    let mut slopes = gather_rows(tape, &out, &Arc::from(vec![0; n]));
    for (layer, factor) in factors.iter().enumerate().rev() {
        let weight = discriminator.parameter(tape, &layer.to_string(), "weight");
        slopes = matmul(tape, &multiply(tape, &slopes, factor), &weight);
    }
    slopes
}

/// The penalty, and its gradient by the slopes.
fn of_slopes(slopes: &Tensor) -> (f64, Tensor) {
    let (width, n) = (slopes.shape().last(), slopes.shape().n_rows() as f32);
    let (mut penalty, mut dslopes) = (0.0, Vec::with_capacity(slopes.n_elements()));
    for row in slopes.view().f32().chunks(width) {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32;
        penalty += f64::from(WEIGHT * (norm - 1.0).powi(2) / n);
        let factor = 2.0 * WEIGHT * (norm - 1.0) / (n * norm.max(1e-12));
        dslopes.extend(row.iter().map(|x| factor * x));
    }
    (penalty, Tensor::from_f32(slopes.device(), slopes.shape(), &dslopes))
}
