//! A few rows times one panel: for each set of instructions, the same sums.

// Closures of iterators do not get the instructions of the function around them: sums would go through memory, which took
// six times as long.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vnni;

use super::layout::{Panel, WIDTH};
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
        assert_eq!(tile.panel.section.n_groups * super::layout::GROUP, tile.rows.k, "rows and columns of one length");
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
