//! y = Σ x over all elements, and y = the mean over the rows of each group.

use super::check::{Checker, Input};
use crate::backend::{Matmul, Matrix};
use crate::dtype::DType;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// The sum of all elements.
///
/// # Shapes
/// x: any; result: `[1]` in f32.
pub fn sum(tape: &Tape<'_>, x: &Var) -> Var {
    let (shape, dtype) = (x.tensor().shape(), x.tensor().dtype());
    let mut columns = Tensor::scratch(tape.device(), [shape.last()], DType::F32);
    tape.kernels().sum_rows(x.tensor().view(), columns.view_mut().f32(), false);
    let mut total = Tensor::scratch(tape.device(), [1], DType::F32);
    // Summed row by row with rows of one element: the columns' sums, in order.
    tape.kernels().sum_rows(columns.view(), total.view_mut().f32(), false);
    let slot = x.slot();
    tape.push(total, &[slot], move |sink, dy| {
        let ones = Tensor::from_f32(sink.device(), shape, &vec![dy.view().get(0); shape.n_elements()]);
        sink.add(slot, ones.cast(dtype));
    })
}

/// The mean of the rows of each group: sentence embeddings, averages over a batch.
///
/// # Shapes
/// x: [N, D]; weights: [M, N], constant, each row the weights of one mean; result: [M, D] in f32.
pub fn mean_rows(tape: &Tape<'_>, x: &Var, weights: &Tensor) -> Var {
    let (x_tensor, weights) = (x.tensor().clone(), weights.clone());
    let [groups, rows, width] =
        shape::sizes(&[("average by weights", "M N", weights.shape()), ("x", "N D", x_tensor.shape())]);
    let mut y = Tensor::scratch(tape.device(), [groups, width], DType::F32);
    let (w, values) = (Matrix::new(weights.view(), rows), Matrix::new(x_tensor.view(), width));
    tape.kernels().matmul(Matmul::product([groups, width, rows], w, values, y.view_mut(), false));
    let slot = x.slot();
    tape.push(y, &[slot], move |sink, dy| {
        sink.accumulate(slot, |out, is_later| {
            let (w, dy_matrix) = (Matrix::transposed(weights.view(), rows), Matrix::new(dy.view(), width));
            dy.device().kernels().matmul(Matmul::product([rows, width, groups], w, dy_matrix, out, is_later));
        });
    })
}

pub(super) fn check(checker: &mut Checker) {
    let total = |x: &[Vec<f64>]| vec![x[0].iter().sum::<f64>()];
    checker.case("sum", &[Input::new([6, 13])], |tape, x| sum(tape, &x[0]), total);
    let weights = [0.5, 0.5, 0.0, 0.0, 0.0, 0.25, 0.25, 0.5];
    let averaged = Tensor::from_f32(checker.device(), [2, 4], &weights);
    let means = |x: &[Vec<f64>]| {
        let mean = |group: usize, j: usize| (0..4).map(|i| f64::from(weights[4 * group + i]) * x[0][5 * i + j]).sum();
        (0..10).map(|i| mean(i / 5, i % 5)).collect()
    };
    checker.case("mean of rows", &[Input::new([4, 5])], move |tape, x| mean_rows(tape, &x[0], &averaged), means);
}
