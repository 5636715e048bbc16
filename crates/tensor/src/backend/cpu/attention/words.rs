//! The small matrix products of attention and the form of their operands, by the kernels and the packing of
//! [`matmul`](crate::backend::cpu::matmul).
//!
//! Operands are made of 32-bit *words*, each one step of a sum: one f32, or two neighbours along the sum as bf16. An
//! element of a product is one chain of multiply-adds in the order of the steps, whatever tile it falls into.

use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::lanes::MAX_LANES;
use crate::backend::cpu::matmul::kernel::{KernelSet, MAX_ROWS, TileRun};
use crate::backend::cpu::matmul::pack::{Operand, Target, Word, pack};
use crate::backend::cpu::prefetch::{self, prefetch_second_level};
use crate::backend::cpu::shared_view::Start;
use crate::dtype::View;
use std::ops::Range;

/// Products are a multiple of this wide.
pub(super) const GRAIN: usize = MAX_LANES;

/// How operands are stored and multiplied.
#[derive(Clone, Copy)]
pub(super) struct Words {
    isa: Isa,
    word: Word,
    kernels: &'static KernelSet,
}

/// The left-hand side of a product: word (i, step) at `i · row_stride + step · step_stride`.
#[derive(Clone, Copy)]
pub(super) struct Lhs<'a> {
    pub(super) words: &'a [f32],
    pub(super) row_stride: usize,
    pub(super) step_stride: usize,
}

/// The right-hand side of a product: word (step, j) at `step · stride + j`.
#[derive(Clone, Copy)]
pub(super) struct Rhs<'a> {
    pub(super) words: &'a [f32],
    pub(super) stride: usize,
}

/// The result of a product: element (i, j) at `i · stride + j`.
pub(super) struct Sums<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) stride: usize,
    /// Adds to what is there.
    pub(super) accumulate: bool,
}

impl Words {
    /// Pairs of bf16 where one is asked for and the processor multiplies them, else f32.
    pub(super) fn new(isa: Isa, wants_bf16: bool) -> Self {
        if wants_bf16 && isa == Isa::Avx512Bf16 {
            Self { isa, word: Word::Bf16Pair, kernels: KernelSet::bf16(isa) }
        } else {
            Self { isa, word: Word::F32, kernels: KernelSet::f32(isa) }
        }
    }

    /// Whether a word holds two elements.
    pub(super) fn are_pairs(&self) -> bool {
        self.word == Word::Bf16Pair
    }

    /// Steps of a sum over `n` elements.
    pub(super) fn n_steps(&self, n: usize) -> usize {
        self.word.n_steps(n)
    }

    /// c (+)= a·b
    ///
    /// # Panics
    /// When an operand is too short, or the product not a multiple of [`GRAIN`] wide.
    #[inline(always)]
    pub(super) fn multiply(&self, [n_rows, n_steps, n_columns]: [usize; 3], a: Lhs<'_>, b: Rhs<'_>, c: Sums<'_>) {
        assert!(n_rows > 0 && n_steps > 0 && n_columns > 0 && n_columns.is_multiple_of(GRAIN), "a product has a size");
        assert!((n_rows - 1) * a.row_stride + (n_steps - 1) * a.step_stride < a.words.len(), "a holds the product");
        assert!((n_steps - 1) * b.stride + n_columns <= b.words.len(), "b holds the product");
        assert!((n_rows - 1) * c.stride + n_columns <= c.values.len(), "c holds the product");
        let width_max = self.kernels.n_lanes * self.kernels.n_vectors;
        for row in (0..n_rows).step_by(MAX_ROWS) {
            let height = (n_rows - row).min(MAX_ROWS);
            let mut column = 0;
            while column < n_columns {
                let width = (n_columns - column).min(width_max);
                let tile = c.values[row * c.stride + column..].as_mut_ptr();
                let run = TileRun {
                    a: a.words[row * a.row_stride..].as_ptr().cast(),
                    a_stride_bytes: 4 * a.row_stride,
                    a_step_bytes: 4 * a.step_stride,
                    b: b.words[column..].as_ptr().cast(),
                    b_stride: b.stride,
                    n_steps,
                    half_step: false,
                    sums: c.accumulate.then_some(tile.cast_const()),
                    sums_stride: c.stride,
                    to: Start::F32(tile),
                    to_stride: c.stride,
                };
                // SAFETY: the kernels are those of an available instruction set; the operands have just been checked.
                unsafe { self.kernels.kernel(height, width)(&run) };
                column += width;
            }
        }
    }

    /// Rows with the sums running down the columns as they lie in memory, where that is what [`Words::down`] would make.
    pub(super) fn in_place<'a>(&self, from: Rows<'a>) -> Option<Rhs<'a>> {
        match from.data {
            View::F32(words) if !self.are_pairs() => Some(Rhs { words, stride: from.stride }),
            _ => None,
        }
    }

    /// Packs rows as they are, each a sum: word (row, step) at `row · stride + step` of `to`.
    pub(super) fn along(&self, from: Rows<'_>, to: &mut [f32], stride: usize) {
        let operand = Operand { data: from.data, stride: from.stride, across: false, k: from.width };
        let n_steps = self.n_steps(from.width);
        self.pack(&operand, from.n_rows, n_steps, to, [stride, 1]);
    }

    /// Packs rows, each a sum, side by side: word (step, row) at `step · stride + row` of `to`.
    pub(super) fn across(&self, from: Rows<'_>, to: &mut [f32], stride: usize) {
        let operand = Operand { data: from.data, stride: from.stride, across: false, k: from.width };
        self.pack(&operand, from.n_rows, self.n_steps(from.width), to, [1, stride]);
    }

    /// Packs rows with the sums running down the columns: word (step, column) at `step · stride + column` of `to`.
    pub(super) fn down(&self, from: Rows<'_>, to: &mut [f32], stride: usize) {
        let operand = Operand { data: from.data, stride: from.stride, across: true, k: from.n_rows };
        self.pack(&operand, from.width, self.n_steps(from.n_rows), to, [1, stride]);
    }

    fn pack(&self, operand: &Operand<'_>, n_lines: usize, n_steps: usize, to: &mut [f32], strides: [usize; 2]) {
        if n_lines == 0 || n_steps == 0 {
            return;
        }
        let [line_stride, step_stride] = strides;
        assert!((n_lines - 1) * line_stride + (n_steps - 1) * step_stride < to.len(), "the target has room");
        let (n_rows, width) = if operand.across { (operand.k, n_lines) } else { (n_lines, operand.k) };
        assert!((n_rows - 1) * operand.stride + width <= operand.data.len(), "the rows are there");
        let target = Target { start: to.as_mut_ptr().cast(), step_stride, line_stride };
        // SAFETY: source and target have just been checked, and the target is borrowed.
        unsafe { pack(self.isa, self.word, operand, 0..n_steps, 0..n_lines, target) };
    }
}

/// Rows of a matrix in memory.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// From the first element of the first row on.
    pub(super) data: View<'a>,
    pub(super) n_rows: usize,
    /// Elements from one row to the next.
    pub(super) stride: usize,
    /// Elements in a row.
    pub(super) width: usize,
}

impl Rows<'_> {
    /// Asks for the rows, to be read soon.
    pub(super) fn prefetch(&self) {
        let size = self.data.dtype().size_bytes();
        let start = match self.data {
            View::F32(data) => data.as_ptr().cast::<u8>(),
            View::Bf16(data) => data.as_ptr().cast(),
        };
        prefetch::rows(start, [self.n_rows, self.width * size], self.stride * size, prefetch_second_level);
    }
}

impl Words {
    /// Rows of words as the matrix that they are made of.
    pub(super) fn rows<'a>(&self, words: &'a [f32], n_steps: usize) -> Rows<'a> {
        let n_rows = words.len() / n_steps;
        if self.are_pairs() {
            Rows { data: View::Bf16(bytemuck::cast_slice(words)), n_rows, stride: 2 * n_steps, width: 2 * n_steps }
        } else {
            Rows { data: View::F32(words), n_rows, stride: n_steps, width: n_steps }
        }
    }

    /// The `columns` of `n_rows` rows of f32, `stride` apart, as the left-hand side of a sum along the rows. `memory` is
    /// room for words where these are something else.
    pub(super) fn weights_along<'a>(
        &self,
        rows: &'a [f32],
        stride: usize,
        n_rows: usize,
        columns: &Range<usize>,
        memory: &'a mut [f32],
    ) -> Lhs<'a> {
        if !self.are_pairs() {
            return Lhs { words: &rows[columns.start..], row_stride: stride, step_stride: 1 };
        }
        let n_steps = self.n_steps(columns.len());
        let from = Rows { data: View::F32(&rows[columns.start..]), n_rows, stride, width: columns.len() };
        self.along(from, memory, n_steps);
        Lhs { words: memory, row_stride: n_steps, step_stride: 1 }
    }
}

/// The multiples of [`GRAIN`], counted from the start of `block`, that hold the keys `seen`.
pub(super) fn grains(block: &Range<usize>, seen: &Range<usize>) -> Range<usize> {
    if seen.is_empty() {
        return 0..0;
    }
    (seen.start - block.start) / GRAIN * GRAIN..(seen.end - block.start).next_multiple_of(GRAIN)
}
