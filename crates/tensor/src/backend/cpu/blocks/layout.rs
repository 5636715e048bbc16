//! A quantised matrix rearranged for the kernels.
//!
//! Sixteen columns make a *panel*; a panel is cut into *groups* of 32 steps of K. A group holds its codes, then the scales
//! and then the offsets of its columns as f16, twice as many where 16 elements share them. Codes lie in vectors of 4 steps
//! of all columns, column by column; of 4-bit codes two vectors share bytes, the first in their lower halves. So one
//! vector instruction multiplies 4 steps of 8 or 16 columns, and memory is read from front to back.

use crate::backend::cpu::matmul::scratch::Scratch;
use crate::backend::cpu::packed::{Found, Packed, Use};
use crate::backend::cpu::pool::{Pool, chunks};
use crate::quant::{BlockRows, Codes, Coding, Format};
use half::f16;
use std::cell::RefCell;
use std::ops::Range;

/// Columns of a panel.
pub(super) const WIDTH: usize = 16;
/// Steps of K in a group.
pub(super) const GROUP: usize = 32;
/// Steps of K in a vector of codes.
const STEPS: usize = 4;
/// Bytes of a vector of codes.
const VECTOR: usize = WIDTH * STEPS;

thread_local! {
    /// The rows that make a panel, as they are stored.
    static ROWS: RefCell<Vec<u8>> = RefCell::default();
}

/// What a [`PackedMatrix`](crate::backend::PackedMatrix) of blocks is to this backend: sections of columns, each stored
/// in one way.
#[derive(Debug)]
pub(super) struct PackedBlocks {
    pub(super) sections: Vec<Section>,
    /// Whether 8-bit codes lie around 0.
    pub(super) is_signed: bool,
    /// The panels of each.
    pub(super) words: Packed<Vec<Scratch>>,
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

/// What panels are taken from.
pub(super) type Source<'a> = Found<'a, Vec<Scratch>>;

impl PackedBlocks {
    /// Rows of blocks, which are the matrix's columns, packed; `signed` asks for 8-bit codes around 0.
    pub(super) fn at_once(pool: &Pool, parts: &[BlockRows<'_>], signed: bool) -> Self {
        let sections = sections(parts, signed);
        let words = Packed::at_once(pack_all(pool, &sections, parts));
        Self { sections, is_signed: signed, words }
    }

    /// The same, packed when it is used again.
    pub(super) fn when_used(parts: Vec<BlockRows<'static>>, signed: bool) -> Self {
        Self { sections: sections(&parts, signed), is_signed: signed, words: Packed::when_used(parts) }
    }

    pub(super) fn find(&self, pool: &Pool, wanted: Use, may_be_stored: bool) -> Source<'_> {
        self.words.find(wanted, may_be_stored, |parts| pack_all(pool, &self.sections, parts))
    }

    pub(super) fn n_panels(&self) -> usize {
        self.sections.iter().map(Section::n_panels).sum()
    }

    /// A panel, counted through all sections; where it has not been packed it is now, into `own`.
    pub(super) fn panel<'a>(&'a self, mut i: usize, source: &Source<'_>, own: &'a mut Scratch) -> Panel<'a> {
        for (at, section) in self.sections.iter().enumerate() {
            if i < section.n_panels() {
                let start = match source {
                    // SAFETY: the words hold all panels, and this is one of them.
                    Found::Packed(words) => unsafe { words[at].as_ptr().cast::<u8>().add(i * section.panel_bytes()) },
                    Found::Stored(parts) => {
                        let rows = i * WIDTH..section.columns.len().min((i + 1) * WIDTH);
                        section.read_panel(&parts[at], rows, own).as_ptr()
                    }
                };
                let first = section.columns.start + i * WIDTH;
                return Panel { section, start, first, n_columns: WIDTH.min(section.columns.end - first) };
            }
            i -= section.n_panels();
        }
        panic!("the matrix has only {} panels", self.n_panels())
    }

    /// The numbers of a column of the matrix.
    pub(super) fn unpack(&self, column: usize, source: &Source<'_>, out: &mut [f32]) {
        let at = self.sections.iter().position(|section| section.columns.contains(&column));
        let at = at.unwrap_or_else(|| panic!("the matrix has no column {column}"));
        let section = &self.sections[at];
        let column = column - section.columns.start;
        match source {
            Found::Packed(words) => {
                let start = words[at].as_ptr().cast::<u8>();
                // SAFETY: the words hold all panels.
                let panel = unsafe {
                    let start = start.add(column / WIDTH * section.panel_bytes());
                    std::slice::from_raw_parts(start, section.panel_bytes())
                };
                section.unpack(panel, column % WIDTH, out);
            }
            Found::Stored(parts) => {
                let mut own = Scratch::default();
                section.unpack(section.read_panel(&parts[at], column..column + 1, &mut own), 0, out);
            }
        }
    }
}

fn sections(parts: &[BlockRows<'_>], signed: bool) -> Vec<Section> {
    let mut first = 0;
    let section = |rows: &BlockRows<'_>| {
        let coding = rows.format.coding().expect("blocks are packed of formats with codes");
        let lowered = if signed && coding.bits == 8 { coding.zero() } else { 0 };
        let columns = first..first + rows.n_rows();
        first = columns.end;
        Section { coding, lowered, columns, n_groups: rows.width / GROUP }
    };
    parts.iter().map(section).collect()
}

/// The panels of each section.
fn pack_all(pool: &Pool, sections: &[Section], parts: &[BlockRows<'_>]) -> Vec<Scratch> {
    let pack = |(section, rows): (&Section, &BlockRows<'_>)| {
        let mut words = Scratch::default();
        let n_bytes = section.n_panels() * section.panel_bytes();
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(words.words(n_bytes.div_ceil(4)));
        pool.for_each(chunks(&mut bytes[..n_bytes], section.panel_bytes().max(1)), |i, bytes| {
            section.pack(rows, i * WIDTH..section.columns.len().min((i + 1) * WIDTH), bytes);
        });
        words
    };
    sections.iter().zip(parts).map(pack).collect()
}

impl Section {
    pub(super) fn n_panels(&self) -> usize {
        self.columns.len().div_ceil(WIDTH)
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

    /// A panel of these rows, at most as many as it has columns.
    fn read_panel<'a>(&self, stored: &BlockRows<'_>, rows: Range<usize>, own: &'a mut Scratch) -> &'a [u8] {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(own.words(self.panel_bytes().div_ceil(4)));
        let bytes = &mut bytes[..self.panel_bytes()];
        bytes.fill(0);
        self.pack(stored, rows, bytes);
        bytes
    }

    /// Fills a panel, which is 0, from the rows that are its columns.
    fn pack(&self, stored: &BlockRows<'_>, rows: Range<usize>, bytes: &mut [u8]) {
        ROWS.with_borrow_mut(|read| {
            stored.read(rows, read);
            self.put_rows(stored.format, read.chunks_exact(stored.row_bytes().max(1)), bytes);
        });
    }

    fn put_rows<'r>(&self, format: Format, rows: impl Iterator<Item = &'r [u8]>, bytes: &mut [u8]) {
        let mut codes = Codes::default();
        let block_groups = format.block_len() / GROUP;
        for (column, row) in rows.enumerate() {
            let groups = bytes.chunks_exact_mut(self.group_bytes() * block_groups);
            for (block, groups) in row.chunks_exact(format.block_bytes()).zip(groups) {
                match format {
                    Format::Q4_0 | Format::Q4_1 | Format::Q8_0 => self.put_stored(block, column, groups),
                    _ => {
                        format.codes(block, &mut codes);
                        for (i, group) in groups.chunks_exact_mut(self.group_bytes()).enumerate() {
                            self.put(&codes, i, column, group);
                        }
                    }
                }
            }
        }
    }

    /// As [`Self::put`] for the codes of a block of 32, whose scale, offset and codes lie in it one behind the other.
    fn put_stored(&self, block: &[u8], column: usize, group: &mut [u8]) {
        let (codes, scales) = group.split_at_mut(self.code_bytes());
        let n_scales = 1 + usize::from(self.coding.has_offset);
        let (halves, stored) = block.split_at(2 * n_scales);
        for (half, scales) in halves.chunks_exact(2).zip(scales.chunks_exact_mut(self.scale_bytes())) {
            let bits = u16::from_le_bytes([half[0], half[1]]);
            scales[2 * column..][..2].copy_from_slice(&bits.to_ne_bytes());
        }
        let (words, _) = stored.as_chunks::<STEPS>();
        let words = words.iter().map(|&word| u32::from_le_bytes(word));
        let out = codes.chunks_exact_mut(VECTOR).map(|vector| &mut vector[column * STEPS..][..STEPS]);
        let put = |(out, word): (&mut [u8], u32)| out.copy_from_slice(&word.to_le_bytes());
        if self.coding.bits == 4 {
            let mut stored = [0; GROUP / 8];
            stored.iter_mut().zip(words).for_each(|(stored, word)| *stored = word);
            out.zip(paired(stored)).for_each(put);
        } else {
            // As signed bytes in the file; from 0 on where the kernels take them so.
            let raised = if self.lowered == 0 { 0x8080_8080 } else { 0 };
            out.zip(words.map(|word| word ^ raised)).for_each(put);
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

    /// The numbers of a column of a panel.
    fn unpack(&self, bytes: &[u8], column: usize, out: &mut [f32]) {
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

/// Words of 4-bit codes as the kernels take them, from those of a file: there the lower halves of 16 bytes are the first codes,
/// here those of the first 4 bytes are, and their upper halves are the next.
fn paired([a, b, c, d]: [u32; 4]) -> [u32; 4] {
    const LOWER: u32 = 0x0f0f_0f0f;
    [
        a & LOWER | (b & LOWER) << 4,
        c & LOWER | (d & LOWER) << 4,
        a >> 4 & LOWER | b & !LOWER,
        c >> 4 & LOWER | d & !LOWER,
    ]
}

/// Half `i` of scales or offsets.
pub(super) fn half(bytes: &[u8], i: usize) -> f32 {
    f16::from_ne_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32()
}
