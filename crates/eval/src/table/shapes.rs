//! How alike the values of single columns are.

use super::{MISSING, Table, Values};

/// How alike a real and a synthetic column are, 0 to 1; `None` when one of them has no value.
///
/// Numbers: 1 − the Kolmogorov-Smirnov statistic. Categories: 1 − half of the sum of differences in frequency. Missing cells
/// take no part.
///
/// # Source
/// SDMetrics 0.32, `KSComplement` and `TVComplement`.
pub fn column_shape(real: &Values, synthetic: &Values) -> Option<f64> {
    match (real, synthetic) {
        (Values::Numeric(real), Values::Numeric(synthetic)) => {
            let (real, synthetic) = (present(real), present(synthetic));
            (!real.is_empty() && !synthetic.is_empty()).then(|| 1.0 - kolmogorov_smirnov(&real, &synthetic))
        }
        (Values::Categorical { codes: real, labels }, Values::Categorical { codes: synthetic, .. }) => {
            let (real, synthetic) = (frequencies(real, labels.len())?, frequencies(synthetic, labels.len())?);
            Some(1.0 - 0.5 * real.iter().zip(&synthetic).map(|(a, b)| (a - b).abs()).sum::<f64>())
        }
        _ => None,
    }
}

/// The shape of each column, and their mean.
pub fn column_shapes(real: &Table, synthetic: &Table) -> (Vec<Option<f64>>, f64) {
    let pairs = real.columns.iter().zip(&synthetic.columns);
    let shapes: Vec<Option<f64>> = pairs.map(|((_, real), (_, synthetic))| column_shape(real, synthetic)).collect();
    let mean = super::trends::mean(shapes.iter().flatten().copied());
    (shapes, mean)
}

/// The numbers that are there, in ascending order.
fn present(values: &[f64]) -> Vec<f64> {
    let mut present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    present.sort_by(f64::total_cmp);
    present
}

/// Greatest distance of two empirical distributions, each in ascending order.
fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> f64 {
    let (mut i, mut j, mut greatest) = (0, 0, 0.0_f64);
    while i < a.len() && j < b.len() {
        let value = a[i].min(b[j]);
        i += a[i..].iter().take_while(|&&x| x <= value).count();
        j += b[j..].iter().take_while(|&&x| x <= value).count();
        greatest = greatest.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    greatest
}

/// Share of each category among the cells that are not missing; `None` when all are.
fn frequencies(codes: &[u32], n: usize) -> Option<Vec<f64>> {
    let mut counts = vec![0.0; n];
    let mut n_present = 0.0;
    for &code in codes.iter().filter(|&&code| code != MISSING) {
        counts[code as usize] += 1.0;
        n_present += 1.0;
    }
    counts.iter_mut().for_each(|count| *count /= n_present);
    (n_present > 0.0).then_some(counts)
}
