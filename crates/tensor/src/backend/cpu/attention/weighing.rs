//! Scores, their exponentials and the weighed sum of the values, for one block of keys.

use super::forward::Forward;
use super::inputs::{QueryLines, Task, Window};
use super::logits::{self, Row};
use super::record;
use super::scratch::ThreadMemory;
use super::source::{BLOCK, Reader, Source};
use super::visible::{self, Span};
use super::words::{Lhs, Rhs, Sums, Words, grains};
use crate::backend::cpu::lanes::Lanes;
use crate::backend::cpu::matmul::kernel::MAX_ROWS;
use std::ops::Range;
use std::slice::ChunksExact;

/// The lines of a task, and the block of keys that is being weighed. Lines are counted from the task's first.
pub(super) struct Weighing<'a, R> {
    lines: &'a QueryLines<'a>,
    words: Words,
    task: &'a Task,
    spans: Vec<Span>,
    window: Window,
    /// Keys up to the last that a line sees.
    n_keys: usize,
    /// The keys of the block.
    block: Range<usize>,
    reader: R,
    record_len: usize,
    /// [lines, steps]
    queries: &'a mut [f32],
    /// [MAX_ROWS, BLOCK]: scores, then weights.
    scores: &'a mut [f32],
    /// [MAX_ROWS, steps of BLOCK]: the weights of a piece as words, where these are not the same.
    weights: &'a mut [f32],
    /// [MAX_ROWS, record]
    records: &'a mut [f32],
    /// [heads of the group, window]
    biases: &'a mut [f32],
}

impl<'a, R: Reader> Weighing<'a, R> {
    /// What a task needs, and `n_totals` records besides.
    pub(super) fn new(
        forward: &'a Forward<'a, impl Source<Reader<'a> = R>>,
        task: &'a Task,
        n_totals: usize,
        memory: &'a mut ThreadMemory,
    ) -> (Self, &'a mut [f32]) {
        let Forward { lines, words, source, .. } = forward;
        let words = *words;
        let n_steps = words.n_steps(lines.sizes.d_head);
        let record_len = forward.record_len();
        let window = Window::new(lines, task);
        let spans = lines.spans(task);
        let last = spans.iter().map(|span| span.end).max().unwrap_or(0);
        let n_keys = lines.n_keys(task.row).min(last);
        let [queries, scores, weights, records, totals, biases, of_source] = memory.parts([
            task.lines.len() * n_steps,
            MAX_ROWS * BLOCK,
            MAX_ROWS * words.n_steps(BLOCK),
            MAX_ROWS * record_len,
            n_totals * record_len,
            lines.n_group() * window.len,
            source.memory_len(),
        ]);
        lines.pack_lines(&words, lines.q, task, queries);
        window.fill(lines, task, biases);
        let (block, reader) = (0..0, source.reader(task, n_keys, of_source));
        let new = Self {
            lines,
            words,
            task,
            spans,
            window,
            n_keys,
            block,
            reader,
            record_len,
            queries,
            scores,
            weights,
            records,
            biases,
        };
        (new, totals)
    }

    /// Blocks up to the last key that a line sees.
    pub(super) fn n_blocks(&self) -> usize {
        self.n_keys.div_ceil(BLOCK)
    }

    /// Turns to a block of keys, unless no line sees any of them.
    #[inline(always)]
    pub(super) fn load<V: Lanes>(&mut self, v: V, block: usize) -> bool {
        let keys = block * BLOCK..((block + 1) * BLOCK).min(self.n_keys);
        let is_seen = !visible::seen_by_any(&self.spans, &keys).is_empty();
        if is_seen {
            self.reader.load(v, &keys);
            self.block = keys;
        }
        is_seen
    }

    /// Weighs the block for some lines, at most [`MAX_ROWS`]; gives their records.
    #[inline(always)]
    pub(super) fn weigh<V: Lanes>(&mut self, v: V, lines: Range<usize>) -> ChunksExact<'_, f32> {
        let record_len = self.record_len;
        let n_lines = lines.len();
        let seen = visible::seen_by_any(&self.spans[lines.clone()], &self.block);
        let columns = grains(&self.block, &seen);
        if columns.is_empty() {
            self.records[..n_lines * record_len].chunks_exact_mut(record_len).for_each(record::clear);
        } else {
            self.score(&lines, &columns);
            for (i, line) in lines.enumerate() {
                self.exponentiate(v, i, line, &columns);
            }
            self.sum_values(n_lines, &columns);
        }
        self.records[..n_lines * record_len].chunks_exact(record_len)
    }

    /// scores = queries · keys
    #[inline(always)]
    fn score(&mut self, lines: &Range<usize>, columns: &Range<usize>) {
        let n_steps = self.words.n_steps(self.lines.sizes.d_head);
        let queries = Lhs { words: &self.queries[lines.start * n_steps..], row_stride: n_steps, step_stride: 1 };
        for (piece, columns) in pieces::<R>(columns) {
            let Rhs { words, stride } = self.reader.keys(piece);
            let keys = Rhs { words: &words[columns.start..], stride };
            let values = &mut self.scores[piece * R::PIECE + columns.start..];
            let scores = Sums { values, stride: BLOCK, accumulate: false };
            self.words.multiply([lines.len(), n_steps, columns.len()], queries, keys, scores);
        }
    }

    /// Turns the scores of a line, the `i`th of those that are weighed, into weights, and begins its record.
    #[inline(always)]
    fn exponentiate<V: Lanes>(&mut self, v: V, i: usize, line: usize, columns: &Range<usize>) {
        let lines = self.lines;
        let keys = self.block.start + columns.start..self.block.start + columns.end;
        let window = || self.window.keys(lines, self.task, self.task.lines.start + line, &keys);
        let row = Row {
            scale: lines.sizes.scale,
            cap: lines.sizes.cap,
            bias: lines.bias.map(|_| &self.biases[window()]),
            first_key: keys.start,
            span: self.spans[line],
            key_segments: lines.key_segments(self.task.row),
        };
        let scores = &mut self.scores[i * BLOCK..][columns.clone()];
        let factor = row.prepare(v, scores);
        let max = logits::max(v, scores, factor);
        let record = &mut self.records[i * self.record_len..(i + 1) * self.record_len];
        let reference = if max == f32::NEG_INFINITY { 0.0 } else { max };
        logits::exponentials(v, scores, factor, reference, record::begin(record, max));
        record::end(record);
    }

    /// values of the records = weights · values
    #[inline(always)]
    fn sum_values(&mut self, n_lines: usize, columns: &Range<usize>) {
        let (words, width) = (self.words, self.lines.value_width());
        for (i, (piece, columns)) in pieces::<R>(columns).enumerate() {
            let (values, n_steps) = self.reader.values(piece);
            let steps = words.n_steps(columns.start)..words.n_steps(columns.end).min(n_steps);
            let values = Rhs { words: &values.words[steps.start * values.stride..], stride: values.stride };
            let scores = &self.scores[piece * R::PIECE..];
            let weights = words.weights_along(scores, BLOCK, n_lines, &columns, self.weights);
            let to = &mut self.records[record::VALUES..];
            let sums = Sums { values: to, stride: self.record_len, accumulate: i > 0 };
            words.multiply([n_lines, steps.len(), width], weights, values, sums);
        }
    }
}

/// The pieces that hold some columns of a block, each with those in it.
fn pieces<R: Reader>(columns: &Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + use<R> {
    let (start, end) = (columns.start, columns.end);
    (start / R::PIECE..end.div_ceil(R::PIECE)).map(move |piece| {
        let first = piece * R::PIECE;
        (piece, start.max(first) - first..end.min(first + R::PIECE) - first)
    })
}
