//! A few rows times one panel: for each set of instructions, the same sums.

// Closures of iterators do not get the instructions of the function around them: sums would go through memory, which took
// six times as long.
#![allow(clippy::needless_range_loop)]

/// Calls the variant of a kernel for a tile: numbers of rows, bits of a code, parts of a group, and whether it has offsets.
#[cfg(target_arch = "x86_64")]
macro_rules! choose {
    ($kernel:ident, $tile:ident, $($rows:literal)+) => {{
        let coding = $tile.panel.section.coding;
        match ($tile.n_rows(), coding.bits, coding.group_len, coding.has_offset) {
            $(
                ($rows, 4, 32, false) => $kernel::<$rows, 4, 1, false>($tile),
                ($rows, 4, 32, true) => $kernel::<$rows, 4, 1, true>($tile),
                ($rows, 4, _, false) => $kernel::<$rows, 4, 2, false>($tile),
                ($rows, 4, _, true) => $kernel::<$rows, 4, 2, true>($tile),
                ($rows, _, 32, false) => $kernel::<$rows, 8, 1, false>($tile),
                ($rows, _, 32, true) => $kernel::<$rows, 8, 1, true>($tile),
                ($rows, _, _, false) => $kernel::<$rows, 8, 2, false>($tile),
                ($rows, _, _, true) => $kernel::<$rows, 8, 2, true>($tile),
            )+
            (n_rows, ..) => unreachable!("a tile of {n_rows} rows"),
        }
    }};
}

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vnni;

use super::layout::{GROUP, Panel, WIDTH};
use super::rows::RoundedRows;
use crate::backend::cpu::isa::Isa;

/// Which instructions multiply codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

/// A few rows, from `first_row` on, as many as `out` holds, times one panel.
pub(super) struct Tile<'a> {
    pub(super) panel: Panel<'a>,
    pub(super) rows: &'a RoundedRows,
    pub(super) first_row: usize,
    /// [rows, WIDTH]: receives the sums.
    pub(super) out: &'a mut [f32],
}

impl Kernel {
    /// The fastest that a processor with these instructions has.
    pub(super) fn of(isa: Isa) -> Self {
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx512 && is_x86_feature_detected!("avx512vnni") {
            return Kernel::Vnni;
        }
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx2 && is_x86_feature_detected!("f16c") {
            return Kernel::Avx2;
        }
        let _ = isa;
        Kernel::Portable
    }

    /// Whether it takes 8-bit codes around 0.
    pub(super) fn takes_signed(self) -> bool {
        match self {
            Kernel::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => true,
            #[cfg(target_arch = "x86_64")]
            Kernel::Vnni => false,
        }
    }

    /// Rows of a tile.
    pub(super) fn max_rows(self) -> usize {
        match self {
            Kernel::Portable => 4,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => avx2::MAX_ROWS,
            #[cfg(target_arch = "x86_64")]
            Kernel::Vnni => vnni::MAX_ROWS,
        }
    }

    /// Multiplies a tile.
    pub(super) fn run(self, tile: Tile<'_>) {
        let n_rows = tile.n_rows();
        let n_codes = (tile.first_row + n_rows) * tile.rows.k;
        let is_tile = tile.rows.tile == self.max_rows() && tile.first_row.is_multiple_of(tile.rows.tile);
        let is_whole = n_rows == tile.rows.tile || n_codes == tile.rows.codes.len();
        assert!(n_rows > 0 && is_tile && is_whole && n_codes <= tile.rows.codes.len(), "rows of one tile");
        assert_eq!(tile.panel.section.n_groups * GROUP, tile.rows.k, "rows and columns of one length");
        match self {
            Kernel::Portable => portable::run(tile),
            // SAFETY: the processor has the instructions, as `of` has found, and the tile has just been checked.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => unsafe { avx2::run(tile) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kernel::Vnni => unsafe { vnni::run(tile) },
        }
    }
}

impl Tile<'_> {
    fn n_rows(&self) -> usize {
        self.out.len() / WIDTH
    }

    /// What the codes of a row lie above 0, or rather what is to be taken off for each of them: the zero of the stored codes.
    fn zero(&self) -> i32 {
        let section = self.panel.section;
        i32::from(section.coding.zero()) - i32::from(section.lowered)
    }
}

/// Where the numbers of the R rows of a tile are, from some group on.
#[cfg(target_arch = "x86_64")]
struct Rows<const R: usize> {
    codes: *const i8,
    wide: *const i16,
    scales: *const f32,
    sums: *const i32,
    scaled_sums: *const f32,
}

#[cfg(target_arch = "x86_64")]
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

/// Where the sums of a whole group of R rows begin, or those of part `sub` of `subs`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn part<const R: usize>(subs: usize, sub: usize) -> usize {
    if subs == 1 { 0 } else { (1 + sub) * R }
}
