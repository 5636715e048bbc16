//! Numbers to blocks.
//!
//! The small formats take the scale from the extreme element. Q4_K and Q6_K look for the scale, and the minimum, with the
//! least weighted squared error: heavy elements count more, as in llama.cpp.

use super::Format;
use half::{bf16, f16};

impl Format {
    /// Whether numbers can be written in it.
    pub fn can_encode(self) -> bool {
        !matches!(self, Format::Q2K | Format::Q3K | Format::Q5K)
    }

    /// Whole blocks of these numbers.
    ///
    /// # Panics
    /// When it cannot be written ([`Format::can_encode`]), or `values` and `out` are not the same number of whole blocks.
    pub fn encode(self, values: &[f32], out: &mut [u8]) {
        self.check_blocks(out.len(), values.len());
        let encode: fn(&[f32], &mut [u8]) = match self {
            Format::F32 => |x, out| out.copy_from_slice(&x[0].to_le_bytes()),
            Format::F16 => |x, out| out.copy_from_slice(&f16::from_f32(x[0]).to_le_bytes()),
            Format::Bf16 => |x, out| out.copy_from_slice(&bf16::from_f32(x[0]).to_le_bytes()),
            Format::Q4_0 => q4_0,
            Format::Q4_1 => q4_1,
            Format::Q5_0 => q5_0,
            Format::Q5_1 => q5_1,
            Format::Q8_0 => q8_0,
            Format::Q4K => q4_k,
            Format::Q6K => q6_k,
            Format::Q2K | Format::Q3K | Format::Q5K => panic!("{} can only be read", self.name()),
        };
        for (x, out) in values.chunks_exact(self.block_len()).zip(out.chunks_exact_mut(self.block_bytes())) {
            encode(x, out);
        }
    }

    /// Whether what [`encode`](Self::encode) wrote stands for the numbers: none is too large for it, and in blocks of codes
    /// all are finite.
    pub fn holds(self, values: &[f32], encoded: &[u8]) -> bool {
        let mut decoded = [0.0; MAX_BLOCK_LEN];
        values.chunks(MAX_BLOCK_LEN).zip(encoded.chunks(self.bytes_of(MAX_BLOCK_LEN))).all(|(values, encoded)| {
            let decoded = &mut decoded[..values.len()];
            self.decode(encoded, decoded);
            let is_held = |(x, y): (&f32, &f32)| if x.is_finite() { y.is_finite() } else { self.coding().is_none() };
            values.iter().zip(&*decoded).all(is_held)
        })
    }
}

/// A number of elements that are whole blocks in every format.
const MAX_BLOCK_LEN: usize = 256;

/// Stores a half and gives what it stands for.
fn put_half(out: &mut [u8], value: f32) -> f32 {
    let half = f16::from_f32(value);
    out[..2].copy_from_slice(&half.to_le_bytes());
    half.to_f32()
}

/// 1 / x, or 0.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// The element of the largest magnitude.
fn extreme(x: &[f32]) -> f32 {
    x.iter().copied().fold(0.0, |largest: f32, x| if x.abs() > largest.abs() { x } else { largest })
}

fn smallest_and_largest(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
}

/// The nearest of the codes 0 to `last`.
fn code(x: f32, last: f32) -> u8 {
    x.round_ties_even().clamp(0.0, last) as u8
}

fn q4_0(x: &[f32], out: &mut [u8]) {
    let factor = inverse(put_half(out, extreme(x) / -8.0));
    put_nibbles(&mut out[2..], |i| code(x[i] * factor + 8.0, 15.0));
}

fn q4_1(x: &[f32], out: &mut [u8]) {
    let (low, high) = smallest_and_largest(x);
    let factor = inverse(put_half(out, (high - low) / 15.0));
    let low = put_half(&mut out[2..], low);
    put_nibbles(&mut out[4..], |i| code((x[i] - low) * factor, 15.0));
}

fn q5_0(x: &[f32], out: &mut [u8]) {
    let factor = inverse(put_half(out, extreme(x) / -16.0));
    put_with_fifth_bit(&mut out[2..], |i| code(x[i] * factor + 16.0, 31.0));
}

fn q5_1(x: &[f32], out: &mut [u8]) {
    let (low, high) = smallest_and_largest(x);
    let factor = inverse(put_half(out, (high - low) / 31.0));
    let low = put_half(&mut out[2..], low);
    put_with_fifth_bit(&mut out[4..], |i| code((x[i] - low) * factor, 31.0));
}

fn q8_0(x: &[f32], out: &mut [u8]) {
    let factor = inverse(put_half(out, extreme(x).abs() / 127.0));
    for (out, x) in out[2..].iter_mut().zip(x) {
        *out = (x * factor).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
    }
}

/// The first 16 codes in the lower halves of 16 bytes, the others in the upper ones.
fn put_nibbles(out: &mut [u8], code: impl Fn(usize) -> u8) {
    out[..16].iter_mut().enumerate().for_each(|(i, out)| *out = code(i) | code(i + 16) << 4);
}

fn put_with_fifth_bit(out: &mut [u8], code: impl Fn(usize) -> u8) {
    let fifth = (0..32).fold(0_u32, |bits, i| bits | u32::from(code(i) >> 4) << i);
    out[..4].copy_from_slice(&fifth.to_le_bytes());
    put_nibbles(&mut out[4..], |i| code(i) & 0xf);
}

/// How much an element counts: its magnitude and that of its neighbours.
fn weights(x: &[f32]) -> [f32; 32] {
    let mean_square = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    let mut weights = [0.0; 32];
    weights.iter_mut().zip(x).for_each(|(weight, x)| *weight = mean_square.sqrt() + x.abs());
    weights
}

/// Scale and minimum ≥ 0 of 32 elements for which `scale · code − min` with codes of 0 to 15 errs least.
fn scale_and_min(x: &[f32]) -> (f32, f32) {
    let weights = weights(x);
    let (low, high) = smallest_and_largest(x);
    let low = low.min(0.0);
    if high <= low {
        return (0.0, -low);
    }
    let mut best = (f32::INFINITY, (high - low) / 15.0, -low);
    // Steps somewhat finer and coarser than those that span the range.
    for step in 0..=20 {
        let factor = (14.0 + 0.1 * step as f32) / (high - low);
        let codes = |x: f32| f32::from(code((x - low) * factor, 15.0));
        if let Some((scale, min)) = least_squares(x, &weights, codes) {
            let error = x.iter().zip(weights).map(|(&x, w)| w * (scale * codes(x) - min - x).powi(2)).sum();
            if error < best.0 {
                best = (error, scale, min);
            }
        }
    }
    (best.1, best.2)
}

/// Scale and minimum ≥ 0 that fit these codes best.
fn least_squares(x: &[f32], weights: &[f32], code: impl Fn(f32) -> f32) -> Option<(f32, f32)> {
    let [mut w, mut wc, mut wcc, mut wx, mut wcx] = [0.0_f32; 5];
    for (&x, &weight) in x.iter().zip(weights) {
        let c = code(x);
        w += weight;
        wc += weight * c;
        wcc += weight * c * c;
        wx += weight * x;
        wcx += weight * c * x;
    }
    let determinant = w * wcc - wc * wc;
    if determinant <= 0.0 {
        return None;
    }
    let min = (wc * wcx - wcc * wx) / determinant;
    Some(if min < 0.0 { (wcx / wcc, 0.0) } else { ((w * wcx - wc * wx) / determinant, min) })
}

fn q4_k(x: &[f32], out: &mut [u8]) {
    let groups: [(f32, f32); 8] = std::array::from_fn(|i| scale_and_min(&x[32 * i..32 * (i + 1)]));
    let largest = |value: fn(&(f32, f32)) -> f32| groups.iter().map(value).fold(0.0, f32::max);
    let scale = put_half(out, largest(|group| group.0) / 63.0);
    let min = put_half(&mut out[2..], largest(|group| group.1) / 63.0);
    let (to_scale, to_min) = (inverse(scale), inverse(min));
    let six_bits = groups.map(|(of_scale, of_min)| (code(of_scale * to_scale, 63.0), code(of_min * to_min, 63.0)));
    for i in 0..4 {
        let ((scale, min), (high_scale, high_min)) = (six_bits[i], six_bits[i + 4]);
        out[4 + i] = scale | high_scale >> 4 << 6;
        out[8 + i] = min | high_min >> 4 << 6;
        out[12 + i] = high_scale & 0xf | (high_min & 0xf) << 4;
    }
    let four_bits = |i: usize| {
        let (of_scale, of_min) = six_bits[i / 32];
        code((x[i] + min * f32::from(of_min)) * inverse(scale * f32::from(of_scale)), 15.0)
    };
    for (at, out) in out[16..].iter_mut().enumerate() {
        let i = at / 32 * 64 + at % 32;
        *out = four_bits(i) | four_bits(i + 32) << 4;
    }
}

/// The scale of 16 elements for which `scale · code` with codes of −32 to 31 errs least.
fn signed_scale(x: &[f32]) -> f32 {
    let extreme = extreme(x);
    if extreme == 0.0 {
        return 0.0;
    }
    let mut best = (0.0, extreme / -32.0);
    for step in -9_i8..=9 {
        let factor = -(32.0 + 0.1 * f32::from(step)) / extreme;
        let (mut along, mut square) = (0.0, 0.0);
        for &x in x {
            let (c, weight) = ((x * factor).round_ties_even().clamp(-32.0, 31.0), x * x);
            along += weight * x * c;
            square += weight * c * c;
        }
        // What the best scale for these codes takes off the squared error.
        if square > 0.0 && along * along > best.0 * square {
            best = (along * along / square, along / square);
        }
    }
    best.1
}

fn q6_k(x: &[f32], out: &mut [u8]) {
    let scales: [f32; 16] = std::array::from_fn(|i| signed_scale(&x[16 * i..16 * (i + 1)]));
    let scale = put_half(&mut out[208..], extreme(&scales) / -128.0);
    let to_scale = inverse(scale);
    let eight_bits = scales.map(|of_sixteen| (of_sixteen * to_scale).round_ties_even().clamp(-128.0, 127.0));
    for (out, value) in out[192..208].iter_mut().zip(eight_bits) {
        *out = value as i8 as u8;
    }
    let six_bits = |i: usize| code(x[i] * inverse(scale * eight_bits[i / 16]) + 32.0, 63.0);
    for half in 0..2 {
        for at in 0..64 {
            let i = 128 * half + at;
            out[64 * half + at] = six_bits(i) & 0xf | (six_bits(i + 64) & 0xf) << 4;
        }
        for at in 0..32 {
            let upper = |layer: usize| six_bits(128 * half + 32 * layer + at) >> 4 << (2 * layer);
            out[128 + 32 * half + at] = upper(0) | upper(1) | upper(2) | upper(3);
        }
    }
}
