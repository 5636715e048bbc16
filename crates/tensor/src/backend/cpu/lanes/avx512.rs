//! Lanes of AVX-512 (F, BW, DQ, VL).

use super::{Lanes, Program, WideLanes};
use half::bf16;
use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

/// Sixteen lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct F32x16(__m512);

/// Compiles and runs a program.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn run<P: Program>(program: P) -> P::Output {
    program.run(F32x16(_mm512_setzero_ps()))
}

/// Instructions that touch no memory but constants as long as a vector.
macro_rules! avx512 {
    ($($instructions:tt)*) => {
        // SAFETY: a value of this type exists, so the processor has the instructions; they touch nothing else.
        unsafe { $($instructions)* }
    };
}

/// Selects the first `n` lanes, `n` below 16.
#[inline(always)]
fn first(n: usize) -> u16 {
    assert!(n < 16, "{n} elements are not part of a vector of 16");
    (1 << n) - 1
}

/// The numbers of the upper halves of the lanes.
const UPPER_HALVES: [u16; 32] = {
    let mut indices = [0; 32];
    let mut lane = 0;
    while lane < 16 {
        indices[lane] = 2 * lane as u16 + 1;
        lane += 1;
    }
    indices
};

impl F32x16 {
    /// The upper halves of the lanes, rounded to nearest even. (The conversion instruction would flush subnormals.)
    #[inline(always)]
    fn to_bf16(self) -> __m256i {
        avx512! {
            let bits = _mm512_castps_si512(self.0);
            let is_odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x0001_0000));
            let rounded = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
            let rounded = _mm512_mask_add_epi32(rounded, is_odd, rounded, _mm512_set1_epi32(1));
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let chosen = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x0040_0000));
            let upper_halves = _mm512_loadu_si512(UPPER_HALVES.as_ptr().cast());
            _mm512_castsi512_si256(_mm512_permutexvar_epi16(upper_halves, chosen))
        }
    }

    #[inline(always)]
    fn of_bf16(halves: __m256i) -> Self {
        Self(avx512!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))))
    }
}

impl Add for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(avx512!(_mm512_add_ps(self.0, other.0)))
    }
}

impl Sub for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(avx512!(_mm512_sub_ps(self.0, other.0)))
    }
}

impl Mul for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(avx512!(_mm512_mul_ps(self.0, other.0)))
    }
}

impl Div for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(avx512!(_mm512_div_ps(self.0, other.0)))
    }
}

impl Lanes for F32x16 {
    const N: usize = 16;
    type Wide = U64x8;
    type Squares = [F64x8; 2];

    #[inline(always)]
    fn wide(self) -> U64x8 {
        U64x8(avx512!(_mm512_setzero_si512()))
    }

    #[inline(always)]
    fn no_squares(self) -> [F64x8; 2] {
        [F64x8(avx512!(_mm512_setzero_pd())); 2]
    }

    #[inline(always)]
    fn add_square(self, [lower, upper]: [F64x8; 2]) -> [F64x8; 2] {
        avx512! {
            let x = _mm512_cvtps_pd(_mm512_castps512_ps256(self.0));
            let y = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(self.0));
            [F64x8(_mm512_fmadd_pd(x, x, lower.0)), F64x8(_mm512_fmadd_pd(y, y, upper.0))]
        }
    }

    #[inline(always)]
    fn total([lower, upper]: [F64x8; 2]) -> f64 {
        avx512!(_mm512_reduce_add_pd(_mm512_add_pd(lower.0, upper.0)))
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self {
        Self(avx512!(_mm512_set1_ps(value)))
    }

    #[inline(always)]
    fn load(self, data: &[f32]) -> Self {
        let data = &data[..16];
        // SAFETY: sixteen elements lie there; the instructions are there as `self` is.
        Self(unsafe { _mm512_loadu_ps(data.as_ptr()) })
    }

    #[inline(always)]
    fn load_bf16(self, data: &[bf16]) -> Self {
        let data = &data[..16];
        // SAFETY: sixteen elements of 16 bits lie there; the instructions are there as `self` is.
        Self::of_bf16(unsafe { _mm256_loadu_si256(data.as_ptr().cast()) })
    }

    #[inline(always)]
    fn load_pairs(self, pairs: &[f32]) -> (Self, Self) {
        let pairs = avx512!(_mm512_castps_si512(self.load(pairs).0));
        avx512! {
            let second = _mm512_and_si512(pairs, _mm512_set1_epi32(0xFFFF_0000_u32 as i32));
            (Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))), Self(_mm512_castsi512_ps(second)))
        }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        let out = &mut out[..16];
        // SAFETY: sixteen elements lie there; the instructions are there as `self` is.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn store_bf16(self, out: &mut [bf16]) {
        let out = &mut out[..16];
        // SAFETY: sixteen elements of 16 bits lie there; the instructions are there as `self` is.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), self.to_bf16()) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(avx512!(_mm512_fmadd_ps(self.0, factor.0, term.0)))
    }

    #[inline(always)]
    fn square(self) -> (Self, Self) {
        let square = self * self;
        (square, Self(avx512!(_mm512_fmsub_ps(self.0, self.0, square.0))))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(avx512!(_mm512_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(avx512!(_mm512_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(avx512!(_mm512_abs_ps(self.0)))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(avx512!(_mm512_sqrt_ps(self.0)))
    }

    #[inline(always)]
    fn if_less(self, other: Self, then: Self, otherwise: Self) -> Self {
        Self(avx512!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0), otherwise.0, then.0)))
    }

    #[inline(always)]
    fn scale_by_power_of_two(self, power: Self) -> Self {
        Self(avx512!(_mm512_scalef_ps(self.0, power.0)))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        avx512!(_mm512_reduce_add_ps(self.0))
    }

    #[inline(always)]
    fn max_lane(self) -> f32 {
        avx512!(_mm512_reduce_max_ps(self.0))
    }

    #[inline(always)]
    fn load_partial(self, data: &[f32], fill: f32) -> Self {
        let lanes = first(data.len());
        // SAFETY: only the lanes that have an element are read; the instructions are there as `self` is.
        Self(unsafe { _mm512_mask_loadu_ps(self.splat(fill).0, lanes, data.as_ptr()) })
    }

    #[inline(always)]
    fn load_partial_bf16(self, data: &[bf16], fill: f32) -> Self {
        let lanes = first(data.len());
        // SAFETY: only the lanes that have an element are read; the instructions are there as `self` is.
        let halves = unsafe { _mm256_maskz_loadu_epi16(lanes, data.as_ptr().cast()) };
        Self(avx512!(_mm512_mask_blend_ps(lanes, self.splat(fill).0, Self::of_bf16(halves).0)))
    }

    #[inline(always)]
    fn store_partial(self, out: &mut [f32]) {
        let lanes = first(out.len());
        // SAFETY: only the lanes that have an element are written; the instructions are there as `self` is.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), lanes, self.0) }
    }

    #[inline(always)]
    fn store_partial_bf16(self, out: &mut [bf16]) {
        let lanes = first(out.len());
        // SAFETY: only the lanes that have an element are written; the instructions are there as `self` is.
        unsafe { _mm256_mask_storeu_epi16(out.as_mut_ptr().cast(), lanes, self.to_bf16()) }
    }
}

/// Eight sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct F64x8(__m512d);

/// Eight wide lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct U64x8(__m512i);

impl WideLanes for U64x8 {
    type Narrow = F32x16;

    #[inline(always)]
    fn splat(self, value: u64) -> Self {
        Self(avx512!(_mm512_set1_epi64(value as i64)))
    }

    #[inline(always)]
    fn load(self, numbers: &[u64; 8]) -> Self {
        // SAFETY: eight numbers lie there; the instructions are there as `self` is.
        Self(unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) })
    }

    #[inline(always)]
    fn multiply_lower(self, other: Self) -> Self {
        Self(avx512!(_mm512_mul_epu32(self.0, other.0)))
    }

    #[inline(always)]
    fn upper(self) -> Self {
        Self(avx512!(_mm512_srli_epi64::<32>(self.0)))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(avx512!(_mm512_xor_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn units([a, b, c, d]: [Self; 4]) -> [F32x16; 2] {
        avx512! {
            let ab = _mm512_mask_shuffle_epi32::<0b1000_0000>(a.0, 0xaaaa, b.0);
            let cd = _mm512_mask_shuffle_epi32::<0b1000_0000>(c.0, 0xaaaa, d.0);
            let unit = _mm512_set1_ps(1.0 / 16_777_216.0);
            let even = _mm512_cvtepi32_ps(_mm512_srli_epi32::<8>(_mm512_unpacklo_epi64(ab, cd)));
            let odd = _mm512_cvtepi32_ps(_mm512_srli_epi32::<8>(_mm512_unpackhi_epi64(ab, cd)));
            [F32x16(_mm512_mul_ps(even, unit)), F32x16(_mm512_mul_ps(odd, unit))]
        }
    }
}
