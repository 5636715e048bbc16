//! With AVX-512 VNNI: one instruction multiplies 4 steps of 16 columns and adds the products up.

use super::{Rows, Tile, part};
use crate::backend::cpu::blocks::layout::{GROUP, WIDTH};
use std::arch::x86_64::*;

pub(super) const MAX_ROWS: usize = 8;

/// # Safety
/// The processor has AVX-512 (F, BW) and VNNI; the tile has been checked.
pub(super) unsafe fn run(tile: Tile<'_>) {
    // SAFETY: the caller keeps the same contract.
    unsafe { choose!(kernel, tile, 1 2 3 4 5 6 7 8) }
}

/// Sixteen halves.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn halves(bytes: *const u8) -> __m512 {
    // SAFETY: the caller has 32 bytes there.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.cast())) }
}

/// `SUBS` parts of a group have scales of their own.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn kernel<const R: usize, const BITS: usize, const SUBS: usize, const OFFSET: bool>(tile: Tile<'_>) {
    let (n_groups, zero) = (tile.panel.section.n_groups, tile.zero());
    let group_bytes = tile.panel.section.group_bytes();
    let mask = _mm512_set1_epi8(0xf);
    let mut sums = [_mm512_setzero_ps(); R];
    // SAFETY: the tile has been checked: its panel has the groups, and its rows have them too.
    unsafe {
        let mut rows = Rows::<R>::new(&tile);
        let mut group = tile.panel.start;
        for _ in 0..n_groups {
            for sub in 0..SUBS {
                let part = part::<R>(SUBS, sub);
                let mut dots = [_mm512_setzero_si512(); R];
                if !OFFSET {
                    for r in 0..R {
                        dots[r] = _mm512_set1_epi32((*rows.sums.add(part + r)).wrapping_mul(-zero));
                    }
                }
                for step in (sub * 8 / SUBS..(sub + 1) * 8 / SUBS).step_by(2) {
                    let (first, second) = if BITS == 4 {
                        let both = _mm512_loadu_si512(group.add(32 * step).cast());
                        (_mm512_and_si512(both, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask))
                    } else {
                        let codes = group.add(64 * step);
                        (_mm512_loadu_si512(codes.cast()), _mm512_loadu_si512(codes.add(64).cast()))
                    };
                    for r in 0..R {
                        let x = rows.codes.add(GROUP * r + 4 * step).cast::<i32>();
                        dots[r] = _mm512_dpbusd_epi32(dots[r], first, _mm512_set1_epi32(x.read_unaligned()));
                        dots[r] = _mm512_dpbusd_epi32(dots[r], second, _mm512_set1_epi32(x.add(1).read_unaligned()));
                    }
                }
                let scales = group.add(GROUP * WIDTH * BITS / 8 + 2 * WIDTH * sub);
                let scale = halves(scales);
                for r in 0..R {
                    let scale = _mm512_mul_ps(scale, _mm512_set1_ps(*rows.scales.add(r)));
                    sums[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[r]), scale, sums[r]);
                }
                if OFFSET {
                    let offset = halves(scales.add(2 * WIDTH * SUBS));
                    for r in 0..R {
                        sums[r] = _mm512_fmadd_ps(offset, _mm512_set1_ps(*rows.scaled_sums.add(part + r)), sums[r]);
                    }
                }
            }
            group = group.add(group_bytes);
            rows.step();
        }
        for (r, &sum) in sums.iter().enumerate() {
            _mm512_storeu_ps(tile.out.as_mut_ptr().add(r * WIDTH), sum);
        }
    }
}
