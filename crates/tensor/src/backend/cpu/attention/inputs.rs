//! What forward and backward read alike, and how a call is cut into tasks.

use super::pack::Source;
use super::softmax::Logits;
use super::visible::{self, Span};
use crate::backend::{Attention, AttentionBackward, AttentionSizes, Heads, Mask, OffsetBias};
use crate::dtype::View;
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Keys of a block. Blocks start at multiples of it, so that the arithmetic of a query does not depend on its call.
pub(super) const BLOCK: usize = 64;

/// The tensors that attention reads.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) sizes: AttentionSizes,
    pub(super) q: Heads<'a>,
    pub(super) k: Heads<'a>,
    pub(super) v: Heads<'a>,
    pub(super) mask: Mask<'a>,
    pub(super) bias: Option<OffsetBias<'a>>,
}

/// Work for one thread: some queries of one row, for the query heads that share one key/value head.
///
/// A *line* is one query of one head. Lines are numbered query by query, and heads within a query.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) row: usize,
    pub(super) kv_head: usize,
    pub(super) lines: Range<usize>,
}

impl<'a> Inputs<'a> {
    pub(super) fn of_forward(call: &Attention<'a>) -> Self {
        let Attention { sizes, q, k, v, mask, bias, .. } = *call;
        Self { sizes, q, k, v, mask, bias }
    }

    pub(super) fn of_backward(call: &AttentionBackward<'a>) -> Self {
        let AttentionBackward { sizes, q, k, v, mask, bias, .. } = *call;
        Self { sizes, q, k, v, mask, bias }
    }

    /// Query heads to a key/value head.
    pub(super) fn n_group(&self) -> usize {
        self.sizes.h / self.sizes.g
    }

    /// Lines of a row and key/value head.
    pub(super) fn n_lines(&self) -> usize {
        self.sizes.t * self.n_group()
    }

    /// The queries of a row and key/value head.
    pub(super) fn queries(&self, row: usize, kv_head: usize) -> Source<'a> {
        self.lines_of(self.q, row, kv_head)
    }

    /// The lines of a row and key/value head in a tensor shaped like the queries.
    pub(super) fn lines_of(&self, heads: Heads<'a>, row: usize, kv_head: usize) -> Source<'a> {
        self.source(heads, row * self.sizes.t, kv_head * self.n_group(), self.n_group())
    }

    /// The lines of a row and key/value head in a tensor [B, T, H, K].
    pub(super) fn lines_of_view(&self, data: View<'a>, row: usize, kv_head: usize) -> Source<'a> {
        self.lines_of(Heads { data, n_heads_stored: self.sizes.h, first_head: 0 }, row, kv_head)
    }

    pub(super) fn keys(&self, row: usize, kv_head: usize) -> Source<'a> {
        self.source(self.k, row * self.sizes.s, kv_head, 1)
    }

    pub(super) fn values(&self, row: usize, kv_head: usize) -> Source<'a> {
        self.source(self.v, row * self.sizes.s, kv_head, 1)
    }

    fn source(&self, heads: Heads<'a>, first_row: usize, head: usize, n_group: usize) -> Source<'a> {
        let (stride, d_head) = (heads.n_heads_stored * self.sizes.d_head, self.sizes.d_head);
        let first = first_row * stride + (heads.first_head + head) * d_head;
        Source { data: heads.data, first, n_group, stride, d_head }
    }

    /// Place of a line in [B, H, T].
    pub(super) fn statistic_at(&self, task: &Task, line: usize) -> usize {
        let head = task.kv_head * self.n_group() + line % self.n_group();
        (task.row * self.sizes.h + head) * self.sizes.t + line / self.n_group()
    }

    /// The queries that the lines of a task belong to.
    pub(super) fn queries_of(&self, task: &Task) -> Range<usize> {
        task.lines.start / self.n_group()..task.lines.end.div_ceil(self.n_group())
    }

    /// What each line of a task sees.
    pub(super) fn spans(&self, task: &Task) -> Vec<Span> {
        let queries = self.queries_of(task);
        let first_query = queries.start;
        let of_queries = visible::spans(&self.sizes, &self.mask, task.row, queries);
        task.lines.clone().map(|line| of_queries[line / self.n_group() - first_query]).collect()
    }

    /// The document of each key of a row.
    pub(super) fn key_segments(&self, row: usize) -> Option<&'a [u32]> {
        let s = self.sizes.s;
        self.mask.key_segments.map(|segments| &segments[row * s..(row + 1) * s])
    }

    /// Real keys of a row.
    pub(super) fn n_keys(&self, row: usize) -> usize {
        self.mask.key_lens.map_or(self.sizes.s, |lens| (lens[row] as usize).min(self.sizes.s))
    }

    /// How a row's scores become logits, before the bias.
    pub(super) fn logits(&self, row: usize) -> Logits<'a> {
        let (factor, key_segments) = (self.sizes.scale * LOG2_E, self.key_segments(row));
        Logits { factor, bias: None, block_start: 0, key_segments }
    }

    /// Length of [`Window`]s for a task; 0 without bias.
    pub(super) fn window_len(&self, n_queries: usize) -> usize {
        if self.bias.is_some() { n_queries + self.sizes.s.next_multiple_of(BLOCK) } else { 0 }
    }
}

/// The part of an offset bias that a task's queries can reach: for the query at `position`, key s is at
/// `s + last_position − position`.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) last_position: usize,
}

impl Window {
    pub(super) fn new(inputs: &Inputs<'_>, task: &Task) -> Self {
        Self { last_position: visible::offset(&inputs.mask, task.row) + inputs.queries_of(task).end - 1 }
    }

    /// Copies a head's biases, times log₂ e; 0 beyond what is stored.
    pub(super) fn fill(&self, bias: &OffsetBias<'_>, head: usize, to: &mut [f32]) {
        let values = &bias.values[head * bias.n_offsets..][..bias.n_offsets];
        for (i, to) in to.iter_mut().enumerate() {
            *to = self.place(bias, i).map_or(0.0, |at| values[at] * LOG2_E);
        }
    }

    /// Entry of the bias that element `i` stands for.
    pub(super) fn place(&self, bias: &OffsetBias<'_>, i: usize) -> Option<usize> {
        (bias.origin + i).checked_sub(self.last_position).filter(|&at| at < bias.n_offsets)
    }

    /// Where key 0 is for a query.
    pub(super) fn start(&self, position: usize) -> usize {
        self.last_position - position
    }
}
