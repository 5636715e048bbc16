//! y = x[:, a..b]: some neighbouring columns.

use super::check::{Checker, Input};
use crate::backend::CopyColumns;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use std::ops::Range;

/// Columns of a matrix, copied: one role's heads of a fused product.
///
/// # Shapes
/// x: [M, N]; result: [M, columns.len()].
pub fn columns(tape: &Tape<'_>, x: &Var, columns: Range<usize>) -> Var {
    let (shape, dtype) = (x.tensor().shape(), x.tensor().dtype());
    let (rows, stride, width, first) = (shape.n_rows(), shape.last(), columns.len(), columns.start);
    assert!(columns.end <= stride, "columns {columns:?} of a matrix of {stride}");
    let mut y = Tensor::scratch(tape.device(), [rows, width], dtype);
    tape.kernels().copy_columns(CopyColumns {
        rows,
        width,
        src: x.tensor().view(),
        src_stride: stride,
        src_column: first,
        dst: y.view_mut(),
        dst_stride: width,
        dst_column: 0,
        accumulate: false,
    });
    let slot = x.slot();
    tape.push(y, &[slot], move |sink, dy| {
        sink.accumulate(slot, |mut dst, is_later| {
            let kernels = dy.device().kernels();
            if !is_later {
                // What no column was taken from gets no gradient.
                kernels.scale(0.0, dst.reborrow());
            }
            kernels.copy_columns(CopyColumns {
                rows,
                width,
                src: dy.view(),
                src_stride: width,
                src_column: 0,
                dst,
                dst_stride: stride,
                dst_column: first,
                accumulate: true,
            });
        });
    })
}

pub(super) fn check(checker: &mut Checker) {
    let twice = |tape: &Tape<'_>, x: &[Var]| super::add(tape, &columns(tape, &x[0], 1..4), &columns(tape, &x[0], 3..6));
    let formula = |x: &[Vec<f64>]| {
        let row = |row: &[f64]| (0..3).map(|j| row[1 + j] + row[3 + j]).collect::<Vec<f64>>();
        x[0].chunks(8).flat_map(row).collect()
    };
    checker.case("columns", &[Input::new([5, 8])], twice, formula);
}
