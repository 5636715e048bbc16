//! Results that several tasks write, each its own rows.

use super::inputs::{QueryLines, Task};
use crate::backend::cpu::lanes::{Element, Lanes, typed};
use crate::backend::cpu::shared_view::SharedView;

/// Stores factor · values from element `first` of `to` on.
///
/// # Safety
/// As [`SharedView::slice`].
#[inline(always)]
pub(super) unsafe fn store<V: Lanes>(v: V, to: SharedView, first: usize, values: &[f32], factor: f32) {
    // SAFETY: as this function's.
    let to = unsafe { to.slice(first, values.len()) };
    typed!(; to => scaled(v, values, factor, to));
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
    pub(super) data: SharedView,
    pub(super) n_heads_stored: usize,
    pub(super) first_head: usize,
}

impl OutputHeads {
    /// Stores factor · values for one head of one row.
    ///
    /// # Safety
    /// As [`SharedView::slice`].
    #[inline(always)]
    pub(super) unsafe fn store<V: Lanes>(&self, v: V, row: usize, head: usize, values: &[f32], factor: f32) {
        let first = (row * self.n_heads_stored + self.first_head + head) * values.len();
        // SAFETY: as this function's.
        unsafe { store(v, self.data, first, values, factor) };
    }

    /// Stores factor · values for a line.
    ///
    /// # Safety
    /// As [`SharedView::slice`].
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
