//! Vectors of f32.

use std::arch::x86_64::*;

/// A vector of f32 lanes.
pub(super) trait Simd: Copy {
    const N: usize;
    /// Widest tile of a product, in vectors: six rows of it fit the registers.
    const TILE: usize;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    unsafe fn max(self, b: Self) -> Self;
    /// self · b + c
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// 2^self, exactly 0 below −126; relative error below 3e-7 for what is not above 0.
    unsafe fn exp2(self) -> Self;
    unsafe fn reduce_max(self) -> f32;
    unsafe fn reduce_sum(self) -> f32;
    /// Lane by lane `yes` where self < b, else `no`.
    unsafe fn select_less(self, b: Self, yes: Self, no: Self) -> Self;
    /// Lane by lane `yes` where the bits of self and b are the same, else `no`.
    unsafe fn select_same(self, b: Self, yes: Self, no: Self) -> Self;
}

const EXP2: [f32; 7] =
    [1.0, 6.931_472e-1, 2.402_264_8e-1, 5.550_332_5e-2, 9.618_437e-3, 1.339_887_4e-3, 1.535_336_2e-4];

#[derive(Clone, Copy)]
pub(super) struct Avx512(pub(super) __m512);

impl Simd for Avx512 {
    const N: usize = 16;
    const TILE: usize = 4;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        unsafe { Self(_mm512_add_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        unsafe { Self(_mm512_sub_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        unsafe { Self(_mm512_mul_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        unsafe { Self(_mm512_max_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm512_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn exp2(self) -> Self {
        unsafe {
            let x = self.0;
            let n = _mm512_roundscale_ps::<8>(x);
            let f = _mm512_sub_ps(x, n);
            let mut p = _mm512_set1_ps(EXP2[6]);
            for i in (0..6).rev() {
                p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[i]));
            }
            let visible = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, _mm512_set1_ps(-126.0));
            Self(_mm512_maskz_scalef_ps(visible, p, n))
        }
    }
    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
    #[inline(always)]
    unsafe fn reduce_sum(self) -> f32 {
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
    #[inline(always)]
    unsafe fn select_less(self, b: Self, yes: Self, no: Self) -> Self {
        unsafe { Self(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, b.0), no.0, yes.0)) }
    }
    #[inline(always)]
    unsafe fn select_same(self, b: Self, yes: Self, no: Self) -> Self {
        unsafe {
            let same = _mm512_cmpeq_epi32_mask(_mm512_castps_si512(self.0), _mm512_castps_si512(b.0));
            Self(_mm512_mask_blend_ps(same, no.0, yes.0))
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256);

impl Simd for Avx2 {
    const N: usize = 8;
    const TILE: usize = 2;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(_mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        unsafe { Self(_mm256_add_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        unsafe { Self(_mm256_sub_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        unsafe { Self(_mm256_mul_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        unsafe { Self(_mm256_max_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm256_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn exp2(self) -> Self {
        unsafe {
            let x = self.0;
            let visible = _mm256_cmp_ps::<_CMP_GE_OQ>(x, _mm256_set1_ps(-126.0));
            let n = _mm256_round_ps::<8>(x);
            let f = _mm256_sub_ps(x, n);
            let mut p = _mm256_set1_ps(EXP2[6]);
            for i in (0..6).rev() {
                p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[i]));
            }
            let exponent = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
            Self(_mm256_and_ps(visible, _mm256_mul_ps(p, _mm256_castsi256_ps(exponent))))
        }
    }
    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        unsafe {
            let m = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let m = _mm_max_ps(m, _mm_movehl_ps(m, m));
            _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps::<1>(m, m)))
        }
    }
    #[inline(always)]
    unsafe fn reduce_sum(self) -> f32 {
        unsafe {
            let m = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let m = _mm_add_ps(m, _mm_movehl_ps(m, m));
            _mm_cvtss_f32(_mm_add_ss(m, _mm_shuffle_ps::<1>(m, m)))
        }
    }
    #[inline(always)]
    unsafe fn select_less(self, b: Self, yes: Self, no: Self) -> Self {
        unsafe { Self(_mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, b.0))) }
    }
    #[inline(always)]
    unsafe fn select_same(self, b: Self, yes: Self, no: Self) -> Self {
        unsafe {
            let same = _mm256_cmpeq_epi32(_mm256_castps_si256(self.0), _mm256_castps_si256(b.0));
            Self(_mm256_blendv_ps(no.0, yes.0, _mm256_castsi256_ps(same)))
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 4]);

impl Portable {
    #[inline(always)]
    fn map(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl Simd for Portable {
    const N: usize = 4;
    const TILE: usize = 2;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self.map(b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self.map(b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self.map(b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        self.map(b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        self.map(b, |a, b| a * b).map(c, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn exp2(self) -> Self {
        Self(self.0.map(|x| {
            let shifted = x.max(-126.0) + 12_582_912.0;
            let f = x.max(-126.0) - (shifted - 12_582_912.0);
            let p = EXP2.iter().rev().fold(0.0, |p, c| p * f + c);
            let n = (shifted.to_bits() as i32).wrapping_sub(0x4B40_0000);
            let power = f32::from_bits(((n + 127) << 23) as u32);
            if x >= -126.0 { p * power } else { 0.0 }
        }))
    }
    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        let [a, b, c, d] = self.0;
        a.max(b).max(c.max(d))
    }
    #[inline(always)]
    unsafe fn reduce_sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        (a + c) + (b + d)
    }
    #[inline(always)]
    unsafe fn select_less(self, b: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] < b.0[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    unsafe fn select_same(self, b: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i].to_bits() == b.0[i].to_bits() { yes.0[i] } else { no.0[i] }))
    }
}
