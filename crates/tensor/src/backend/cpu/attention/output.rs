//! A tensor that several tasks write, each its own rows.

use super::inputs::{QueryLines, Task};
use crate::backend::cpu::lanes::{Element, Lanes};
use crate::dtype::ViewMut;
use half::bf16;

/// Elements to be written by several threads.
#[derive(Clone, Copy)]
pub(super) enum Output {
    F32(*mut f32, usize),
    Bf16(*mut bf16, usize),
}

// SAFETY: writing is unsafe, and its callers see to it that no two threads write the same elements.
unsafe impl Sync for Output {}
// SAFETY: as above.
unsafe impl Send for Output {}

impl Output {
    pub(super) fn new(view: ViewMut<'_>) -> Self {
        match view {
            ViewMut::F32(data) => Output::F32(data.as_mut_ptr(), data.len()),
            ViewMut::Bf16(data) => Output::Bf16(data.as_mut_ptr(), data.len()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match *self {
            Output::F32(_, len) | Output::Bf16(_, len) => len,
        }
    }

    /// Stores factor · values from element `first` on.
    ///
    /// # Safety
    /// The tensor is still borrowed by the call, and nobody else uses these elements meanwhile.
    #[inline(always)]
    pub(super) unsafe fn store<V: Lanes>(&self, v: V, first: usize, values: &[f32], factor: f32) {
        assert!(first + values.len() <= self.len(), "rows end inside the tensor");
        // SAFETY: inside the tensor, and the caller's alone.
        unsafe {
            match *self {
                Output::F32(data, _) => {
                    scaled(v, values, factor, std::slice::from_raw_parts_mut(data.add(first), values.len()))
                }
                Output::Bf16(data, _) => {
                    scaled(v, values, factor, std::slice::from_raw_parts_mut(data.add(first), values.len()))
                }
            }
        }
    }
}

/// `to = factor · values`, and never −0: where a query's result is 0 its sign would tell which hidden keys it met.
#[inline(always)]
fn scaled<V: Lanes, E: Element>(v: V, values: &[f32], factor: f32, to: &mut [E]) {
    for at in v.spans(values.len()) {
        (v.read(values, at) * v.splat(factor) + v.splat(0.0)).write(to, at);
    }
}

/// Heads inside a tensor [rows, n_heads_stored, d_head], to be written by several threads.
#[derive(Clone, Copy)]
pub(super) struct OutputHeads {
    pub(super) data: Output,
    pub(super) n_heads_stored: usize,
    pub(super) first_head: usize,
}

impl OutputHeads {
    /// Stores factor · values for one head of one row.
    ///
    /// # Safety
    /// As [`Output::store`].
    #[inline(always)]
    pub(super) unsafe fn store<V: Lanes>(&self, v: V, row: usize, head: usize, values: &[f32], factor: f32) {
        let first = (row * self.n_heads_stored + self.first_head + head) * values.len();
        // SAFETY: as this function's.
        unsafe { self.data.store(v, first, values, factor) };
    }

    /// Stores factor · values for a line.
    ///
    /// # Safety
    /// As [`Output::store`].
    #[inline(always)]
    pub(super) unsafe fn store_line<V: Lanes>(
        &self,
        v: V,
        lines: &QueryLines<'_>,
        task: &Task,
        line: usize,
        values: &[f32],
        factor: f32,
    ) {
        let row = task.row * lines.sizes.t + line / lines.n_group();
        // SAFETY: as this function's.
        unsafe { self.store(v, row, lines.head(task, line), values, factor) };
    }
}
