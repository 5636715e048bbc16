//! Lanes of AVX-512 (F, BW, DQ, VL).

use super::{Lanes, Program};
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

/// Instructions that touch no memory.
macro_rules! avx512 {
    ($($instructions:tt)*) => {
        // SAFETY: a value of this type exists, so the processor has the instructions; they touch registers only.
        unsafe { $($instructions)* }
    };
}

/// Selects the first `n` lanes, `n` below 16.
#[inline(always)]
fn first(n: usize) -> u16 {
    assert!(n < 16, "{n} elements are not part of a vector of 16");
    (1 << n) - 1
}

impl F32x16 {
    /// The upper halves of the lanes, rounded to nearest even. (The conversion instruction would flush subnormals.)
    #[inline(always)]
    fn to_bf16(self) -> __m256i {
        avx512! {
            let bits = _mm512_castps_si512(self.0);
            let is_odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(is_odd, _mm512_set1_epi32(0x7fff)));
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let chosen = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x0040_0000));
            _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(chosen))
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
