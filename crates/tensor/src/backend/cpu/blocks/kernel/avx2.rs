//! With AVX2: 4-bit codes by the products of bytes that are summed in pairs (16 of them fit into 16 bits), 8-bit codes
//! widened to 16 bits.

use super::Tile;
use crate::backend::cpu::blocks::layout::{GROUP, WIDTH};
use crate::backend::cpu::matmul::prefetch;
use std::arch::x86_64::*;

pub(super) const MAX_ROWS: usize = 4;
/// How far ahead memory is asked for.
const AHEAD_BYTES: usize = 2048;

/// Calls the variant of a kernel for the number of rows and the coding.
macro_rules! choose {
    ($kernel:ident, $tile:ident) => {{
        let coding = $tile.panel.section.coding;
        choose!(@ $kernel, $tile, coding, 1 2 3 4)
    }};
    (@ $kernel:ident, $tile:ident, $coding:ident, $($rows:literal)+) => {
        match ($tile.n_rows(), $coding.group_len, $coding.has_offset) {
            $(
                ($rows, 32, false) => $kernel::<$rows, 1, false>($tile),
                ($rows, 32, true) => $kernel::<$rows, 1, true>($tile),
                ($rows, _, false) => $kernel::<$rows, 2, false>($tile),
                ($rows, _, true) => $kernel::<$rows, 2, true>($tile),
            )+
            (n_rows, ..) => unreachable!("a tile of {n_rows} rows"),
        }
    };
}

/// # Safety
/// The processor has AVX2, FMA and F16C; the tile has been checked.
pub(super) unsafe fn run(tile: Tile<'_>) {
    // SAFETY: the caller keeps the same contract.
    unsafe {
        match tile.panel.section.coding.bits {
            4 => choose!(nibbles, tile),
            _ => choose!(bytes, tile),
        }
    }
}

/// Where the numbers of R rows are, from some group on.
struct Rows<const R: usize> {
    codes: *const i8,
    wide: *const i16,
    scales: *const f32,
    sums: *const i32,
    scaled_sums: *const f32,
}

impl<const R: usize> Rows<R> {
    /// # Safety
    /// The tile has been checked.
    #[inline(always)]
    unsafe fn new(tile: &Tile<'_>) -> Self {
        let (rows, groups) = (tile.rows, tile.first_row * tile.panel.section.n_groups);
        // SAFETY: all lists have their part of every tile.
        unsafe {
            Self {
                codes: rows.codes.as_ptr().add(GROUP * groups),
                wide: rows.wide.as_ptr().add(GROUP * groups),
                scales: rows.scales.as_ptr().add(groups),
                sums: rows.sums.as_ptr().add(3 * groups),
                scaled_sums: rows.scaled_sums.as_ptr().add(3 * groups),
            }
        }
    }

    /// Goes on to the next group.
    #[inline(always)]
    fn step(&mut self) {
        self.codes = self.codes.wrapping_add(GROUP * R);
        self.wide = self.wide.wrapping_add(GROUP * R);
        self.scales = self.scales.wrapping_add(R);
        self.sums = self.sums.wrapping_add(3 * R);
        self.scaled_sums = self.scaled_sums.wrapping_add(3 * R);
    }
}

/// Where the sums of the whole group begin, or of part `sub` of `subs`.
#[inline(always)]
fn part(subs: usize, sub: usize, n_rows: usize) -> usize {
    if subs == 1 { 0 } else { (1 + sub) * n_rows }
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

/// Eight halves.
#[target_feature(enable = "avx2,f16c")]
#[inline]
unsafe fn halves(bytes: *const u8) -> __m256 {
    // SAFETY: the caller has 16 bytes there.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bytes.cast())) }
}

/// The kernels take the columns of a panel by halves, one after the other or both at once, as the registers allow.
macro_rules! by_sides {
    ($kernel:ident, $of_sides:ident, $both:literal) => {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn $kernel<const R: usize, const SUBS: usize, const OFFSET: bool>(tile: Tile<'_>) {
            // SAFETY: the tile has been checked.
            unsafe {
                if R <= $both {
                    $of_sides::<R, SUBS, OFFSET, 2>(&tile, 0);
                } else {
                    $of_sides::<R, SUBS, OFFSET, 1>(&tile, 0);
                    $of_sides::<R, SUBS, OFFSET, 1>(&tile, 1);
                }
            }
        }
    };
}

by_sides!(nibbles, nibbles_of_sides, 2);
by_sides!(bytes, bytes_of_sides, 2);

/// Scaled sums of codes, added up over the groups.
struct Sums<const R: usize, const SIDES: usize>([[__m256; SIDES]; R]);

impl<const R: usize, const SIDES: usize> Sums<R, SIDES> {
    /// Adds a group's sums of codes times their scales.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn add(&mut self, side: usize, scales: *const u8, rows: &Rows<R>, dots: [__m256i; R]) {
        // SAFETY: the panel and the rows have the group.
        unsafe {
            let scale = halves(scales);
            for r in 0..R {
                let scale = _mm256_mul_ps(scale, _mm256_set1_ps(*rows.scales.add(r)));
                self.0[r][side] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r]), scale, self.0[r][side]);
            }
        }
    }

    /// Adds the offsets of a group.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn add_offsets<const SUBS: usize>(&mut self, side: usize, offsets: *const u8, rows: &Rows<R>, sub: usize) {
        // SAFETY: the panel and the rows have the group.
        unsafe {
            let offset = halves(offsets);
            for r in 0..R {
                let sum = _mm256_set1_ps(*rows.scaled_sums.add(part(SUBS, sub, R) + r));
                self.0[r][side] = _mm256_fmadd_ps(offset, sum, self.0[r][side]);
            }
        }
    }

    /// Stores the sums of `SIDES` halves of the panel's columns, from half `first` on.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn store(&self, out: *mut f32, first: usize) {
        for r in 0..R {
            for side in 0..SIDES {
                // SAFETY: the tile has the rows and the columns.
                unsafe { _mm256_storeu_ps(out.add(r * WIDTH + 8 * (first + side)), self.0[r][side]) };
            }
        }
    }
}

/// `SIDES` halves of the panel's columns, from half `first` on; `SUBS` parts of a group have scales of their own.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn nibbles_of_sides<const R: usize, const SUBS: usize, const OFFSET: bool, const SIDES: usize>(
    tile: &Tile<'_>,
    first: usize,
) {
    let (n_groups, group_bytes) = (tile.panel.section.n_groups, tile.panel.section.group_bytes());
    let (mask, ones) = (_mm256_set1_epi8(0xf), _mm256_set1_epi16(1));
    let mut sums = Sums([[_mm256_setzero_ps(); SIDES]; R]);
    // SAFETY: the tile has been checked: its panel has the groups, and its rows have them too.
    unsafe {
        let mut rows = Rows::<R>::new(tile);
        let mut group = tile.panel.start;
        for _ in 0..n_groups {
            ahead::<R>(group, group_bytes);
            for sub in 0..SUBS {
                let mut dots = [[_mm256_setzero_si256(); R]; SIDES];
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
                            dots[side][r] = _mm256_add_epi16(dot, _mm256_maddubs_epi16(upper, two));
                        }
                    }
                }
                let scales = group.add(GROUP * WIDTH / 2 + 2 * WIDTH * sub + 16 * first);
                for side in 0..SIDES {
                    let mut wide = [_mm256_setzero_si256(); R];
                    for r in 0..R {
                        wide[r] = _mm256_madd_epi16(dots[side][r], ones);
                        if !OFFSET {
                            let sum = _mm256_set1_epi32(*rows.sums.add(part(SUBS, sub, R) + r));
                            // Codes of 4 bits are 8 above their number.
                            wide[r] = _mm256_sub_epi32(wide[r], _mm256_slli_epi32::<3>(sum));
                        }
                    }
                    sums.add(side, scales.add(16 * side), &rows, wide);
                    if OFFSET {
                        let offsets = scales.add(2 * WIDTH * SUBS + 16 * side);
                        sums.add_offsets::<SUBS>(side, offsets, &rows, sub);
                    }
                }
            }
            group = group.add(group_bytes);
            rows.step();
        }
        sums.store(tile.out.as_ptr().cast_mut(), first);
    }
}

/// As [`nibbles_of_sides`].
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn bytes_of_sides<const R: usize, const SUBS: usize, const OFFSET: bool, const SIDES: usize>(
    tile: &Tile<'_>,
    first: usize,
) {
    let (n_groups, group_bytes) = (tile.panel.section.n_groups, tile.panel.section.group_bytes());
    let mut sums = Sums([[_mm256_setzero_ps(); SIDES]; R]);
    // SAFETY: the tile has been checked: its panel has the groups, and its rows have them too.
    unsafe {
        let mut rows = Rows::<R>::new(tile);
        let mut group = tile.panel.start;
        for _ in 0..n_groups {
            ahead::<R>(group, group_bytes);
            for sub in 0..SUBS {
                // Two sums for each of the first four columns of a side, and for each of the others.
                let mut dots = [[[_mm256_setzero_si256(); 2]; R]; SIDES];
                for step in sub * 8 / SUBS..(sub + 1) * 8 / SUBS {
                    let codes = group.add(64 * step + 32 * first).cast::<__m128i>();
                    for side in 0..SIDES {
                        let left = _mm256_cvtepi8_epi16(_mm_loadu_si128(codes.add(2 * side)));
                        let right = _mm256_cvtepi8_epi16(_mm_loadu_si128(codes.add(2 * side + 1)));
                        for r in 0..R {
                            let x = rows.wide.add(GROUP * r + 4 * step).cast::<i64>();
                            let x = _mm256_set1_epi64x(x.read_unaligned());
                            let dot = &mut dots[side][r];
                            dot[0] = _mm256_add_epi32(dot[0], _mm256_madd_epi16(left, x));
                            dot[1] = _mm256_add_epi32(dot[1], _mm256_madd_epi16(right, x));
                        }
                    }
                }
                let scales = group.add(GROUP * WIDTH + 2 * WIDTH * sub + 16 * first);
                for side in 0..SIDES {
                    let mut whole = [_mm256_setzero_si256(); R];
                    for r in 0..R {
                        let pairs = _mm256_hadd_epi32(dots[side][r][0], dots[side][r][1]);
                        whole[r] = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
                    }
                    sums.add(side, scales.add(16 * side), &rows, whole);
                    if OFFSET {
                        let offsets = scales.add(2 * WIDTH * SUBS + 16 * side);
                        sums.add_offsets::<SUBS>(side, offsets, &rows, sub);
                    }
                }
            }
            group = group.add(group_bytes);
            rows.step();
        }
        sums.store(tile.out.as_ptr().cast_mut(), first);
    }
}
