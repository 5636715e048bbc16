//! Tiles in plain arrays, which the compiler turns into whatever vectors the architecture always has.

use super::{Multiply, kernel_set};

// 16 registers of 128 bits on x86-64, 32 on AArch64.
#[cfg(not(target_arch = "aarch64"))]
kernel_set!(F32, F32Lanes, 2);
#[cfg(not(target_arch = "aarch64"))]
kernel_set!(BF16, Bf16Lanes, 2);
#[cfg(not(target_arch = "aarch64"))]
kernel_set!(F16, F16Lanes, 2);
#[cfg(target_arch = "aarch64")]
kernel_set!(F32, F32Lanes, 4);
#[cfg(target_arch = "aarch64")]
kernel_set!(BF16, Bf16Lanes, 4);
#[cfg(target_arch = "aarch64")]
kernel_set!(F16, F16Lanes, 4);

/// f32 times f32.
struct F32Lanes;

/// bf16 times bf16, widened to f32 on the way into the registers. A is f32 already.
struct Bf16Lanes;

/// f32 times f16, widened on the way into the registers.
struct F16Lanes;

type Vector = [f32; 4];

impl Multiply for F32Lanes {
    type Sums = Vector;
    type Words = Vector;
    const N_LANES: usize = 4;
    const N_PARTS: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> Vector {
        [0.0; 4]
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> Vector {
        // SAFETY: the pointers are the caller's to vouch for, here and below.
        unsafe { from.cast::<Vector>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: Vector, to: *mut f32) {
        // SAFETY: as above.
        unsafe { to.cast::<Vector>().write_unaligned(sums) }
    }

    #[inline(always)]
    unsafe fn load_b(from: *const u32, _part: usize) -> Vector {
        // SAFETY: as above.
        unsafe { from.cast::<Vector>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_a(from: *const u8, _part: usize) -> Vector {
        // SAFETY: as above.
        [unsafe { from.cast::<f32>().read_unaligned() }; 4]
    }

    #[inline(always)]
    unsafe fn multiply_add(a: Vector, b: Vector, sums: Vector) -> Vector {
        std::array::from_fn(|lane| multiply_add(a[lane], b[lane], sums[lane]))
    }
}

impl Multiply for Bf16Lanes {
    type Sums = Vector;
    type Words = Vector;
    const N_LANES: usize = 4;
    const N_PARTS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Vector {
        [0.0; 4]
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> Vector {
        // SAFETY: the pointers are the caller's to vouch for, here and below.
        unsafe { F32Lanes::load_sums(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: Vector, to: *mut f32) {
        // SAFETY: as above.
        unsafe { F32Lanes::store_sums(sums, to) }
    }

    #[inline(always)]
    unsafe fn load_b(from: *const u32, part: usize) -> Vector {
        // SAFETY: as above.
        let pairs = unsafe { from.cast::<[u32; 4]>().read_unaligned() };
        pairs.map(|pair| f32::from_bits(if part == 0 { pair << 16 } else { pair & !0xffff }))
    }

    #[inline(always)]
    unsafe fn load_a(from: *const u8, part: usize) -> Vector {
        // SAFETY: as above.
        unsafe { F32Lanes::load_a(from.add(4 * part), 0) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: Vector, b: Vector, sums: Vector) -> Vector {
        // SAFETY: as above.
        unsafe { F32Lanes::multiply_add(a, b, sums) }
    }
}

impl Multiply for F16Lanes {
    type Sums = Vector;
    type Words = Vector;
    const N_LANES: usize = F32Lanes::N_LANES;
    const N_PARTS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Vector {
        // SAFETY: the kernel enables the instructions, here and below; the pointers are the caller's to vouch for.
        unsafe { F32Lanes::zero() }
    }

    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> Vector {
        // SAFETY: as above.
        unsafe { F32Lanes::load_sums(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(sums: Vector, to: *mut f32) {
        // SAFETY: as above.
        unsafe { F32Lanes::store_sums(sums, to) }
    }

    #[inline(always)]
    unsafe fn load_b(from: *const u32, part: usize) -> Vector {
        // SAFETY: as above.
        let [low, high] = unsafe { from.add(part * Self::N_LANES / 2).cast::<[u32; 2]>().read_unaligned() };
        [low & 0xffff, low >> 16, high & 0xffff, high >> 16].map(widen)
    }

    #[inline(always)]
    unsafe fn load_a(from: *const u8, part: usize) -> Vector {
        // SAFETY: as above.
        unsafe { F32Lanes::load_a(from.add(4 * part), 0) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: Vector, b: Vector, sums: Vector) -> Vector {
        // SAFETY: as above.
        unsafe { F32Lanes::multiply_add(a, b, sums) }
    }
}

/// Fused where the processor is sure to have the instruction; elsewhere a fused one would be a slow library call.
#[inline(always)]
fn multiply_add(a: f32, b: f32, sum: f32) -> f32 {
    if cfg!(target_arch = "aarch64") { a.mul_add(b, sum) } else { a * b + sum }
}

/// The number of f16 bits, without a branch that would keep the compiler from making vectors of it.
#[inline(always)]
fn widen(bits: u32) -> f32 {
    let (sign, magnitude) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
    // The exponents of f16 end 112 below those of f32; the product is exact, and makes denormal numbers normal.
    let finite = (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits();
    let magnitude = if bits & 0x7c00 == 0x7c00 { magnitude | 0x7f80_0000 } else { finite };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn every_f16_is_widened_as_the_standard_says() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (widen(bits.into()), f16::from_bits(bits).to_f32());
            let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(same, "{bits:#x}: {found} instead of {expected}");
        }
    }
}
