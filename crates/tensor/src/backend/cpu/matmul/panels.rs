//! B rearranged into panels, for one call or for many.

use super::halves::{self, Place};
use super::kernel::{KernelSet, Operands};
use super::pack::{self, Operand, Target, Word};
use super::scratch::Scratch;
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::packed::{Found, Packed, Use};
use crate::backend::cpu::pool::{Pool, chunks};
use crate::backend::{Elements, Matrix, PackedMatrix};
use crate::dtype::{DType, View};
use crate::quant::Half;
use std::ops::Range;
use std::sync::OnceLock;

/// Where the words of each panel are: one panel behind the other, each step by step. The last panel is only as many vectors
/// wide as it needs, and filled up with 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PanelLayout {
    /// Columns of the matrix.
    pub(super) n: usize,
    /// Words in a column.
    pub(super) n_steps: usize,
    /// Columns of a full panel.
    full_width: usize,
    pub(super) n_lanes: usize,
}

impl PanelLayout {
    pub(super) fn new(kernels: &KernelSet, n: usize, n_steps: usize) -> Self {
        Self { n, n_steps, full_width: kernels.panel_width(), n_lanes: kernels.n_lanes }
    }

    pub(super) fn n_panels(&self) -> usize {
        self.n.div_ceil(self.full_width)
    }

    /// Columns of the matrix in a panel.
    pub(super) fn columns(&self, panel: usize) -> Range<usize> {
        let first = panel * self.full_width;
        first..self.n.min(first + self.full_width)
    }

    /// Columns stored in a panel.
    pub(super) fn width(&self, panel: usize) -> usize {
        self.columns(panel).len().next_multiple_of(self.n_lanes)
    }

    /// First word of a panel.
    pub(super) fn offset(&self, panel: usize) -> usize {
        panel * self.full_width * self.n_steps
    }

    /// Words of all panels.
    pub(super) fn n_words(&self) -> usize {
        self.n.next_multiple_of(self.n_lanes) * self.n_steps
    }

    /// Words of a full panel.
    pub(super) fn n_panel_words(&self) -> usize {
        self.full_width * self.n_steps
    }

    /// Packs some steps of a panel that starts at `start`.
    ///
    /// # Safety
    /// The panel's words are valid and nobody else uses those of the steps; `b` has the columns.
    pub(super) unsafe fn pack(
        &self,
        isa: Isa,
        word: Word,
        b: &Operand<'_>,
        panel: usize,
        steps: Range<usize>,
        start: *mut u32,
    ) {
        let (columns, width) = (self.columns(panel), self.width(panel));
        // SAFETY: the caller keeps the same contract.
        unsafe {
            let start = start.add(steps.start * width);
            if columns.len() < width {
                std::slice::from_raw_parts_mut(start, steps.len() * width).fill(0);
            }
            pack::pack(isa, word, b, steps, columns, Target { start, step_stride: width, line_stride: 1 });
        }
    }
}

/// What this backend keeps of a [`PackedMatrix`].
#[derive(Debug)]
pub(super) struct PackedPanels {
    layout: PanelLayout,
    words: Packed<Scratch>,
    /// For an f32 matrix: the same rounded to bf16, made when a bf16 left-hand side first asks for it.
    rounded: OnceLock<Scratch>,
}

impl PackedPanels {
    pub(super) fn new(layout: PanelLayout, words: Packed<Scratch>) -> Self {
        Self { layout, words, rounded: OnceLock::new() }
    }

    /// What `packed` has for a product of these operands: the words of all panels, or, where `may_be_stored`, rows that panels
    /// are to be made of.
    ///
    /// # Panics
    /// When the matrix was packed by another kind of backend.
    pub(super) fn of<'a>(
        packed: &'a PackedMatrix,
        pool: &Pool,
        isa: Isa,
        operands: Operands,
        may_be_stored: bool,
    ) -> Found<'a, Scratch> {
        let own = Self::in_matrix(packed);
        let kernels = KernelSet::of(isa, operands);
        assert_eq!(own.layout.full_width, kernels.panel_width(), "a matrix is packed for other vector instructions");
        match own.find(pool, isa, Use::Product, may_be_stored) {
            Found::Packed(words) if operands == Operands::Bf16 && packed.elements == Elements::Plain(DType::F32) => {
                Found::Packed(own.rounded.get_or_init(|| own.round(pool, isa, packed.n_rows, words, kernels)))
            }
            found => found,
        }
    }

    fn in_matrix(packed: &PackedMatrix) -> &Self {
        packed.panels.downcast_ref().expect("a matrix packed by a cpu backend")
    }

    fn find(&self, pool: &Pool, isa: Isa, wanted: Use, may_be_stored: bool) -> Found<'_, Scratch> {
        self.words.find(wanted, may_be_stored, |parts| halves::pack_all(pool, isa, &self.layout, parts))
    }

    fn round(&self, pool: &Pool, isa: Isa, k: usize, words: &Scratch, kernels: &KernelSet) -> Scratch {
        let layout = PanelLayout::new(kernels, self.layout.n, Word::Bf16Pair.n_steps(k));
        let mut rounded = Scratch::default();
        let start = SendPtr(rounded.words(layout.n_words()).as_mut_ptr());
        pool.run(layout.n_panels(), &|panel| {
            let width = layout.width(panel);
            // SAFETY: the panel of f32 has `k` steps of `width` words; every bit pattern is an f32.
            let values = unsafe {
                std::slice::from_raw_parts(words.as_ptr().add(self.layout.offset(panel)).cast::<f32>(), k * width)
            };
            let source = Operand::rhs(Matrix::new(View::F32(values), width), k);
            // SAFETY: every task writes its own panel.
            unsafe {
                let start = start.get().add(layout.offset(panel));
                let target = Target { start, step_stride: width, line_stride: 1 };
                pack::pack(isa, Word::Bf16Pair, &source, 0..layout.n_steps, 0..width, target);
            }
        });
        rounded
    }
}

/// Rearranges b: [k, n] for repeated use.
pub(in crate::backend::cpu) fn pack(pool: &Pool, isa: Isa, b: Matrix<'_>, k: usize, n: usize) -> PackedMatrix {
    b.check("b", k, n);
    let dtype = b.data.dtype();
    let (word, kernels) = match dtype {
        DType::F32 => (Word::F32, KernelSet::of(isa, Operands::F32)),
        DType::Bf16 => (Word::Bf16Pair, KernelSet::of(isa, Operands::Bf16)),
    };
    let layout = PanelLayout::new(kernels, n, word.n_steps(k));
    let (b, mut words) = (Operand::rhs(b, k), Scratch::default());
    let start = SendPtr(words.words(layout.n_words()).as_mut_ptr());
    pool.run(layout.n_panels(), &|panel| {
        // SAFETY: every task writes its own panel, and the words outlive the call.
        unsafe { layout.pack(isa, word, &b, panel, 0..layout.n_steps, start.get().add(layout.offset(panel))) };
    });
    let panels = PackedPanels::new(layout, Packed::at_once(words));
    let (elements, n_bytes) = (Elements::Plain(dtype), 4 * layout.n_words());
    PackedMatrix { n_rows: k, n_columns: n, elements, n_bytes, panels: Box::new(panels) }
}

/// The numbers of some columns, one behind the other.
pub(in crate::backend::cpu) fn unpack(pool: &Pool, isa: Isa, packed: &PackedMatrix, columns: &[u32], out: &mut [f32]) {
    let own = PackedPanels::in_matrix(packed);
    let (layout, k) = (own.layout, packed.n_rows);
    let words = match own.find(pool, isa, Use::Unpack, true) {
        Found::Packed(words) => words,
        Found::Stored(parts) => {
            let read = |i: usize, out: &mut [f32]| halves::read_column(parts, columns[i] as usize, out);
            return pool.for_each(chunks(out, k.max(1)), read);
        }
    };
    pool.for_each(chunks(out, k.max(1)), |i, out| {
        let column = columns[i] as usize;
        let panel = column / layout.full_width;
        let (width, lane) = (layout.width(panel), column % layout.full_width);
        // SAFETY: the panel has the words.
        let word =
            |step: usize, lane: usize| unsafe { *words.as_ptr().add(layout.offset(panel) + step * width + lane) };
        for (row, out) in out.iter_mut().enumerate() {
            *out = match packed.elements {
                Elements::Plain(DType::F32) => f32::from_bits(word(row, lane)),
                Elements::Halves(Half::F16) => {
                    let place = Place::of_f16(lane, row % 2, layout.n_lanes);
                    Half::F16.widen((word(row / 2, place.word) >> place.shift) as u16)
                }
                _ => Half::Bf16.widen((word(row / 2, lane) >> (16 * (row % 2))) as u16),
            };
        }
    });
}

/// A pointer that tasks share, each to write to words of its own.
#[derive(Clone, Copy)]
pub(super) struct SendPtr(pub(super) *mut u32);

// SAFETY: those who use the pointer keep to words of their own, as they say where they do.
unsafe impl Sync for SendPtr {}
// SAFETY: as above.
unsafe impl Send for SendPtr {}

impl SendPtr {
    pub(super) fn get(&self) -> *mut u32 {
        self.0
    }
}
