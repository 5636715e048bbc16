//! The forward pass: for each block of keys, scores, their exponentials relative to the largest so far, and the weighted
//! sum of values.

use super::inputs::{BLOCK, Inputs, Task, Window};
use super::output::{Output, OutputHeads};
use super::pack;
use super::product::{Operands, Product, TILE_ROWS};
use super::scratch::Scratch;
use super::simd::Simd;
use super::softmax;
use super::visible::{self, Span};
use std::ops::Range;

/// A task's memory. Every pointer reaches what its comment says.
struct State<'a> {
    inputs: &'a Inputs<'a>,
    task: &'a Task,
    spans: &'a [Span],
    window: Window,
    n_steps: usize,
    width: usize,
    /// [lines, n_steps]
    queries: *const f32,
    /// [n_steps, BLOCK]
    keys: *mut f32,
    /// [BLOCK / STEP, width]
    values: *mut f32,
    /// [TILE_ROWS, BLOCK]
    scores: *mut f32,
    /// [TILE_ROWS, BLOCK]
    p: *mut f32,
    /// [lines]: largest logit so far, to base 2.
    max: *mut f32,
    /// [lines, N]: sum of exponentials so far, lane by lane.
    sums: *mut f32,
    /// [lines, width]: weighted sum of values so far.
    out: *mut f32,
    /// [heads of the group, window_len]
    biases: *const f32,
    window_len: usize,
}

/// Computes the outputs of a task.
///
/// # Safety
/// The processor has the instructions of `P`; the call's tensors have their sizes; no other task writes the same lines.
#[inline(always)]
pub(super) unsafe fn forward<P: Product>(inputs: &Inputs<'_>, task: &Task, out: &OutputHeads, log_sum_exp: &Output) {
    let (d_head, n_lines) = (inputs.sizes.d_head, task.lines.len());
    let (n_steps, width) = (d_head.div_ceil(P::STEP), pack::padded::<P>(d_head));
    let spans = inputs.spans(task);
    let window_len = inputs.window_len(inputs.queries_of(task).len());
    let lens = [
        n_lines * n_steps,
        BLOCK * n_steps,
        BLOCK * n_steps,
        BLOCK / P::STEP * width,
        TILE_ROWS * BLOCK,
        TILE_ROWS * BLOCK,
        n_lines,
        n_lines * P::V::N,
        n_lines * width,
        inputs.n_group() * window_len,
    ];
    let mut scratch = Scratch::take();
    let [queries, rows, keys, values, scores, p, max, sums, acc, biases] = scratch.parts(lens);
    pack::along::<P>(&inputs.queries(task.row, task.kv_head), task.lines.clone(), n_steps, queries);
    max.fill(f32::NEG_INFINITY);
    sums.fill(0.0);
    acc.fill(0.0);
    let window = Window::new(inputs, task);
    if let Some(bias) = inputs.bias {
        for (i, biases) in biases.chunks_exact_mut(window_len).enumerate() {
            window.fill(&bias, task.kv_head * inputs.n_group() + i, biases);
        }
    }
    let n_keys = inputs.n_keys(task.row);
    let (of_keys, of_values) = (inputs.keys(task.row, task.kv_head), inputs.values(task.row, task.kv_head));
    for start in (0..n_keys).step_by(BLOCK) {
        let block = start..(start + BLOCK).min(n_keys);
        if visible::seen_by_any(&spans, &block).is_empty() {
            continue;
        }
        let rows = &mut rows[..block.len() * n_steps];
        pack::along::<P>(&of_keys, block.clone(), n_steps, rows);
        pack::across(rows, n_steps, BLOCK, keys);
        pack::along::<P>(&of_values, block.clone(), n_steps, rows);
        pack::down::<P>(rows, n_steps, width, values);
        let state = State {
            inputs,
            task,
            spans: &spans,
            window,
            n_steps,
            width,
            queries: queries.as_ptr(),
            keys: keys.as_mut_ptr(),
            values: values.as_mut_ptr(),
            scores: scores.as_mut_ptr(),
            p: p.as_mut_ptr(),
            max: max.as_mut_ptr(),
            sums: sums.as_mut_ptr(),
            out: acc.as_mut_ptr(),
            biases: biases.as_ptr(),
            window_len,
        };
        for first in (0..n_lines).step_by(TILE_ROWS) {
            // SAFETY: as this function's.
            unsafe { state.add_block::<P>(&block, first..(first + TILE_ROWS).min(n_lines)) };
        }
    }
    for line in 0..n_lines {
        // SAFETY: as this function's.
        unsafe {
            let sum = P::V::load(sums[line * P::V::N..].as_ptr()).reduce_sum();
            let at = inputs.statistic_at(task, task.lines.start + line);
            log_sum_exp.store(at, &[softmax::log_sum_exp(max[line], sum)], 1.0);
            let factor = if sum > 0.0 { 1.0 / sum } else { 0.0 };
            out.store_line(inputs, task, line, &acc[line * width..][..d_head], factor);
        }
    }
}

impl State<'_> {
    /// Lets a few lines see a block of keys.
    #[inline(always)]
    unsafe fn add_block<P: Product>(&self, block: &Range<usize>, lines: Range<usize>) {
        let seen = visible::seen_by_any(&self.spans[lines.clone()], block);
        if seen.is_empty() {
            return;
        }
        let n = P::V::N;
        let columns = (seen.start - block.start) / n * n..(seen.end - block.start).next_multiple_of(n);
        unsafe {
            let at = Operands {
                n_steps: self.n_steps,
                a: self.queries.add(lines.start * self.n_steps),
                a_row: self.n_steps,
                a_step: 1,
                b: self.keys.add(columns.start),
                b_step: BLOCK,
                c: self.scores.add(columns.start),
                c_row: BLOCK,
                accumulate: false,
            };
            P::multiply(lines.len(), columns.len() / n, at);
            for line in lines.clone() {
                self.weigh::<P>(block, &columns, line, (line - lines.start) * BLOCK);
            }
            let first_step = columns.start / P::STEP;
            let at = Operands {
                n_steps: columns.len() / P::STEP,
                a: self.p.add(first_step),
                a_row: BLOCK,
                a_step: 1,
                b: self.values.add(first_step * self.width),
                b_step: self.width,
                c: self.out.add(lines.start * self.width),
                c_row: self.width,
                accumulate: true,
            };
            P::multiply(lines.len(), self.width / n, at);
        }
    }

    /// Turns a line's scores, which stand at `at`, into weights, and puts what the line has so far on the same scale.
    #[inline(always)]
    unsafe fn weigh<P: Product>(&self, block: &Range<usize>, columns: &Range<usize>, line: usize, at: usize) {
        let (inputs, span) = (self.inputs, &self.spans[line]);
        unsafe {
            let (scores, sums) = (self.scores.add(at), self.sums.add(line * P::V::N));
            let mut logits = inputs.logits(self.task.row);
            logits.block_start = block.start;
            if inputs.bias.is_some() {
                let number = self.task.lines.start + line;
                let position = visible::offset(&inputs.mask, self.task.row) + number / inputs.n_group();
                let head = self.biases.add(number % inputs.n_group() * self.window_len);
                logits.bias = Some(head.add(self.window.start(position)));
            }
            let factor = logits.prepare::<P::V>(scores, columns, span);
            let before = *self.max.add(line);
            let max = softmax::max::<P::V>(scores, columns, factor).max(before);
            if max > before {
                self.rescale::<P>(line, before - max);
                *self.max.add(line) = max;
            }
            let reference = if max == f32::NEG_INFINITY { 0.0 } else { max };
            softmax::exponentials::<P>(scores, columns, factor, reference, self.p.add(at), sums);
        }
    }

    /// Multiplies what a line has so far by 2^exponent.
    #[inline(always)]
    unsafe fn rescale<P: Product>(&self, line: usize, exponent: f32) {
        let n = P::V::N;
        unsafe {
            let factor = P::V::splat(exponent).exp2();
            let sums = self.sums.add(line * n);
            P::V::load(sums).mul(factor).store(sums);
            let out = self.out.add(line * self.width);
            for column in (0..self.width).step_by(n) {
                P::V::load(out.add(column)).mul(factor).store(out.add(column));
            }
        }
    }
}
