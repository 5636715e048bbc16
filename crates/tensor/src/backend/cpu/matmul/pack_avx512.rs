//! Packing by vectors of 16 words, and blocks of 16 steps by 16 lines where the words are to be transposed.

use super::pack::{Operand, Target, Word};
use crate::backend::cpu::isa::Isa;
use crate::dtype::View;
use half::bf16;
use std::arch::x86_64::*;
use std::ops::Range;

/// Packs like [`super::pack::pack`] and returns true, or returns false where it has no way.
///
/// # Safety
/// As there; the processor has the instructions of `isa`, which are [`Isa::Avx512`] at least.
pub(super) unsafe fn pack(
    isa: Isa,
    word: Word,
    operand: &Operand<'_>,
    steps: Range<usize>,
    lines: Range<usize>,
    target: Target,
) -> bool {
    let Operand { data, stride, across, k } = *operand;
    let block = Block { across, steps, lines, target };
    // SAFETY: the caller keeps the same contract.
    unsafe {
        match (word, data) {
            (Word::F32, View::F32(data)) => block.pack(&F32Words { data: data.as_ptr(), stride }),
            (Word::Bf16Pair, View::Bf16(data)) => block.pack(&Bf16Pairs { data: data.as_ptr(), stride, k }),
            (Word::Bf16Pair, View::F32(data)) if isa == Isa::Avx512Bf16 => {
                block.pack_rounded(&F32Pairs { data: data.as_ptr(), stride, k })
            }
            _ => return false,
        }
    }
    true
}

/// Makes words of what is stored. All methods are compiled into a function that enables the instructions they need.
trait Source {
    /// The words of one step and the selected lines from `line` on; the others are 0. For rows that run across the lines.
    unsafe fn across(&self, step: usize, line: usize, selected: __mmask16) -> __m512i;

    /// The words of one line and `n` steps from `step` on; the others are 0. For rows that run along K.
    unsafe fn along(&self, line: usize, step: usize, n: usize) -> __m512i;
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
    #[inline(always)]
    unsafe fn across(&self, step: usize, line: usize, selected: __mmask16) -> __m512i {
        // SAFETY: the packing function enables the instructions, here and below; what is selected is stored.
        unsafe { _mm512_maskz_loadu_epi32(selected, self.data.add(step * self.stride + line).cast()) }
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
    #[inline(always)]
    unsafe fn across(&self, step: usize, line: usize, selected: __mmask16) -> __m512i {
        // SAFETY: as above; the second row is read only where K has it.
        unsafe {
            let row = self.data.add(2 * step * self.stride + line);
            let lower = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(selected, row.cast()));
            let selected = if 2 * step + 1 < self.k { selected } else { 0 };
            let upper = _mm256_maskz_loadu_epi16(selected, row.wrapping_add(self.stride).cast());
            _mm512_or_si512(lower, _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(upper)))
        }
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
    #[inline(always)]
    unsafe fn across(&self, step: usize, line: usize, selected: __mmask16) -> __m512i {
        // SAFETY: as above; the second row is read only where K has it.
        unsafe {
            let row = self.data.add(2 * step * self.stride + line);
            let lower = _mm512_maskz_loadu_ps(selected, row);
            let selected = if 2 * step + 1 < self.k { selected } else { 0 };
            let upper = _mm512_maskz_loadu_ps(selected, row.wrapping_add(self.stride));
            _mm512_permutexvar_epi16(_mm512_loadu_si512(TURNS.as_ptr().cast()), round_both(lower, upper))
        }
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

/// What is to be packed where.
struct Block {
    across: bool,
    steps: Range<usize>,
    lines: Range<usize>,
    target: Target,
}

impl Block {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn pack<S: Source>(&self, source: &S) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.pack_words(source) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn pack_rounded<S: Source>(&self, source: &S) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.pack_words(source) }
    }

    #[inline(always)]
    unsafe fn pack_words<S: Source>(&self, source: &S) {
        // SAFETY: the caller keeps the same contract.
        unsafe {
            match (self.across, self.target.line_stride == 1) {
                (true, true) => self.copy_steps(source),
                (false, false) => self.copy_lines(source),
                _ => self.transpose(source),
            }
        }
    }

    /// Rows across the lines become steps of a panel.
    #[inline(always)]
    unsafe fn copy_steps<S: Source>(&self, source: &S) {
        for (i, step) in self.steps.clone().enumerate() {
            for (j, line) in self.lines.clone().step_by(16).enumerate() {
                let selected = first(self.lines.end - line);
                // SAFETY: the lines selected are stored, and their words are the target's.
                unsafe {
                    let to = self.target.start.add(i * self.target.step_stride + 16 * j);
                    _mm512_mask_storeu_epi32(to.cast(), selected, source.across(step, line, selected));
                }
            }
        }
    }

    /// Rows along K become packed rows.
    #[inline(always)]
    unsafe fn copy_lines<S: Source>(&self, source: &S) {
        for (i, line) in self.lines.clone().enumerate() {
            for (j, step) in self.steps.clone().step_by(16).enumerate() {
                let n = self.steps.end - step;
                // SAFETY: the steps selected are stored, and their words are the target's.
                unsafe {
                    let to = self.target.start.add(i * self.target.line_stride + 16 * j);
                    _mm512_mask_storeu_epi32(to.cast(), first(n), source.along(line, step, n.min(16)));
                }
            }
        }
    }

    /// Rows across the lines become packed rows, or rows along K become steps of a panel.
    #[inline(always)]
    unsafe fn transpose<S: Source>(&self, source: &S) {
        for step in self.steps.clone().step_by(16) {
            for line in self.lines.clone().step_by(16) {
                let n_steps = (self.steps.end - step).min(16);
                let n_lines = (self.lines.end - line).min(16);
                // SAFETY: steps and lines are stored, and their words are the target's.
                unsafe {
                    let to = self.target.start.add(
                        (step - self.steps.start) * self.target.step_stride
                            + (line - self.lines.start) * self.target.line_stride,
                    );
                    if self.across {
                        self.transpose_steps(source, step..step + n_steps, line..line + n_lines, to);
                    } else {
                        self.transpose_lines(source, step..step + n_steps, line..line + n_lines, to);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_steps<S: Source>(&self, source: &S, steps: Range<usize>, lines: Range<usize>, to: *mut u32) {
        // SAFETY: the caller keeps the same contract.
        unsafe {
            let mut words = [_mm512_setzero_si512(); 16];
            for (i, words) in words.iter_mut().enumerate().take(steps.len()) {
                *words = source.across(steps.start + i, lines.start, first(lines.len()));
            }
            let words = transposed(words);
            for (i, &words) in words.iter().enumerate().take(lines.len()) {
                _mm512_mask_storeu_epi32(to.add(i * self.target.line_stride).cast(), first(steps.len()), words);
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_lines<S: Source>(&self, source: &S, steps: Range<usize>, lines: Range<usize>, to: *mut u32) {
        // SAFETY: the caller keeps the same contract.
        unsafe {
            let mut words = [_mm512_setzero_si512(); 16];
            for (i, words) in words.iter_mut().enumerate().take(lines.len()) {
                *words = source.along(lines.start + i, steps.start, steps.len());
            }
            let words = transposed(words);
            for (i, &words) in words.iter().enumerate().take(steps.len()) {
                _mm512_mask_storeu_epi32(to.add(i * self.target.step_stride).cast(), first(lines.len()), words);
            }
        }
    }
}

/// Word j of vector i becomes word i of vector j.
#[inline(always)]
unsafe fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
    // SAFETY: the packing function enables the instructions; they touch registers only.
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
