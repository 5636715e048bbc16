//! Plain loops over the layout.

use super::Tile;
use crate::backend::cpu::blocks::layout::{GROUP, WIDTH, half};

pub(super) fn run(tile: Tile<'_>) {
    let (zero, rows, section) = (tile.zero(), tile.rows, tile.panel.section);
    let (group_bytes, group_len) = (section.group_bytes(), section.coding.group_len);
    let (code_bytes, scale_bytes) = (section.code_bytes(), section.scale_bytes());
    // SAFETY: the panel has that many groups.
    let panel = unsafe { std::slice::from_raw_parts(tile.panel.start, section.n_groups * group_bytes) };
    let n_rows = tile.n_rows();
    let before = tile.first_row * section.n_groups;
    for (row, out) in tile.out.chunks_exact_mut(WIDTH).enumerate() {
        out.fill(0.0);
        for (g, group) in panel.chunks_exact(group_bytes).enumerate() {
            let at = before + g * n_rows + row;
            let (x, scale) = (&rows.codes[GROUP * at..][..GROUP], rows.scales[at]);
            for sub in 0..section.n_scales() {
                let part = if section.n_scales() == 1 { 0 } else { 1 + sub };
                let at = 3 * before + (3 * g + part) * n_rows + row;
                let halves = &group[code_bytes + 2 * WIDTH * sub..];
                for (column, out) in out.iter_mut().enumerate() {
                    let mut dot = -zero * rows.sums[at];
                    for i in sub * group_len..(sub + 1) * group_len {
                        // Of 4 bits it is never negative, of 8 it is around 0.
                        dot += i32::from(section.stored_code(group, i, column) as i8) * i32::from(x[i]);
                    }
                    *out += dot as f32 * (half(halves, column) * scale);
                    if section.coding.has_offset {
                        *out += half(&halves[scale_bytes..], column) * rows.scaled_sums[at];
                    }
                }
            }
        }
    }
}
