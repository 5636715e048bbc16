//! y = f(x · wᵀ + b) + r: the layer that holds nearly all weights and takes nearly all time.

use super::activation::formula as activated;
use super::check::{Checker, Input};
use super::matmul::formula_nt;
use crate::backend::{Activation, Matmul, Matrix};
use crate::dtype::DType;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use crate::weight::Weight;

/// What happens to the product on its way to memory.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[N]` in f32, added to every row.
    pub bias: Option<Var>,
    /// Applied after the bias.
    pub activation: Option<Activation>,
    /// [M, N], added last: the residual stream.
    pub residual: Option<Var>,
    /// Storage type of the result.
    pub out: DType,
}

impl Linear {
    /// A plain product.
    pub fn plain(out: DType) -> Self {
        Self { bias: None, activation: None, residual: None, out }
    }
}

/// The product with a weight, and what is fused with it.
///
/// # Shapes
/// x: [.., K]; weight: [N, K], as published models store it; result: [M, N], M the number of rows of x.
pub fn linear(tape: &Tape<'_>, x: &Var, weight: &Weight, with: Linear) -> Var {
    let x_tensor = x.tensor().clone();
    let mut parts = vec![("multiply x", "M.. K", x_tensor.shape()), ("by weight", "N K", weight.shape())];
    parts.extend(with.bias.as_ref().map(|bias| ("and add bias", "N", bias.tensor().shape())));
    parts.extend(with.residual.as_ref().map(|residual| ("and add residual", "M.. N", residual.tensor().shape())));
    let [m, k, n] = shape::sizes(&parts);
    let mut y = Tensor::scratch(tape.device(), [m, n], with.out);
    let keeps_sum = with.activation.is_some() && tape.is_recording();
    let mut pre = keeps_sum.then(|| Tensor::scratch(tape.device(), [m, n], x_tensor.dtype()));
    tape.kernels().matmul(Matmul {
        m,
        n,
        k,
        a: Matrix::new(x_tensor.view(), k),
        b: weight.transposed(),
        c: y.view_mut(),
        accumulate: false,
        bias: with.bias.as_ref().map(|bias| bias.tensor().view()),
        activation: with.activation,
        pre_activation: pre.as_mut().map(Tensor::view_mut),
        residual: with.residual.as_ref().map(|residual| residual.tensor().view()),
    });
    let (x_slot, w_slot, weight) = (x.slot(), weight.slot(), weight.clone());
    let (b_slot, r_slot) = (with.bias.and_then(|bias| bias.slot()), with.residual.and_then(|residual| residual.slot()));
    tape.push(y, &[x_slot, w_slot, b_slot, r_slot], move |sink, dy| {
        let device = sink.device().clone();
        let kernels = device.kernels();
        let dsum = match (with.activation, pre) {
            (Some(kind), Some(pre)) => {
                let mut dsum = Tensor::scratch(&device, [m, n], pre.dtype());
                kernels.activation_backward(kind, pre.view(), dy.view(), dsum.view_mut());
                dsum
            }
            _ => dy.clone(),
        };
        sink.accumulate(b_slot, |mut out, is_later| kernels.sum_rows(dsum.view(), out.f32(), is_later));
        // dx = dsum · w and dw = dsumᵀ · x
        sink.accumulate(x_slot, |out, is_later| {
            weight.send_back(&device, Matrix::new(dsum.view(), n), m, out, is_later);
        });
        sink.accumulate(w_slot, |out, is_later| {
            let (dsum, x) = (Matrix::transposed(dsum.view(), n), Matrix::new(x_tensor.view(), k));
            kernels.matmul(Matmul::product([n, k, m], dsum, x, out, is_later));
        });
        drop(dsum);
        sink.add(r_slot, dy);
    })
}

pub(super) fn check(checker: &mut Checker) {
    let (m, k, n) = (7, 12, 19);
    let dtype = checker.dtype();
    let inputs = [Input::new([m, k]), Input::new([n, k]).around(0.0, 0.3), Input::f32([n]), Input::f32([m, n])];
    let fused =
        [("linear", None), ("linear, relu", Some(Activation::Relu)), ("linear, gelu", Some(Activation::GeluTanh))];
    for (name, activation) in fused {
        let operation = |tape: &Tape<'_>, x: &[Var]| {
            let (bias, residual) = (Some(x[2].clone()), Some(x[3].clone()));
            linear(tape, &x[0], &Weight::from(&x[1]), Linear { bias, activation, residual, out: DType::F32 })
        };
        let formula = |x: &[Vec<f64>]| {
            let f = |sum| activation.map_or(sum, |kind| activated(kind, sum));
            let sums = formula_nt(&x[0], &x[1], k);
            sums.iter().enumerate().map(|(i, sum)| f(sum + x[2][i % n]) + x[3][i]).collect()
        };
        checker.case(name, &inputs, operation, formula);
    }
    let plain = |tape: &Tape<'_>, x: &[Var]| linear(tape, &x[0], &Weight::from(&x[1]), Linear::plain(dtype));
    checker.case("linear, plain", &inputs[..2], plain, |x| formula_nt(&x[0], &x[1], k));
}
