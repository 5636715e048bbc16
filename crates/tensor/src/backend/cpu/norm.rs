//! Layer norm and RMS norm.

use super::Cpu;
use super::lanes::{Element, Lanes, Program, sum, sum_of_squares, typed};
use super::pool::{chunks, view_chunks};
use super::reduce::add_partial_sums;
use super::rows::{chunk, rows_per_chunk, rows_per_partial_sum, slice_chunk, with_scratch};
use crate::backend::{Norm, NormBackward, NormKind};
use crate::dtype::{View, ViewMut};

pub(super) fn norm(cpu: &Cpu, call: Norm<'_>) {
    let Norm { kind, rows, width, eps, x, weight, bias, out, rstd, mean } = call;
    assert!(x.len() == rows * width && out.len() == x.len(), "a norm keeps the shape of its rows");
    let n_rows = rows_per_chunk(width);
    let len = (n_rows * width).max(1);
    let split = (view_chunks(out, len), chunks(&mut rstd[..rows], n_rows), chunks(&mut mean[..rows], n_rows));
    cpu.pool.for_each(split, |i, (out, rstd, mean)| {
        let (weight, bias) = (&weight[..width], bias.map(|bias| &bias[..width]));
        cpu.isa.run(NormRows { kind, eps, x: chunk(x, i, len), weight, bias, out, rstd, mean });
    });
}

struct NormRows<'a> {
    kind: NormKind,
    eps: f32,
    x: View<'a>,
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    out: ViewMut<'a>,
    rstd: &'a mut [f32],
    mean: &'a mut [f32],
}

impl Program for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { kind, eps, x, weight, bias, out, rstd, mean } = self;
        let width = weight.len();
        typed!(x; out => for (i, (x, out)) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
            mean[i] = match kind {
                NormKind::Layer => sum(v, x) / width as f32,
                NormKind::Rms => 0.0,
            };
            let variance = sum_of_squares(v, x, mean[i]) / width as f32;
            rstd[i] = 1.0 / (variance + eps).sqrt();
            let (mean, rstd) = (v.splat(mean[i]), v.splat(rstd[i]));
            for at in v.spans(width) {
                let scaled = (v.read(x, at) - mean) * rstd * v.read(weight, at);
                match bias {
                    Some(bias) => (scaled + v.read(bias, at)).write(out, at),
                    None => scaled.write(out, at),
                }
            }
        });
    }
}

pub(super) fn norm_backward(cpu: &Cpu, call: NormBackward<'_>) {
    let NormBackward { kind, rows, width, x, weight, rstd, mean, dout, dx, accumulate_dx, dweight, dbias } = call;
    assert!(
        x.len() == rows * width && dx.len() == x.len() && dout.len() == x.len(),
        "the gradient of a norm keeps the shape of its rows"
    );
    let n_rows = rows_per_partial_sum(rows, width);
    let len = (n_rows * width).max(1);
    // Without weight and bias the sums are left out: they have no columns.
    let sums_width = if dweight.is_some() || dbias.is_some() { width } else { 0 };
    with_scratch(rows.div_ceil(n_rows) * (2 * sums_width).max(1), |sums| {
        sums.fill(0.0);
        cpu.pool.for_each((view_chunks(dx, len), chunks(sums, (2 * sums_width).max(1))), |i, (dx, sums)| {
            let (dweight, dbias) = sums[..2 * sums_width].split_at_mut(sums_width);
            cpu.isa.run(NormBackwardRows {
                kind,
                x: chunk(x, i, len),
                weight: &weight[..width],
                rstd: slice_chunk(&rstd[..rows], i, n_rows),
                mean: slice_chunk(&mean[..rows], i, n_rows),
                dout: chunk(dout, i, len),
                dx,
                accumulate_dx,
                dweight,
                dbias,
            });
        });
        if let Some(dweight) = dweight {
            add_partial_sums(cpu, sums, 2 * width, 0, &mut dweight[..width], true);
        }
        if let Some(dbias) = dbias {
            add_partial_sums(cpu, sums, 2 * width, width, &mut dbias[..width], true);
        }
    });
}

struct NormBackwardRows<'a> {
    kind: NormKind,
    x: View<'a>,
    weight: &'a [f32],
    rstd: &'a [f32],
    mean: &'a [f32],
    dout: View<'a>,
    dx: ViewMut<'a>,
    accumulate_dx: bool,
    /// [width] or empty
    dweight: &'a mut [f32],
    /// As `dweight`.
    dbias: &'a mut [f32],
}

impl Program for NormBackwardRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { kind, x, weight, rstd, mean, dout, dx, accumulate_dx, dweight, dbias } = self;
        let width = weight.len();
        typed!(x, dout; dx => {
            let rows = x.chunks_exact(width).zip(dout.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
            for (i, ((x, dout), dx)) in rows.enumerate() {
                let row = Row { x, dout, weight, mean: v.splat(mean[i]), rstd: v.splat(rstd[i]) };
                let (sum, product) = row.sums(v, dweight, dbias);
                let sum = if kind == NormKind::Layer { sum } else { 0.0 };
                row.gradient(v, sum / width as f32, product / width as f32, dx, accumulate_dx);
            }
        });
    }
}

/// What the gradient of one row is made of.
struct Row<'a, V, X, D> {
    x: &'a [X],
    dout: &'a [D],
    weight: &'a [f32],
    mean: V,
    rstd: V,
}

impl<V: Lanes, X: Element, D: Element> Row<'_, V, X, D> {
    /// Σ dout·w and Σ dout·w·x̂. Adds dout·x̂ to `dweight` and dout to `dbias`, unless these are empty.
    #[inline(always)]
    fn sums(&self, v: V, dweight: &mut [f32], dbias: &mut [f32]) -> (f32, f32) {
        let (mut sum, mut product) = (v.splat(0.0), v.splat(0.0));
        for at in v.spans(self.x.len()) {
            let dout = v.read(self.dout, at);
            let normalised = (v.read(self.x, at) - self.mean) * self.rstd;
            let scaled = dout * v.read(self.weight, at);
            sum = sum + scaled;
            product = scaled.mul_add(normalised, product);
            if !dweight.is_empty() {
                dout.mul_add(normalised, v.read(dweight, at)).write(dweight, at);
                (dout + v.read(dbias, at)).write(dbias, at);
            }
        }
        (sum.sum(), product.sum())
    }

    /// dx = rstd · (dout·w − mean of dout·w − x̂ · mean of dout·w·x̂)
    #[inline(always)]
    fn gradient<O: Element>(&self, v: V, mean_scaled: f32, mean_product: f32, dx: &mut [O], accumulate: bool) {
        let (mean_scaled, mean_product) = (v.splat(mean_scaled), v.splat(mean_product));
        for at in v.spans(dx.len()) {
            let normalised = (v.read(self.x, at) - self.mean) * self.rstd;
            let scaled = v.read(self.dout, at) * v.read(self.weight, at);
            let gradient = self.rstd * (scaled - mean_scaled - normalised * mean_product);
            let before = if accumulate { v.read(dx, at) } else { v.splat(0.0) };
            (before + gradient).write(dx, at);
        }
    }
}
