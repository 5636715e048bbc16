//! y = f(gate) · up: the gated linear unit's second half (GLU, SwiGLU, GeGLU).

use super::activation::{KINDS, formula};
use super::check::{Checker, Input};
use crate::backend::Activation;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// The product of the activated first half of each row with its second half.
///
/// # Shapes
/// x: [.., 2·F], gate then up; result: [.., F].
///
/// # Source
/// Shazeer, "GLU variants improve Transformer", arXiv 2002.05202.
pub fn gated(tape: &Tape<'_>, kind: Activation, x: &Var) -> Var {
    let x_tensor = x.tensor().clone();
    let [rows, both] = shape::sizes(&[("gate x", "M.. 2·F", x_tensor.shape())]);
    let named = || shape::named("M.. 2·F", x_tensor.shape());
    assert!(both.is_multiple_of(2), "cannot gate x {}: the width 2·F must be even", named());
    let width = both / 2;
    let mut y = Tensor::scratch(tape.device(), [rows, width], x_tensor.dtype());
    tape.kernels().gated(kind, width, x_tensor.view(), y.view_mut());
    let slot = x.slot();
    tape.push(y, &[slot], move |sink, dy| {
        let mut dx = Tensor::scratch(sink.device(), x_tensor.shape(), x_tensor.dtype());
        sink.device().kernels().gated_backward(kind, width, x_tensor.view(), dy.view(), dx.view_mut());
        sink.add(slot, dx);
    })
}

pub(super) fn check(checker: &mut Checker) {
    const WIDTH: usize = 19;
    for (name, kind) in KINDS {
        let row = |x: &[f64]| (0..WIDTH).map(|j| formula(kind, x[j]) * x[WIDTH + j]).collect::<Vec<f64>>();
        let formula = |x: &[Vec<f64>]| x[0].chunks(2 * WIDTH).flat_map(row).collect();
        checker.case(
            &format!("gated {name}"),
            &[Input::new([4, 2 * WIDTH])],
            |tape, x| gated(tape, kind, &x[0]),
            formula,
        );
    }
}
