//! The forward pass: for each block of keys, scores, their exponentials relative to the largest so far, and the weighted
//! sum of values.

use super::inputs::{Inputs, Task, Window};
use super::logits::{self, Row};
use super::output::{Output, OutputHeads};
use super::scratch::ThreadMemory;
use super::visible::{self, Span};
use super::words::{GRAIN, Lhs, Rhs, Sums, Words, grains};
use crate::backend::cpu::lanes::{Lanes, Program};
use crate::backend::cpu::matmul::kernel::MAX_ROWS;
use std::ops::Range;

/// Keys of a block. Blocks start at multiples of it, so that the arithmetic of a query does not depend on its call. With 64
/// keys it took a sixth longer, with 128 a twentieth.
const BLOCK: usize = 256;

/// Keys that are packed at a time, and how far ahead others are asked for meanwhile: a cache in which the heads of a row lie
/// side by side is read in small pieces, which no hardware foresees.
const PART: usize = 32;
const AHEAD: usize = 64;

/// Computes the outputs of a task. No other task writes the same lines.
pub(super) struct Forward<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) words: Words,
    pub(super) task: &'a Task,
    pub(super) out: OutputHeads,
    pub(super) log_sum_exp: Output,
}

/// What a task keeps. Lines are counted from the task's first.
struct State<'a> {
    inputs: &'a Inputs<'a>,
    words: Words,
    task: &'a Task,
    spans: Vec<Span>,
    /// Keys up to the last that a line sees.
    n_keys: usize,
    /// Where the values lie in memory as the products read them, and are not read often.
    direct: Option<Rhs<'a>>,
    window: Window,
    /// Steps of a sum over the features.
    n_steps: usize,
    /// Features, rounded up.
    width: usize,
    /// [lines, n_steps]
    queries: &'a mut [f32],
    /// [n_steps, BLOCK]
    keys: &'a mut [f32],
    /// [steps of BLOCK, width]
    values: &'a mut [f32],
    /// [MAX_ROWS, BLOCK]: scores, then weights.
    scores: &'a mut [f32],
    /// [MAX_ROWS, steps of BLOCK]: the weights as words, where these are not the same.
    weights: &'a mut [f32],
    /// [lines]: largest logit so far.
    max: &'a mut [f32],
    /// [lines, GRAIN]: sum of exponentials so far, lane by lane.
    sums: &'a mut [f32],
    /// [lines, width]: weighted sum of values so far.
    out: &'a mut [f32],
    /// [heads of the group, window]
    biases: &'a mut [f32],
}

impl Program for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let mut memory = ThreadMemory::take();
        let mut state = State::new(&self, &mut memory);
        let n_keys = state.n_keys;
        for start in (0..n_keys).step_by(BLOCK) {
            let block = start..(start + BLOCK).min(n_keys);
            if !visible::seen_by_any(&state.spans, &block).is_empty() {
                state.add_block(v, &block);
            }
        }
        for (i, line) in self.task.lines.clone().enumerate() {
            let sum = v.load(&state.sums[i * GRAIN..]).sum();
            let log_sum_exp = if sum > 0.0 { state.max[i] + sum.ln() } else { f32::NEG_INFINITY };
            let factor = if sum > 0.0 { 1.0 / sum } else { 0.0 };
            let out = &state.out[i * state.width..][..self.inputs.sizes.d_head];
            // SAFETY: these are this task's lines.
            unsafe {
                self.log_sum_exp.store(v, self.inputs.statistic_at(self.task, line), &[log_sum_exp], 1.0);
                self.out.store_line(v, self.inputs, self.task, line, out, factor);
            }
        }
    }
}

impl<'a> State<'a> {
    fn new(forward: &Forward<'a>, memory: &'a mut ThreadMemory) -> Self {
        let Forward { inputs, words, task, .. } = *forward;
        let (n_lines, d_head) = (task.lines.len(), inputs.sizes.d_head);
        let (n_steps, width) = (words.n_steps(d_head), d_head.next_multiple_of(GRAIN));
        let window = Window::new(inputs, task);
        let spans = inputs.spans(task);
        let last = spans.iter().map(|span| span.end).max().unwrap_or(0);
        let n_keys = inputs.n_keys(task.row).min(last);
        let is_read_once = n_lines <= MAX_ROWS && d_head.is_multiple_of(GRAIN);
        let direct = if is_read_once { words.in_place(inputs.values(task, 0..n_keys)) } else { None };
        let n_block_steps = words.n_steps(BLOCK);
        let [queries, keys, values, scores, weights, max, sums, out, biases] = memory.parts([
            n_lines * n_steps,
            n_steps * BLOCK,
            n_block_steps * width,
            MAX_ROWS * BLOCK,
            MAX_ROWS * n_block_steps,
            n_lines,
            n_lines * GRAIN,
            n_lines * width,
            inputs.n_group() * window.len,
        ]);
        inputs.pack_lines(&words, inputs.q, task, queries);
        window.fill(inputs, task, biases);
        max.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        out.fill(0.0);
        if direct.is_none() {
            // Features that only fill up the width.
            values.fill(0.0);
        }
        Self {
            inputs,
            words,
            task,
            spans,
            n_keys,
            direct,
            window,
            n_steps,
            width,
            queries,
            keys,
            values,
            scores,
            weights,
            max,
            sums,
            out,
            biases,
        }
    }

    /// Packs the keys and values of a block, and asks for those after it.
    fn pack_block(&mut self, block: &Range<usize>) {
        let (words, width, n_grains) = (self.words, self.width, block.len().next_multiple_of(GRAIN));
        if block.len() < n_grains {
            // Keys that only fill up the last grain.
            for step in self.keys.chunks_exact_mut(BLOCK) {
                step[block.len()..n_grains].fill(0.0);
            }
            if self.direct.is_none() {
                self.values[..words.n_steps(n_grains) * width].fill(0.0);
            }
        }
        let n_keys = self.n_keys;
        let part = |start: usize| start..(start + PART).min(block.end);
        let ahead = |start: usize| (start + AHEAD).min(n_keys)..(start + AHEAD + PART).min(n_keys);
        for start in block.clone().step_by(PART) {
            self.inputs.keys(self.task, ahead(start)).prefetch();
            words.across(self.inputs.keys(self.task, part(start)), &mut self.keys[start - block.start..], BLOCK);
        }
        if self.direct.is_some() {
            return self.inputs.values(self.task, block.clone()).prefetch();
        }
        for start in block.clone().step_by(PART) {
            self.inputs.values(self.task, ahead(start)).prefetch();
            let step = words.n_steps(start - block.start);
            words.down(self.inputs.values(self.task, part(start)), &mut self.values[step * width..], width);
        }
    }

    /// Lets all lines see a block of keys.
    #[inline(always)]
    fn add_block<V: Lanes>(&mut self, v: V, block: &Range<usize>) {
        self.pack_block(block);
        for first in (0..self.spans.len()).step_by(MAX_ROWS) {
            let lines = first..(first + MAX_ROWS).min(self.spans.len());
            let seen = visible::seen_by_any(&self.spans[lines.clone()], block);
            if !seen.is_empty() {
                self.add_tile(v, lines, block.start, &grains(block, &seen));
            }
        }
    }

    /// Lets a few lines see some keys of a block.
    #[inline(always)]
    fn add_tile<V: Lanes>(&mut self, v: V, lines: Range<usize>, first_key: usize, columns: &Range<usize>) {
        let (words, n_steps, width) = (self.words, self.n_steps, self.width);
        let queries = Lhs { words: &self.queries[lines.start * n_steps..], row_stride: n_steps, step_stride: 1 };
        let keys = Rhs { words: &self.keys[columns.start..], stride: BLOCK };
        let scores = Sums { values: &mut self.scores[columns.start..], stride: BLOCK, accumulate: false };
        words.multiply([lines.len(), n_steps, columns.len()], queries, keys, scores);
        for (i, line) in lines.clone().enumerate() {
            self.weigh(v, i, line, first_key, columns);
        }
        let steps = words.n_steps(columns.start)..words.n_steps(columns.end);
        let weights = words.weights_along(self.scores, BLOCK, lines.len(), columns, self.weights);
        let (values, steps) = match self.direct {
            None => (Rhs { words: &self.values[steps.start * width..], stride: width }, steps),
            // Of a last grain that is not full, only the keys that there are.
            Some(Rhs { words, stride }) => {
                let words = &words[(first_key + steps.start) * stride..];
                (Rhs { words, stride }, steps.start..steps.end.min(self.n_keys - first_key))
            }
        };
        let out = Sums { values: &mut self.out[lines.start * width..], stride: width, accumulate: true };
        words.multiply([lines.len(), steps.len(), width], weights, values, out);
    }

    /// Turns the scores of a line, the `i`th of its tile, into weights, and puts what the line has so far on their scale.
    #[inline(always)]
    fn weigh<V: Lanes>(&mut self, v: V, i: usize, line: usize, first_key: usize, columns: &Range<usize>) {
        let keys = first_key + columns.start..first_key + columns.end;
        let window = || self.window.keys(self.inputs, self.task, self.task.lines.start + line, &keys);
        let row = Row {
            scale: self.inputs.sizes.scale,
            cap: self.inputs.sizes.cap,
            bias: self.inputs.bias.map(|_| &self.biases[window()]),
            first_key: keys.start,
            span: self.spans[line],
            key_segments: self.inputs.key_segments(self.task.row),
        };
        let scores = &mut self.scores[i * BLOCK..][columns.clone()];
        let sums = &mut self.sums[line * GRAIN..][..GRAIN];
        let factor = row.prepare(v, scores);
        let before = self.max[line];
        let max = logits::max(v, scores, factor).max(before);
        if max > before {
            let factor = logits::exp_of(v, before - max);
            logits::scale(v, sums, factor);
            logits::scale(v, &mut self.out[line * self.width..][..self.width], factor);
            self.max[line] = max;
        }
        let reference = if max == f32::NEG_INFINITY { 0.0 } else { max };
        logits::exponentials(v, scores, factor, reference, sums);
    }
}
