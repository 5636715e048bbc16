//! Keys and values in pages, which lie as the products read them.

use super::{BLOCK, Reader, Source};
use crate::backend::cpu::attention::inputs::Task;
use crate::backend::cpu::attention::words::{Rhs, Words};
use crate::backend::cpu::lanes::Lanes;
use crate::backend::{PAGE_TOKENS, PageLayout};
use crate::dtype::{DType, View};
use std::ops::Range;

/// Pages of a block.
const N_PAGES: usize = BLOCK / PAGE_TOKENS;

/// The pages of all rows.
#[derive(Clone, Copy)]
pub(in super::super) struct InPages<'a> {
    pub(in super::super) layout: PageLayout,
    pub(in super::super) pages: &'a [Vec<View<'a>>],
    pub(in super::super) words: Words,
}

/// One head of a row.
pub(in super::super) struct PageReader<'m> {
    source: InPages<'m>,
    row: usize,
    head: usize,
    /// The pages of the block; none beyond its last.
    pages: [Option<View<'m>>; N_PAGES],
    /// [pages, head]: pages of bf16 as f32, where products are of f32.
    widened: &'m mut [f32],
}

impl InPages<'_> {
    /// Whether pages are stored in bf16 and multiplied in f32.
    fn are_widened(&self) -> bool {
        self.layout.dtype == DType::Bf16 && !self.words.are_pairs()
    }
}

impl Source for InPages<'_> {
    type Reader<'m>
        = PageReader<'m>
    where
        Self: 'm;

    fn memory_len(&self) -> usize {
        if self.are_widened() { N_PAGES * self.layout.head_elements() } else { 0 }
    }

    fn reader<'m>(&'m self, task: &Task, _n_keys: usize, widened: &'m mut [f32]) -> PageReader<'m> {
        PageReader { source: *self, row: task.row, head: task.kv_head, pages: [None; N_PAGES], widened }
    }
}

impl Reader for PageReader<'_> {
    const PIECE: usize = PAGE_TOKENS;

    #[inline(always)]
    fn load<V: Lanes>(&mut self, v: V, block: &Range<usize>) {
        let n_head = self.source.layout.head_elements();
        let pages = &self.source.pages[self.row][block.start / PAGE_TOKENS..block.end.div_ceil(PAGE_TOKENS)];
        self.pages = [None; N_PAGES];
        for (i, page) in pages.iter().enumerate() {
            let page = page.slice(self.head * n_head..(self.head + 1) * n_head);
            self.pages[i] = Some(page);
            if self.source.are_widened()
                && let View::Bf16(pairs) = page
            {
                let to = &mut self.widened[i * n_head..(i + 1) * n_head];
                widen(v, &self.source.layout, bytemuck::cast_slice(pairs), to);
            }
        }
    }

    fn keys(&self, piece: usize) -> Rhs<'_> {
        Rhs { words: self.words_of(piece).0, stride: PAGE_TOKENS }
    }

    fn values(&self, piece: usize) -> (Rhs<'_>, usize) {
        let stride = self.source.layout.value_width();
        (Rhs { words: self.words_of(piece).1, stride }, self.source.words.n_steps(PAGE_TOKENS))
    }
}

impl PageReader<'_> {
    /// Keys and values of one page.
    fn words_of(&self, page: usize) -> (&[f32], &[f32]) {
        let InPages { layout, words, .. } = &self.source;
        let n_head = layout.head_elements();
        let head = match self.pages[page].expect("only pages that hold keys are used") {
            View::F32(words) => words,
            View::Bf16(_) if self.source.are_widened() => &self.widened[page * n_head..(page + 1) * n_head],
            View::Bf16(pairs) => bytemuck::cast_slice(pairs),
        };
        head.split_at(words.n_steps(layout.key_elements()))
    }
}

/// Makes two rows of f32 of each row of pairs.
#[inline(always)]
fn widen<V: Lanes>(v: V, layout: &PageLayout, pairs: &[f32], to: &mut [f32]) {
    let (keys, values) = to.split_at_mut(layout.key_elements());
    let (key_pairs, value_pairs) = pairs.split_at(keys.len() / 2);
    for (pairs, to, width) in [(key_pairs, keys, PAGE_TOKENS), (value_pairs, values, layout.value_width())] {
        for (pairs, to) in pairs.chunks_exact(width).zip(to.chunks_exact_mut(2 * width)) {
            let (even, odd) = to.split_at_mut(width);
            for at in (0..width).step_by(V::N) {
                let (first, second) = v.load_pairs(&pairs[at..]);
                first.store(&mut even[at..]);
                second.store(&mut odd[at..]);
            }
        }
    }
}
