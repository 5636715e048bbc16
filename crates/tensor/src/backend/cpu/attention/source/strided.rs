//! Keys and values that lie as the products wrote them: packed block by block.

use super::{BLOCK, Reader, Source};
use crate::backend::cpu::attention::inputs::{Inputs, Task};
use crate::backend::cpu::attention::words::{GRAIN, Rhs, Words};
use crate::backend::cpu::lanes::Lanes;
use crate::backend::cpu::matmul::kernel::MAX_ROWS;
use std::ops::Range;

/// Keys that are packed at a time, and how far ahead others are asked for meanwhile: where the heads of a row lie side by
/// side they are read in small pieces, which no hardware foresees.
const PART: usize = 32;
const AHEAD: usize = 64;

/// Keys and values of all rows.
pub(in super::super) struct Strided<'a> {
    pub(in super::super) inputs: &'a Inputs<'a>,
    pub(in super::super) words: Words,
}

/// Those of one row and head.
pub(in super::super) struct StridedReader<'m> {
    inputs: &'m Inputs<'m>,
    words: Words,
    task: Task,
    n_keys: usize,
    /// The block that is packed.
    block: Range<usize>,
    /// Where the values lie in memory as the products read them, and are not read often.
    direct: Option<Rhs<'m>>,
    /// [steps of a sum over the features, BLOCK]
    keys: &'m mut [f32],
    /// [steps of BLOCK, width]
    values: &'m mut [f32],
    width: usize,
}

impl Strided<'_> {
    fn key_words(&self) -> usize {
        self.words.n_steps(self.inputs.lines.sizes.d_head) * BLOCK
    }
}

impl Source for Strided<'_> {
    type Reader<'m>
        = StridedReader<'m>
    where
        Self: 'm;

    fn memory_len(&self) -> usize {
        self.key_words() + self.words.n_steps(BLOCK) * self.inputs.lines.value_width()
    }

    fn reader<'m>(&'m self, task: &Task, n_keys: usize, memory: &'m mut [f32]) -> StridedReader<'m> {
        let Self { inputs, words } = *self;
        let (d_head, width) = (inputs.lines.sizes.d_head, inputs.lines.value_width());
        let is_read_once = task.lines.len() <= MAX_ROWS && d_head.is_multiple_of(GRAIN);
        let direct = if is_read_once { words.in_place(inputs.values(task, 0..n_keys)) } else { None };
        let (keys, values) = memory.split_at_mut(self.key_words());
        if direct.is_none() {
            // Features that only fill up the width.
            values.fill(0.0);
        }
        StridedReader { inputs, words, task: task.clone(), n_keys, block: 0..0, direct, keys, values, width }
    }
}

impl Reader for StridedReader<'_> {
    const PIECE: usize = BLOCK;

    /// Packs the keys and values of the block, and asks for those after it.
    #[inline(always)]
    fn load<V: Lanes>(&mut self, _v: V, block: &Range<usize>) {
        self.block = block.clone();
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
        let (inputs, task, n_keys) = (self.inputs, &self.task, self.n_keys);
        let part = |start: usize| start..(start + PART).min(block.end);
        let ahead = |start: usize| (start + AHEAD).min(n_keys)..(start + AHEAD + PART).min(n_keys);
        for start in block.clone().step_by(PART) {
            inputs.keys(task, ahead(start)).prefetch();
            words.across(inputs.keys(task, part(start)), &mut self.keys[start - block.start..], BLOCK);
        }
        if self.direct.is_some() {
            return inputs.values(task, block.clone()).prefetch();
        }
        for start in block.clone().step_by(PART) {
            inputs.values(task, ahead(start)).prefetch();
            let step = words.n_steps(start - block.start);
            words.down(inputs.values(task, part(start)), &mut self.values[step * width..], width);
        }
    }

    fn keys(&self, _piece: usize) -> Rhs<'_> {
        Rhs { words: self.keys, stride: BLOCK }
    }

    fn values(&self, _piece: usize) -> (Rhs<'_>, usize) {
        match self.direct {
            None => (Rhs { words: self.values, stride: self.width }, self.words.n_steps(BLOCK)),
            // Of a last grain that is not full, only the keys that there are.
            Some(Rhs { words, stride }) => {
                (Rhs { words: &words[self.block.start * stride..], stride }, self.n_keys - self.block.start)
            }
        }
    }
}
