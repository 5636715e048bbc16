//! Words in plain arrays. The loops are simple enough for the compiler to make vectors of.

use super::{Block, N, Operand, Source, Word, Words};
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::lanes::{Element, Lanes, Program};
use crate::backend::cpu::prefetch::prefetch;
use crate::dtype::View;
use half::bf16;

/// Packs a block with the instructions of `isa`.
///
/// # Safety
/// As for [`super::pack`].
pub(super) unsafe fn pack(isa: Isa, word: Word, operand: &Operand<'_>, block: &Block) {
    let Operand { data, stride, k, .. } = *operand;
    match (word, data) {
        (Word::F32, View::F32(data)) => isa.run(Pack { source: Singles::<_, false> { data, stride, k }, block }),
        (Word::F32, View::Bf16(data)) => isa.run(Pack { source: Singles::<_, false> { data, stride, k }, block }),
        (Word::RoundedF32, View::F32(data)) => isa.run(Pack { source: Singles::<_, true> { data, stride, k }, block }),
        (Word::RoundedF32, View::Bf16(data)) => isa.run(Pack { source: Singles::<_, true> { data, stride, k }, block }),
        (Word::Bf16Pair, View::F32(data)) => isa.run(Pack { source: Pairs { data, stride, k }, block }),
        (Word::Bf16Pair, View::Bf16(data)) => isa.run(Pack { source: Pairs { data, stride, k }, block }),
    }
}

/// Keeps the contract of [`super::pack`].
struct Pack<'a, S> {
    source: S,
    block: &'a Block,
}

impl<S: Source> Program for Pack<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, _v: V) {
        // SAFETY: whoever made it vouches for it.
        unsafe { self.block.pack(&self.source) }
    }
}

impl Words for [u32; N] {
    #[inline(always)]
    unsafe fn zero() -> Self {
        [0; N]
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u32, n: usize) {
        // SAFETY: the caller's to vouch for.
        let to = unsafe { std::slice::from_raw_parts_mut(to, n) };
        to.copy_from_slice(&self[..n]);
    }

    #[inline(always)]
    unsafe fn transpose(rows: [Self; N]) -> [Self; N] {
        let mut columns = [[0; N]; N];
        for i in 0..N {
            for j in 0..N {
                columns[j][i] = rows[i][j];
            }
        }
        columns
    }
}

/// A word for each element, rounded to bf16 or not.
struct Singles<'a, E, const ROUNDS: bool> {
    data: &'a [E],
    stride: usize,
    k: usize,
}

impl<E: Element, const ROUNDS: bool> Singles<'_, E, ROUNDS> {
    #[inline(always)]
    fn words(&self, first: usize, n: usize) -> [u32; N] {
        let mut words = [0; N];
        for (word, &element) in words.iter_mut().zip(&self.data[first..first + n]) {
            *word = if ROUNDS { round(element) << 16 } else { element.to_f32().to_bits() };
        }
        words
    }
}

impl<E: Element, const ROUNDS: bool> Source for Singles<'_, E, ROUNDS> {
    type Words = [u32; N];

    #[inline(always)]
    unsafe fn across(&self, step: usize, line: usize, n: usize) -> [u32; N] {
        if step < self.k { self.words(step * self.stride + line, n) } else { [0; N] }
    }

    #[inline(always)]
    fn prefetch_across(&self, step: usize, line: usize) {
        prefetch(self.data.as_ptr().wrapping_add(step * self.stride + line));
    }

    #[inline(always)]
    unsafe fn along(&self, line: usize, step: usize, n: usize) -> [u32; N] {
        self.words(line * self.stride + step, n.min(self.k - step))
    }
}

/// A word for two consecutive elements, rounded to bf16.
struct Pairs<'a, E> {
    data: &'a [E],
    stride: usize,
    k: usize,
}

impl<E: Element> Source for Pairs<'_, E> {
    type Words = [u32; N];

    #[inline(always)]
    unsafe fn across(&self, step: usize, line: usize, n: usize) -> [u32; N] {
        let first = 2 * step * self.stride + line;
        let mut words = [0; N];
        for (word, &lower) in words.iter_mut().zip(&self.data[first..first + n]) {
            *word = round(lower);
        }
        if 2 * step + 1 < self.k {
            let first = first + self.stride;
            for (word, &upper) in words.iter_mut().zip(&self.data[first..first + n]) {
                *word |= round(upper) << 16;
            }
        }
        words
    }

    #[inline(always)]
    fn prefetch_across(&self, step: usize, line: usize) {
        let row = self.data.as_ptr().wrapping_add(2 * step * self.stride + line);
        prefetch(row);
        prefetch(row.wrapping_add(self.stride));
    }

    #[inline(always)]
    unsafe fn along(&self, line: usize, step: usize, n: usize) -> [u32; N] {
        let first = line * self.stride + 2 * step;
        let pairs = &self.data[first..first + (2 * n).min(self.k - 2 * step)];
        let mut words = [0; N];
        for (word, pair) in words.iter_mut().zip(pairs.chunks_exact(2)) {
            *word = round(pair[0]) | round(pair[1]) << 16;
        }
        if let [.., last] = pairs
            && pairs.len() % 2 == 1
        {
            words[pairs.len() / 2] = round(*last);
        }
        words
    }
}

/// The bits of an element rounded to bf16.
#[inline(always)]
fn round<E: Element>(element: E) -> u32 {
    u32::from(<bf16 as Element>::from_f32(element.to_f32()).to_bits())
}
