//! Rows and columns moved from one place to another.

use crate::backend::CopyColumns;
use crate::dtype::{View, ViewMut};

pub(super) fn gather(table: View<'_>, width: usize, ids: &[u32], scale: f32, mut out: ViewMut<'_>, accumulate: bool) {
    let n_rows = table.len() / width;
    for (i, &id) in ids.iter().enumerate() {
        assert!((id as usize) < n_rows, "id {id} at place {i} is not a row of the table, which has {n_rows}");
        for j in 0..width {
            out.put(i * width + j, scale * table.get(id as usize * width + j), accumulate);
        }
    }
}

pub(super) fn scatter_add(dout: View<'_>, width: usize, ids: &[u32], scale: f32, dtable: &mut [f32], accumulate: bool) {
    let n_rows = dtable.len() / width;
    if !accumulate {
        dtable.fill(0.0);
    }
    for (i, &id) in ids.iter().enumerate() {
        assert!((id as usize) < n_rows, "id {id} at place {i} is not a row of the table, which has {n_rows}");
        for j in 0..width {
            dtable[id as usize * width + j] += scale * dout.get(i * width + j);
        }
    }
}

pub(super) fn copy_columns(call: CopyColumns<'_>) {
    let CopyColumns { rows, width, src, src_stride, src_column, mut dst, dst_stride, dst_column, accumulate } = call;
    for i in 0..rows {
        for j in 0..width {
            dst.put(i * dst_stride + dst_column + j, src.get(i * src_stride + src_column + j), accumulate);
        }
    }
}
