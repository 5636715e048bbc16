//! A quantised matrix rearranged for the kernels.
//!
//! Sixteen columns make a *panel*; a panel is cut into *groups* of 32 steps of K. A group holds its codes, then the scales
//! and then the offsets of its columns as f16, twice as many where 16 elements share them. Codes lie in vectors of 4 steps
//! of all columns, column by column; of 4-bit codes two vectors share bytes, the first in their lower halves. So one
//! vector instruction multiplies 4 steps of 8 or 16 columns, and memory is read from front to back.

use crate::backend::cpu::matmul::scratch::Scratch;
use crate::backend::cpu::pool::{Pool, chunks};
use crate::quant::{BlockRows, Codes, Coding};
use half::f16;
use std::ops::Range;

/// Columns of a panel.
pub(super) const WIDTH: usize = 16;
/// Steps of K in a group.
pub(super) const GROUP: usize = 32;
/// Steps of K in a vector of codes.
const STEPS: usize = 4;
/// Bytes of a vector of codes.
const VECTOR: usize = WIDTH * STEPS;

/// What a [`PackedMatrix`](crate::backend::PackedMatrix) of blocks is to this backend: sections of columns, each stored
/// in one way.
#[derive(Debug)]
pub(super) struct PackedBlocks {
    pub(super) sections: Vec<Section>,
}

/// Neighbouring columns that are stored in the same way.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) coding: Coding,
    /// What 8-bit codes were lowered by, to be signed: [`Coding::zero`], or 0.
    pub(super) lowered: u8,
    /// Of the whole matrix.
    pub(super) columns: Range<usize>,
    pub(super) n_groups: usize,
    words: Scratch,
}

/// A panel of some section.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) section: &'a Section,
    /// First byte of the first group.
    pub(super) start: *const u8,
    /// First column of the whole matrix.
    pub(super) first: usize,
    /// Columns that there are.
    pub(super) n_columns: usize,
}

impl PackedBlocks {
    /// Rearranges rows of blocks, which are the matrix's columns; `signed` asks for 8-bit codes around 0.
    pub(super) fn new(pool: &Pool, parts: &[BlockRows<'_>], signed: bool) -> Self {
        let mut first = 0;
        let section = |rows: &BlockRows<'_>| {
            let columns = first..first + rows.n_rows();
            first = columns.end;
            Section::new(pool, rows, columns, signed)
        };
        Self { sections: parts.iter().map(section).collect() }
    }

    pub(super) fn n_panels(&self) -> usize {
        self.sections.iter().map(Section::n_panels).sum()
    }

    /// A panel, counted through all sections.
    pub(super) fn panel(&self, mut i: usize) -> Panel<'_> {
        for section in &self.sections {
            if i < section.n_panels() {
                return section.panel(i);
            }
            i -= section.n_panels();
        }
        panic!("the matrix has only {} panels", self.n_panels())
    }

    /// The section that has a column of the matrix.
    pub(super) fn section_of(&self, column: usize) -> &Section {
        let found = self.sections.iter().find(|section| section.columns.contains(&column));
        found.unwrap_or_else(|| panic!("the matrix has no column {column}"))
    }
}

impl Section {
    fn new(pool: &Pool, rows: &BlockRows<'_>, columns: Range<usize>, signed: bool) -> Self {
        let coding = rows.format.coding().expect("blocks are packed of formats with codes");
        let lowered = if signed && coding.bits == 8 { coding.zero() } else { 0 };
        let mut section = Self { coding, lowered, columns, n_groups: rows.width / GROUP, words: Scratch::default() };
        let mut words = Scratch::default();
        let n_words = (section.n_panels() * section.panel_bytes()).div_ceil(4);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(words.words(n_words));
        let n_panels = section.n_panels();
        let parts = chunks(&mut bytes[..n_panels * section.panel_bytes()], section.panel_bytes().max(1));
        pool.for_each(parts, |panel, bytes| section.pack(rows, panel, bytes));
        section.words = words;
        section
    }

    pub(super) fn n_panels(&self) -> usize {
        self.columns.len().div_ceil(WIDTH)
    }

    fn panel(&self, i: usize) -> Panel<'_> {
        let first = self.columns.start + i * WIDTH;
        let n_columns = WIDTH.min(self.columns.end - first);
        // SAFETY: the words hold all panels, and this is one of them.
        let start = unsafe { self.words.as_ptr().cast::<u8>().add(i * self.panel_bytes()) };
        Panel { section: self, start, first, n_columns }
    }

    /// Scales of a column in a group.
    pub(super) fn n_scales(&self) -> usize {
        GROUP / self.coding.group_len
    }

    pub(super) fn code_bytes(&self) -> usize {
        GROUP * WIDTH * self.coding.bits / 8
    }

    /// Bytes of the scales, and of the offsets where there are any.
    pub(super) fn scale_bytes(&self) -> usize {
        2 * WIDTH * self.n_scales()
    }

    pub(super) fn group_bytes(&self) -> usize {
        self.code_bytes() + self.scale_bytes() * (1 + usize::from(self.coding.has_offset))
    }

    pub(super) fn panel_bytes(&self) -> usize {
        self.n_groups * self.group_bytes()
    }

    fn pack(&self, rows: &BlockRows<'_>, panel: usize, bytes: &mut [u8]) {
        bytes.fill(0);
        let mut codes = Codes::default();
        let block_groups = rows.format.block_len() / GROUP;
        let first = panel * WIDTH;
        for column in 0..WIDTH.min(self.columns.len() - first) {
            let blocks = rows.row(first + column).chunks_exact(rows.format.block_bytes());
            let groups = bytes.chunks_exact_mut(self.group_bytes() * block_groups);
            for (block, groups) in blocks.zip(groups) {
                rows.format.codes(block, &mut codes);
                for (i, group) in groups.chunks_exact_mut(self.group_bytes()).enumerate() {
                    self.put(&codes, i, column, group);
                }
            }
        }
    }

    /// Puts group `i` of a block into its column.
    fn put(&self, codes: &Codes, i: usize, column: usize, group: &mut [u8]) {
        let (code_bytes, scale_bytes) = (self.code_bytes(), self.scale_bytes());
        let (steps, _) = codes.values[GROUP * i..GROUP * (i + 1)].as_chunks::<STEPS>();
        let words = group[..code_bytes].chunks_exact_mut(VECTOR).map(|vector| &mut vector[column * STEPS..][..STEPS]);
        if self.coding.bits == 4 {
            for (out, pair) in words.zip(steps.chunks_exact(2)) {
                let [lower, upper] = [pair[0], pair[1]].map(u32::from_le_bytes);
                out.copy_from_slice(&(lower | upper << 4).to_le_bytes());
            }
        } else {
            words
                .zip(steps)
                .for_each(|(out, step)| out.copy_from_slice(&step.map(|code| code.wrapping_sub(self.lowered))));
        }
        let (scales, offsets) = group[code_bytes..].split_at_mut(scale_bytes);
        for sub in 0..self.n_scales() {
            let (from, to) = (i * self.n_scales() + sub, 2 * (sub * WIDTH + column));
            scales[to..to + 2].copy_from_slice(&f16::from_f32(codes.scales[from]).to_ne_bytes());
            if self.coding.has_offset {
                offsets[to..to + 2].copy_from_slice(&f16::from_f32(codes.offsets[from]).to_ne_bytes());
            }
        }
    }

    /// The numbers of a column of the whole matrix.
    pub(super) fn unpack(&self, column: usize, out: &mut [f32]) {
        let (panel, column) = ((column - self.columns.start) / WIDTH, (column - self.columns.start) % WIDTH);
        let words = self.words.as_ptr().cast::<u8>();
        // SAFETY: the words hold all panels.
        let bytes = unsafe { std::slice::from_raw_parts(words.add(panel * self.panel_bytes()), self.panel_bytes()) };
        let (code_bytes, scale_bytes) = (self.code_bytes(), self.scale_bytes());
        let zero = f32::from(self.coding.zero());
        for (group, out) in bytes.chunks_exact(self.group_bytes()).zip(out.chunks_exact_mut(GROUP)) {
            let (scales, offsets) = group[code_bytes..].split_at(scale_bytes);
            for (sub, out) in out.chunks_exact_mut(self.coding.group_len).enumerate() {
                let scale = half(scales, sub * WIDTH + column);
                let offset = if self.coding.has_offset { half(offsets, sub * WIDTH + column) } else { 0.0 };
                for (i, out) in out.iter_mut().enumerate() {
                    let code =
                        self.stored_code(group, sub * self.coding.group_len + i, column).wrapping_add(self.lowered);
                    *out = scale * (f32::from(code) - zero) + offset;
                }
            }
        }
    }

    /// The code of step `i` of a group, as it is stored.
    pub(super) fn stored_code(&self, group: &[u8], i: usize, column: usize) -> u8 {
        let (step, at) = (i / STEPS, column * STEPS + i % STEPS);
        match self.coding.bits {
            4 => group[step / 2 * VECTOR + at] >> (step % 2 * 4) & 0xf,
            _ => group[step * VECTOR + at],
        }
    }
}

/// Half `i` of scales or offsets.
pub(super) fn half(bytes: &[u8], i: usize) -> f32 {
    f16::from_ne_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32()
}
