//! Sums.

use crate::dtype::View;

pub(super) fn sum_rows(x: View<'_>, out: &mut [f32], accumulate: bool) {
    let width = out.len();
    for (j, total) in out.iter_mut().enumerate() {
        let sum = (j..x.len()).step_by(width).map(|i| f64::from(x.get(i))).sum::<f64>() as f32;
        *total = if accumulate { *total + sum } else { sum };
    }
}

pub(super) fn sum_of_squares(parts: &[View<'_>]) -> f64 {
    parts.iter().flat_map(|x| (0..x.len()).map(|i| f64::from(x.get(i)).powi(2))).sum()
}
