//! The forward pass. Each block of keys is weighed by itself, and the results are put together in the order of the blocks:
//! so blocks may be given to different threads, and the bits stay the same.
//!
//! # Source
//! Dao, Haziza, Massa and Sizov, "Flash-Decoding for long-context inference", 2023 (splitting the keys).

use super::inputs::{QueryLines, Task};
use super::output::{self, OutputHeads};
use super::record;
use super::scratch::ThreadMemory;
use super::source::{BLOCK, Source};
use super::weighing::Weighing;
use super::words::Words;
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::lanes::{Lanes, Program};
use crate::backend::cpu::matmul::kernel::MAX_ROWS;
use crate::backend::cpu::pool::{Pool, chunks};
use crate::backend::cpu::shared_view::SharedView;
use std::sync::Mutex;

/// Most lines of a forward task: their state should stay in the second-level cache.
const TASK_LINES: usize = 1024;
/// Fewest lines of a task while there are enough tasks: each packs the keys it sees.
const TASK_LINES_MIN: usize = 96;

/// Memory that is kept from call to call.
#[derive(Debug, Default)]
pub(in crate::backend::cpu) struct Workspace {
    /// Records of blocks, where different threads weigh those of the same queries.
    records: Mutex<Vec<f32>>,
    /// Gradients of an offset bias, of each row.
    pub(super) dbiases: Mutex<Vec<f32>>,
}

/// What all tasks of a call have in common.
pub(super) struct Forward<'a, S> {
    pub(super) lines: QueryLines<'a>,
    pub(super) words: Words,
    pub(super) source: S,
    pub(super) out: OutputHeads,
    /// [B, H, T], where it is wanted.
    pub(super) log_sum_exp: Option<SharedView>,
}

impl<S: Source> Forward<'_, S> {
    /// Computes all outputs.
    pub(super) fn run(&self, pool: &Pool, isa: Isa, workspace: &Workspace) {
        let n_lines = self.lines.n_lines();
        if n_lines == 0 {
            return;
        }
        let tasks = tasks(&self.lines, pool.n_threads());
        let n_blocks = self.lines.sizes.s.div_ceil(BLOCK);
        let is_split =
            pool.n_threads() > 1 && n_lines <= MAX_ROWS && n_blocks > 1 && tasks.len() < 4 * pool.n_threads();
        if !is_split {
            pool.run(tasks.len(), &|i| isa.run(AllBlocks { forward: self, task: &tasks[i] }));
            return;
        }
        let mut records = workspace.records.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let n_part = n_lines * self.record_len();
        records.resize(tasks.len() * n_blocks * n_part, 0.0);
        pool.for_each(chunks(&mut records, n_part), |i, records| {
            isa.run(OneBlock { forward: self, task: &tasks[i / n_blocks], block: i % n_blocks, records });
        });
        for (task, records) in tasks.iter().zip(records.chunks_exact(n_blocks * n_part)) {
            isa.run(Together { forward: self, task, records });
        }
    }

    /// Elements of a record, see [`record`].
    pub(super) fn record_len(&self) -> usize {
        record::len(self.lines.value_width())
    }

    /// Stores the results of a task.
    ///
    /// # Safety
    /// As [`SharedView::slice`].
    #[inline(always)]
    unsafe fn store<V: Lanes>(&self, v: V, task: &Task, totals: &[f32]) {
        for (line, total) in task.lines.clone().zip(totals.chunks_exact(self.record_len())) {
            let (values, factor) = record::result(v, total);
            let values = &values[..self.lines.sizes.d_head];
            // SAFETY: as this function's.
            unsafe { self.out.store_line(v, &self.lines, task, line, values, factor) };
            if let Some(log_sum_exp) = self.log_sum_exp {
                let at = self.lines.statistic_at(task, line);
                // SAFETY: as this function's.
                unsafe { output::store(v, log_sum_exp, at, &[record::log_sum_exp(v, total)], 1.0) };
            }
        }
    }
}

/// Weighs all blocks of a task. No other task writes the same lines.
struct AllBlocks<'a, S> {
    forward: &'a Forward<'a, S>,
    task: &'a Task,
}

impl<S: Source> Program for AllBlocks<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { forward, task } = self;
        let (n_lines, record_len) = (task.lines.len(), forward.record_len());
        let mut memory = ThreadMemory::take();
        let (mut weighing, totals) = Weighing::new(forward, task, n_lines, &mut memory);
        totals.chunks_exact_mut(record_len).for_each(record::clear);
        for block in 0..weighing.n_blocks() {
            if !weighing.load(v, block) {
                continue;
            }
            for first in (0..n_lines).step_by(MAX_ROWS) {
                let lines = first..(first + MAX_ROWS).min(n_lines);
                let totals = &mut totals[first * record_len..];
                for (total, record) in totals.chunks_exact_mut(record_len).zip(weighing.weigh(v, lines)) {
                    record::add(v, total, record);
                }
            }
        }
        // SAFETY: these are this task's lines.
        unsafe { forward.store(v, task, totals) };
    }
}

/// Weighs one block of a task of few lines: a record for each line.
struct OneBlock<'a, S> {
    forward: &'a Forward<'a, S>,
    task: &'a Task,
    block: usize,
    records: &'a mut [f32],
}

impl<S: Source> Program for OneBlock<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { forward, task, block, records } = self;
        let record_len = forward.record_len();
        records.chunks_exact_mut(record_len).for_each(record::clear);
        let mut memory = ThreadMemory::take();
        let (mut weighing, _) = Weighing::new(forward, task, 0, &mut memory);
        if block < weighing.n_blocks() && weighing.load(v, block) {
            for (to, from) in records.chunks_exact_mut(record_len).zip(weighing.weigh(v, 0..task.lines.len())) {
                to.copy_from_slice(from);
            }
        }
    }
}

/// Puts the blocks of a task together.
struct Together<'a, S> {
    forward: &'a Forward<'a, S>,
    task: &'a Task,
    /// Block by block a record for each line.
    records: &'a [f32],
}

impl<S: Source> Program for Together<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { forward, task, records } = self;
        let record_len = forward.record_len();
        let mut memory = ThreadMemory::take();
        let [totals] = memory.parts([task.lines.len() * record_len]);
        totals.chunks_exact_mut(record_len).for_each(record::clear);
        for block in records.chunks_exact(task.lines.len() * record_len) {
            for (total, record) in totals.chunks_exact_mut(record_len).zip(block.chunks_exact(record_len)) {
                record::add(v, total, record);
            }
        }
        // SAFETY: nothing else runs meanwhile.
        unsafe { forward.store(v, task, totals) };
    }
}

/// Cuts the lines of each row and key/value head so that every thread has work. The last lines come first: under a causal
/// mask they take longest.
fn tasks(lines: &QueryLines<'_>, n_threads: usize) -> Vec<Task> {
    let n_heads = lines.sizes.b * lines.sizes.g;
    let n_lines = lines.n_lines();
    if n_heads == 0 || n_lines == 0 {
        return Vec::new();
    }
    let n_parts_wanted = if n_threads == 1 { 1 } else { (4 * n_threads).div_ceil(n_heads) };
    let n_lines_min = if n_heads < n_threads { MAX_ROWS } else { TASK_LINES_MIN };
    let size = n_lines.div_ceil(n_parts_wanted).clamp(n_lines_min, TASK_LINES.max(n_lines_min));
    let size = size.next_multiple_of(MAX_ROWS);
    let mut tasks = Vec::with_capacity(n_heads * n_lines.div_ceil(size));
    for start in (0..n_lines).step_by(size).rev() {
        for head in 0..n_heads {
            let (row, kv_head) = (head / lines.sizes.g, head % lines.sizes.g);
            tasks.push(Task { row, kv_head, lines: start..(start + size).min(n_lines) });
        }
    }
    tasks
}
