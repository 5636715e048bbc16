//! Rearranges operands for the kernels: B into panels, A into rows, with transposition and rounding on the way.
//!
//! Both are the same task. An operand is a set of *lines* along K (the columns of B, the rows of A), cut into *steps* of
//! one word (see [`super::kernel`]). Word (step, line) goes to `step · step_stride + line · line_stride`; in a panel the
//! lines lie side by side, in packed rows the steps do.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::backend::Matrix;
use crate::backend::cpu::isa::Isa;
use crate::dtype::View;
use std::ops::Range;

/// What a word of a packed operand holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// An f32 of one place along K.
    F32,
    /// An f32 of one place along K, rounded to bf16.
    RoundedF32,
    /// The bf16 of two consecutive places along K, the earlier in the lower half.
    Bf16Pair,
}

impl Word {
    /// Words in a line of `k` elements; the last is filled up with 0.
    pub(crate) fn n_steps(self, k: usize) -> usize {
        match self {
            Word::F32 => k,
            // Multiplied in pairs.
            Word::RoundedF32 => k.next_multiple_of(2),
            Word::Bf16Pair => k.div_ceil(2),
        }
    }
}

/// A matrix as lines along K.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) data: View<'a>,
    /// Elements from one stored row to the next.
    pub(crate) stride: usize,
    /// Whether a stored row holds one place along K of all lines (else it is a line).
    pub(crate) across: bool,
    /// Elements in a line.
    pub(crate) k: usize,
}

impl<'a> Operand<'a> {
    /// The rows of a: [m, k].
    pub(crate) fn lhs(a: Matrix<'a>, k: usize) -> Self {
        Self { data: a.data, stride: a.row_stride, across: a.transposed, k }
    }

    /// The columns of b: [k, n].
    pub(crate) fn rhs(b: Matrix<'a>, k: usize) -> Self {
        Self { data: b.data, stride: b.row_stride, across: !b.transposed, k }
    }
}

/// Where the words go.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// Word (first step, first line).
    pub(crate) start: *mut u32,
    /// Words from step to step.
    pub(crate) step_stride: usize,
    /// Words from line to line.
    pub(crate) line_stride: usize,
}

/// Packs the given steps of the given lines.
///
/// # Safety
/// Nobody else uses the words of the target, which are valid; the matrix has the lines.
///
/// # Panics
/// When the target is neither a panel (its `line_stride` 1) nor packed rows (its `step_stride` 1).
pub(crate) unsafe fn pack(
    isa: Isa,
    word: Word,
    operand: &Operand<'_>,
    steps: Range<usize>,
    lines: Range<usize>,
    target: Target,
) {
    assert!(target.line_stride == 1 || target.step_stride == 1, "words are packed side by side");
    let block = Block { across: operand.across, steps, lines, target };
    // SAFETY: the caller keeps the same contract, and `isa` is available.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 => avx512::pack(isa, word, operand, &block),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::pack(word, operand, &block),
            _ => portable::pack(isa, word, operand, &block),
        }
    }
}

/// Makes words of what is stored, [`N`] at a time.
trait Source {
    /// A vector of words.
    type Words: Words;

    /// The words of one step and `n` lines from `line` on; the others are 0. For rows that run across the lines.
    unsafe fn across(&self, step: usize, line: usize, n: usize) -> Self::Words;

    /// Asks for what [`Source::across`] is going to read: rows far apart lie on pages of their own, and the processor does
    /// not foresee them. Steps and lines that do not exist are harmless.
    fn prefetch_across(&self, step: usize, line: usize);

    /// The words of one line and `n` steps from `step` on; the others are 0. For rows that run along K.
    unsafe fn along(&self, line: usize, step: usize, n: usize) -> Self::Words;

    /// As [`Source::prefetch_across`], for [`Source::along`]; where that brings nothing it does nothing.
    #[inline(always)]
    fn prefetch_along(&self, _line: usize, _step: usize) {}
}

/// Words in a vector.
const N: usize = 16;

/// [`N`] words.
trait Words: Copy {
    unsafe fn zero() -> Self;
    /// Stores the first `n`.
    unsafe fn store(self, to: *mut u32, n: usize);
    /// Word j of vector i becomes word i of vector j.
    unsafe fn transpose(rows: [Self; N]) -> [Self; N];
}

/// Steps between a prefetch and its use: on the way down a panel, and from block to block.
const STEPS_AHEAD: usize = 6;
const BLOCK_STEPS_AHEAD: usize = 2 * N;

/// What is to be packed where.
struct Block {
    across: bool,
    steps: Range<usize>,
    lines: Range<usize>,
    target: Target,
}

/// All methods are compiled into functions that enable the instructions of the source. They are called with as much as
/// [`pack`].
impl Block {
    #[inline(always)]
    unsafe fn pack<S: Source>(&self, source: &S) {
        // SAFETY: the caller keeps the same contract.
        unsafe {
            match (self.across, self.target.line_stride == 1) {
                (true, true) => self.copy_steps(source),
                (false, false) => self.copy_lines(source),
                _ => self.transpose(source),
            }
        }
    }

    /// Where the word of a step and a line goes.
    #[inline(always)]
    unsafe fn at(&self, step: usize, line: usize) -> *mut u32 {
        let (step, line) = (step - self.steps.start, line - self.lines.start);
        // SAFETY: it is a word of the target.
        unsafe { self.target.start.add(step * self.target.step_stride + line * self.target.line_stride) }
    }

    /// Rows across the lines become steps of a panel.
    #[inline(always)]
    unsafe fn copy_steps<S: Source>(&self, source: &S) {
        for step in self.steps.clone() {
            for line in self.lines.clone().step_by(N) {
                let n = (self.lines.end - line).min(N);
                source.prefetch_across(step + STEPS_AHEAD, line);
                // SAFETY: the lines are stored, and their words are the target's.
                unsafe { source.across(step, line, n).store(self.at(step, line), n) };
            }
        }
    }

    /// Rows along K become packed rows.
    #[inline(always)]
    unsafe fn copy_lines<S: Source>(&self, source: &S) {
        for line in self.lines.clone() {
            for step in self.steps.clone().step_by(N) {
                let n = (self.steps.end - step).min(N);
                // SAFETY: the steps are stored, and their words are the target's.
                unsafe { source.along(line, step, n).store(self.at(step, line), n) };
            }
        }
    }

    /// Rows across the lines become packed rows, or rows along K become steps of a panel.
    #[inline(always)]
    unsafe fn transpose<S: Source>(&self, source: &S) {
        for step in self.steps.clone().step_by(N) {
            for line in self.lines.clone().step_by(N) {
                let n_steps = (self.steps.end - step).min(N);
                let n_lines = (self.lines.end - line).min(N);
                // SAFETY: steps and lines are stored, and their words are the target's.
                unsafe {
                    match (self.across, n_steps == N && n_lines == N) {
                        // Known to be whole, a block stays in registers.
                        (true, true) => self.transpose_steps(source, step, N, line, N),
                        (false, true) => self.transpose_lines(source, step, N, line, N),
                        (true, false) => self.transpose_steps(source, step, n_steps, line, n_lines),
                        (false, false) => self.transpose_lines(source, step, n_steps, line, n_lines),
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_steps<S: Source>(&self, source: &S, step: usize, n_steps: usize, line: usize, n_lines: usize) {
        // SAFETY: the caller keeps the same contract.
        unsafe {
            let mut words = [S::Words::zero(); N];
            for (i, words) in words.iter_mut().enumerate().take(n_steps) {
                source.prefetch_across(step + i + BLOCK_STEPS_AHEAD, line);
                *words = source.across(step + i, line, n_lines);
            }
            let words = S::Words::transpose(words);
            for (i, words) in words.iter().enumerate().take(n_lines) {
                words.store(self.at(step, line + i), n_steps);
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_lines<S: Source>(&self, source: &S, step: usize, n_steps: usize, line: usize, n_lines: usize) {
        // SAFETY: the caller keeps the same contract.
        unsafe {
            let mut words = [S::Words::zero(); N];
            for (i, words) in words.iter_mut().enumerate().take(n_lines) {
                source.prefetch_along(line + i, step + BLOCK_STEPS_AHEAD);
                *words = source.along(line + i, step, n_steps);
            }
            let words = S::Words::transpose(words);
            for (i, words) in words.iter().enumerate().take(n_steps) {
                words.store(self.at(step + i, line), n_lines);
            }
        }
    }
}
