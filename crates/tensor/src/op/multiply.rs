//! y = x · m element by element, m constant: masks, and activations that are linear on either side of zero.

use super::check::{Checker, Input};
use crate::dtype::DType;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// The product of each element with a constant of its own.
///
/// # Shapes
/// x: any, in f32; factors: as many elements, in f32; result: as x.
pub fn multiply(tape: &Tape<'_>, x: &Var, factors: &Tensor) -> Var {
    let [_] = shape::sizes(&[
        ("multiply x", "elements..", x.tensor().shape()),
        ("by factors", "elements..", factors.shape()),
    ]);
    let y = product(x.tensor(), factors);
    let (slot, factors) = (x.slot(), factors.clone());
    tape.push(y, &[slot], move |sink, dy| sink.add(slot, product(&dy, &factors)))
}

fn product(x: &Tensor, factors: &Tensor) -> Tensor {
    let mut y = Tensor::scratch(x.device(), x.shape(), DType::F32);
    let pairs = x.view().f32().iter().zip(factors.view().f32());
    y.view_mut().into_f32().iter_mut().zip(pairs).for_each(|(y, (x, factor))| *y = x * factor);
    y
}

pub(super) fn check(checker: &mut Checker) {
    let values: Vec<f32> = (0..35).map(|i| i as f32 * 0.25 - 3.0).collect();
    let factors = Tensor::from_f32(checker.device(), [5, 7], &values);
    let formula = |x: &[Vec<f64>]| x[0].iter().zip(&values).map(|(x, &factor)| x * f64::from(factor)).collect();
    checker.case("multiply", &[Input::f32([5, 7])], |tape, x| multiply(tape, &x[0], &factors), formula);
}
