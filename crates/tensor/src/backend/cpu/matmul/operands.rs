//! The two sides of a product in the form that the kernels read.

use super::kernel::{KernelSet, Operands};
use super::pack::{Operand, Target, Word, pack};
use super::panels::{PackedPanels, PanelLayout};
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::pool::Pool;
use crate::backend::{Elements, Matmul, Matrix, PackedMatrix, Rhs};
use crate::dtype::View;
use std::ops::Range;

/// What the elements of a product are stored as while they are multiplied.
#[derive(Clone, Copy)]
pub(super) struct Format {
    isa: Isa,
    pub(super) kernels: &'static KernelSet,
    operands: Operands,
    a_word: Word,
    b_word: Word,
}

impl Format {
    pub(super) fn new(isa: Isa, call: &Matmul<'_>) -> Self {
        let operands = match call.b {
            Rhs::Packed(PackedMatrix { elements: Elements::Halves(half), .. }) => Operands::F32ByHalf(*half),
            _ if call.rounds_to_bf16() => Operands::Bf16,
            _ => Operands::F32,
        };
        let (a_word, b_word) = match (operands, isa) {
            (Operands::F32, _) => (Word::F32, Word::F32),
            (Operands::F32ByHalf(_), _) => (Word::F32, Word::Bf16Pair),
            (Operands::Bf16, Isa::Avx512Bf16) => (Word::Bf16Pair, Word::Bf16Pair),
            (Operands::Bf16, _) => (Word::RoundedF32, Word::Bf16Pair),
        };
        Self { isa, kernels: KernelSet::of(isa, operands), operands, a_word, b_word }
    }

    /// Bytes of a row of A that are multiplied by one word of a column of B.
    pub(super) fn step_bytes(&self) -> usize {
        if self.b_word == self.a_word { 4 } else { 8 }
    }
}

/// Rows of A for the kernels, each contiguous.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) start: *const u8,
    pub(super) stride_bytes: usize,
}

impl Rows {
    /// The rows from `row` on.
    ///
    /// # Safety
    /// There are so many rows.
    pub(super) unsafe fn skip(self, row: usize) -> Self {
        // SAFETY: the caller vouches for it.
        Self { start: unsafe { self.start.add(row * self.stride_bytes) }, ..self }
    }
}

/// The left-hand side.
pub(super) struct LhsRows<'a> {
    format: Format,
    operand: Operand<'a>,
    /// As it lies, if the kernels can read it so.
    pub(super) direct: Option<Rows>,
}

impl<'a> LhsRows<'a> {
    pub(super) fn new(format: Format, a: Matrix<'a>, k: usize) -> Self {
        let start = match (a.data, format.a_word) {
            (View::F32(data), Word::F32) => Some(data.as_ptr().cast::<u8>()),
            (View::Bf16(data), Word::Bf16Pair) => Some(data.as_ptr().cast()),
            _ => None,
        };
        let stride_bytes = a.row_stride * a.data.dtype().size_bytes();
        let direct = start.filter(|_| !a.transposed).map(|start| Rows { start, stride_bytes });
        Self { format, operand: Operand::lhs(a, k), direct }
    }

    /// Whole steps along K. Unless it was packed in pairs, a line may have half a step at its end.
    pub(super) fn n_whole_steps(&self) -> usize {
        match (self.direct, self.format.a_word, self.format.b_word) {
            (Some(_), Word::Bf16Pair, _) | (_, Word::F32, Word::Bf16Pair) => self.operand.k / 2,
            (_, _, b_word) => b_word.n_steps(self.operand.k),
        }
    }

    /// Words from one packed row to the next: an odd number of cache lines, so that rows do not fall into the same few places
    /// of a cache.
    pub(super) fn row_words(&self) -> usize {
        (self.format.a_word.n_steps(self.operand.k).div_ceil(16) | 1) * 16
    }

    /// Rows that have been packed from `start` on.
    pub(super) fn packed(&self, start: *const u32) -> Rows {
        Rows { start: start.cast(), stride_bytes: 4 * self.row_words() }
    }

    /// Packs rows, the first of them to `start`.
    ///
    /// # Safety
    /// The words of these rows are valid and nobody else uses them; A has the rows.
    pub(super) unsafe fn pack(&self, rows: Range<usize>, start: *mut u32) {
        let Format { isa, a_word, .. } = self.format;
        let target = Target { start, step_stride: 1, line_stride: self.row_words() };
        // SAFETY: the caller keeps the same contract.
        unsafe { pack(isa, a_word, &self.operand, 0..a_word.n_steps(self.operand.k), rows, target) };
    }
}

/// The right-hand side.
pub(super) struct RhsPanels<'a> {
    format: Format,
    pub(super) layout: PanelLayout,
    /// What is to be packed; nothing if it has been packed before.
    operand: Option<Operand<'a>>,
    /// The panels, if they have been packed before.
    pub(super) packed: Option<*const u32>,
}

impl<'a> RhsPanels<'a> {
    pub(super) fn new(format: Format, pool: &Pool, call: &Matmul<'a>) -> Self {
        let layout = PanelLayout::new(format.kernels, call.n, format.b_word.n_steps(call.k));
        let (operand, packed) = match call.b {
            Rhs::Matrix(b) => (Some(Operand::rhs(b, call.k)), None),
            Rhs::Packed(b) => (None, Some(PackedPanels::of(b, pool, format.isa, format.operands).as_ptr())),
        };
        Self { format, layout, operand, packed }
    }

    /// Packs some steps of a panel that starts at `start`.
    ///
    /// # Safety
    /// The panel's words are valid and nobody else uses those of the steps; B has the columns.
    pub(super) unsafe fn pack(&self, panel: usize, steps: Range<usize>, start: *mut u32) {
        let b = self.operand.as_ref().expect("only an unpacked right-hand side is packed");
        // SAFETY: the caller keeps the same contract.
        unsafe { self.layout.pack(self.format.isa, self.format.b_word, b, panel, steps, start) };
    }
}
