//! Blocks of 256 elements whose groups have scales that are small whole numbers themselves.

use super::{Codes, half_at};

pub(super) fn q2_k(block: &[u8], codes: &mut Codes) {
    let (scale, min) = (half_at(block, 80), half_at(block, 82));
    for (i, &of_sixteen) in block[..16].iter().enumerate() {
        codes.scales[i] = scale * f32::from(of_sixteen & 0xf);
        codes.offsets[i] = -(min * f32::from(of_sixteen >> 4));
    }
    for (i, code) in codes.values.iter_mut().enumerate() {
        *code = two_bits(&block[16..80], i);
    }
}

/// Codes of −4 to 3, from 4 on.
pub(super) fn q3_k(block: &[u8], codes: &mut Codes) {
    let (third_bits, bits, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half_at(block, 108);
    for i in 0..16 {
        let lower = if i < 8 { scales[i] & 0xf } else { scales[i - 8] >> 4 };
        let upper = scales[8 + i % 4] >> (2 * (i / 4)) & 3;
        codes.scales[i] = scale * (f32::from(lower | upper << 4) - 32.0);
        codes.offsets[i] = 0.0;
    }
    for (i, code) in codes.values.iter_mut().enumerate() {
        let third = third_bits[i % 32] >> (i / 32) & 1;
        *code = 4 + (two_bits(bits, i) | third << 2);
    }
}

pub(super) fn q4_k(block: &[u8], codes: &mut Codes) {
    scales_and_minima(block, codes);
    for (i, code) in codes.values.iter_mut().enumerate() {
        *code = four_bits(&block[16..], i);
    }
}

pub(super) fn q5_k(block: &[u8], codes: &mut Codes) {
    scales_and_minima(block, codes);
    let (fifth, bits) = (&block[16..48], &block[48..]);
    for (i, code) in codes.values.iter_mut().enumerate() {
        *code = four_bits(bits, i) | (fifth[i % 32] >> (i / 32) & 1) << 4;
    }
}

/// Codes of −32 to 31, from 96 on.
pub(super) fn q6_k(block: &[u8], codes: &mut Codes) {
    let (lower, upper, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208);
    for (i, &of_sixteen) in scales.iter().enumerate() {
        codes.scales[i] = scale * f32::from(of_sixteen as i8);
        codes.offsets[i] = 0.0;
    }
    for (i, code) in codes.values.iter_mut().enumerate() {
        // 64 bytes hold the lower four bits of 128 elements, the first 64 in their lower halves.
        let (half, at) = (i / 128, i % 128);
        let four = lower[64 * half + at % 64] >> (4 * (at / 64)) & 0xf;
        *code = 96 + (four | two_bits(upper, i) << 4);
    }
}

/// Two bits of each of 256 elements: 64 bytes, of which 32 hold 128 elements in four layers.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    let (half, layer, at) = (i / 128, i % 128 / 32, i % 32);
    bytes[32 * half + at] >> (2 * layer) & 3
}

/// Four bits of each of 256 elements: 32 bytes hold 64 elements, the first 32 in their lower halves.
fn four_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 64 * 32 + i % 32] >> (4 * (i % 64 / 32)) & 0xf
}

/// Of 32 elements each: 12 bytes hold eight of both in 6 bits each.
fn scales_and_minima(block: &[u8], codes: &mut Codes) {
    let (scale, min, packed) = (half_at(block, 0), half_at(block, 2), &block[4..16]);
    for i in 0..8 {
        let (of_scale, of_min) = if i < 4 {
            (packed[i] & 63, packed[i + 4] & 63)
        } else {
            (packed[i + 4] & 0xf | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4)
        };
        codes.scales[i] = scale * f32::from(of_scale);
        codes.offsets[i] = -(min * f32::from(of_min));
    }
}
