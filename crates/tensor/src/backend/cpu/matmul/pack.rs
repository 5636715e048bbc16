//! Rearranges operands for the kernels: B into panels, A into rows, with transposition and rounding on the way.
//!
//! Both are the same task. An operand is a set of *lines* along K (the columns of B, the rows of A), cut into *steps* of
//! one word (see [`super::kernel`]). Word (step, line) goes to `step · step_stride + line · line_stride`; in a panel the
//! lines lie side by side, in packed rows the steps do.

use crate::backend::Matrix;
use crate::backend::cpu::isa::Isa;
use crate::dtype::View;
use half::bf16;
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
pub(crate) unsafe fn pack(
    isa: Isa,
    word: Word,
    operand: &Operand<'_>,
    steps: Range<usize>,
    lines: Range<usize>,
    target: Target,
) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller keeps the same contract.
    if isa >= Isa::Avx512
        && unsafe { super::pack_avx512::pack(isa, word, operand, steps.clone(), lines.clone(), target) }
    {
        return;
    }
    let _ = isa;
    let scalar = Scalar { operand: *operand, steps, lines, target };
    // SAFETY: the caller keeps the same contract.
    unsafe {
        match (word, operand.data) {
            (Word::F32, View::F32(data)) => scalar.pack(1, |i, _, _| data[i].to_bits()),
            (Word::F32, View::Bf16(data)) => scalar.pack(1, |i, _, _| data[i].to_f32().to_bits()),
            (Word::RoundedF32, View::F32(data)) => scalar.pack(1, |i, _, _| u32::from(round(data[i])) << 16),
            (Word::RoundedF32, View::Bf16(data)) => scalar.pack(1, |i, _, _| u32::from(data[i].to_bits()) << 16),
            (Word::Bf16Pair, View::F32(data)) => scalar.pack(2, |i, next, both| {
                let second = if both { u32::from(round(data[next])) << 16 } else { 0 };
                second | u32::from(round(data[i]))
            }),
            (Word::Bf16Pair, View::Bf16(data)) => scalar.pack(2, |i, next, both| {
                let second = if both { u32::from(data[next].to_bits()) << 16 } else { 0 };
                second | u32::from(data[i].to_bits())
            }),
        }
    }
}

fn round(value: f32) -> u16 {
    bf16::from_f32(value).to_bits()
}

/// Packing word by word, for instruction sets without a faster way.
struct Scalar<'a> {
    operand: Operand<'a>,
    steps: Range<usize>,
    lines: Range<usize>,
    target: Target,
}

impl Scalar<'_> {
    /// `word(i, next, both)` makes a word of elements `i` and, if `both`, `next`.
    ///
    /// # Safety
    /// As for [`pack`].
    #[inline(always)]
    unsafe fn pack(&self, k_of_step: usize, word: impl Fn(usize, usize, bool) -> u32) {
        let Operand { stride, across, k, .. } = self.operand;
        let (k_stride, line_stride) = if across { (stride, 1) } else { (1, stride) };
        let put = |step: usize, line: usize| {
            let first_k = step * k_of_step;
            let i = first_k * k_stride + line * line_stride;
            let value = if first_k < k { word(i, i + k_stride, first_k + 1 < k) } else { 0 };
            let at = (step - self.steps.start) * self.target.step_stride
                + (line - self.lines.start) * self.target.line_stride;
            // SAFETY: the caller vouches for the words of the target.
            unsafe { *self.target.start.add(at) = value };
        };
        // In the order in which the source lies.
        if across {
            self.steps.clone().for_each(|step| self.lines.clone().for_each(|line| put(step, line)));
        } else {
            self.lines.clone().for_each(|line| self.steps.clone().for_each(|step| put(step, line)));
        }
    }
}
