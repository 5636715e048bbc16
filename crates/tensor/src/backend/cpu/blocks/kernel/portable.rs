//! Plain loops over the layout.

use super::Tile;
use crate::backend::cpu::blocks::layout::{GROUP, STEPS, WIDTH};
use half::f16;

pub(super) fn run(tile: Tile<'_>) {
    let (zero, rows, section) = (tile.zero(), tile.rows, tile.panel.section);
    let (group_bytes, group_len) = (section.group_bytes(), section.coding.group_len);
    let code_bytes = GROUP * WIDTH * section.coding.bits / 8;
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
                        dot += code(group, section.coding.bits, i, column) * i32::from(x[i]);
                    }
                    *out += dot as f32 * (half(halves, column) * scale);
                    if section.coding.has_offset {
                        *out += half(&halves[2 * WIDTH * section.n_scales()..], column) * rows.scaled_sums[at];
                    }
                }
            }
        }
    }
}

fn half(bytes: &[u8], i: usize) -> f32 {
    f16::from_ne_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32()
}

/// A code as stored.
fn code(group: &[u8], bits: usize, i: usize, column: usize) -> i32 {
    let (step, at) = (i / STEPS, column * STEPS + i % STEPS);
    match bits {
        4 => i32::from(group[step / 2 * WIDTH * STEPS + at] >> (step % 2 * 4) & 0xf),
        _ => i32::from(group[step * WIDTH * STEPS + at] as i8),
    }
}
