//! What forward and backward read alike, and how a call is cut into tasks.

use super::visible::{self, Span};
use super::words::{GRAIN, Rows, Words};
use crate::backend::{Attention, AttentionBackward, AttentionSizes, Heads, Mask, OffsetBias};
use crate::dtype::View;
use std::ops::Range;

/// The queries, and which keys they see.
#[derive(Clone, Copy)]
pub(super) struct QueryLines<'a> {
    pub(super) sizes: AttentionSizes,
    pub(super) q: Heads<'a>,
    pub(super) mask: Mask<'a>,
    pub(super) bias: Option<OffsetBias<'a>>,
}

/// The tensors that attention reads.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) lines: QueryLines<'a>,
    pub(super) k: Heads<'a>,
    pub(super) v: Heads<'a>,
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
        Self { lines: QueryLines { sizes, q, mask, bias }, k, v }
    }

    pub(super) fn of_backward(call: &AttentionBackward<'a>) -> Self {
        let AttentionBackward { sizes, q, k, v, mask, bias, .. } = *call;
        Self { lines: QueryLines { sizes, q, mask, bias }, k, v }
    }

    /// Some keys of a task.
    pub(super) fn keys(&self, task: &Task, keys: Range<usize>) -> Rows<'a> {
        let first = task.row * self.lines.sizes.s;
        self.lines.head_rows(self.k, first + keys.start..first + keys.end, task.kv_head)
    }

    /// Some values of a task.
    pub(super) fn values(&self, task: &Task, keys: Range<usize>) -> Rows<'a> {
        let first = task.row * self.lines.sizes.s;
        self.lines.head_rows(self.v, first + keys.start..first + keys.end, task.kv_head)
    }
}

impl<'a> QueryLines<'a> {
    /// Query heads to a key/value head.
    pub(super) fn n_group(&self) -> usize {
        self.sizes.h / self.sizes.g
    }

    /// Width of a line of the result as it is computed.
    pub(super) fn value_width(&self) -> usize {
        self.sizes.d_head.next_multiple_of(GRAIN)
    }

    /// Lines of a row and key/value head.
    pub(super) fn n_lines(&self) -> usize {
        self.sizes.t * self.n_group()
    }

    /// The query head of a line.
    pub(super) fn head(&self, task: &Task, line: usize) -> usize {
        task.kv_head * self.n_group() + line % self.n_group()
    }

    /// Position of a line's query among the keys.
    pub(super) fn position(&self, task: &Task, line: usize) -> usize {
        visible::offset(&self.mask, task.row) + line / self.n_group()
    }

    /// Place of a line in [B, H, T].
    pub(super) fn statistic_at(&self, task: &Task, line: usize) -> usize {
        (task.row * self.sizes.h + self.head(task, line)) * self.sizes.t + line / self.n_group()
    }

    /// A line of a tensor [B, T, H, K].
    pub(super) fn line_of(&self, data: View<'a>, task: &Task, line: usize) -> View<'a> {
        let d_head = self.sizes.d_head;
        let row = task.row * self.sizes.t + line / self.n_group();
        let first = (row * self.sizes.h + self.head(task, line)) * d_head;
        data.slice(first..first + d_head)
    }

    /// Packs a task's lines of a tensor shaped like the queries: [lines, n_steps].
    pub(super) fn pack_lines(&self, words: &Words, heads: Heads<'a>, task: &Task, to: &mut [f32]) {
        let (n_group, lines, n_steps) = (self.n_group(), &task.lines, words.n_steps(self.sizes.d_head));
        // Those of one head are evenly spaced.
        for first in lines.clone().take(n_group) {
            let row = task.row * self.sizes.t + first / n_group;
            let n_rows = (lines.end - first).div_ceil(n_group);
            let from = self.head_rows(heads, row..row + n_rows, self.head(task, first));
            words.along(from, &mut to[(first - lines.start) * n_steps..], n_group * n_steps);
        }
    }

    /// One head of some rows.
    fn head_rows(&self, heads: Heads<'a>, rows: Range<usize>, head: usize) -> Rows<'a> {
        let (stride, width) = (heads.n_heads_stored * self.sizes.d_head, self.sizes.d_head);
        let first = rows.start * stride + (heads.first_head + head) * width;
        let data = heads.data.slice(first.min(heads.data.len())..heads.data.len());
        Rows { data, n_rows: rows.len(), stride, width }
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
}

/// The part of an offset bias that a task's queries can reach, for each head of the group: for the query at `position`, key
/// s is at `s + last_position − position`.
#[derive(Clone, Copy)]
pub(super) struct Window {
    last_position: usize,
    /// Entries for each head; 0 without a bias.
    pub(super) len: usize,
}

impl Window {
    pub(super) fn new(lines: &QueryLines<'_>, task: &Task) -> Self {
        let queries = lines.queries_of(task);
        let last_position = (visible::offset(&lines.mask, task.row) + queries.end).saturating_sub(1);
        let n_keys = lines.sizes.s.next_multiple_of(GRAIN);
        Self { last_position, len: if lines.bias.is_some() { queries.len() + n_keys } else { 0 } }
    }

    /// Copies the biases of the task's heads; 0 beyond what is stored.
    pub(super) fn fill(&self, lines: &QueryLines<'_>, task: &Task, to: &mut [f32]) {
        let Some(bias) = lines.bias else { return };
        let (entries, first) = self.stored(&bias);
        for (i, of_head) in to.chunks_exact_mut(self.len).enumerate() {
            let head = task.kv_head * lines.n_group() + i;
            of_head.fill(0.0);
            of_head[entries.clone()].copy_from_slice(&bias.values[head * bias.n_offsets + first..][..entries.len()]);
        }
    }

    /// The entries that stand for stored biases, and which bias the first of them stands for.
    pub(super) fn stored(&self, bias: &OffsetBias<'_>) -> (Range<usize>, usize) {
        let start = self.last_position.saturating_sub(bias.origin).min(self.len);
        let end = (self.last_position + bias.n_offsets).saturating_sub(bias.origin).clamp(start, self.len);
        (start..end, (bias.origin + start).saturating_sub(self.last_position))
    }

    /// Where a line finds the keys.
    pub(super) fn keys(&self, lines: &QueryLines<'_>, task: &Task, line: usize, keys: &Range<usize>) -> Range<usize> {
        let of_head = line % lines.n_group() * self.len;
        let ahead = self.last_position - lines.position(task, line);
        of_head + keys.start + ahead..of_head + keys.end + ahead
    }
}
