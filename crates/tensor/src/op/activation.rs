//! y = f(x) element by element: ReLU, GELU, SiLU.

use super::check::{Checker, Input};
use crate::backend::Activation;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// The non-linearity `kind` of every element.
///
/// # Shapes
/// x and the result: any, the same.
///
/// # Source
/// GELU: Hendrycks and Gimpel, arXiv 1606.08415. SiLU: the same, and Ramachandran, Zoph, Le, arXiv 1710.05941 (swish).
pub fn activation(tape: &Tape<'_>, kind: Activation, x: &Var) -> Var {
    let x_tensor = x.tensor().clone();
    let mut y = Tensor::scratch(tape.device(), x_tensor.shape(), x_tensor.dtype());
    tape.kernels().activation(kind, x_tensor.view(), y.view_mut());
    let slot = x.slot();
    tape.push(y, &[slot], move |sink, dy| {
        let mut dx = Tensor::scratch(sink.device(), x_tensor.shape(), x_tensor.dtype());
        sink.device().kernels().activation_backward(kind, x_tensor.view(), dy.view(), dx.view_mut());
        sink.add(slot, dx);
    })
}

/// The non-linearities in f64, for formulas.
pub(super) fn formula(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Relu => x.max(0.0),
        Activation::GeluErf => x * normal_distribution(x),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::Silu => x / (1.0 + (-x).exp()),
    }
}

/// Φ(x) by its power series, exact to 1e-14 for |x| < 6.
fn normal_distribution(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() && n < 400.0 {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

pub(super) const KINDS: [(&str, Activation); 4] = [
    ("relu", Activation::Relu),
    ("gelu, exact", Activation::GeluErf),
    ("gelu, tanh", Activation::GeluTanh),
    ("silu", Activation::Silu),
];

pub(super) fn check(checker: &mut Checker) {
    for (name, kind) in KINDS {
        let formula = |x: &[Vec<f64>]| x[0].iter().map(|&x| formula(kind, x)).collect();
        checker.case(name, &[Input::new([3, 37])], |tape, x| activation(tape, kind, &x[0]), formula);
    }
}
