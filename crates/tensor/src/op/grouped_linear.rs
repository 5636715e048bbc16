//! y = x · wᵀ, where each group of rows has a weight of its own: the experts of a feed-forward layer.

use super::check::{Checker, Input};
use super::matmul::formula_nt;
use crate::backend::{Matmul, Matrix};
use crate::dtype::DType;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use crate::weight::Weight;
use std::ops::Range;

/// Neighbouring rows with the weight that they are multiplied by.
#[derive(Clone, Debug)]
pub struct Group {
    /// The rows; may be none.
    pub rows: Range<usize>,
    /// [N, K]
    pub weight: Weight,
}

/// The product of each group of rows with its weight. The groups follow each other and cover all rows.
///
/// # Shapes
/// x: [M, K]; weights: [N, K]; result: [M, N], stored as `out`.
///
/// # Cost
/// A product for each group that has rows; the weights of the others are not read and get no gradient.
pub fn grouped_linear(tape: &Tape<'_>, x: &Var, groups: &[Group], out: DType) -> Var {
    let weight = groups.first().expect("at least one group").weight.shape();
    let [m, k, n] = shape::sizes(&[("multiply x", "M.. K", x.tensor().shape()), ("by weights", "N K", weight)]);
    let groups: Vec<Group> = groups.iter().filter(|group| !group.rows.is_empty()).cloned().collect();
    let covered = groups.iter().fold(0, |end, group| if group.rows.start == end { group.rows.end } else { m + 1 });
    assert_eq!(covered, m, "the groups must cover all rows, one after another");
    let x_tensor = x.tensor().clone();
    let mut y = Tensor::scratch(tape.device(), [m, n], out);
    for Group { rows, weight } in &groups {
        let c = y.view_mut().into_slice(rows.start * n..rows.end * n);
        let a = Matrix::new(x_tensor.view().slice(rows.start * k..rows.end * k), k);
        tape.kernels().matmul(Matmul { b: weight.transposed(), ..Matmul::product([rows.len(), n, k], a, a, c, false) });
    }
    let x_slot = x.slot();
    let slots: Vec<_> = groups.iter().map(|group| group.weight.slot()).chain([x_slot]).collect();
    tape.push(y, &slots, move |sink, dy| {
        let kernels = dy.device().kernels();
        let dy_of = |rows: &Range<usize>| dy.view().slice(rows.start * n..rows.end * n);
        // dx = dy · w and dw = dyᵀ · x, group by group
        sink.accumulate(x_slot, |mut dx, is_later| {
            for Group { rows, weight } in &groups {
                let dx = dx.reborrow().into_slice(rows.start * k..rows.end * k);
                weight.send_back(dy.device(), Matrix::new(dy_of(rows), n), rows.len(), dx, is_later);
            }
        });
        for Group { rows, weight } in &groups {
            sink.accumulate(weight.slot(), |dw, is_later| {
                let x = Matrix::new(x_tensor.view().slice(rows.start * k..rows.end * k), k);
                let dy = Matrix::transposed(dy_of(rows), n);
                kernels.matmul(Matmul::product([n, k, rows.len()], dy, x, dw, is_later));
            });
        }
    })
}

pub(super) fn check(checker: &mut Checker) {
    let (k, n, dtype) = (6, 9, checker.dtype());
    let rows = [0..3, 3..3, 3..8];
    let operation = |tape: &Tape<'_>, x: &[Var]| {
        let group = |(rows, weight): (&Range<usize>, &Var)| Group { rows: rows.clone(), weight: weight.into() };
        let groups: Vec<Group> = rows.iter().zip(&x[1..]).map(group).collect();
        grouped_linear(tape, &x[0], &groups, dtype)
    };
    let formula = |x: &[Vec<f64>]| {
        let product =
            |(rows, weight): (&Range<usize>, &Vec<f64>)| formula_nt(&x[0][rows.start * k..rows.end * k], weight, k);
        rows.iter().zip(&x[1..]).flat_map(product).collect()
    };
    let weight = Input::new([n, k]).around(0.0, 0.3);
    checker.case("grouped linear", &[Input::new([8, k]), weight, weight, weight], operation, formula);
}
