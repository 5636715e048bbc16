//! How alike pairs of columns go together.

use super::{Table, Values};
use std::collections::HashMap;

/// Bins that numbers are cut into beside categories.
const N_BINS: usize = 10;

/// How alike two columns go together in a real and a synthetic table, 0 to 1; `None` where that does not exist, as for a
/// constant number.
///
/// Two numbers: 1 − half of the difference of their correlations (Pearson). Otherwise 1 − half of the sum of differences in
/// the frequency of pairs, with numbers cut into ten bins of equal width between the least and the greatest of *their own*
/// table; missing cells are a value of their own.
///
/// # Source
/// SDMetrics 0.32, `ColumnPairTrends` with `CorrelationSimilarity` and `ContingencySimilarity`.
pub fn pair_trend(real: (&Values, &Values), synthetic: (&Values, &Values)) -> Option<f64> {
    if let (Values::Numeric(a), Values::Numeric(b)) = real
        && let (Values::Numeric(c), Values::Numeric(d)) = synthetic
    {
        return Some(1.0 - (correlation(a, b)? - correlation(c, d)?).abs() / 2.0);
    }
    let (real, synthetic) = (contingency(real.0, real.1), contingency(synthetic.0, synthetic.1));
    let of = |table: &HashMap<(u32, u32), f64>, pair| table.get(pair).copied().unwrap_or(0.0);
    let in_real: f64 = real.iter().map(|(pair, share)| (share - of(&synthetic, pair)).abs()).sum();
    let only_synthetic: f64 =
        synthetic.iter().filter(|(pair, _)| !real.contains_key(pair)).map(|(_, share)| share).sum();
    Some(1.0 - (in_real + only_synthetic) / 2.0)
}

/// A pair of columns (i, j) with i < j, and its trend where it has one.
pub type PairTrend = ((usize, usize), Option<f64>);

/// The trend of each pair of columns, and their mean.
pub fn pair_trends(real: &Table, synthetic: &Table) -> (Vec<PairTrend>, f64) {
    let n = real.columns.len();
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
    let trend = |(i, j): (usize, usize)| {
        let (a, b) = (&real.columns, &synthetic.columns);
        ((i, j), pair_trend((&a[i].1, &a[j].1), (&b[i].1, &b[j].1)))
    };
    let trends: Vec<PairTrend> = pairs.map(trend).collect();
    let mean = mean(trends.iter().filter_map(|(_, trend)| *trend));
    (trends, mean)
}

/// Pearson's correlation over the rows where neither is missing; `None` when one does not vary.
pub fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let rows: Vec<(f64, f64)> =
        a.iter().copied().zip(b.iter().copied()).filter(|(a, b)| !a.is_nan() && !b.is_nan()).collect();
    let n = rows.len() as f64;
    let (mean_a, mean_b) =
        (rows.iter().map(|row| row.0).sum::<f64>() / n, rows.iter().map(|row| row.1).sum::<f64>() / n);
    let (mut of_a, mut of_b, mut both) = (0.0, 0.0, 0.0);
    for (a, b) in rows {
        of_a += (a - mean_a).powi(2);
        of_b += (b - mean_b).powi(2);
        both += (a - mean_a) * (b - mean_b);
    }
    let correlation = both / (of_a.sqrt() * of_b.sqrt());
    correlation.is_finite().then_some(correlation)
}

/// The mean; not a number of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    sum / n
}

fn contingency(a: &Values, b: &Values) -> HashMap<(u32, u32), f64> {
    let (a, b) = (discrete(a), discrete(b));
    let share = 1.0 / a.len() as f64;
    let mut table = HashMap::new();
    for pair in a.into_iter().zip(b) {
        *table.entry(pair).or_insert(0.0) += share;
    }
    table
}

/// Codes of categories, or the bins of numbers as `numpy.digitize` counts them: the greatest value has a bin of its own,
/// which missing ones share.
fn discrete(values: &Values) -> Vec<u32> {
    let values = match values {
        Values::Categorical { codes, .. } => return codes.clone(),
        Values::Numeric(values) => values,
    };
    let present = || values.iter().copied().filter(|value| !value.is_nan());
    let (mut low, mut high) = (present().fold(f64::INFINITY, f64::min), present().fold(f64::NEG_INFINITY, f64::max));
    if low >= high {
        (low, high) = (low - 0.5, high + 0.5);
    }
    let step = (high - low) / N_BINS as f64;
    let edges: Vec<f64> = (0..=N_BINS).map(|i| if i == N_BINS { high } else { low + i as f64 * step }).collect();
    let bin = |&value: &f64| match value.is_nan() {
        true => edges.len() as u32,
        false => edges.partition_point(|&edge| edge <= value) as u32,
    };
    values.iter().map(bin).collect()
}
