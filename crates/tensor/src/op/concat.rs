//! y = [a, b, …] side by side.

use super::check::{Checker, Input};
use crate::backend::CopyColumns;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// Joins matrices of equal height side by side, in the storage type of the first.
///
/// # Shapes
/// parts: [M, Nᵢ]; result: [M, Σ Nᵢ].
pub fn concat(tape: &Tape<'_>, parts: &[&Var]) -> Var {
    let first = parts[0].tensor().shape();
    let rows = first.n_rows();
    let widths: Vec<usize> = parts.iter().map(|part| part.tensor().shape().last()).collect();
    let total = widths.iter().sum();
    let mut y = Tensor::scratch(tape.device(), [rows, total], parts[0].tensor().dtype());
    let mut column = 0;
    for (part, &width) in parts.iter().zip(&widths) {
        let [..] = shape::sizes::<3>(&[("join", "M.. N1", first), ("and", "M.. N2", part.tensor().shape())]);
        tape.kernels().copy_columns(CopyColumns {
            rows,
            width,
            src: part.tensor().view(),
            src_stride: width,
            src_column: 0,
            dst: y.view_mut(),
            dst_stride: total,
            dst_column: column,
            accumulate: false,
        });
        column += width;
    }
    let slots: Vec<_> = parts.iter().map(|part| part.slot()).collect();
    let inputs = slots.clone();
    tape.push(y, &inputs, move |sink, dy| {
        let mut column = 0;
        for (slot, width) in slots.into_iter().zip(widths) {
            sink.accumulate(slot, |dst, accumulate| {
                dy.device().kernels().copy_columns(CopyColumns {
                    rows,
                    width,
                    src: dy.view(),
                    src_stride: total,
                    src_column: column,
                    dst,
                    dst_stride: width,
                    dst_column: 0,
                    accumulate,
                });
            });
            column += width;
        }
    })
}

pub(super) fn check(checker: &mut Checker) {
    let inputs = [Input::new([4, 3]), Input::new([4, 8]), Input::new([4, 1])];
    let formula = |x: &[Vec<f64>]| {
        let row = |i: usize| [&x[0][3 * i..3 * i + 3], &x[1][8 * i..8 * i + 8], &x[2][i..=i]].concat();
        (0..4).flat_map(row).collect()
    };
    checker.case("concat", &inputs, |tape, x| concat(tape, &[&x[0], &x[1], &x[2]]), formula);
}
