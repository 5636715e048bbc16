//! Softmax, and the loss made of it.

use crate::backend::{CrossEntropy, IGNORE};
use crate::dtype::{View, ViewMut};

pub(super) fn softmax(width: usize, x: View<'_>, mut out: ViewMut<'_>) {
    for start in (0..x.len()).step_by(width.max(1)) {
        let row = x.slice(start..start + width);
        let (max, sum) = max_and_sum(row);
        for j in 0..width {
            out.set(start + j, (row.get(j) - max).exp() / sum);
        }
    }
}

pub(super) fn log_sum_exp(width: usize, x: View<'_>, out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        let row = i * width..(i + 1) * width;
        let max = row.clone().map(|i| x.get(i)).fold(f32::NEG_INFINITY, f32::max);
        // f32::max skips a NaN, but one then makes the sum NaN.
        let sum: f64 = row.map(|i| f64::from(x.get(i) - max).exp()).sum();
        *out = (f64::from(max) + sum.ln()) as f32;
    }
}

pub(super) fn softmax_backward(width: usize, y: View<'_>, dout: View<'_>, mut dx: ViewMut<'_>) {
    for start in (0..y.len()).step_by(width.max(1)) {
        let row = start..start + width;
        let product: f64 = row.clone().map(|i| f64::from(y.get(i)) * f64::from(dout.get(i))).sum();
        for i in row {
            dx.set(i, y.get(i) * (dout.get(i) - product as f32));
        }
    }
}

pub(super) fn cross_entropy(call: CrossEntropy<'_>) {
    let CrossEntropy {
        rows,
        n_classes,
        mut logits,
        targets,
        smoothing,
        losses,
        nlls,
        hits,
        gradient_scale,
        mut gradient,
    } = call;
    for i in 0..rows {
        let start = i * n_classes;
        if targets[i] == IGNORE {
            (losses[i], nlls[i], hits[i]) = (0.0, 0.0, 0.0);
            let out = gradient.as_mut().unwrap_or(&mut logits);
            (0..n_classes).filter(|_| gradient_scale.is_some()).for_each(|j| out.set(start + j, 0.0));
            continue;
        }
        let target = targets[i] as usize;
        assert!(target < n_classes, "target {target} of row {i} is not one of the {n_classes} classes");
        let row = logits.as_view().slice(start..start + n_classes);
        let (max, sum) = max_and_sum(row);
        let log_sum_exp = max + sum.ln();
        let mean = (0..n_classes).map(|j| f64::from(row.get(j))).sum::<f64>() as f32 / n_classes as f32;
        let of_all = if smoothing == 0.0 { 0.0 } else { smoothing * (log_sum_exp - mean) };
        nlls[i] = log_sum_exp - row.get(target);
        losses[i] = (1.0 - smoothing) * nlls[i] + of_all;
        hits[i] = if (0..n_classes).find(|&j| row.get(j) == max) == Some(target) { 1.0 } else { 0.0 };
        for j in (0..n_classes).filter(|_| gradient_scale.is_some()) {
            let wanted = if j == target { 1.0 - smoothing } else { 0.0 } + smoothing / n_classes as f32;
            let probability = (logits.get(start + j) - max).exp() / sum;
            gradient
                .as_mut()
                .unwrap_or(&mut logits)
                .set(start + j, gradient_scale.unwrap_or(0.0) * (probability - wanted));
        }
    }
}

/// The largest element m of a row, and the sum of exp(x − m).
fn max_and_sum(row: View<'_>) -> (f32, f32) {
    let max = (0..row.len()).map(|j| row.get(j)).fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = (0..row.len()).map(|j| f64::from((row.get(j) - max).exp())).sum();
    (max, sum as f32)
}
