//! Rows of the left-hand side rounded to blocks of signed bytes.
//!
//! Rows that are multiplied together, a *tile*, lie interleaved: of each 32 steps of K first all codes of the first row, then
//! those of the next. So a kernel needs one address for all rows.

use super::layout::GROUP;
use crate::backend::Matrix;
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::lanes::{Lanes, Program, typed};
use crate::backend::cpu::pool::{Pool, chunks};
use crate::dtype::View;

/// Rows that one task rounds: whole tiles.
const TASK_ROWS: usize = 8;
/// Elements from which on rounding is shared between threads.
const SHARED_ELEMENTS: usize = 16 << 10;

/// Rows of K elements: `scale · code`, with one scale for 32 elements. With R rows in a tile:
#[derive(Debug, Default)]
pub(super) struct RoundedRows {
    pub(super) k: usize,
    /// Rows of a tile; the last one may have fewer.
    pub(super) tile: usize,
    /// Of each tile [K / 32, R, 32]: from −127 to 127.
    pub(super) codes: Vec<i8>,
    /// The same, wider.
    pub(super) wide: Vec<i16>,
    /// Of each tile [K / 32, R].
    pub(super) scales: Vec<f32>,
    /// Of each tile [K / 32, 3, R]: sum of 32 codes, of the first 16, and of the last 16.
    pub(super) sums: Vec<i32>,
    /// The same times the scale.
    pub(super) scaled_sums: Vec<f32>,
}

impl RoundedRows {
    /// Rounds the rows of `a`, each to nearest even.
    pub(super) fn round(&mut self, pool: &Pool, isa: Isa, a: Matrix<'_>, [m, k]: [usize; 2], tile: usize) {
        assert!(!a.transposed, "the left-hand side of a product with blocks is not transposed");
        assert!(TASK_ROWS.is_multiple_of(tile) && k.is_multiple_of(GROUP), "whole tiles and groups");
        (self.k, self.tile) = (k, tile);
        let n_groups = m * k / GROUP;
        self.codes.resize(m * k, 0);
        self.wide.resize(m * k, 0);
        self.scales.resize(n_groups, 0.0);
        self.sums.resize(3 * n_groups, 0);
        self.scaled_sums.resize(3 * n_groups, 0.0);
        let rows = if m * k < SHARED_ELEMENTS { m.next_multiple_of(tile) } else { TASK_ROWS };
        let (n, n_groups) = ((rows * k).max(1), (rows * k / GROUP).max(1));
        let split = (
            (chunks(&mut self.codes, n), chunks(&mut self.wide, n)),
            chunks(&mut self.scales, n_groups),
            (chunks(&mut self.sums, 3 * n_groups), chunks(&mut self.scaled_sums, 3 * n_groups)),
        );
        pool.for_each(split, |i, ((codes, wide), scales, (sums, scaled_sums))| {
            let first = i * rows;
            for row in 0..rows.min(m - first) {
                let start = (first + row) * a.row_stride;
                let (before, r) = (row / tile * tile, row % tile);
                let n_rows = tile.min(m - first - before);
                let of_tile = |n: usize| before * n..(before + n_rows) * n;
                let (k, n_groups) = (of_tile(k), of_tile(k / GROUP));
                let n_sums = 3 * n_groups.start..3 * n_groups.end;
                isa.run(RoundRow {
                    x: a.data.slice(start..start + self.k),
                    n_rows,
                    r,
                    codes: &mut codes[k.clone()],
                    wide: &mut wide[k],
                    scales: &mut scales[n_groups],
                    sums: &mut sums[n_sums.clone()],
                    scaled_sums: &mut scaled_sums[n_sums],
                });
            }
        });
    }
}

/// Row `r` of a tile of `n_rows`.
struct RoundRow<'a> {
    x: View<'a>,
    n_rows: usize,
    r: usize,
    codes: &'a mut [i8],
    wide: &'a mut [i16],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
    scaled_sums: &'a mut [f32],
}

impl Program for RoundRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let x = self.x;
        typed!(x; => for (g, x) in x.chunks_exact(GROUP).enumerate() {
            let mut largest = v.splat(0.0);
            for at in v.spans(GROUP) {
                largest = v.read(x, at).abs().max(largest);
            }
            let largest = largest.max_lane();
            // Of zeros, and of numbers too small to be told from them.
            let factor = Some(127.0 / largest).filter(|factor| factor.is_finite()).unwrap_or(0.0);
            let mut scaled = [0.0_f32; GROUP];
            let mut poison = v.splat(0.0);
            for at in v.spans(GROUP) {
                let x = v.read(x, at) * v.splat(factor);
                x.write(&mut scaled, at);
                poison = poison + x * v.splat(0.0);
            }
            // What is not finite has no code: the scale carries it on.
            let scale = largest / 127.0 + poison.sum();
            let at = g * self.n_rows + self.r;
            self.scales[at] = scale;
            let (codes, wide) = (&mut self.codes[GROUP * at..][..GROUP], &mut self.wide[GROUP * at..][..GROUP]);
            for i in 0..GROUP {
                // Adding 1.5 · 2²³ leaves the nearest whole number in the lowest bits.
                let bits = (scaled[i] + 12_582_912.0).to_bits();
                wide[i] = bits as i16;
                codes[i] = bits as i8;
            }
            let sum = |codes: &[i16]| codes.iter().fold(0_i32, |sum, &code| sum.wrapping_add(i32::from(code)));
            let (first, last) = (sum(&wide[..16]), sum(&wide[16..]));
            for (part, sum) in [first.wrapping_add(last), first, last].into_iter().enumerate() {
                let at = (3 * g + part) * self.n_rows + self.r;
                self.sums[at] = sum;
                self.scaled_sums[at] = sum as f32 * scale;
            }
        });
    }
}
