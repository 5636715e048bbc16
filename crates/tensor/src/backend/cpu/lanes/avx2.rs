//! Lanes of AVX2 with fused multiply-add.

use super::{Lanes, Program, WideLanes};
use half::bf16;
use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

/// Eight lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct F32x8(__m256);

/// Compiles and runs a program.
#[target_feature(enable = "avx2,fma")]
pub(super) fn run<P: Program>(program: P) -> P::Output {
    program.run(F32x8(_mm256_setzero_ps()))
}

/// Instructions that touch no memory.
macro_rules! avx2 {
    ($($instructions:tt)*) => {
        // SAFETY: a value of this type exists, so the processor has the instructions; they touch registers only.
        unsafe { $($instructions)* }
    };
}

impl Add for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(avx2!(_mm256_add_ps(self.0, other.0)))
    }
}

impl Sub for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(avx2!(_mm256_sub_ps(self.0, other.0)))
    }
}

impl Mul for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(avx2!(_mm256_mul_ps(self.0, other.0)))
    }
}

impl Div for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(avx2!(_mm256_div_ps(self.0, other.0)))
    }
}

impl Lanes for F32x8 {
    const N: usize = 8;
    type Wide = U64x4;
    type Squares = [F64x4; 2];

    #[inline(always)]
    fn wide(self) -> U64x4 {
        U64x4(avx2!(_mm256_setzero_si256()))
    }

    #[inline(always)]
    fn no_squares(self) -> [F64x4; 2] {
        [F64x4(avx2!(_mm256_setzero_pd())); 2]
    }

    #[inline(always)]
    fn add_square(self, [lower, upper]: [F64x4; 2]) -> [F64x4; 2] {
        avx2! {
            let x = _mm256_cvtps_pd(_mm256_castps256_ps128(self.0));
            let y = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(self.0));
            [F64x4(_mm256_fmadd_pd(x, x, lower.0)), F64x4(_mm256_fmadd_pd(y, y, upper.0))]
        }
    }

    #[inline(always)]
    fn total([lower, upper]: [F64x4; 2]) -> f64 {
        avx2! {
            let four = _mm256_add_pd(lower.0, upper.0);
            let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
            _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self {
        Self(avx2!(_mm256_set1_ps(value)))
    }

    #[inline(always)]
    fn load(self, data: &[f32]) -> Self {
        let data = &data[..8];
        // SAFETY: eight elements lie there; the instructions are there as `self` is.
        Self(unsafe { _mm256_loadu_ps(data.as_ptr()) })
    }

    #[inline(always)]
    fn load_bf16(self, data: &[bf16]) -> Self {
        let data = &data[..8];
        // SAFETY: eight elements of 16 bits lie there; the instructions are there as `self` is.
        let halves = unsafe { _mm_loadu_si128(data.as_ptr().cast()) };
        Self(avx2!(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))))
    }

    #[inline(always)]
    fn load_pairs(self, pairs: &[f32]) -> (Self, Self) {
        let pairs = avx2!(_mm256_castps_si256(self.load(pairs).0));
        avx2! {
            let second = _mm256_and_si256(pairs, _mm256_set1_epi32(0xFFFF_0000_u32 as i32));
            (Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs))), Self(_mm256_castsi256_ps(second)))
        }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        let out = &mut out[..8];
        // SAFETY: eight elements lie there; the instructions are there as `self` is.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn store_bf16(self, out: &mut [bf16]) {
        let out = &mut out[..8];
        let halves = avx2! {
            let bits = _mm256_castps_si256(self.0);
            let is_odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7fff)));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
            let upper = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, is_nan));
            _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256::<1>(upper))
        };
        // SAFETY: eight elements of 16 bits lie there; the instructions are there as `self` is.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), halves) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(avx2!(_mm256_fmadd_ps(self.0, factor.0, term.0)))
    }

    #[inline(always)]
    fn square(self) -> (Self, Self) {
        let square = self * self;
        (square, Self(avx2!(_mm256_fmsub_ps(self.0, self.0, square.0))))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(avx2!(_mm256_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(avx2!(_mm256_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(avx2!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0)))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(avx2!(_mm256_sqrt_ps(self.0)))
    }

    #[inline(always)]
    fn if_less(self, other: Self, then: Self, otherwise: Self) -> Self {
        Self(avx2!(_mm256_blendv_ps(otherwise.0, then.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0))))
    }

    #[inline(always)]
    fn scale_by_power_of_two(self, power: Self) -> Self {
        // In two steps, because 2^power itself may lie beyond what an f32 can hold.
        Self(avx2! {
            let power = _mm256_cvtps_epi32(power.0);
            let half = _mm256_srai_epi32::<1>(power);
            let rest = _mm256_sub_epi32(power, half);
            let bias = _mm256_set1_epi32(127);
            let first = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias)));
            let second = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias)));
            _mm256_mul_ps(_mm256_mul_ps(self.0, first), second)
        })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        avx2! {
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn max_lane(self) -> f32 {
        avx2! {
            let four = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

/// Four sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct F64x4(__m256d);

/// Four wide lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct U64x4(__m256i);

impl WideLanes for U64x4 {
    type Narrow = F32x8;

    #[inline(always)]
    fn splat(self, value: u64) -> Self {
        Self(avx2!(_mm256_set1_epi64x(value as i64)))
    }

    #[inline(always)]
    fn load(self, numbers: &[u64; 8]) -> Self {
        // SAFETY: four numbers lie there and four more; the instructions are there as `self` is.
        Self(unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) })
    }

    #[inline(always)]
    fn multiply_lower(self, other: Self) -> Self {
        Self(avx2!(_mm256_mul_epu32(self.0, other.0)))
    }

    #[inline(always)]
    fn upper(self) -> Self {
        Self(avx2!(_mm256_srli_epi64::<32>(self.0)))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(avx2!(_mm256_xor_si256(self.0, other.0)))
    }

    #[inline(always)]
    fn units([a, b, c, d]: [Self; 4]) -> [F32x8; 2] {
        avx2! {
            let ab = _mm256_blend_epi32::<0b1010_1010>(a.0, _mm256_slli_epi64::<32>(b.0));
            let cd = _mm256_blend_epi32::<0b1010_1010>(c.0, _mm256_slli_epi64::<32>(d.0));
            let unit = _mm256_set1_ps(1.0 / 16_777_216.0);
            let even = _mm256_cvtepi32_ps(_mm256_srli_epi32::<8>(_mm256_unpacklo_epi64(ab, cd)));
            let odd = _mm256_cvtepi32_ps(_mm256_srli_epi32::<8>(_mm256_unpackhi_epi64(ab, cd)));
            [F32x8(_mm256_mul_ps(even, unit)), F32x8(_mm256_mul_ps(odd, unit))]
        }
    }
}
