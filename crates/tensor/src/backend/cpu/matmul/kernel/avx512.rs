//! Tiles in 512-bit vectors: 6 rows by 4 vectors fill 32 registers.

use super::{Multiply, kernel_set};
use half::bf16;
use std::arch::x86_64::*;

kernel_set!(F32, F32Lanes, 4, "avx512f,avx512bw,avx512dq,avx512vl,fma");
kernel_set!(BF16, Bf16Lanes, 4, "avx512f,avx512bw,avx512dq,avx512vl,fma");
kernel_set!(F16, F16Lanes, 4, "avx512f,avx512bw,avx512dq,avx512vl,fma");
kernel_set!(BF16_DOT, Bf16Dot, 4, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma");

/// f32 times f32.
struct F32Lanes;

/// bf16 times bf16, widened to f32 on the way into the registers. A is f32 already.
struct Bf16Lanes;

/// f32 times f16, widened on the way into the registers.
struct F16Lanes;

impl Multiply for F32Lanes {
    type Sums = __m512;
    type Words = __m512;
    const N_LANES: usize = 16;
    const N_PARTS: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the kernel enables the instructions, here and below; the pointers are the caller's to vouch for.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: __m512, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, sums) }
    }

    #[inline(always)]
    unsafe fn load_b(from: *const u32, _part: usize) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_a(from: *const u8, _part: usize) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_set1_ps(from.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, sums: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(a, b, sums) }
    }
}

impl Multiply for Bf16Lanes {
    type Sums = __m512;
    type Words = __m512;
    const N_LANES: usize = 16;
    const N_PARTS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the kernel enables the instructions, here and below; the pointers are the caller's to vouch for.
        unsafe { F32Lanes::zero() }
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> __m512 {
        // SAFETY: as above.
        unsafe { F32Lanes::load_sums(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: __m512, to: *mut f32) {
        // SAFETY: as above.
        unsafe { F32Lanes::store_sums(sums, to) }
    }

    #[inline(always)]
    unsafe fn load_b(from: *const u32, part: usize) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let pairs: __m512i = _mm512_loadu_si512(from.cast());
            _mm512_castsi512_ps(match part {
                0 => _mm512_slli_epi32::<16>(pairs),
                _ => _mm512_and_si512(pairs, _mm512_set1_epi32(!0xffff)),
            })
        }
    }

    #[inline(always)]
    unsafe fn load_a(from: *const u8, part: usize) -> __m512 {
        // SAFETY: as above.
        unsafe { F32Lanes::load_a(from.add(4 * part), 0) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, sums: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { F32Lanes::multiply_add(a, b, sums) }
    }
}

impl Multiply for F16Lanes {
    type Sums = __m512;
    type Words = __m512;
    const N_LANES: usize = F32Lanes::N_LANES;
    const N_PARTS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the kernel enables the instructions, here and below; the pointers are the caller's to vouch for.
        unsafe { F32Lanes::zero() }
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> __m512 {
        // SAFETY: as above.
        unsafe { F32Lanes::load_sums(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: __m512, to: *mut f32) {
        // SAFETY: as above.
        unsafe { F32Lanes::store_sums(sums, to) }
    }

    #[inline(always)]
    unsafe fn load_b(from: *const u32, part: usize) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.add(part * Self::N_LANES / 2).cast())) }
    }

    #[inline(always)]
    unsafe fn load_a(from: *const u8, part: usize) -> __m512 {
        // SAFETY: as above.
        unsafe { F32Lanes::load_a(from.add(4 * part), 0) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, sums: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { F32Lanes::multiply_add(a, b, sums) }
    }
}

/// Pairs of bf16 times pairs of bf16, by the instruction made for it. It takes denormal numbers for 0.
struct Bf16Dot;

impl Multiply for Bf16Dot {
    type Sums = __m512;
    type Words = __m512i;
    const N_LANES: usize = 16;
    const N_PARTS: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the kernel enables the instructions, here and below; the pointers are the caller's to vouch for.
        unsafe { F32Lanes::zero() }
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> __m512 {
        // SAFETY: as above.
        unsafe { F32Lanes::load_sums(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: __m512, to: *mut f32) {
        // SAFETY: as above.
        unsafe { F32Lanes::store_sums(sums, to) }
    }

    /// By the instruction made for it: the sums are never denormal, which it would take for 0.
    #[inline(always)]
    unsafe fn store_bf16(sums: __m512, to: *mut bf16) {
        // SAFETY: as above; both types are 256 bits of anything.
        unsafe {
            let rounded = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(sums));
            _mm256_storeu_si256(to.cast(), rounded)
        }
    }

    #[inline(always)]
    unsafe fn load_b(from: *const u32, _part: usize) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_a(from: *const u8, _part: usize) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_half_a(from: *const u8) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_set1_epi32(i32::from(from.cast::<u16>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512i, b: __m512i, sums: __m512) -> __m512 {
        // SAFETY: as above; both types are 512 bits of anything.
        unsafe {
            _mm512_dpbf16_ps(
                sums,
                std::mem::transmute::<__m512i, __m512bh>(a),
                std::mem::transmute::<__m512i, __m512bh>(b),
            )
        }
    }
}
