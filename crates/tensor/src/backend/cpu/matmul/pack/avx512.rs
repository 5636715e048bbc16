//! Words in vectors of AVX-512.

use super::{Block, N, Operand, Source, Word, Words, portable};
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::prefetch::prefetch;
use crate::dtype::View;
use half::bf16;
use std::arch::x86_64::*;

/// Packs a block with the instructions of `isa`.
///
/// # Safety
/// As for [`super::pack`]; the processor has the instructions, which are [`Isa::Avx512`] at least.
pub(super) unsafe fn pack(isa: Isa, word: Word, operand: &Operand<'_>, block: &Block) {
    let Operand { data, stride, k, .. } = *operand;
    // SAFETY: the caller keeps the same contract.
    unsafe {
        match (word, data) {
            (Word::F32, View::F32(data)) => pack_plain(block, &F32Words { data: data.as_ptr(), stride }),
            (Word::Bf16Pair, View::Bf16(data)) => pack_plain(block, &Bf16Pairs { data: data.as_ptr(), stride, k }),
            (Word::Bf16Pair, View::F32(data)) if isa == Isa::Avx512Bf16 => {
                pack_rounding(block, &F32Pairs { data: data.as_ptr(), stride, k })
            }
            _ => portable::pack(isa, word, operand, block),
        }
    }
}

/// # Safety
/// As for [`pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn pack_plain<S: Source>(block: &Block, source: &S) {
    // SAFETY: the caller keeps the same contract.
    unsafe { block.pack(source) }
}

/// # Safety
/// As for [`pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn pack_rounding<S: Source>(block: &Block, source: &S) {
    // SAFETY: the caller keeps the same contract.
    unsafe { block.pack(source) }
}

/// The first `n` of 16, `n` being more than 16 included.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    if n < 16 { (1 << n) - 1 } else { !0 }
}

/// The first `n` of 32.
#[inline(always)]
fn first_of_32(n: usize) -> __mmask32 {
    if n < 32 { (1 << n) - 1 } else { !0 }
}

struct F32Words {
    data: *const f32,
    stride: usize,
}

impl Source for F32Words {
    type Words = __m512i;

    #[inline(always)]
    fn prefetch_across(&self, step: usize, line: usize) {
        prefetch(self.data.wrapping_add(step * self.stride + line));
    }

    #[inline(always)]
    unsafe fn across(&self, step: usize, line: usize, n: usize) -> __m512i {
        // SAFETY: the packing function enables the instructions, here and below; what is selected is stored.
        unsafe { _mm512_maskz_loadu_epi32(first(n), self.data.add(step * self.stride + line).cast()) }
    }

    #[inline(always)]
    fn prefetch_along(&self, line: usize, step: usize) {
        prefetch(self.data.wrapping_add(line * self.stride + step));
    }

    #[inline(always)]
    unsafe fn along(&self, line: usize, step: usize, n: usize) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_maskz_loadu_epi32(first(n), self.data.add(line * self.stride + step).cast()) }
    }
}

struct Bf16Pairs {
    data: *const bf16,
    stride: usize,
    k: usize,
}

impl Source for Bf16Pairs {
    type Words = __m512i;

    #[inline(always)]
    fn prefetch_across(&self, step: usize, line: usize) {
        let row = self.data.wrapping_add(2 * step * self.stride + line);
        prefetch(row);
        prefetch(row.wrapping_add(self.stride));
    }

    #[inline(always)]
    unsafe fn across(&self, step: usize, line: usize, n: usize) -> __m512i {
        // SAFETY: as above; the second row is read only where K has it.
        unsafe {
            let (row, selected) = (self.data.add(2 * step * self.stride + line), first(n));
            let lower = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(selected, row.cast()));
            let selected = if 2 * step + 1 < self.k { selected } else { 0 };
            let upper = _mm256_maskz_loadu_epi16(selected, row.wrapping_add(self.stride).cast());
            _mm512_or_si512(lower, _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(upper)))
        }
    }

    #[inline(always)]
    fn prefetch_along(&self, line: usize, step: usize) {
        prefetch(self.data.wrapping_add(line * self.stride + 2 * step));
    }

    #[inline(always)]
    unsafe fn along(&self, line: usize, step: usize, n: usize) -> __m512i {
        // SAFETY: as above.
        unsafe {
            let selected = first_of_32((2 * n).min(self.k - 2 * step));
            _mm512_maskz_loadu_epi16(selected, self.data.add(line * self.stride + 2 * step).cast())
        }
    }
}

struct F32Pairs {
    data: *const f32,
    stride: usize,
    k: usize,
}

/// Two vectors of f32 rounded to bf16, one behind the other.
#[inline(always)]
unsafe fn round_both(lower: __m512, upper: __m512) -> __m512i {
    // SAFETY: the packing function enables the instructions; both types are 512 bits of anything.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(upper, lower)) }
}

/// Takes the lower and the upper half in turns.
const TURNS: [u16; 32] = {
    let mut turns = [0; 32];
    let mut i = 0;
    while i < 32 {
        turns[i] = (i / 2 + i % 2 * 16) as u16;
        i += 1;
    }
    turns
};

impl Source for F32Pairs {
    type Words = __m512i;

    #[inline(always)]
    fn prefetch_across(&self, step: usize, line: usize) {
        let row = self.data.wrapping_add(2 * step * self.stride + line);
        prefetch(row);
        prefetch(row.wrapping_add(self.stride));
    }

    #[inline(always)]
    unsafe fn across(&self, step: usize, line: usize, n: usize) -> __m512i {
        // SAFETY: as above; the second row is read only where K has it.
        unsafe {
            let (row, selected) = (self.data.add(2 * step * self.stride + line), first(n));
            let lower = _mm512_maskz_loadu_ps(selected, row);
            let selected = if 2 * step + 1 < self.k { selected } else { 0 };
            let upper = _mm512_maskz_loadu_ps(selected, row.wrapping_add(self.stride));
            _mm512_permutexvar_epi16(_mm512_loadu_si512(TURNS.as_ptr().cast()), round_both(lower, upper))
        }
    }

    #[inline(always)]
    fn prefetch_along(&self, line: usize, step: usize) {
        let row = self.data.wrapping_add(line * self.stride + 2 * step);
        prefetch(row);
        prefetch(row.wrapping_add(16));
    }

    #[inline(always)]
    unsafe fn along(&self, line: usize, step: usize, n: usize) -> __m512i {
        // SAFETY: as above.
        unsafe {
            let n = (2 * n).min(self.k - 2 * step);
            let start = self.data.add(line * self.stride + 2 * step);
            let lower = _mm512_maskz_loadu_ps(first(n), start);
            let upper = _mm512_maskz_loadu_ps(first(n.saturating_sub(16)), start.wrapping_add(16));
            round_both(lower, upper)
        }
    }
}

impl Words for __m512i {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the packing function enables the instructions, here and below.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u32, n: usize) {
        // SAFETY: as above; the words stored are the target's.
        unsafe { _mm512_mask_storeu_epi32(to.cast(), first(n), self) }
    }

    #[inline(always)]
    unsafe fn transpose(rows: [Self; N]) -> [Self; N] {
        // SAFETY: as above; they touch registers only.
        unsafe {
            let zero = _mm512_setzero_si512();
            // In every 128 bits: pairs of rows, then four rows of one column.
            let (mut pairs, mut fours) = ([zero; 16], [zero; 16]);
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
            }
            for i in 0..4 {
                fours[4 * i] = _mm512_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
                fours[4 * i + 1] = _mm512_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
                fours[4 * i + 2] = _mm512_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
                fours[4 * i + 3] = _mm512_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
            }
            // `fours[4·i + j]` has rows 4·i to 4·i + 3 of columns j, j + 4, j + 8, j + 12.
            let mut columns = [zero; 16];
            for j in 0..4 {
                let even = _mm512_shuffle_i32x4::<0x88>(fours[j], fours[4 + j]);
                let odd = _mm512_shuffle_i32x4::<0xdd>(fours[j], fours[4 + j]);
                let even_below = _mm512_shuffle_i32x4::<0x88>(fours[8 + j], fours[12 + j]);
                let odd_below = _mm512_shuffle_i32x4::<0xdd>(fours[8 + j], fours[12 + j]);
                columns[j] = _mm512_shuffle_i32x4::<0x88>(even, even_below);
                columns[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even, even_below);
                columns[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd, odd_below);
                columns[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_below);
            }
            columns
        }
    }
}
