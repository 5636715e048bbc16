//! Tiles in 256-bit vectors: 6 rows by 2 vectors fill 16 registers.

use super::{Multiply, kernel_set};
use std::arch::x86_64::*;

kernel_set!(F32, F32Lanes, 2, "avx2,fma");
kernel_set!(BF16, Bf16Lanes, 2, "avx2,fma");
kernel_set!(F16, F16Lanes, 2, "avx2,fma,f16c");

/// f32 times f32.
struct F32Lanes;

/// bf16 times bf16, widened to f32 on the way into the registers. A is f32 already.
struct Bf16Lanes;

/// f32 times f16, widened on the way into the registers.
struct F16Lanes;

impl Multiply for F32Lanes {
    type Sums = __m256;
    type Words = __m256;
    const N_LANES: usize = 8;
    const N_PARTS: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the kernel enables the instructions, here and below; the pointers are the caller's to vouch for.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: __m256, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(to, sums) }
    }

    #[inline(always)]
    unsafe fn load_b(from: *const u32, _part: usize) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_a(from: *const u8, _part: usize) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_set1_ps(from.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, sums: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_fmadd_ps(a, b, sums) }
    }
}

impl Multiply for Bf16Lanes {
    type Sums = __m256;
    type Words = __m256;
    const N_LANES: usize = 8;
    const N_PARTS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the kernel enables the instructions, here and below; the pointers are the caller's to vouch for.
        unsafe { F32Lanes::zero() }
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> __m256 {
        // SAFETY: as above.
        unsafe { F32Lanes::load_sums(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: __m256, to: *mut f32) {
        // SAFETY: as above.
        unsafe { F32Lanes::store_sums(sums, to) }
    }

    #[inline(always)]
    unsafe fn load_b(from: *const u32, part: usize) -> __m256 {
        // SAFETY: as above.
        unsafe {
            let pairs: __m256i = _mm256_loadu_si256(from.cast());
            _mm256_castsi256_ps(match part {
                0 => _mm256_slli_epi32::<16>(pairs),
                _ => _mm256_and_si256(pairs, _mm256_set1_epi32(!0xffff)),
            })
        }
    }

    #[inline(always)]
    unsafe fn load_a(from: *const u8, part: usize) -> __m256 {
        // SAFETY: as above.
        unsafe { F32Lanes::load_a(from.add(4 * part), 0) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, sums: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { F32Lanes::multiply_add(a, b, sums) }
    }
}

impl Multiply for F16Lanes {
    type Sums = __m256;
    type Words = __m256;
    const N_LANES: usize = F32Lanes::N_LANES;
    const N_PARTS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the kernel enables the instructions, here and below; the pointers are the caller's to vouch for.
        unsafe { F32Lanes::zero() }
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> __m256 {
        // SAFETY: as above.
        unsafe { F32Lanes::load_sums(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: __m256, to: *mut f32) {
        // SAFETY: as above.
        unsafe { F32Lanes::store_sums(sums, to) }
    }

    #[inline(always)]
    unsafe fn load_b(from: *const u32, part: usize) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.add(part * Self::N_LANES / 2).cast())) }
    }

    #[inline(always)]
    unsafe fn load_a(from: *const u8, part: usize) -> __m256 {
        // SAFETY: as above.
        unsafe { F32Lanes::load_a(from.add(4 * part), 0) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, sums: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { F32Lanes::multiply_add(a, b, sums) }
    }
}
