//! y = a · b for two activations.

use super::check::{Checker, Input};
use crate::backend::{Matmul, Matrix};
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// The matrix product of two values, in the storage type of the first.
///
/// # Shapes
/// a: [M, K]; b: [K, N]; result: [M, N].
pub fn matmul(tape: &Tape<'_>, a: &Var, b: &Var) -> Var {
    let (a_tensor, b_tensor) = (a.tensor().clone(), b.tensor().clone());
    let [m, k, n] = shape::sizes(&[("multiply a", "M K", a_tensor.shape()), ("by b", "K N", b_tensor.shape())]);
    let mut y = Tensor::scratch(tape.device(), [m, n], a_tensor.dtype());
    let product = Matmul::product(
        [m, n, k],
        Matrix::new(a_tensor.view(), k),
        Matrix::new(b_tensor.view(), n),
        y.view_mut(),
        false,
    );
    tape.kernels().matmul(product);
    let (a_slot, b_slot) = (a.slot(), b.slot());
    tape.push(y, &[a_slot, b_slot], move |sink, dy| {
        let kernels = dy.device().kernels();
        // da = dy · bᵀ and db = aᵀ · dy
        sink.accumulate(a_slot, |out, is_later| {
            let (dy, b) = (Matrix::new(dy.view(), n), Matrix::transposed(b_tensor.view(), n));
            kernels.matmul(Matmul::product([m, k, n], dy, b, out, is_later));
        });
        sink.accumulate(b_slot, |out, is_later| {
            let (a, dy) = (Matrix::transposed(a_tensor.view(), k), Matrix::new(dy.view(), n));
            kernels.matmul(Matmul::product([k, n, m], a, dy, out, is_later));
        });
    })
}

/// a·bᵀ in f64 for a: [M, K], b: [N, K].
pub(super) fn formula_nt(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    a.chunks(k).flat_map(|x| b.chunks(k).map(|y| dot(x, y)).collect::<Vec<f64>>()).collect()
}

pub(super) fn check(checker: &mut Checker) {
    for [m, k, n] in [[3, 5, 4], [17, 9, 33], [1, 30, 20]] {
        let formula = |x: &[Vec<f64>]| {
            let b_t: Vec<f64> = (0..n).flat_map(|j| (0..k).map(|p| x[1][p * n + j]).collect::<Vec<f64>>()).collect();
            formula_nt(&x[0], &b_t, k)
        };
        let inputs = [Input::new([m, k]), Input::new([k, n])];
        checker.case(&format!("matmul {m}x{k}x{n}"), &inputs, |tape, x| matmul(tape, &x[0], &x[1]), formula);
    }
}
