//! With AVX2: 4-bit codes by the products of bytes that are summed in pairs (16 of them fit into 16 bits), 8-bit codes
//! widened to 16 bits.

use super::{Rows, Tile, part};
use crate::backend::cpu::blocks::layout::{GROUP, WIDTH};
use crate::backend::cpu::prefetch::prefetch;
use std::arch::asm;
use std::arch::x86_64::*;

pub(super) const MAX_ROWS: usize = 4;
/// How far ahead memory is asked for.
const AHEAD_BYTES: usize = 2048;

/// # Safety
/// The processor has AVX2, FMA and F16C; the tile has been checked.
pub(super) unsafe fn run(tile: Tile<'_>) {
    // SAFETY: the caller keeps the same contract.
    unsafe { choose!(kernel, tile, 1 2 3 4) }
}

/// Asks for a group's worth of memory some way ahead. Few rows multiply faster than memory comes by itself.
#[inline(always)]
fn ahead<const R: usize>(group: *const u8, group_bytes: usize) {
    if R <= 2 {
        for line in (0..group_bytes).step_by(64) {
            prefetch(group.wrapping_add(AHEAD_BYTES + line));
        }
    }
}

/// A sum as it is at this point of the program. Without it the compiler takes one row after the other: the widened codes of
/// all steps then do not fit into the registers, and go through memory for every row.
#[target_feature(enable = "avx2")]
#[inline]
fn settled(mut sum: __m256i) -> __m256i {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {} */", inout(ymm_reg) sum, options(nomem, nostack, preserves_flags)) };
    sum
}

/// Eight halves.
#[target_feature(enable = "avx2,f16c")]
#[inline]
unsafe fn halves(bytes: *const u8) -> __m256 {
    // SAFETY: the caller has 16 bytes there.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bytes.cast())) }
}

/// The columns of a panel by halves: both at once as long as the registers hold the sums.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn kernel<const R: usize, const BITS: usize, const SUBS: usize, const OFFSET: bool>(mut tile: Tile<'_>) {
    // SAFETY: the tile has been checked.
    unsafe {
        if R <= 2 {
            sides::<R, BITS, SUBS, OFFSET, 2>(&mut tile, 0);
        } else {
            sides::<R, BITS, SUBS, OFFSET, 1>(&mut tile, 0);
            sides::<R, BITS, SUBS, OFFSET, 1>(&mut tile, 1);
        }
    }
}

/// `SIDES` halves of the panel's columns, from half `first` on; `SUBS` parts of a group have scales of their own.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn sides<const R: usize, const BITS: usize, const SUBS: usize, const OFFSET: bool, const SIDES: usize>(
    tile: &mut Tile<'_>,
    first: usize,
) {
    let (n_groups, group_bytes) = (tile.panel.section.n_groups, tile.panel.section.group_bytes());
    let mut sums = [[_mm256_setzero_ps(); SIDES]; R];
    // SAFETY: the tile has been checked: its panel has the groups, and its rows have them too.
    unsafe {
        let mut rows = Rows::<R>::new(tile);
        let mut group = tile.panel.start;
        for _ in 0..n_groups {
            ahead::<R>(group, group_bytes);
            for sub in 0..SUBS {
                let dots: [[__m256i; R]; SIDES] = if BITS == 4 {
                    nibbles::<R, SUBS, OFFSET, SIDES>(group, first, &rows, sub)
                } else {
                    bytes::<R, SUBS, SIDES>(group, first, &rows, sub)
                };
                let scales = group.add(GROUP * WIDTH * BITS / 8 + 2 * WIDTH * sub + 16 * first);
                for side in 0..SIDES {
                    let scale = halves(scales.add(16 * side));
                    for r in 0..R {
                        let scale = _mm256_mul_ps(scale, _mm256_set1_ps(*rows.scales.add(r)));
                        sums[r][side] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[side][r]), scale, sums[r][side]);
                    }
                    if OFFSET {
                        let offset = halves(scales.add(2 * WIDTH * SUBS + 16 * side));
                        for r in 0..R {
                            let sum = _mm256_set1_ps(*rows.scaled_sums.add(part::<R>(SUBS, sub) + r));
                            sums[r][side] = _mm256_fmadd_ps(offset, sum, sums[r][side]);
                        }
                    }
                }
            }
            group = group.add(group_bytes);
            rows.step();
        }
        let out = tile.out.as_mut_ptr();
        for r in 0..R {
            for side in 0..SIDES {
                _mm256_storeu_ps(out.add(r * WIDTH + 8 * (first + side)), sums[r][side]);
            }
        }
    }
}

/// Sums of 4-bit codes of part `sub` of a group. Without offsets their zero is taken off.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn nibbles<const R: usize, const SUBS: usize, const OFFSET: bool, const SIDES: usize>(
    group: *const u8,
    first: usize,
    rows: &Rows<R>,
    sub: usize,
) -> [[__m256i; R]; SIDES] {
    let (mask, ones) = (_mm256_set1_epi8(0xf), _mm256_set1_epi16(1));
    let mut dots = [[_mm256_setzero_si256(); R]; SIDES];
    // SAFETY: the panel and the rows have the group.
    unsafe {
        for vector in sub * 4 / SUBS..(sub + 1) * 4 / SUBS {
            let codes = group.add(64 * vector + 32 * first).cast::<__m256i>();
            for side in 0..SIDES {
                let both = _mm256_loadu_si256(codes.add(side));
                let lower = _mm256_and_si256(both, mask);
                let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(both), mask);
                for r in 0..R {
                    let x = rows.codes.add(GROUP * r + 8 * vector).cast::<i32>();
                    let (one, two) =
                        (_mm256_set1_epi32(x.read_unaligned()), _mm256_set1_epi32(x.add(1).read_unaligned()));
                    let dot = _mm256_add_epi16(dots[side][r], _mm256_maddubs_epi16(lower, one));
                    dots[side][r] = settled(_mm256_add_epi16(dot, _mm256_maddubs_epi16(upper, two)));
                }
            }
        }
        for side in 0..SIDES {
            for r in 0..R {
                let dot = _mm256_madd_epi16(dots[side][r], ones);
                let sum = _mm256_set1_epi32(*rows.sums.add(part::<R>(SUBS, sub) + r));
                // Codes of 4 bits are 8 above their number.
                dots[side][r] = if OFFSET { dot } else { _mm256_sub_epi32(dot, _mm256_slli_epi32::<3>(sum)) };
            }
        }
    }
    dots
}

/// Sums of 8-bit codes of part `sub` of a group.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn bytes<const R: usize, const SUBS: usize, const SIDES: usize>(
    group: *const u8,
    first: usize,
    rows: &Rows<R>,
    sub: usize,
) -> [[__m256i; R]; SIDES] {
    // Two sums for each of the first four columns of a side, and for each of the others.
    let mut pairs = [[[_mm256_setzero_si256(); 2]; R]; SIDES];
    let mut dots = [[_mm256_setzero_si256(); R]; SIDES];
    // SAFETY: the panel and the rows have the group.
    unsafe {
        for step in sub * 8 / SUBS..(sub + 1) * 8 / SUBS {
            let codes = group.add(64 * step + 32 * first).cast::<__m128i>();
            for side in 0..SIDES {
                let left = _mm256_cvtepi8_epi16(_mm_loadu_si128(codes.add(2 * side)));
                let right = _mm256_cvtepi8_epi16(_mm_loadu_si128(codes.add(2 * side + 1)));
                for r in 0..R {
                    let x = rows.wide.add(GROUP * r + 4 * step).cast::<i64>();
                    let x = _mm256_set1_epi64x(x.read_unaligned());
                    let pair = &mut pairs[side][r];
                    pair[0] = settled(_mm256_add_epi32(pair[0], _mm256_madd_epi16(left, x)));
                    pair[1] = settled(_mm256_add_epi32(pair[1], _mm256_madd_epi16(right, x)));
                }
            }
        }
    }
    for side in 0..SIDES {
        for r in 0..R {
            let [left, right] = pairs[side][r];
            dots[side][r] = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(left, right));
        }
    }
    dots
}
