//! What the backward pass starts from, and where its results go.

use super::inputs::{QueryLines, Task, Window};
use super::output::{self, OutputHeads};
use crate::backend::AttentionGradients;
use crate::backend::cpu::lanes::Lanes;
use crate::backend::cpu::shared_view::SharedView;
use crate::dtype::{View, ViewMut};

/// What the forward pass left, and the gradient of its result.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// [B, T, H, K]
    pub(super) out: View<'a>,
    /// [B, H, T]
    pub(super) log_sum_exp: &'a [f32],
    /// [B, T, H, K]
    pub(super) dout: View<'a>,
}

/// Where the gradients go.
pub(super) struct Gradients {
    pub(super) q: OutputHeads,
    pub(super) k: OutputHeads,
    pub(super) v: OutputHeads,
    /// [B, H, R]: each row's own. Empty when nobody asks.
    dbias: SharedView,
}

impl Gradients {
    pub(super) fn new(lines: &QueryLines<'_>, into: AttentionGradients<'_>, dbias: &mut [f32]) -> Self {
        let (h, g) = (lines.sizes.h, lines.sizes.g);
        let heads = |data, n_heads_stored, first_head| OutputHeads { data, n_heads_stored, first_head };
        let dbias = SharedView::new(ViewMut::F32(dbias));
        match into {
            AttentionGradients::Fused(into) => {
                let (data, n) = (SharedView::new(into), h + 2 * g);
                Self { q: heads(data, n, 0), k: heads(data, n, h), v: heads(data, n, h + g), dbias }
            }
            AttentionGradients::Cross { dq, dkv } => {
                let (dq, dkv) = (SharedView::new(dq), SharedView::new(dkv));
                Self { q: heads(dq, h, 0), k: heads(dkv, 2 * g, 0), v: heads(dkv, 2 * g, g), dbias }
            }
        }
    }

    pub(super) fn wants_bias(&self) -> bool {
        self.dbias.len() > 0
    }

    /// Stores what a task found for the bias, for each head of its group; 0 for offsets that it did not meet.
    ///
    /// # Safety
    /// As [`SharedView::slice`]: no other task has this row and these heads.
    #[inline(always)]
    pub(super) unsafe fn store_bias<V: Lanes>(
        &self,
        v: V,
        lines: &QueryLines<'_>,
        task: &Task,
        window: &Window,
        dbiases: &[f32],
    ) {
        let Some(bias) = lines.bias else { return };
        let first_head = task.row * lines.sizes.h + task.kv_head * lines.n_group();
        let (places, at) = window.stored(&bias);
        // SAFETY: as this function's.
        unsafe { self.dbias.slice(first_head * bias.n_offsets, lines.n_group() * bias.n_offsets).clear() };
        for (head, of_head) in (first_head..).zip(dbiases.chunks_exact(window.len)) {
            let first = head * bias.n_offsets + at;
            // SAFETY: as this function's.
            unsafe { output::store(v, self.dbias, first, &of_head[places.clone()], 1.0) };
        }
    }
}
