//! Lanes as an array: the compiler makes of it what every processor of the architecture has (SSE2, NEON).

use super::element::round_to_bf16;
use super::{Lanes, WideLanes};
use half::bf16;
use std::ops::{Add, Div, Mul, Sub};

/// Eight lanes.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct F32xN([f32; 8]);

impl F32xN {
    pub(super) const ZERO: Self = Self([0.0; 8]);

    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Add for F32xN {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl Sub for F32xN {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl Mul for F32xN {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

impl Div for F32xN {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
}

impl Lanes for F32xN {
    const N: usize = 8;
    type Wide = U64x4;
    type Squares = [f64; 8];

    #[inline(always)]
    fn wide(self) -> U64x4 {
        U64x4([0; 4])
    }

    #[inline(always)]
    fn no_squares(self) -> [f64; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    fn add_square(self, sums: [f64; 8]) -> [f64; 8] {
        std::array::from_fn(|i| sums[i] + f64::from(self.0[i]) * f64::from(self.0[i]))
    }

    #[inline(always)]
    fn total(sums: [f64; 8]) -> f64 {
        sums.iter().sum()
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    fn load(self, data: &[f32]) -> Self {
        Self(std::array::from_fn(|i| data[..8][i]))
    }

    #[inline(always)]
    fn load_bf16(self, data: &[bf16]) -> Self {
        Self(std::array::from_fn(|i| f32::from_bits(u32::from(data[..8][i].to_bits()) << 16)))
    }

    #[inline(always)]
    fn load_pairs(self, pairs: &[f32]) -> (Self, Self) {
        let bits = self.load(pairs).0.map(f32::to_bits);
        (Self(bits.map(|pair| f32::from_bits(pair << 16))), Self(bits.map(|pair| f32::from_bits(pair & 0xFFFF_0000))))
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        out[..8].copy_from_slice(&self.0);
    }

    #[inline(always)]
    fn store_bf16(self, out: &mut [bf16]) {
        let rounded = self.0.map(|lane| bf16::from_bits(round_to_bf16(lane.to_bits())));
        out[..8].copy_from_slice(&rounded);
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        // Without an instruction for it, `f32::mul_add` is a call of many nanoseconds.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            Self(std::array::from_fn(|i| self.0[i].mul_add(factor.0[i], term.0[i])))
        } else {
            self * factor + term
        }
    }

    #[inline(always)]
    fn square(self) -> (Self, Self) {
        let square = self * self;
        let rest = self.zip(square, |x, square| (f64::from(x) * f64::from(x) - f64::from(square)) as f32);
        (square, rest)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn abs(self) -> Self {
        self.map(f32::abs)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(f32::sqrt)
    }

    #[inline(always)]
    fn if_less(self, other: Self, then: Self, otherwise: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] < other.0[i] { then.0[i] } else { otherwise.0[i] }))
    }

    #[inline(always)]
    fn scale_by_power_of_two(self, power: Self) -> Self {
        // In two steps, because 2^power itself may lie beyond what an f32 can hold.
        self.zip(power, |x, power| {
            // A conversion that checks for numbers out of range would cost as much as all the rest: adding 1.5·2²³ leaves a
            // whole number in the last bits.
            let power = ((power + 12_582_912.0).to_bits() as i32).wrapping_sub(0x4b40_0000);
            let half = power >> 1;
            let of = |power: i32| f32::from_bits(((power + 127) << 23) as u32);
            x * of(half) * of(power - half)
        })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    #[inline(always)]
    fn max_lane(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b })
    }
}

/// Four wide lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct U64x4([u64; 4]);

impl WideLanes for U64x4 {
    type Narrow = F32xN;

    #[inline(always)]
    fn splat(self, value: u64) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    fn load(self, numbers: &[u64; 8]) -> Self {
        Self(std::array::from_fn(|i| numbers[i]))
    }

    #[inline(always)]
    fn multiply_lower(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| (self.0[i] & 0xffff_ffff) * (other.0[i] & 0xffff_ffff)))
    }

    #[inline(always)]
    fn upper(self) -> Self {
        Self(self.0.map(|lane| lane >> 32))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }

    #[inline(always)]
    fn units(words: [Self; 4]) -> [F32xN; 2] {
        let unit = |word: u64| (word as u32 >> 8) as f32 * (1.0 / 16_777_216.0);
        [0, 1].map(|odd| F32xN(std::array::from_fn(|i| unit(words[i % 4].0[i / 4 * 2 + odd]))))
    }
}
