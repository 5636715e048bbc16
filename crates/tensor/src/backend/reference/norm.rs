//! Layer norm and RMS norm.

use crate::backend::{Norm, NormBackward, NormKind};

pub(super) fn norm(call: Norm<'_>) {
    let Norm { kind, rows, width, eps, x, weight, bias, mut out, rstd, mean } = call;
    for i in 0..rows {
        let row = x.slice(i * width..(i + 1) * width);
        let average = |f: &dyn Fn(f64) -> f64| (0..width).map(|j| f(f64::from(row.get(j)))).sum::<f64>() / width as f64;
        let centre = match kind {
            NormKind::Layer => average(&|x| x),
            NormKind::Rms => 0.0,
        };
        let variance = average(&|x| (x - centre) * (x - centre));
        mean[i] = centre as f32;
        rstd[i] = (1.0 / (variance + f64::from(eps)).sqrt()) as f32;
        for j in 0..width {
            let normalised = (row.get(j) - mean[i]) * rstd[i];
            out.set(i * width + j, normalised * weight[j] + bias.map_or(0.0, |bias| bias[j]));
        }
    }
}

pub(super) fn norm_backward(call: NormBackward<'_>) {
    let NormBackward { kind, rows, width, x, weight, rstd, mean, dout, mut dx, accumulate_dx, dweight, dbias } = call;
    let normalised = |i: usize, j: usize| (x.get(i * width + j) - mean[i]) * rstd[i];
    for i in 0..rows {
        let scaled = |j: usize| dout.get(i * width + j) * weight[j];
        let average = |f: &dyn Fn(usize) -> f32| (0..width).map(|j| f64::from(f(j))).sum::<f64>() as f32 / width as f32;
        let mean_scaled = match kind {
            NormKind::Layer => average(&scaled),
            NormKind::Rms => 0.0,
        };
        let mean_product = average(&|j| scaled(j) * normalised(i, j));
        for j in 0..width {
            let gradient = rstd[i] * (scaled(j) - mean_scaled - normalised(i, j) * mean_product);
            dx.put(i * width + j, gradient, accumulate_dx);
        }
    }
    add_column_sums(dweight, rows, |i, j| dout.get(i * width + j) * normalised(i, j));
    add_column_sums(dbias, rows, |i, j| dout.get(i * width + j));
}

fn add_column_sums(into: Option<&mut [f32]>, rows: usize, value: impl Fn(usize, usize) -> f32) {
    for (j, total) in into.into_iter().flatten().enumerate() {
        *total += (0..rows).map(|i| f64::from(value(i, j))).sum::<f64>() as f32;
    }
}
