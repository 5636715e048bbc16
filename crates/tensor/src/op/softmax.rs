//! y = exp(x) / Σ exp(x) for each row.

use super::check::{Checker, Input};
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// The softmax of each row.
///
/// # Shapes
/// x and the result: [.., N].
pub fn softmax(tape: &Tape<'_>, x: &Var) -> Var {
    let (shape, dtype) = (x.tensor().shape(), x.tensor().dtype());
    let mut y = Tensor::scratch(tape.device(), shape, dtype);
    tape.kernels().softmax(shape.last(), x.tensor().view(), y.view_mut());
    let (slot, saved) = (x.slot(), y.clone());
    tape.push(y, &[slot], move |sink, dy| {
        let mut dx = Tensor::scratch(sink.device(), shape, dtype);
        sink.device().kernels().softmax_backward(shape.last(), saved.view(), dy.view(), dx.view_mut());
        sink.add(slot, dx);
    })
}

/// Softmax in f64.
pub(super) fn formula(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
    row.iter().map(|x| (x - largest).exp() / sum).collect()
}

pub(super) fn check(checker: &mut Checker) {
    let rows = |x: &[Vec<f64>]| x[0].chunks(29).flat_map(formula).collect();
    checker.case("softmax", &[Input::new([5, 29])], |tape, x| softmax(tape, &x[0]), rows);
}
