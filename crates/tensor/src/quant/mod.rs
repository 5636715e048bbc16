//! Numbers stored in blocks: a few that share a scale, in the formats of llama.cpp's `ggml`.
//!
//! Every format but the plain ones says the same in other bits: an element is `scale · (code − zero) + offset`, where the
//! code is a small whole number, and 16 or 32 neighbours share scale and offset. [`Codes`] is a block in these words; both
//! decoding and the kernels' own layouts are made from it. All numbers in blocks are little-endian.

mod encode;
mod k_blocks;
mod small_blocks;

use half::{bf16, f16};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How the elements of a matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// f32
    F32,
    /// f16
    F16,
    /// bf16
    Bf16,
    /// 32 elements of 4 bits, with a scale.
    Q4_0,
    /// 32 elements of 4 bits, with a scale and a minimum.
    Q4_1,
    /// 32 elements of 5 bits, with a scale.
    Q5_0,
    /// 32 elements of 5 bits, with a scale and a minimum.
    Q5_1,
    /// 32 elements of 8 bits, with a scale.
    Q8_0,
    /// 256 elements of 2 bits; 16 scales and minima of 4 bits.
    Q2K,
    /// 256 elements of 3 bits; 16 scales of 6 bits.
    Q3K,
    /// 256 elements of 4 bits; 8 scales and minima of 6 bits.
    Q4K,
    /// 256 elements of 5 bits; 8 scales and minima of 6 bits.
    Q5K,
    /// 256 elements of 6 bits; 16 scales of 8 bits.
    Q6K,
}

/// Number in files, name, elements and bytes of a block.
const TABLE: [(u32, Format, &str, usize, usize); 13] = [
    (0, Format::F32, "f32", 1, 4),
    (1, Format::F16, "f16", 1, 2),
    (30, Format::Bf16, "bf16", 1, 2),
    (2, Format::Q4_0, "q4_0", 32, 18),
    (3, Format::Q4_1, "q4_1", 32, 20),
    (6, Format::Q5_0, "q5_0", 32, 22),
    (7, Format::Q5_1, "q5_1", 32, 24),
    (8, Format::Q8_0, "q8_0", 32, 34),
    (10, Format::Q2K, "q2_k", 256, 84),
    (11, Format::Q3K, "q3_k", 256, 110),
    (12, Format::Q4K, "q4_k", 256, 144),
    (13, Format::Q5K, "q5_k", 256, 176),
    (14, Format::Q6K, "q6_k", 256, 210),
];

/// Most elements of a block.
const MAX_BLOCK: usize = 256;

impl Format {
    /// Every format.
    pub fn all() -> impl Iterator<Item = Format> {
        TABLE.iter().map(|row| row.1)
    }

    /// The format of a number in a GGUF file.
    pub fn of_number(number: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.0 == number).map(|row| row.1)
    }

    /// The format of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.2 == name).map(|row| row.1)
    }

    /// The names of all formats.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.2)
    }

    /// Its number in GGUF files.
    pub fn number(self) -> u32 {
        self.row().0
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Elements of a block.
    pub fn block_len(self) -> usize {
        self.row().3
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.row().4
    }

    /// Bytes of `n` elements, which are whole blocks.
    pub fn bytes_of(self, n: usize) -> usize {
        n / self.block_len() * self.block_bytes()
    }

    fn row(self) -> &'static (u32, Format, &'static str, usize, usize) {
        TABLE.iter().find(|row| row.1 == self).expect("every format has a row")
    }

    /// How its blocks are said in codes; `None` for the plain formats.
    pub fn coding(self) -> Option<Coding> {
        let coding = |bits, group_len, has_offset| Some(Coding { bits, group_len, has_offset });
        match self {
            Format::F32 | Format::F16 | Format::Bf16 => None,
            Format::Q4_0 => coding(4, 32, false),
            Format::Q4_1 | Format::Q4K => coding(4, 32, true),
            Format::Q2K => coding(4, 16, true),
            Format::Q3K => coding(4, 16, false),
            Format::Q5_0 | Format::Q8_0 => coding(8, 32, false),
            Format::Q5_1 | Format::Q5K => coding(8, 32, true),
            Format::Q6K => coding(8, 16, false),
        }
    }

    /// The format as one of 16-bit numbers.
    pub fn half(self) -> Option<Half> {
        match self {
            Format::F16 => Some(Half::F16),
            Format::Bf16 => Some(Half::Bf16),
            _ => None,
        }
    }

    /// The numbers of whole blocks.
    ///
    /// # Panics
    /// When `bytes` and `out` are not the same number of whole blocks.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        self.check_blocks(bytes.len(), out.len());
        match self {
            Format::F32 => fill(bytes, out, f32::from_le_bytes),
            Format::F16 => fill(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            Format::Bf16 => fill(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            _ => self.decode_coded(bytes, out),
        }
    }

    fn decode_coded(self, bytes: &[u8], out: &mut [f32]) {
        let coding = self.coding().expect("a format of codes");
        let (mut codes, zero) = (Codes::default(), coding.zero());
        for (block, out) in bytes.chunks_exact(self.block_bytes()).zip(out.chunks_exact_mut(self.block_len())) {
            self.codes(block, &mut codes);
            for (group, out) in out.chunks_exact_mut(coding.group_len).enumerate() {
                let (scale, offset) = (codes.scales[group], codes.offsets[group]);
                let values = &codes.values[group * coding.group_len..];
                for (out, &code) in out.iter_mut().zip(values) {
                    *out = scale * (f32::from(code) - f32::from(zero)) + offset;
                }
            }
        }
    }

    /// The codes of one block.
    ///
    /// # Panics
    /// When it is a plain format, or `block` is not one block.
    pub fn codes(self, block: &[u8], codes: &mut Codes) {
        assert_eq!(block.len(), self.block_bytes(), "one block of {}", self.name());
        match self {
            Format::F32 | Format::F16 | Format::Bf16 => panic!("{} has no codes", self.name()),
            Format::Q4_0 => small_blocks::q4_0(block, codes),
            Format::Q4_1 => small_blocks::q4_1(block, codes),
            Format::Q5_0 => small_blocks::q5_0(block, codes),
            Format::Q5_1 => small_blocks::q5_1(block, codes),
            Format::Q8_0 => small_blocks::q8_0(block, codes),
            Format::Q2K => k_blocks::q2_k(block, codes),
            Format::Q3K => k_blocks::q3_k(block, codes),
            Format::Q4K => k_blocks::q4_k(block, codes),
            Format::Q5K => k_blocks::q5_k(block, codes),
            Format::Q6K => k_blocks::q6_k(block, codes),
        }
    }

    /// Panics unless so many bytes hold so many elements.
    fn check_blocks(self, n_bytes: usize, n: usize) {
        let fits = n_bytes.is_multiple_of(self.block_bytes()) && n == n_bytes / self.block_bytes() * self.block_len();
        assert!(fits, "{n_bytes} bytes of {} for {n} numbers", self.name());
    }
}

/// A number of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// IEEE 754 half precision: 5 bits of exponent, 11 bits of significand.
    F16,
    /// The upper half of an f32: 8 bits of exponent, 8 bits of significand.
    Bf16,
}

impl Half {
    /// The number that these bits stand for.
    pub fn widen(self, bits: u16) -> f32 {
        match self {
            Half::F16 => f16::from_bits(bits).to_f32(),
            Half::Bf16 => bf16::from_bits(bits).to_f32(),
        }
    }

    /// The format that `parts` have in common, if it is one of 16 bits.
    ///
    /// # Panics
    /// When some parts are stored so and others are not.
    pub fn of_parts(parts: &[BlockRows<'_>]) -> Option<Self> {
        let half = parts.first()?.format.half();
        let are_alike = parts.iter().all(|part| part.format.half() == half);
        assert!(are_alike, "numbers of 16 bits cannot be packed together with other formats");
        half
    }
}

/// How the blocks of a format are said in codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coding {
    /// Bits that hold a code: 4 or 8.
    pub bits: usize,
    /// Elements that share a scale: 16 or 32.
    pub group_len: usize,
    /// Whether groups have an offset. Without one a code stands for numbers of both signs.
    pub has_offset: bool,
}

impl Coding {
    /// The code of 0, in a coding without offsets.
    pub fn zero(self) -> u8 {
        match (self.has_offset, self.bits) {
            (true, _) => 0,
            (false, 4) => 8,
            (false, _) => 128,
        }
    }
}

/// A block: every element is `scale · (code − zero) + offset`, with scale and offset of its group.
#[derive(Clone, Copy, Debug)]
pub struct Codes {
    /// The codes of the elements.
    pub values: [u8; MAX_BLOCK],
    /// The scales of the groups.
    pub scales: [f32; MAX_BLOCK / 16],
    /// The offsets of the groups; 0 in a coding without.
    pub offsets: [f32; MAX_BLOCK / 16],
}

impl Default for Codes {
    fn default() -> Self {
        Self { values: [0; MAX_BLOCK], scales: [0.0; MAX_BLOCK / 16], offsets: [0.0; MAX_BLOCK / 16] }
    }
}

/// Bytes in memory, or in a file that is read where they are needed: by all threads, and without memory for all of them.
pub trait RowBytes: Send + Sync + fmt::Debug {
    /// How many there are.
    fn n_bytes(&self) -> usize;

    /// Copies those from `at` on. What cannot be read becomes 0, and is for the one who made this to tell.
    fn read(&self, at: usize, out: &mut [u8]);
}

impl RowBytes for Vec<u8> {
    fn n_bytes(&self) -> usize {
        self.len()
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        out.copy_from_slice(&self[at..at + out.len()]);
    }
}

/// A matrix as a file stores it: rows of whole blocks, one behind the other.
#[derive(Clone, Debug)]
pub struct BlockRows<'a> {
    /// How the elements are stored.
    pub format: Format,
    /// Elements of a row: whole blocks.
    pub width: usize,
    /// All rows.
    bytes: Bytes<'a>,
}

#[derive(Clone, Debug)]
enum Bytes<'a> {
    Borrowed(&'a dyn RowBytes),
    Shared(Arc<dyn RowBytes>),
}

impl<'a> BlockRows<'a> {
    /// # Panics
    /// When the bytes are not whole rows, or a row is not whole blocks.
    pub fn new(format: Format, width: usize, bytes: &'a dyn RowBytes) -> Self {
        Self { format, width, bytes: Bytes::Borrowed(bytes) }.checked()
    }

    /// Rows that can be kept.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn shared(format: Format, width: usize, bytes: Arc<dyn RowBytes>) -> Self {
        Self { format, width, bytes: Bytes::Shared(bytes) }.checked()
    }

    fn checked(self) -> Self {
        let Self { format, width, .. } = self;
        let n_bytes = self.n_bytes();
        assert!(width.is_multiple_of(format.block_len()), "rows of {width} are not whole blocks of {}", format.name());
        assert!(n_bytes.is_multiple_of(self.row_bytes().max(1)), "{n_bytes} bytes are not whole rows");
        self
    }

    fn bytes(&self) -> &dyn RowBytes {
        match &self.bytes {
            Bytes::Borrowed(bytes) => *bytes,
            Bytes::Shared(bytes) => &**bytes,
        }
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.format.bytes_of(self.width)
    }

    /// Bytes of all rows.
    pub fn n_bytes(&self) -> usize {
        self.bytes().n_bytes()
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_bytes() / self.row_bytes().max(1)
    }

    /// The blocks of some rows, in the place of what `out` holds.
    pub fn read(&self, rows: Range<usize>, out: &mut Vec<u8>) {
        out.resize(rows.len() * self.row_bytes(), 0);
        self.read_to(rows, out);
    }

    /// The blocks of some rows, as many bytes as `out` has.
    pub(crate) fn read_to(&self, rows: Range<usize>, out: &mut [u8]) {
        debug_assert_eq!(out.len(), rows.len() * self.row_bytes());
        self.bytes().read(rows.start * self.row_bytes(), out);
    }
}

fn fill<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    out.iter_mut().zip(bytes.chunks_exact(N)).for_each(|(out, bytes)| *out = number(array(bytes)));
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("N bytes")
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes(array(&block[at..])).to_f32()
}

#[cfg(test)]
mod tests;
