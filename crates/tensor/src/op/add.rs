//! y = a + b and y = α·x.

use super::check::{Checker, Input};
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// The sum of two tensors of one shape, in the storage type of the first.
///
/// # Shapes
/// a, b and the result: any, the same number of elements.
pub fn add(tape: &Tape<'_>, a: &Var, b: &Var) -> Var {
    let [_] = shape::sizes(&[("add a", "elements..", a.tensor().shape()), ("and b", "elements..", b.tensor().shape())]);
    let mut y = a.tensor().copy();
    tape.kernels().scale_add(1.0, b.tensor().view(), 1.0, y.view_mut());
    let (a_slot, b_slot) = (a.slot(), b.slot());
    tape.push(y, &[a_slot, b_slot], move |sink, dy| {
        sink.accumulate(b_slot, |out, is_later| {
            let beta = if is_later { 1.0 } else { 0.0 };
            dy.device().kernels().scale_add(1.0, dy.view(), beta, out);
        });
        sink.add(a_slot, dy);
    })
}

/// α·x.
///
/// # Shapes
/// x and the result: any, the same.
pub fn scale(tape: &Tape<'_>, x: &Var, alpha: f32) -> Var {
    let mut y = Tensor::scratch(tape.device(), x.tensor().shape(), x.tensor().dtype());
    tape.kernels().scale_add(alpha, x.tensor().view(), 0.0, y.view_mut());
    let slot = x.slot();
    tape.push(y, &[slot], move |sink, dy| {
        sink.accumulate(slot, |out, is_later| {
            let beta = if is_later { 1.0 } else { 0.0 };
            dy.device().kernels().scale_add(alpha, dy.view(), beta, out);
        });
    })
}

pub(super) fn check(checker: &mut Checker) {
    let inputs = [Input::new([5, 21]), Input::new([5, 21])];
    let sum = |x: &[Vec<f64>]| x[0].iter().zip(&x[1]).map(|(a, b)| a + b).collect();
    checker.case("add", &inputs, |tape, x| add(tape, &x[0], &x[1]), sum);
    let thrice = |x: &[Vec<f64>]| x[0].iter().map(|x| 3.0 * x).collect();
    let twice_used = |tape: &Tape<'_>, x: &[Var]| add(tape, &x[0], &scale(tape, &x[0], 2.0));
    checker.case("a value used twice", &inputs[..1], twice_used, thrice);
}
