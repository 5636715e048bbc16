//! y = x · mask / (1 − p): random features are silenced while training.

use super::check::{Checker, Input};
use crate::rng::Key;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// `x` with each element set to zero with probability `p` and the others scaled up; the mask is a function of `key`.
///
/// # Shapes
/// x and the result: any, the same.
///
/// # Source
/// Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).
pub fn dropout(tape: &Tape<'_>, x: &Var, p: f32, key: Key) -> Var {
    if p == 0.0 {
        return x.clone();
    }
    let mut y = Tensor::scratch(tape.device(), x.tensor().shape(), x.tensor().dtype());
    tape.kernels().dropout(x.tensor().view(), p, key, None, y.view_mut());
    let slot = x.slot();
    tape.push(y, &[slot], move |sink, dy| {
        let mut dx = Tensor::scratch(sink.device(), dy.shape(), dy.dtype());
        sink.device().kernels().dropout(dy.view(), p, key, None, dx.view_mut());
        sink.add(slot, dx);
    })
}

/// `residual` plus dropout of `x`, in the storage type of the residual.
///
/// # Shapes
/// residual, x and the result: any, the same number of elements.
pub fn dropout_add(tape: &Tape<'_>, residual: &Var, x: &Var, p: f32, key: Key) -> Var {
    let shape = residual.tensor().shape();
    let [_] = shape::sizes(&[("add residual", "elements..", shape), ("and x", "elements..", x.tensor().shape())]);
    let mut y = Tensor::scratch(tape.device(), shape, residual.tensor().dtype());
    tape.kernels().dropout(x.tensor().view(), p, key, Some(residual.tensor().view()), y.view_mut());
    let (r_slot, x_slot, x_dtype) = (residual.slot(), x.slot(), x.tensor().dtype());
    tape.push(y, &[r_slot, x_slot], move |sink, dy| {
        let mut dx = Tensor::scratch(sink.device(), dy.shape(), x_dtype);
        sink.device().kernels().dropout(dy.view(), p, key, None, dx.view_mut());
        sink.add(x_slot, dx);
        sink.add(r_slot, dy);
    })
}

pub(super) fn check(checker: &mut Checker) {
    let (p, key) = (0.4, Key::new(5));
    let factor = |i: usize| if key.uniform(i as u64) >= p { 1.0 / (1.0 - f64::from(p)) } else { 0.0 };
    let drop = |x: &[Vec<f64>]| x[0].iter().enumerate().map(|(i, x)| x * factor(i)).collect();
    checker.case("dropout", &[Input::new([7, 11])], |tape, x| dropout(tape, &x[0], p, key), drop);
    let inputs = [Input::f32([7, 11]), Input::new([7, 11])];
    let drop_add = |x: &[Vec<f64>]| x[1].iter().enumerate().map(|(i, v)| x[0][i] + v * factor(i)).collect();
    checker.case("dropout added", &inputs, |tape, x| dropout_add(tape, &x[0], &x[1], p, key), drop_add);
}
