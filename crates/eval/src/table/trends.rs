//! How alike pairs of columns go together.

use super::{Table, Values};
use std::collections::BTreeMap;

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
    let of = |table: &Contingency, pair| table.get(pair).copied().unwrap_or(0.0);
    let in_real: f64 = real.iter().map(|(pair, share)| (share - of(&synthetic, pair)).abs()).sum();
    let only_synthetic: f64 =
        synthetic.iter().filter(|(pair, _)| !real.contains_key(pair)).map(|(_, share)| share).sum();
    Some(1.0 - (in_real + only_synthetic) / 2.0)
}

/// How a pair of columns goes together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairTrend {
    /// Which columns (i, j), i < j.
    pub columns: (usize, usize),
    /// See [`pair_trend`].
    pub trend: Option<f64>,
    /// Whether the two are related in the real table: see [`is_related`].
    pub is_related: bool,
}

/// The trend of each pair of columns.
pub fn pair_trends(real: &Table, synthetic: &Table) -> Vec<PairTrend> {
    let n = real.columns.len();
    let (a, b) = (&real.columns, &synthetic.columns);
    let of = |(i, j): (usize, usize)| PairTrend {
        columns: (i, j),
        trend: pair_trend((&a[i].1, &a[j].1), (&b[i].1, &b[j].1)),
        is_related: is_related(&a[i].1, &a[j].1),
    };
    (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).map(of).collect()
}

/// Mean trend of those pairs that count and have one; not a number when there is none.
pub fn mean_trend(trends: &[PairTrend], counts: impl Fn(&PairTrend) -> bool) -> f64 {
    mean(trends.iter().filter(|pair| counts(pair)).filter_map(|pair| pair.trend))
}

/// Correlation above which two numbers are related.
const RELATED_CORRELATION: f64 = 0.5;

/// Cramér's V above which two categories, or a number and a category, are related.
const RELATED_ASSOCIATION: f64 = 0.3;

/// Whether two columns are related so much that SDMetrics counts their trend by default.
///
/// # Source
/// SDMetrics 0.32, `QualityReport.real_correlation_threshold` and `real_association_threshold`.
pub fn is_related(a: &Values, b: &Values) -> bool {
    match (a, b) {
        (Values::Numeric(a), Values::Numeric(b)) => correlation(a, b).is_some_and(|r| r.abs() > RELATED_CORRELATION),
        _ => association(&contingency(a, b)).is_some_and(|v| v > RELATED_ASSOCIATION),
    }
}

/// Cramér's V of a table of shares; `None` when a side does not vary.
fn association(table: &Contingency) -> Option<f64> {
    let (mut of_a, mut of_b) = (BTreeMap::<u32, f64>::new(), BTreeMap::<u32, f64>::new());
    for (&(a, b), share) in table {
        *of_a.entry(a).or_default() += share;
        *of_b.entry(b).or_default() += share;
    }
    let n_free = of_a.len().min(of_b.len()).checked_sub(1).filter(|&n| n > 0)?;
    let chi_square: f64 = table.iter().map(|((a, b), share)| share * share / (of_a[a] * of_b[b])).sum::<f64>() - 1.0;
    Some((chi_square.max(0.0) / n_free as f64).sqrt())
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

/// The share of each pair of values.
type Contingency = BTreeMap<(u32, u32), f64>;

fn contingency(a: &Values, b: &Values) -> Contingency {
    let (a, b) = (discrete(a), discrete(b));
    let share = 1.0 / a.len() as f64;
    let mut table = Contingency::new();
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
