//! A tensor that several tasks write, each its own rows.

use super::inputs::{Inputs, Task};
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

    /// Stores factor · values from element `first` on.
    ///
    /// # Safety
    /// The tensor is still borrowed by the call, and nobody else uses these elements meanwhile.
    #[inline(always)]
    pub(super) unsafe fn store(&self, first: usize, values: &[f32], factor: f32) {
        match *self {
            Output::F32(data, len) => {
                assert!(first + values.len() <= len, "rows end inside the tensor");
                for (i, value) in values.iter().enumerate() {
                    // SAFETY: inside the tensor.
                    unsafe { data.add(first + i).write(value * factor + 0.0) };
                }
            }
            Output::Bf16(data, len) => {
                assert!(first + values.len() <= len, "rows end inside the tensor");
                for (i, value) in values.iter().enumerate() {
                    // SAFETY: inside the tensor.
                    unsafe { data.add(first + i).write(bf16::from_f32(value * factor + 0.0)) };
                }
            }
        }
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
    pub(super) unsafe fn store(&self, row: usize, head: usize, values: &[f32], factor: f32) {
        let first = (row * self.n_heads_stored + self.first_head + head) * values.len();
        // SAFETY: as this function's.
        unsafe { self.data.store(first, values, factor) };
    }

    /// Stores factor · values for a line of a task, counted from the task's first.
    ///
    /// # Safety
    /// As [`Output::store`].
    #[inline(always)]
    pub(super) unsafe fn store_line(&self, inputs: &Inputs<'_>, task: &Task, line: usize, values: &[f32], factor: f32) {
        let (line, n_group) = (task.lines.start + line, inputs.n_group());
        let row = task.row * inputs.sizes.t + line / n_group;
        // SAFETY: as this function's.
        unsafe { self.store(row, task.kv_head * n_group + line % n_group, values, factor) };
    }
}
