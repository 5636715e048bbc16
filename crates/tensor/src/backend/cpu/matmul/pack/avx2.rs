//! Words of f32 in pairs of AVX2 vectors; everything else in plain arrays.

use super::{Block, N, Operand, Source, Word, Words, portable};
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::prefetch::prefetch;
use crate::dtype::View;
use std::arch::x86_64::*;

/// Packs a block.
///
/// # Safety
/// As for [`super::pack`]; the processor has AVX2.
pub(super) unsafe fn pack(word: Word, operand: &Operand<'_>, block: &Block) {
    // SAFETY: the caller keeps the same contract.
    unsafe {
        match (word, operand.data) {
            (Word::F32, View::F32(data)) => pack_f32(block, &F32Words { data: data.as_ptr(), stride: operand.stride }),
            _ => portable::pack(Isa::Avx2, word, operand, block),
        }
    }
}

/// # Safety
/// As for [`pack`].
#[target_feature(enable = "avx2,fma")]
unsafe fn pack_f32(block: &Block, source: &F32Words) {
    // SAFETY: the caller keeps the same contract.
    unsafe { block.pack(source) }
}

struct F32Words {
    data: *const f32,
    stride: usize,
}

impl F32Words {
    /// `n` words from `first` on.
    #[inline(always)]
    unsafe fn load(&self, first: usize, n: usize) -> [__m256i; 2] {
        // SAFETY: the words are stored, and the packing function enables the instructions.
        unsafe {
            let start = self.data.add(first);
            if n == N {
                return [_mm256_loadu_si256(start.cast()), _mm256_loadu_si256(start.add(8).cast())];
            }
            let mut words = [0.0_f32; N];
            words[..n].copy_from_slice(std::slice::from_raw_parts(start, n));
            [_mm256_loadu_si256(words.as_ptr().cast()), _mm256_loadu_si256(words.as_ptr().add(8).cast())]
        }
    }
}

impl Source for F32Words {
    type Words = [__m256i; 2];

    #[inline(always)]
    fn prefetch_across(&self, step: usize, line: usize) {
        prefetch(self.data.wrapping_add(step * self.stride + line));
    }

    #[inline(always)]
    unsafe fn across(&self, step: usize, line: usize, n: usize) -> [__m256i; 2] {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.load(step * self.stride + line, n) }
    }

    #[inline(always)]
    unsafe fn along(&self, line: usize, step: usize, n: usize) -> [__m256i; 2] {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.load(line * self.stride + step, n) }
    }
}

impl Words for [__m256i; 2] {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the packing function enables the instructions, here and below.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u32, n: usize) {
        // SAFETY: as above; the words stored are the target's.
        unsafe {
            if n == N {
                _mm256_storeu_si256(to.cast(), self[0]);
                _mm256_storeu_si256(to.add(8).cast(), self[1]);
                return;
            }
            let mut words = [0_u32; N];
            _mm256_storeu_si256(words.as_mut_ptr().cast(), self[0]);
            _mm256_storeu_si256(words.as_mut_ptr().add(8).cast(), self[1]);
            std::slice::from_raw_parts_mut(to, n).copy_from_slice(&words[..n]);
        }
    }

    /// Four squares of 8 by 8.
    #[inline(always)]
    unsafe fn transpose(rows: [Self; N]) -> [Self; N] {
        // SAFETY: as above; it touches registers only.
        unsafe {
            let mut columns = [[_mm256_setzero_si256(); 2]; N];
            for half in 0..2 {
                for side in 0..2 {
                    let mut square = [_mm256_setzero_si256(); 8];
                    for i in 0..8 {
                        square[i] = rows[8 * half + i][side];
                    }
                    let square = transpose_square(square);
                    for i in 0..8 {
                        columns[8 * side + i][half] = square[i];
                    }
                }
            }
            columns
        }
    }
}

#[inline(always)]
unsafe fn transpose_square(rows: [__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: the packing function enables the instructions; they touch registers only.
    unsafe {
        let zero = _mm256_setzero_si256();
        // In every 128 bits: pairs of rows, then four rows of one column.
        let (mut pairs, mut fours, mut columns) = ([zero; 8], [zero; 8], [zero; 8]);
        for i in 0..4 {
            pairs[2 * i] = _mm256_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
            pairs[2 * i + 1] = _mm256_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
        }
        for i in 0..2 {
            fours[4 * i] = _mm256_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
            fours[4 * i + 1] = _mm256_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
            fours[4 * i + 2] = _mm256_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
            fours[4 * i + 3] = _mm256_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
        }
        // `fours[4·i + j]` has rows 4·i to 4·i + 3 of columns j and j + 4.
        for j in 0..4 {
            columns[j] = _mm256_permute2x128_si256::<0x20>(fours[j], fours[4 + j]);
            columns[4 + j] = _mm256_permute2x128_si256::<0x31>(fours[j], fours[4 + j]);
        }
        columns
    }
}
