//! The block formats of GGUF: a few numbers that share a scale, as llama.cpp's `ggml` defines them.
//!
//! Each block of a format has the same number of elements and of bytes; [`Format::decode`] gives the f32 numbers that the
//! block stands for. All numbers are little-endian.

use half::{bf16, f16};

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Format {
    /// The format of a number in a file.
    pub fn of_number(number: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.0 == number).map(|row| row.1)
    }

    /// The names of all formats.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.2)
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

    fn row(self) -> &'static (u32, Format, &'static str, usize, usize) {
        TABLE.iter().find(|row| row.1 == self).expect("every format has a row")
    }

    /// The numbers of whole blocks.
    ///
    /// # Panics
    /// When `bytes` and `out` are not the same number of whole blocks.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let (n_bytes, n) = (self.block_bytes(), self.block_len());
        assert!(
            bytes.len().is_multiple_of(n_bytes) && out.len() == bytes.len() / n_bytes * n,
            "{} bytes of {} for {} numbers",
            bytes.len(),
            self.name(),
            out.len()
        );
        let decode: fn(&[u8], &mut [f32]) = match self {
            Format::F32 => |block, out| out[0] = f32::from_le_bytes(array(block)),
            Format::F16 => |block, out| out[0] = half_at(block, 0),
            Format::Bf16 => |block, out| out[0] = bf16::from_le_bytes(array(block)).to_f32(),
            Format::Q4_0 => |block, out| nibbles(&block[2..], out, |q| half_at(block, 0) * (f32::from(q) - 8.0)),
            Format::Q4_1 => {
                |block, out| nibbles(&block[4..], out, |q| half_at(block, 0) * f32::from(q) + half_at(block, 2))
            }
            Format::Q5_0 => |block, out| {
                with_fifth_bit(&block[2..], out, |q| half_at(block, 0) * (f32::from(q) - 16.0));
            },
            Format::Q5_1 => |block, out| {
                with_fifth_bit(&block[4..], out, |q| half_at(block, 0) * f32::from(q) + half_at(block, 2));
            },
            Format::Q8_0 => |block, out| {
                let scale = half_at(block, 0);
                out.iter_mut().zip(&block[2..]).for_each(|(out, &q)| *out = scale * f32::from(q as i8));
            },
            Format::Q2K => decode_q2_k,
            Format::Q3K => decode_q3_k,
            Format::Q4K => decode_q4_k,
            Format::Q5K => decode_q5_k,
            Format::Q6K => decode_q6_k,
        };
        for (block, out) in bytes.chunks_exact(n_bytes).zip(out.chunks_exact_mut(n)) {
            decode(block, out);
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("N bytes")
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes(array(&block[at..])).to_f32()
}

/// The lower halves of the bytes are the first elements, the upper ones the rest.
fn nibbles(bytes: &[u8], out: &mut [f32], value: impl Fn(u8) -> f32) {
    let (lower, upper) = out.split_at_mut(bytes.len());
    for ((lower, upper), &byte) in lower.iter_mut().zip(upper).zip(bytes) {
        (*lower, *upper) = (value(byte & 0xf), value(byte >> 4));
    }
}

/// 32 elements: 4 bytes with the fifth bit of each, then the rest as [`nibbles`].
fn with_fifth_bit(bytes: &[u8], out: &mut [f32], value: impl Fn(u8) -> f32) {
    let fifth = u32::from_le_bytes(array(bytes));
    let bit = |i: usize| ((fifth >> i & 1) << 4) as u8;
    for (i, &byte) in bytes[4..20].iter().enumerate() {
        (out[i], out[i + 16]) = (value(byte & 0xf | bit(i)), value(byte >> 4 | bit(i + 16)));
    }
}

/// Two bits of each of 256 elements: 64 bytes, of which 32 hold 128 elements in four layers.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    let (half, layer, at) = (i / 128, i % 128 / 32, i % 32);
    bytes[32 * half + at] >> (2 * layer) & 3
}

fn decode_q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, bits) = (&block[..16], &block[16..80]);
    let (scale, min) = (half_at(block, 80), half_at(block, 82));
    for (i, out) in out.iter_mut().enumerate() {
        let of_sixteen = scales[i / 16];
        let (scale, min) = (scale * f32::from(of_sixteen & 0xf), min * f32::from(of_sixteen >> 4));
        *out = scale * f32::from(two_bits(bits, i)) - min;
    }
}

fn decode_q3_k(block: &[u8], out: &mut [f32]) {
    let (third_bits, bits, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half_at(block, 108);
    let of_sixteen = |i: usize| {
        let lower = if i < 8 { scales[i] & 0xf } else { scales[i - 8] >> 4 };
        let upper = scales[8 + i % 4] >> (2 * (i / 4)) & 3;
        f32::from(lower | upper << 4) - 32.0
    };
    for (i, out) in out.iter_mut().enumerate() {
        let third = third_bits[i % 32] >> (i / 32) & 1;
        let q = f32::from(two_bits(bits, i) | third << 2) - 4.0;
        *out = scale * of_sixteen(i / 16) * q;
    }
}

/// Scale and minimum of 32 elements: 12 bytes hold eight of both in 6 bits each.
fn scale_and_min(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, min) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (packed[i + 4] & 0xf | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// Four bits of each of 256 elements: 32 bytes hold 64 elements, the first 32 in their lower halves.
fn four_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 64 * 32 + i % 32] >> (4 * (i % 64 / 32)) & 0xf
}

fn decode_q4_k(block: &[u8], out: &mut [f32]) {
    decode_with_minima(block, out, |i| four_bits(&block[16..], i));
}

fn decode_q5_k(block: &[u8], out: &mut [f32]) {
    let (fifth, bits) = (&block[16..48], &block[48..]);
    decode_with_minima(block, out, |i| four_bits(bits, i) | (fifth[i % 32] >> (i / 32) & 1) << 4);
}

fn decode_with_minima(block: &[u8], out: &mut [f32], q: impl Fn(usize) -> u8) {
    let (scale, min, packed) = (half_at(block, 0), half_at(block, 2), &block[4..16]);
    for (i, out) in out.iter_mut().enumerate() {
        let (of_scale, of_min) = scale_and_min(packed, i / 32);
        *out = scale * of_scale * f32::from(q(i)) - min * of_min;
    }
}

fn decode_q6_k(block: &[u8], out: &mut [f32]) {
    let (lower, upper, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208);
    for (i, out) in out.iter_mut().enumerate() {
        // 64 bytes hold the lower four bits of 128 elements, the first 64 in their lower halves.
        let (half, at) = (i / 128, i % 128);
        let four = lower[64 * half + at % 64] >> (4 * (at / 64)) & 0xf;
        let q = f32::from(four | two_bits(upper, i) << 4) - 32.0;
        *out = scale * f32::from(scales[i / 16] as i8) * q;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Two random blocks of each format, and the numbers that the Python package `gguf` 0.19 decodes them to.
    #[test]
    fn blocks_are_what_the_reference_says() {
        let blocks: Value = serde_json::from_str(include_str!("blocks.json")).unwrap();
        for (_, format, name, n, n_bytes) in TABLE {
            let entry = &blocks[name];
            let bytes: Vec<u8> = serde_json::from_value(entry["bytes"].clone()).unwrap();
            let expected: Vec<f32> = serde_json::from_value(entry["numbers"].clone()).unwrap();
            assert_eq!((bytes.len(), expected.len()), (2 * n_bytes, 2 * n), "{name}");
            let mut found = vec![0.0; 2 * n];
            format.decode(&bytes, &mut found);
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let is_close = (found - expected).abs() <= 1e-6 * expected.abs().max(1e-3);
                assert!(is_close, "{name}, element {i}: {found}, expected {expected}");
            }
        }
    }
}
