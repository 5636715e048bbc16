//! Softmax, and the loss made of it.

use super::Cpu;
use super::lanes::{Element, Lanes, Program, dot, exp, largest, sum, typed};
use super::pool::{chunks, view_chunks};
use super::rows::{chunk, rows_per_chunk, slice_chunk, with_scratch};
use crate::backend::{CrossEntropy, IGNORE};
use crate::dtype::{View, ViewMut};

/// Elements that are summed in one go: sums of sums keep the rounding error of a long row small.
const BLOCK: usize = 1024;

pub(super) fn softmax(cpu: &Cpu, width: usize, x: View<'_>, out: ViewMut<'_>) {
    assert!(x.len() == out.len() && x.len().is_multiple_of(width.max(1)), "softmax keeps the shape of its rows");
    let len = (rows_per_chunk(width) * width).max(1);
    cpu.pool.for_each(view_chunks(out, len), |i, out| {
        with_scratch(width, |scratch| cpu.isa.run(Softmax { x: chunk(x, i, len), out, scratch }));
    });
}

struct Softmax<'a> {
    x: View<'a>,
    out: ViewMut<'a>,
    /// One row.
    scratch: &'a mut [f32],
}

impl Program for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { x, out, scratch } = self;
        let width = scratch.len();
        typed!(x; out => for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let (_, sum) = exponentials(v, x, scratch);
            let factor = v.splat(1.0 / sum);
            for at in v.spans(width) {
                (v.read(scratch, at) * factor).write(out, at);
            }
        });
    }
}

/// The largest element m of a row, and the sum of exp(x − m), which are left in `out`.
#[inline(always)]
fn exponentials<V: Lanes, E: Element>(v: V, x: &[E], out: &mut [f32]) -> (f32, f32) {
    let max = largest(v, x);
    let mut sum = v.splat(0.0);
    for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        let mut block_sum = v.splat(0.0);
        for at in v.spans(x.len()) {
            let e = exp(v.read_or(x, at, f32::NEG_INFINITY) - v.splat(max));
            e.write(out, at);
            block_sum = block_sum + e;
        }
        sum = sum + block_sum;
    }
    (max, sum.sum())
}

pub(super) fn log_sum_exp(cpu: &Cpu, width: usize, x: View<'_>, out: &mut [f32]) {
    assert!(x.len() == out.len() * width, "one sum for each row of {width} elements");
    let rows = rows_per_chunk(width);
    cpu.pool.for_each(chunks(out, rows), |i, out| {
        with_scratch(width, |scratch| cpu.isa.run(LogSumExp { x: chunk(x, i, rows * width), out, scratch }));
    });
}

struct LogSumExp<'a> {
    x: View<'a>,
    out: &'a mut [f32],
    /// One row.
    scratch: &'a mut [f32],
}

impl Program for LogSumExp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { x, out, scratch } = self;
        let width = scratch.len();
        typed!(x; => for (x, out) in x.chunks_exact(width).zip(out) {
            let (max, sum) = exponentials(v, x, scratch);
            *out = max + sum.ln();
        });
    }
}

pub(super) fn softmax_backward(cpu: &Cpu, width: usize, y: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
    assert!(
        y.len() == dx.len() && dout.len() == dx.len() && dx.len().is_multiple_of(width.max(1)),
        "the gradient of softmax keeps the shape of its rows"
    );
    let len = (rows_per_chunk(width) * width).max(1);
    cpu.pool.for_each(view_chunks(dx, len), |i, dx| {
        cpu.isa.run(SoftmaxBackward { width, y: chunk(y, i, len), dout: chunk(dout, i, len), dx });
    });
}

struct SoftmaxBackward<'a> {
    width: usize,
    y: View<'a>,
    dout: View<'a>,
    dx: ViewMut<'a>,
}

impl Program for SoftmaxBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { width, y, dout, dx } = self;
        typed!(y, dout; dx => {
            let rows = y.chunks_exact(width).zip(dout.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
            for ((y, dout), dx) in rows {
                let product = v.splat(dot(v, y, dout));
                for at in v.spans(width) {
                    (v.read(y, at) * (v.read(dout, at) - product)).write(dx, at);
                }
            }
        });
    }
}

pub(super) fn cross_entropy(cpu: &Cpu, call: CrossEntropy<'_>) {
    let CrossEntropy { rows, n_classes, logits, targets, smoothing, losses, nlls, hits, gradient_scale, gradient } =
        call;
    assert!(logits.len() == rows * n_classes && targets.len() == rows, "one target for each row of logits");
    let is_as_large = gradient.as_ref().is_none_or(|gradient| gradient.len() == logits.len());
    assert!(is_as_large, "the gradient is as large as the logits");
    if let Some((i, target)) = targets.iter().enumerate().find(|&(_, &t)| t != IGNORE && t as usize >= n_classes) {
        panic!("target {target} of row {i} is not one of the {n_classes} classes");
    }
    let n_rows = rows_per_chunk(n_classes);
    let len = (n_rows * n_classes).max(1);
    let of_rows =
        (chunks(&mut losses[..rows], n_rows), chunks(&mut nlls[..rows], n_rows), chunks(&mut hits[..rows], n_rows));
    let task = |i: usize, logits, gradient, (losses, nlls, hits)| {
        let targets = slice_chunk(targets, i, n_rows);
        with_scratch(n_classes, |scratch| {
            let of_rows = RowLosses { targets, smoothing, losses, nlls, hits, gradient_scale, scratch };
            cpu.isa.run(Losses { logits, gradient, of_rows });
        });
    };
    let logits = view_chunks(logits, len);
    match gradient {
        None => cpu.pool.for_each((logits, of_rows), |i, (logits, of_rows)| task(i, logits, None, of_rows)),
        Some(gradient) => {
            let split = (logits, view_chunks(gradient, len), of_rows);
            cpu.pool.for_each(split, |i, (logits, gradient, of_rows)| task(i, logits, Some(gradient), of_rows));
        }
    }
}

struct Losses<'a> {
    logits: ViewMut<'a>,
    gradient: Option<ViewMut<'a>>,
    of_rows: RowLosses<'a>,
}

struct RowLosses<'a> {
    targets: &'a [u32],
    smoothing: f32,
    losses: &'a mut [f32],
    nlls: &'a mut [f32],
    hits: &'a mut [f32],
    gradient_scale: Option<f32>,
    /// One row.
    scratch: &'a mut [f32],
}

impl Program for Losses<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { logits, gradient, mut of_rows } = self;
        let width = of_rows.scratch.len();
        match gradient {
            None => typed!(; logits => for (i, row) in logits.chunks_exact_mut(width).enumerate() {
                let sum = of_rows.loss(v, i, row);
                of_rows.gradient(v, i, sum, row);
            }),
            Some(gradient) => typed!(; logits, gradient => {
                let rows = logits.chunks_exact(width).zip(gradient.chunks_exact_mut(width));
                for (i, (row, gradient)) in rows.enumerate() {
                    let sum = of_rows.loss(v, i, row);
                    of_rows.gradient(v, i, sum, gradient);
                }
            }),
        }
    }
}

impl RowLosses<'_> {
    /// Measures row `i`. Returns the sum of its exponentials, which stay in `scratch`; `None` when it has no target.
    #[inline(always)]
    fn loss<V: Lanes, E: Element>(&mut self, v: V, i: usize, row: &[E]) -> Option<f32> {
        if self.targets[i] == IGNORE {
            (self.losses[i], self.nlls[i], self.hits[i]) = (0.0, 0.0, 0.0);
            return None;
        }
        let target = self.targets[i] as usize;
        let (max, sum) = exponentials(v, row, self.scratch);
        (self.losses[i], self.nlls[i]) = loss(v, row, target, max + sum.ln(), self.smoothing);
        self.hits[i] = if is_first_largest(row, target, max) { 1.0 } else { 0.0 };
        Some(sum)
    }

    /// Writes the gradient of row `i`, if it is wanted.
    #[inline(always)]
    fn gradient<V: Lanes, E: Element>(&self, v: V, i: usize, sum: Option<f32>, out: &mut [E]) {
        match (self.gradient_scale, sum) {
            (None, _) => (),
            (Some(_), None) => out.fill(E::from_f32(0.0)),
            (Some(scale), Some(sum)) => {
                gradient(v, self.scratch, self.targets[i] as usize, self.smoothing, scale, sum, out);
            }
        }
    }
}

/// Loss and negative log-likelihood of one row.
#[inline(always)]
fn loss<V: Lanes, E: Element>(v: V, row: &[E], target: usize, log_sum_exp: f32, smoothing: f32) -> (f32, f32) {
    let nll = log_sum_exp - row[target].to_f32();
    if smoothing == 0.0 {
        return (nll, nll);
    }
    let of_all = log_sum_exp - sum(v, row) / row.len() as f32;
    ((1.0 - smoothing) * nll + smoothing * of_all, nll)
}

/// Whether the element is the largest, and none before it is as large.
fn is_first_largest<E: Element>(row: &[E], i: usize, max: f32) -> bool {
    row[i].to_f32() == max && row[..i].iter().all(|x| x.to_f32() != max)
}

/// Writes scale · (probability − wanted) to `out`, from the exponentials of the row and their sum.
#[inline(always)]
fn gradient<V: Lanes, E: Element>(
    v: V,
    exponentials: &[f32],
    target: usize,
    smoothing: f32,
    scale: f32,
    sum: f32,
    out: &mut [E],
) {
    let of_each = smoothing / out.len() as f32;
    let (factor, offset) = (v.splat(scale / sum), v.splat(-scale * of_each));
    for at in v.spans(out.len()) {
        v.read(exponentials, at).mul_add(factor, offset).write(out, at);
    }
    out[target] = E::from_f32(scale * (exponentials[target] / sum - (1.0 - smoothing) - of_each));
}
