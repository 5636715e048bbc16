//! Sums.

use super::Cpu;
use super::lanes::{Lanes, Program, sum_of_squares_f64, typed};
use super::pool::chunks;
use super::rows::{CHUNK_LEN, chunk, rows_per_partial_sum, with_scratch};
use crate::dtype::View;

/// Columns whose partial sums a task adds up.
const COLUMNS: usize = 256;

pub(super) fn sum_rows(cpu: &Cpu, x: View<'_>, out: &mut [f32], accumulate: bool) {
    let width = out.len();
    assert!(x.len().is_multiple_of(width.max(1)), "{} elements are not rows of {width}", x.len());
    let rows = x.len() / width.max(1);
    let n_rows = rows_per_partial_sum(rows, width);
    with_scratch(rows.div_ceil(n_rows) * width, |sums| {
        sums.fill(0.0);
        cpu.pool.for_each(chunks(sums, width.max(1)), |i, sums| {
            cpu.isa.run(AddRows { x: chunk(x, i, n_rows * width), sums });
        });
        add_partial_sums(cpu, sums, width, 0, out, accumulate);
    });
}

/// Adds rows to a row of sums.
struct AddRows<'a> {
    x: View<'a>,
    sums: &'a mut [f32],
}

impl Program for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { x, sums } = self;
        typed!(x; => for x in x.chunks_exact(sums.len()) {
            for at in v.spans(sums.len()) {
                (v.read(sums, at) + v.read(x, at)).write(sums, at);
            }
        });
    }
}

/// `out[j] (+)= Σ over rows of sums[row, first + j]`, in order of the rows, which are `stride` long.
pub(super) fn add_partial_sums(
    cpu: &Cpu,
    sums: &[f32],
    stride: usize,
    first: usize,
    out: &mut [f32],
    accumulate: bool,
) {
    cpu.pool.for_each(chunks(out, COLUMNS), |i, out| {
        cpu.isa.run(AddPartialSums { sums, stride, first: first + i * COLUMNS, out, accumulate });
    });
}

struct AddPartialSums<'a> {
    sums: &'a [f32],
    stride: usize,
    first: usize,
    out: &'a mut [f32],
    accumulate: bool,
}

impl Program for AddPartialSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { sums, stride, first, out, accumulate } = self;
        for at in v.spans(out.len()) {
            let mut total = v.splat(0.0);
            for row in sums.chunks_exact(stride) {
                total = total + v.read(&row[first..], at);
            }
            let before = if accumulate { v.read(out, at) } else { v.splat(0.0) };
            (before + total).write(out, at);
        }
    }
}

pub(super) fn sum_of_squares(cpu: &Cpu, parts: &[View<'_>]) -> f64 {
    let n_chunks = |x: View<'_>| x.len().div_ceil(CHUNK_LEN);
    let all: Vec<_> = parts.iter().flat_map(|&x| (0..n_chunks(x)).map(move |i| chunk(x, i, CHUNK_LEN))).collect();
    let mut sums = vec![0.0; all.len()];
    cpu.pool.for_each(chunks(&mut sums, 1), |i, sum| sum[0] = cpu.isa.run(SumOfSquares { x: all[i] }));
    sums.iter().sum()
}

struct SumOfSquares<'a> {
    x: View<'a>,
}

impl Program for SumOfSquares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) -> f64 {
        let x = self.x;
        typed!(x; => sum_of_squares_f64(v, x))
    }
}
