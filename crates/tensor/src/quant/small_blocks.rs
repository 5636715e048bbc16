//! Blocks of 32 elements with one scale, and a minimum or none.

use super::{Codes, array, half_at};

pub(super) fn q4_0(block: &[u8], codes: &mut Codes) {
    codes.scales[0] = half_at(block, 0);
    codes.offsets[0] = 0.0;
    nibbles(&block[2..18], &mut codes.values);
}

pub(super) fn q4_1(block: &[u8], codes: &mut Codes) {
    codes.scales[0] = half_at(block, 0);
    codes.offsets[0] = half_at(block, 2);
    nibbles(&block[4..20], &mut codes.values);
}

/// Codes of −16 to 15, from 112 on.
pub(super) fn q5_0(block: &[u8], codes: &mut Codes) {
    codes.scales[0] = half_at(block, 0);
    codes.offsets[0] = 0.0;
    with_fifth_bit(&block[2..22], &mut codes.values, 112);
}

pub(super) fn q5_1(block: &[u8], codes: &mut Codes) {
    codes.scales[0] = half_at(block, 0);
    codes.offsets[0] = half_at(block, 2);
    with_fifth_bit(&block[4..24], &mut codes.values, 0);
}

pub(super) fn q8_0(block: &[u8], codes: &mut Codes) {
    codes.scales[0] = half_at(block, 0);
    codes.offsets[0] = 0.0;
    codes.values.iter_mut().zip(&block[2..34]).for_each(|(code, &byte)| *code = byte ^ 0x80);
}

/// The lower halves of 16 bytes are the first elements, the upper ones the rest.
fn nibbles(bytes: &[u8], codes: &mut [u8]) {
    for (i, &byte) in bytes.iter().enumerate() {
        (codes[i], codes[i + 16]) = (byte & 0xf, byte >> 4);
    }
}

/// 4 bytes with the fifth bit of each element, then the rest as [`nibbles`]; all raised by `zero`.
fn with_fifth_bit(bytes: &[u8], codes: &mut [u8], zero: u8) {
    let fifth = u32::from_le_bytes(array(bytes));
    let bit = |i: usize| ((fifth >> i & 1) << 4) as u8;
    for (i, &byte) in bytes[4..20].iter().enumerate() {
        (codes[i], codes[i + 16]) = (zero + (byte & 0xf | bit(i)), zero + (byte >> 4 | bit(i + 16)));
    }
}
