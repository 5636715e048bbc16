//! The backward pass: for each block of keys, the weights of all queries that see it again, and what they send back.

use super::inputs::{BLOCK, Inputs, Task, Window};
use super::output::{Output, OutputHeads};
use super::pack;
use super::product::{Operands, Product, TILE_ROWS};
use super::scratch::Scratch;
use super::simd::Simd;
use super::visible::{self, Span};
use crate::backend::AttentionGradients;
use crate::dtype::View;
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Lines whose weights are kept at once: the keys' and values' gradients are products over them.
const LINES: usize = 8 * TILE_ROWS;

/// What the forward pass left and what comes back.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) out: View<'a>,
    pub(super) log_sum_exp: &'a [f32],
    pub(super) dout: View<'a>,
}

/// Where the gradients go.
pub(super) struct Gradients {
    q: OutputHeads,
    k: OutputHeads,
    v: OutputHeads,
    /// [B, H, R], all 0; empty when nobody asks.
    dbias: Output,
}

impl Gradients {
    pub(super) fn new(inputs: &Inputs<'_>, into: AttentionGradients<'_>, dbias: &mut [f32]) -> Self {
        let (h, g) = (inputs.sizes.h, inputs.sizes.g);
        let heads = |data, n_heads_stored, first_head| OutputHeads { data, n_heads_stored, first_head };
        let dbias = Output::F32(dbias.as_mut_ptr(), dbias.len());
        match into {
            AttentionGradients::Fused(into) => {
                let (data, n) = (Output::new(into), h + 2 * g);
                Self { q: heads(data, n, 0), k: heads(data, n, h), v: heads(data, n, h + g), dbias }
            }
            AttentionGradients::Cross { dq, dkv } => {
                let (dq, dkv) = (Output::new(dq), Output::new(dkv));
                Self { q: heads(dq, h, 0), k: heads(dkv, 2 * g, 0), v: heads(dkv, 2 * g, g), dbias }
            }
        }
    }
}

/// A task's memory. Every pointer reaches what its comment says; lines are rounded up to whole tiles.
struct State<'a> {
    inputs: &'a Inputs<'a>,
    task: &'a Task,
    spans: &'a [Span],
    window: Window,
    n_steps: usize,
    width: usize,
    /// [lines, n_steps]
    queries: *const f32,
    /// [lines / STEP, width]
    queries_down: *const f32,
    /// [lines, n_steps]
    dout: *const f32,
    /// [lines / STEP, width]
    dout_down: *const f32,
    /// [lines]: Σ out·dout
    dot: *const f32,
    /// [lines]: logarithm to base 2 of the sum of exponentials, any number where no key is seen.
    log_sum: *const f32,
    /// [n_steps, BLOCK]
    keys: *const f32,
    /// [BLOCK / STEP, width]
    keys_down: *const f32,
    /// [n_steps, BLOCK]
    values: *const f32,
    /// [TILE_ROWS, BLOCK]
    scores: *mut f32,
    /// [TILE_ROWS, BLOCK]: gradient of the weights.
    dp: *mut f32,
    /// [TILE_ROWS, BLOCK]: gradient of the logits.
    ds: *mut f32,
    /// [LINES / STEP, BLOCK]: weights.
    p_down: *mut f32,
    /// [LINES / STEP, BLOCK]
    ds_down: *mut f32,
    /// [lines, width]
    dq: *mut f32,
    /// [BLOCK, width]
    dk: *mut f32,
    /// [BLOCK, width]
    dv: *mut f32,
    /// [heads of the group, window_len]
    biases: *const f32,
    /// [heads of the group, window_len], or null.
    dbiases: *mut f32,
    window_len: usize,
}

/// Computes the gradients that one row and key/value head contributes. `task` has all their lines.
///
/// # Safety
/// The processor has the instructions of `P`; the call's tensors have their sizes; no other task has this row and head.
#[inline(always)]
pub(super) unsafe fn backward<P: Product>(inputs: &Inputs<'_>, task: &Task, given: &Given<'_>, to: &Gradients) {
    let d_head = inputs.sizes.d_head;
    let n_lines = inputs.n_lines().next_multiple_of(TILE_ROWS);
    let (n_steps, width) = (d_head.div_ceil(P::STEP), pack::padded::<P>(d_head));
    let mut spans = inputs.spans(task);
    spans.resize(n_lines, Span::EMPTY);
    let window_len = inputs.window_len(inputs.sizes.t);
    let (along, across, down) = (n_lines * n_steps, BLOCK * n_steps, BLOCK / P::STEP * width);
    let n_windows = inputs.n_group() * window_len;
    let mut scratch = Scratch::take();
    let [
        queries,
        dout,
        queries_down,
        dout_down,
        dot,
        log_sum,
        dq,
        rows,
        keys,
        values,
        keys_down,
        dk,
        dv,
        small,
        biases,
        dbiases,
    ] = scratch.parts([
        along,
        along,
        n_lines / P::STEP * width,
        n_lines / P::STEP * width,
        n_lines,
        n_lines,
        n_lines * width,
        across,
        across,
        across,
        down,
        BLOCK * width,
        BLOCK * width,
        3 * TILE_ROWS * BLOCK + 2 * LINES * BLOCK,
        n_windows,
        n_windows,
    ]);
    lines::<P>(inputs, task, given, &spans, n_steps, queries, dout, dot, log_sum);
    pack::down::<P>(queries, n_steps, width, queries_down);
    pack::down::<P>(dout, n_steps, width, dout_down);
    dq.fill(0.0);
    let window = Window::new(inputs, task);
    if let Some(bias) = inputs.bias {
        dbiases.fill(0.0);
        for (i, biases) in biases.chunks_exact_mut(window_len.max(1)).enumerate() {
            window.fill(&bias, task.kv_head * inputs.n_group() + i, biases);
        }
    }
    let n_keys = inputs.n_keys(task.row);
    let (of_keys, of_values) = (inputs.keys(task.row, task.kv_head), inputs.values(task.row, task.kv_head));
    for start in (0..inputs.sizes.s).step_by(BLOCK) {
        let stored = start..(start + BLOCK).min(inputs.sizes.s);
        let block = start.min(n_keys)..stored.end.min(n_keys);
        dk.fill(0.0);
        dv.fill(0.0);
        if !visible::seen_by_any(&spans, &block).is_empty() {
            let rows = &mut rows[..block.len() * n_steps];
            pack::along::<P>(&of_values, block.clone(), n_steps, rows);
            pack::across(rows, n_steps, BLOCK, values);
            pack::along::<P>(&of_keys, block.clone(), n_steps, rows);
            pack::across(rows, n_steps, BLOCK, keys);
            pack::down::<P>(rows, n_steps, width, keys_down);
            let (scores, rest) = small.split_at_mut(TILE_ROWS * BLOCK);
            let (dp, rest) = rest.split_at_mut(TILE_ROWS * BLOCK);
            let (ds, rest) = rest.split_at_mut(TILE_ROWS * BLOCK);
            let (p_down, ds_down) = rest.split_at_mut(LINES * BLOCK);
            let state = State {
                inputs,
                task,
                spans: &spans,
                window,
                n_steps,
                width,
                queries: queries.as_ptr(),
                queries_down: queries_down.as_ptr(),
                dout: dout.as_ptr(),
                dout_down: dout_down.as_ptr(),
                dot: dot.as_ptr(),
                log_sum: log_sum.as_ptr(),
                keys: keys.as_ptr(),
                keys_down: keys_down.as_ptr(),
                values: values.as_ptr(),
                scores: scores.as_mut_ptr(),
                dp: dp.as_mut_ptr(),
                ds: ds.as_mut_ptr(),
                p_down: p_down.as_mut_ptr(),
                ds_down: ds_down.as_mut_ptr(),
                dq: dq.as_mut_ptr(),
                dk: dk.as_mut_ptr(),
                dv: dv.as_mut_ptr(),
                biases: biases.as_ptr(),
                dbiases: dbiases.as_mut_ptr(),
                window_len,
            };
            for first in (0..n_lines).step_by(LINES) {
                // SAFETY: as this function's.
                unsafe { state.add_lines::<P>(&block, first..(first + LINES).min(n_lines)) };
            }
        }
        for (i, key) in stored.enumerate() {
            let (row, at) = (task.row * inputs.sizes.s + key, i * width..i * width + d_head);
            // SAFETY: this task's keys.
            unsafe {
                to.k.store(row, task.kv_head, &dk[at.clone()], inputs.sizes.scale);
                to.v.store(row, task.kv_head, &dv[at], 1.0);
            }
        }
    }
    for line in 0..task.lines.len() {
        // SAFETY: this task's lines.
        unsafe { to.q.store_line(inputs, task, line, &dq[line * width..][..d_head], inputs.sizes.scale) };
    }
    let Output::F32(_, n_dbias) = to.dbias else { return };
    if let Some(bias) = inputs.bias.filter(|_| n_dbias > 0) {
        for (i, dbiases) in dbiases.chunks_exact(window_len.max(1)).enumerate() {
            let head = task.row * inputs.sizes.h + task.kv_head * inputs.n_group() + i;
            for (i, dbias) in dbiases.iter().enumerate() {
                if let Some(at) = window.place(&bias, i) {
                    // SAFETY: this task's heads.
                    unsafe { to.dbias.store(head * bias.n_offsets + at, &[*dbias], 1.0) };
                }
            }
        }
    }
}

/// Prepares what belongs to each line; 0 for those that see no key.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn lines<P: Product>(
    inputs: &Inputs<'_>,
    task: &Task,
    given: &Given<'_>,
    spans: &[Span],
    n_steps: usize,
    queries: &mut [f32],
    dout: &mut [f32],
    dot: &mut [f32],
    log_sum: &mut [f32],
) {
    let of_out = inputs.lines_of_view(given.out, task.row, task.kv_head);
    let of_dout = inputs.lines_of_view(given.dout, task.row, task.kv_head);
    pack::along::<P>(&inputs.queries(task.row, task.kv_head), task.lines.clone(), n_steps, queries);
    pack::along::<P>(&of_dout, task.lines.clone(), n_steps, dout);
    for (line, span) in spans.iter().enumerate() {
        if span.is_empty() {
            queries[line * n_steps..][..n_steps].fill(0.0);
            dout[line * n_steps..][..n_steps].fill(0.0);
            (dot[line], log_sum[line]) = (0.0, 0.0);
        } else {
            dot[line] = of_out.dot(&of_dout, line);
            log_sum[line] = given.log_sum_exp[inputs.statistic_at(task, line)] * LOG2_E;
        }
    }
}

impl State<'_> {
    /// Everything that passes between a block of keys and some lines.
    #[inline(always)]
    unsafe fn add_lines<P: Product>(&self, block: &Range<usize>, lines: Range<usize>) {
        let seen = visible::seen_by_any(&self.spans[lines.clone()], block);
        if seen.is_empty() {
            return;
        }
        let n = P::V::N;
        let columns = (seen.start - block.start) / n * n..(seen.end - block.start).next_multiple_of(n);
        unsafe {
            for first in lines.clone().step_by(TILE_ROWS) {
                let at = (first - lines.start) / P::STEP * BLOCK;
                self.add_tile::<P>(block, first, &columns, self.p_down.add(at), self.ds_down.add(at));
            }
            let first_step = lines.start / P::STEP * self.width;
            let of_values = Operands {
                n_steps: lines.len() / P::STEP,
                a: self.p_down.add(columns.start),
                a_row: 1,
                a_step: BLOCK,
                b: self.dout_down.add(first_step),
                b_step: self.width,
                c: self.dv.add(columns.start * self.width),
                c_row: self.width,
                accumulate: true,
            };
            P::multiply(columns.len(), self.width / n, of_values);
            let of_keys = Operands {
                a: self.ds_down.add(columns.start),
                b: self.queries_down.add(first_step),
                c: self.dk.add(columns.start * self.width),
                ..of_values
            };
            P::multiply(columns.len(), self.width / n, of_keys);
        }
    }

    /// Weights and their gradients for one tile of lines, and what these send to the queries.
    #[inline(always)]
    unsafe fn add_tile<P: Product>(
        &self,
        block: &Range<usize>,
        first: usize,
        all_columns: &Range<usize>,
        p_down: *mut f32,
        ds_down: *mut f32,
    ) {
        let n = P::V::N;
        let seen = visible::seen_by_any(&self.spans[first..first + TILE_ROWS], block);
        let columns = (seen.start - block.start) / n * n..(seen.end - block.start).next_multiple_of(n);
        let columns = if seen.is_empty() { 0..0 } else { columns };
        unsafe {
            if columns != *all_columns {
                for row in 0..TILE_ROWS / P::STEP {
                    let at = row * BLOCK + all_columns.start;
                    p_down.add(at).write_bytes(0, all_columns.len());
                    ds_down.add(at).write_bytes(0, all_columns.len());
                }
            }
            if columns.is_empty() {
                return;
            }
            let scores = Operands {
                n_steps: self.n_steps,
                a: self.queries.add(first * self.n_steps),
                a_row: self.n_steps,
                a_step: 1,
                b: self.keys.add(columns.start),
                b_step: BLOCK,
                c: self.scores.add(columns.start),
                c_row: BLOCK,
                accumulate: false,
            };
            P::multiply(TILE_ROWS, columns.len() / n, scores);
            let of_weights = Operands {
                a: self.dout.add(first * self.n_steps),
                b: self.values.add(columns.start),
                c: self.dp.add(columns.start),
                ..scores
            };
            P::multiply(TILE_ROWS, columns.len() / n, of_weights);
            for pair in (0..TILE_ROWS).step_by(2) {
                let at = pair / P::STEP * BLOCK;
                self.send_back::<P>(block, &columns, first, pair, p_down.add(at), ds_down.add(at));
            }
            let first_step = columns.start / P::STEP;
            let of_queries = Operands {
                n_steps: columns.len() / P::STEP,
                a: self.ds.add(first_step),
                a_row: BLOCK,
                a_step: 1,
                b: self.keys_down.add(first_step * self.width),
                b_step: self.width,
                c: self.dq.add(first * self.width),
                c_row: self.width,
                accumulate: true,
            };
            P::multiply(TILE_ROWS, self.width / n, of_queries);
        }
    }

    /// Weights p = 2^(logit − log_sum) and ds = p·(dp − dot) of two neighbouring lines of a tile.
    #[inline(always)]
    unsafe fn send_back<P: Product>(
        &self,
        block: &Range<usize>,
        columns: &Range<usize>,
        first: usize,
        pair: usize,
        p_down: *mut f32,
        ds_down: *mut f32,
    ) {
        unsafe {
            let mut line =
                [self.line::<P>(block, columns, first, pair), self.line::<P>(block, columns, first, pair + 1)];
            for column in columns.clone().step_by(P::V::N) {
                let (p0, ds0) = line[0].weights(column);
                let (p1, ds1) = line[1].weights(column);
                P::store_down(p_down.add(column), BLOCK, p0, p1);
                P::store_down(ds_down.add(column), BLOCK, ds0, ds1);
                P::store_along(line[0].ds, column, ds0);
                P::store_along(line[1].ds, column, ds1);
                line[0].add_bias(column, ds0);
                line[1].add_bias(column, ds1);
            }
        }
    }

    /// Where everything is for a line of a tile.
    #[inline(always)]
    unsafe fn line<P: Product>(
        &self,
        block: &Range<usize>,
        columns: &Range<usize>,
        first: usize,
        i: usize,
    ) -> Line<P::V> {
        let (inputs, line) = (self.inputs, first + i);
        unsafe {
            let scores = self.scores.add(i * BLOCK);
            let mut logits = inputs.logits(self.task.row);
            logits.block_start = block.start;
            let mut dbias = std::ptr::null_mut();
            // Lines that only fill up the last tile have no position.
            if inputs.bias.is_some() && line < self.task.lines.end {
                let position = visible::offset(&inputs.mask, self.task.row) + line / inputs.n_group();
                let head = line % inputs.n_group() * self.window_len + self.window.start(position);
                logits.bias = Some(self.biases.add(head));
                dbias = self.dbiases.add(head + block.start);
            }
            let factor = logits.prepare::<P::V>(scores, columns, &self.spans[line]);
            Line {
                scores,
                dp: self.dp.add(i * BLOCK),
                ds: self.ds.add(i * BLOCK),
                dbias,
                factor: P::V::splat(factor),
                log_sum: P::V::splat(*self.log_sum.add(line)),
                dot: P::V::splat(*self.dot.add(line)),
            }
        }
    }
}

/// A line's scores in a block, and what turns them into gradients.
struct Line<V> {
    scores: *const f32,
    dp: *const f32,
    ds: *mut f32,
    /// Null when nobody asks.
    dbias: *mut f32,
    factor: V,
    log_sum: V,
    dot: V,
}

impl<V: Simd> Line<V> {
    /// Weights and gradients of the logits.
    #[inline(always)]
    unsafe fn weights(&self, column: usize) -> (V, V) {
        unsafe {
            let p = V::load(self.scores.add(column)).mul(self.factor).sub(self.log_sum).exp2();
            let ds = V::load(self.dp.add(column)).sub(self.dot).mul(p);
            (p, ds)
        }
    }

    #[inline(always)]
    unsafe fn add_bias(&mut self, column: usize, ds: V) {
        if !self.dbias.is_null() {
            unsafe {
                let at = self.dbias.add(column);
                V::load(at).add(ds).store(at);
            }
        }
    }
}
