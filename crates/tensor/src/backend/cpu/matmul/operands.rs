//! The two sides of a product in the form that the kernels read.

use super::halves;
use super::kernel::{KernelSet, Operands};
use super::pack::{Operand, Target, Word, pack};
use super::panels::{PackedPanels, PanelLayout};
use super::plan::BLOCK_ROWS;
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::packed::Found;
use crate::backend::cpu::pool::Pool;
use crate::backend::{Elements, Matmul, Matrix, PackedMatrix, Rhs};
use crate::dtype::View;
use crate::quant::BlockRows;
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
            _ if call.rounds_to_bf16() => Operands::Bf16,
            Rhs::Packed(PackedMatrix { elements: Elements::Halves(half), .. }) => Operands::F32ByHalf(*half),
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
    source: RhsSource<'a>,
}

/// Where panels come from.
enum RhsSource<'a> {
    /// They have been packed before.
    Packed(*const u32),
    /// A matrix as it is multiplied.
    Matrix(Operand<'a>),
    /// Rows as a file stores them.
    Stored(&'a [BlockRows<'static>]),
}

impl<'a> RhsPanels<'a> {
    pub(super) fn new(format: Format, pool: &Pool, call: &Matmul<'a>) -> Self {
        let layout = PanelLayout::new(format.kernels, call.n, format.b_word.n_steps(call.k));
        let source = match call.b {
            Rhs::Matrix(b) => RhsSource::Matrix(Operand::rhs(b, call.k)),
            Rhs::Packed(b) => {
                // Of more rows than a task takes, each task would pack its panels again.
                let may_be_stored = call.m <= BLOCK_ROWS;
                match PackedPanels::of(b, pool, format.isa, format.operands, may_be_stored) {
                    Found::Packed(words) => RhsSource::Packed(words.as_ptr()),
                    Found::Stored(parts) => RhsSource::Stored(parts),
                }
            }
        };
        Self { format, layout, source }
    }

    /// The panels, if they have been packed before.
    pub(super) fn packed(&self) -> Option<*const u32> {
        if let RhsSource::Packed(words) = self.source { Some(words) } else { None }
    }

    /// Packs some steps of a panel that starts at `start`; all of them where rows come from a file.
    ///
    /// # Safety
    /// The panel's words are valid and nobody else uses those of the steps; B has the columns.
    pub(super) unsafe fn pack(&self, panel: usize, steps: Range<usize>, start: *mut u32) {
        match &self.source {
            RhsSource::Packed(_) => panic!("only an unpacked right-hand side is packed"),
            // SAFETY: the caller keeps the same contract.
            RhsSource::Matrix(b) => unsafe {
                self.layout.pack(self.format.isa, self.format.b_word, b, panel, steps, start);
            },
            RhsSource::Stored(parts) => {
                assert_eq!(steps, 0..self.layout.n_steps, "columns are read whole");
                let n_words = self.layout.width(panel) * steps.len();
                // SAFETY: so many words has the panel, and all are this caller's.
                let words = unsafe { std::slice::from_raw_parts_mut(start, n_words) };
                words.fill(0);
                halves::read_panel(self.format.isa, &self.layout, parts, panel, words);
            }
        }
    }
}
