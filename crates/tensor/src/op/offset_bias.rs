//! T5's relative bias: a learned number per head and bucket of distance, spread over all distances.

use super::check::{Checker, Input};
use crate::dtype::DType;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use std::sync::Arc;

/// The bias of every offset, looked up in a table by the offset's bucket.
///
/// # Shapes
/// table: `[n_buckets, H]` in f32; buckets: `[R]`, each below n_buckets; result: `[H, R]` in f32, for `op::attention`.
///
/// # Source
/// Raffel et al., arXiv 1910.10683, section 2.1.
pub fn offset_bias(tape: &Tape<'_>, table: &Var, buckets: &Arc<[u32]>) -> Var {
    let [_, n_heads] = shape::sizes(&[("look up in table", "n_buckets H", table.tensor().shape())]);
    let by_offset = gathered(table.tensor(), buckets, n_heads);
    let y = transpose(&by_offset, buckets.len(), n_heads);
    let (slot, buckets) = (table.slot(), buckets.clone());
    tape.push(y, &[slot], move |sink, dy| {
        let dy_by_offset = transpose(&dy, n_heads, buckets.len());
        sink.accumulate(slot, |mut out, is_later| {
            let kernels = dy.device().kernels();
            kernels.scatter_add(dy_by_offset.view(), n_heads, &buckets, 1.0, out.f32(), is_later);
        });
    })
}

fn gathered(table: &Tensor, buckets: &[u32], width: usize) -> Tensor {
    let mut rows = Tensor::scratch(table.device(), [buckets.len(), width], DType::F32);
    table.device().kernels().gather(table.view(), width, buckets, 1.0, rows.view_mut(), false);
    rows
}

/// [rows, columns] to [columns, rows]; a few thousand numbers, so plain loops do.
fn transpose(x: &Tensor, rows: usize, columns: usize) -> Tensor {
    let values = x.view();
    let turned: Vec<f32> = (0..rows * columns).map(|i| values.get((i % rows) * columns + i / rows)).collect();
    Tensor::from_f32(x.device(), [columns, rows], &turned)
}

pub(super) fn check(checker: &mut Checker) {
    const BUCKETS: [u32; 7] = [3, 3, 2, 0, 1, 1, 1];
    let spread = |x: &[Vec<f64>]| (0..2).flat_map(|h| BUCKETS.map(|bucket| x[0][2 * bucket as usize + h])).collect();
    let look_up = |tape: &Tape<'_>, x: &[Var]| offset_bias(tape, &x[0], &Arc::from(BUCKETS));
    checker.case("offset bias", &[Input::f32([4, 2])], look_up, spread);
}
