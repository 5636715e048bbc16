//! The backward pass: for each block of keys, the weights of all queries that see it again, and what they send back.

use super::gradients::{Given, Gradients};
use super::inputs::{Inputs, Task, Window};
use super::logits::{self, Row};
use super::scratch::ThreadMemory;
use super::visible::{self, Span};
use super::words::{GRAIN, Lhs, Rhs, Rows, Sums, Words, grains};
use crate::backend::Heads;
use crate::backend::cpu::lanes::{Lanes, Program};
use crate::backend::cpu::matmul::kernel::MAX_ROWS;
use crate::dtype::View;
use std::ops::Range;

/// Keys of a block: what belongs to them should stay in the second-level cache.
const BLOCK: usize = 128;
/// Lines whose weights are kept at once: the keys' and values' gradients are sums over them.
const LINES: usize = 8 * MAX_ROWS;

/// Computes what one row and key/value head contribute. `task` has all their lines, and no other task has any.
pub(super) struct Backward<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) words: Words,
    pub(super) task: &'a Task,
    pub(super) given: &'a Given<'a>,
    pub(super) gradients: &'a Gradients,
}

/// What a task keeps. Lines are rounded up to whole tiles.
struct State<'a> {
    inputs: &'a Inputs<'a>,
    words: Words,
    task: &'a Task,
    spans: Vec<Span>,
    window: Window,
    /// Steps of a sum over the features.
    n_steps: usize,
    /// Features, rounded up.
    width: usize,
    lines: Lines<'a>,
    block: Block<'a>,
    tile: Tile<'a>,
    /// [heads of the group, window]
    biases: &'a mut [f32],
    /// [heads of the group, window]
    dbiases: &'a mut [f32],
}

/// What belongs to the lines. Those that see no key have zeros.
struct Lines<'a> {
    /// [lines, n_steps]
    queries: &'a mut [f32],
    /// [steps of lines, width]
    queries_down: &'a mut [f32],
    /// [lines, n_steps]
    dout: &'a mut [f32],
    /// [steps of lines, width]
    dout_down: &'a mut [f32],
    /// [lines]: Σ out·dout
    dot: &'a mut [f32],
    /// [lines]
    log_sum_exp: &'a mut [f32],
    /// [lines, width]
    dq: &'a mut [f32],
}

/// What belongs to a block of keys.
struct Block<'a> {
    /// [n_steps, BLOCK]
    keys: &'a mut [f32],
    /// [steps of BLOCK, width]
    keys_down: &'a mut [f32],
    /// [n_steps, BLOCK]
    values: &'a mut [f32],
    /// [BLOCK, width]
    dk: &'a mut [f32],
    /// [BLOCK, width]
    dv: &'a mut [f32],
}

/// What belongs to some lines and a block of keys.
struct Tile<'a> {
    /// [MAX_ROWS, BLOCK]: scores, then weights.
    p: &'a mut [f32],
    /// [MAX_ROWS, BLOCK]: gradient of the weights, then of the logits.
    ds: &'a mut [f32],
    /// [MAX_ROWS, steps of BLOCK]
    ds_along: &'a mut [f32],
    /// [steps of LINES, BLOCK]: weights of all lines. Where words are f32, `p` is a part of this and not used itself.
    p_down: &'a mut [f32],
    /// [steps of LINES, BLOCK]: likewise for `ds`.
    ds_down: &'a mut [f32],
}

impl Program for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Backward { inputs, task, gradients, .. } = self;
        let (s, d_head, scale) = (inputs.lines.sizes.s, inputs.lines.sizes.d_head, inputs.lines.sizes.scale);
        let mut memory = ThreadMemory::take();
        let mut state = State::new(v, &self, &mut memory);
        let n_keys = inputs.lines.n_keys(task.row);
        for start in (0..s).step_by(BLOCK) {
            let stored = start..(start + BLOCK).min(s);
            state.block.dk.fill(0.0);
            state.block.dv.fill(0.0);
            state.add_block(v, &(start.min(n_keys)..stored.end.min(n_keys)));
            for (i, key) in stored.enumerate() {
                let (row, at) = (task.row * s + key, i * state.width..i * state.width + d_head);
                // SAFETY: these are this task's keys.
                unsafe {
                    gradients.k.store(v, row, task.kv_head, &state.block.dk[at.clone()], scale);
                    gradients.v.store(v, row, task.kv_head, &state.block.dv[at], 1.0);
                }
            }
        }
        for line in task.lines.clone() {
            let dq = &state.lines.dq[line * state.width..][..d_head];
            // SAFETY: these are this task's lines.
            unsafe { gradients.q.store_line(v, &inputs.lines, task, line, dq, scale) };
        }
        if gradients.wants_bias() {
            // SAFETY: these are this task's heads.
            unsafe { gradients.store_bias(v, &inputs.lines, task, &state.window, state.dbiases) };
        }
    }
}

impl<'a> State<'a> {
    #[inline(always)]
    fn new<V: Lanes>(v: V, backward: &Backward<'a>, memory: &'a mut ThreadMemory) -> Self {
        let Backward { inputs, words, task, given, .. } = *backward;
        let (d_head, n_lines) = (inputs.lines.sizes.d_head, task.lines.len().next_multiple_of(MAX_ROWS));
        let (n_steps, width) = (words.n_steps(d_head), d_head.next_multiple_of(GRAIN));
        let (down, window) = (words.n_steps(n_lines) * width, Window::new(&inputs.lines, task));
        let (n_biases, n_block_steps) = (inputs.lines.n_group() * window.len, words.n_steps(BLOCK));
        let [queries, dout, queries_down, dout_down, dot, log_sum_exp, dq, biases, dbiases, rest] = memory.parts([
            n_lines * n_steps,
            n_lines * n_steps,
            down,
            down,
            n_lines,
            n_lines,
            n_lines * width,
            n_biases,
            n_biases,
            2 * n_steps * BLOCK + (n_block_steps + 2 * BLOCK) * width + Tile::len(&words),
        ]);
        window.fill(&inputs.lines, task, biases);
        dbiases.fill(0.0);
        dq.fill(0.0);
        let mut spans = inputs.lines.spans(task);
        spans.resize(n_lines, Span::EMPTY);
        let [keys, values, keys_down, dk, dv, rest] =
            cut(rest, [n_steps * BLOCK, n_steps * BLOCK, n_block_steps * width, BLOCK * width, BLOCK * width]);
        // Features that only fill up the width.
        keys_down.fill(0.0);
        let lines = Lines { queries, queries_down, dout, dout_down, dot, log_sum_exp, dq };
        let block = Block { keys, keys_down, values, dk, dv };
        let tile = Tile::new(&words, rest);
        let mut state =
            Self { inputs, words, task, spans, window, n_steps, width, lines, block, tile, biases, dbiases };
        state.prepare_lines(v, given);
        state
    }

    /// Fills in what belongs to the lines.
    #[inline(always)]
    fn prepare_lines<V: Lanes>(&mut self, v: V, given: &Given<'a>) {
        let (inputs, task, n_steps) = (self.inputs, self.task, self.n_steps);
        let lines = &mut self.lines;
        inputs.lines.pack_lines(&self.words, inputs.lines.q, task, lines.queries);
        let dout = Heads { data: given.dout, n_heads_stored: inputs.lines.sizes.h, first_head: 0 };
        inputs.lines.pack_lines(&self.words, dout, task, lines.dout);
        for (line, span) in self.spans.iter_mut().enumerate() {
            let log_sum_exp = || given.log_sum_exp[inputs.lines.statistic_at(task, line)];
            // The keys of a span may all be of other documents.
            if span.is_empty() || log_sum_exp() == f32::NEG_INFINITY {
                *span = Span::EMPTY;
                lines.queries[line * n_steps..][..n_steps].fill(0.0);
                lines.dout[line * n_steps..][..n_steps].fill(0.0);
                (lines.dot[line], lines.log_sum_exp[line]) = (0.0, 0.0);
                continue;
            }
            let of_line = |data| inputs.lines.line_of(data, task, line);
            (lines.dot[line], lines.log_sum_exp[line]) =
                (logits::dot(v, of_line(given.out), of_line(given.dout)), log_sum_exp());
        }
        for (along, down) in [(&*lines.queries, &mut *lines.queries_down), (&*lines.dout, &mut *lines.dout_down)] {
            // Features that only fill up the width.
            down.fill(0.0);
            self.words.down(self.words.rows(along, n_steps), down, self.width);
        }
    }

    /// Everything that passes between a block of keys and all lines.
    #[inline(always)]
    fn add_block<V: Lanes>(&mut self, v: V, block: &Range<usize>) {
        if visible::seen_by_any(&self.spans, block).is_empty() {
            return;
        }
        let keys = self.inputs.keys(self.task, block.clone());
        let values = self.inputs.values(self.task, block.clone());
        let words = self.words;
        if !block.len().is_multiple_of(GRAIN) {
            // Keys that only fill up the last grain.
            self.block.keys.fill(0.0);
            self.block.keys_down.fill(0.0);
            self.block.values.fill(0.0);
        }
        words.across(keys, self.block.keys, BLOCK);
        words.down(keys, self.block.keys_down, self.width);
        words.across(values, self.block.values, BLOCK);
        for first in (0..self.spans.len()).step_by(LINES) {
            self.add_lines(v, block, first..(first + LINES).min(self.spans.len()));
        }
    }

    /// Everything that passes between a block of keys and some lines.
    #[inline(always)]
    fn add_lines<V: Lanes>(&mut self, v: V, block: &Range<usize>, lines: Range<usize>) {
        let columns = grains(block, &visible::seen_by_any(&self.spans[lines.clone()], block));
        if columns.is_empty() {
            return;
        }
        for first in lines.clone().step_by(MAX_ROWS) {
            self.add_tile(v, block, first, first - lines.start, &columns);
        }
        let (words, width) = (self.words, self.width);
        let steps = words.n_steps(lines.start)..words.n_steps(lines.end);
        let size = [columns.len(), steps.len(), width];
        for (weights, down, sums) in [
            (&*self.tile.p_down, &*self.lines.dout_down, &mut *self.block.dv),
            (&*self.tile.ds_down, &*self.lines.queries_down, &mut *self.block.dk),
        ] {
            let weights = Lhs { words: &weights[columns.start..], row_stride: 1, step_stride: BLOCK };
            let down = Rhs { words: &down[steps.start * width..], stride: width };
            let sums = Sums { values: &mut sums[columns.start * width..], stride: width, accumulate: true };
            words.multiply(size, weights, down, sums);
        }
    }

    /// The weights of the lines from `first` on, their gradients, and what these send to the queries. The tile is number
    /// `at` and further among the lines whose weights are kept, for the columns `kept`.
    #[inline(always)]
    fn add_tile<V: Lanes>(&mut self, v: V, block: &Range<usize>, first: usize, at: usize, kept: &Range<usize>) {
        let (words, n_steps, width) = (self.words, self.n_steps, self.width);
        let columns = grains(block, &visible::seen_by_any(&self.spans[first..first + MAX_ROWS], block));
        let of_tile = words.n_steps(at) * BLOCK..words.n_steps(at + MAX_ROWS) * BLOCK;
        let (p_down, ds_down) = (&mut self.tile.p_down[of_tile.clone()], &mut self.tile.ds_down[of_tile]);
        if columns != *kept {
            for row in p_down.chunks_exact_mut(BLOCK).chain(ds_down.chunks_exact_mut(BLOCK)) {
                row[kept.clone()].fill(0.0);
            }
        }
        if columns.is_empty() {
            return;
        }
        let (p, ds, down) = match words.are_pairs() {
            true => (&mut *self.tile.p, &mut *self.tile.ds, Some([p_down, ds_down])),
            false => (p_down, ds_down, None),
        };
        for (lines, panel, scores) in
            [(&*self.lines.queries, &*self.block.keys, &mut *p), (&*self.lines.dout, &*self.block.values, &mut *ds)]
        {
            let lines = Lhs { words: &lines[first * n_steps..], row_stride: n_steps, step_stride: 1 };
            let panel = Rhs { words: &panel[columns.start..], stride: BLOCK };
            let scores = Sums { values: &mut scores[columns.start..], stride: BLOCK, accumulate: false };
            words.multiply([MAX_ROWS, n_steps, columns.len()], lines, panel, scores);
        }
        let keys = block.start + columns.start..block.start + columns.end;
        for (i, (p, ds)) in p.chunks_exact_mut(BLOCK).zip(ds.chunks_exact_mut(BLOCK)).enumerate() {
            let line = first + i;
            let (p, ds) = (&mut p[columns.clone()], &mut ds[columns.clone()]);
            let window = self.inputs.lines.bias.map(|_| {
                // Lines that only fill up the last tile have no position.
                self.window.keys(&self.inputs.lines, self.task, line.min(self.task.lines.end - 1), &keys)
            });
            let row = Row {
                scale: self.inputs.lines.sizes.scale,
                cap: self.inputs.lines.sizes.cap,
                bias: window.clone().map(|window| &self.biases[window]),
                first_key: keys.start,
                span: self.spans[line],
                key_segments: self.inputs.lines.key_segments(self.task.row),
            };
            let factor = row.prepare(v, p);
            let (log_sum_exp, mut dot) = (self.lines.log_sum_exp[line], self.lines.dot[line]);
            if let Some(cap) = self.inputs.lines.sizes.cap {
                logits::through_cap(v, p, ds, dot, cap);
                dot = 0.0;
            }
            logits::weights_and_gradients(v, p, ds, [factor, log_sum_exp, dot]);
            if let Some(window) = window {
                logits::add(v, ds, &mut self.dbiases[window]);
            }
        }
        if let Some(down) = down {
            for (rows, down) in [&*p, &*ds].into_iter().zip(down) {
                let (data, width) = (View::F32(&rows[columns.start..]), columns.len());
                let rows = Rows { data, n_rows: MAX_ROWS, stride: BLOCK, width };
                words.down(rows, &mut down[columns.start..], BLOCK);
            }
        }
        let steps = words.n_steps(columns.start)..words.n_steps(columns.end);
        let weights = words.weights_along(ds, BLOCK, MAX_ROWS, &columns, self.tile.ds_along);
        let keys = Rhs { words: &self.block.keys_down[steps.start * width..], stride: width };
        let dq = Sums { values: &mut self.lines.dq[first * width..], stride: width, accumulate: true };
        words.multiply([MAX_ROWS, steps.len(), width], weights, keys, dq);
    }
}

impl<'a> Tile<'a> {
    /// Words of memory that it takes.
    fn len(words: &Words) -> usize {
        2 * MAX_ROWS * BLOCK + MAX_ROWS * words.n_steps(BLOCK) + 2 * words.n_steps(LINES) * BLOCK
    }

    fn new(words: &Words, memory: &'a mut [f32]) -> Self {
        let (tile, along, down) = (MAX_ROWS * BLOCK, MAX_ROWS * words.n_steps(BLOCK), words.n_steps(LINES) * BLOCK);
        let [p, ds, ds_along, p_down, ds_down, _] = cut(memory, [tile, tile, along, down, down]);
        Self { p, ds, ds_along, p_down, ds_down }
    }
}

/// Cuts memory into parts, the last with what is left.
fn cut<const N: usize, const M: usize>(memory: &mut [f32], lens: [usize; N]) -> [&mut [f32]; M] {
    assert_eq!(N + 1, M);
    let mut rest = memory;
    std::array::from_fn(|i| match lens.get(i) {
        Some(&len) => {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            part
        }
        None => std::mem::take(&mut rest),
    })
}
