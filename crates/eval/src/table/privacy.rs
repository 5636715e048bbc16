//! How near synthetic rows come to single real ones.

use super::usefulness::auc;
use super::{MISSING, Table, Values};
use std::collections::HashSet;

/// Rows that distances are measured from, and to, at most.
const MEASURED: usize = 2_000;

/// Distances to the closest record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closest {
    /// Share of the synthetic rows that are closer to a training row than to any of equally many held-out rows; ties count
    /// half. Half is ideal: nothing of the training rows shows.
    pub share_closer_to_training: f64,
    /// How well the distance to the closest synthetic row tells training rows from held-out ones: the area under the curve
    /// of a membership attack that sees the synthetic table alone. Half is ideal.
    pub membership_auc: f64,
    /// Median distance of a synthetic row to the closest training row, of 0 to 1.
    pub median_to_training: f64,
    /// The same of held-out rows: how near real rows are by themselves.
    pub median_of_holdout: f64,
}

/// Measures distances between rows: the mean over columns of 0 or 1 for categories, and of the difference as a share of the
/// training range for numbers (Gower). `None` when one of the tables is empty.
///
/// # Cost
/// 12 million distances at most, whatever the size of the tables: rows are drawn by `seed`.
pub fn closest(train: &Table, holdout: &Table, synthetic: &Table, seed: u64) -> Option<Closest> {
    let n = train.n_rows().min(holdout.n_rows()).min(MEASURED);
    if n == 0 || synthetic.n_rows() == 0 {
        return None;
    }
    let ranges = ranges(train);
    let (train, holdout) = (scaled(&train.sample(n, seed), &ranges), scaled(&holdout.sample(n, seed), &ranges));
    let synthetic = scaled(&synthetic.sample(MEASURED, seed), &ranges);
    let to =
        |from: &[Vec<f64>], to: &[Vec<f64>]| -> Vec<f64> { from.iter().map(|row| nearest(row, to, &ranges)).collect() };
    let (to_train, to_holdout) = (to(&synthetic, &train), to(&synthetic, &holdout));
    let closer = to_train.iter().zip(&to_holdout).map(|(a, b)| match a.total_cmp(b) {
        std::cmp::Ordering::Less => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 0.0,
    });
    let share_closer_to_training = super::trends::mean(closer);
    let (members, others) = (to(&train, &synthetic), to(&holdout, &synthetic));
    let scores: Vec<f64> = members.iter().chain(&others).map(|distance| -distance).collect();
    let truth = [vec![1.0; members.len()], vec![0.0; others.len()]].concat();
    Some(Closest {
        share_closer_to_training,
        membership_auc: auc(&scores, &truth)?,
        median_to_training: median(to_train),
        median_of_holdout: median(to(&holdout, &train)),
    })
}

/// How many rows of a table also stand in another.
pub fn n_copies(of: &Table, within: &Table) -> usize {
    let known: HashSet<Vec<u64>> = (0..within.n_rows()).map(|row| key(within, row)).collect();
    (0..of.n_rows()).filter(|&row| known.contains(&key(of, row))).count()
}

fn key(table: &Table, row: usize) -> Vec<u64> {
    let one = |(_, values): &(String, Values)| match values {
        // Zero has two signs, and NaN many forms.
        Values::Numeric(values) if values[row].is_nan() => u64::MAX,
        Values::Numeric(values) => (values[row] + 0.0).to_bits(),
        Values::Categorical { codes, .. } => codes[row].into(),
    };
    table.columns.iter().map(one).collect()
}

/// The range of each number; `None` for categories.
fn ranges(table: &Table) -> Vec<Option<f64>> {
    let range = |(_, values): &(String, Values)| match values {
        Values::Categorical { .. } => None,
        Values::Numeric(values) => {
            let (low, high) = values
                .iter()
                .filter(|value| !value.is_nan())
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)));
            Some(if high > low { high - low } else { 1.0 })
        }
    };
    table.columns.iter().map(range).collect()
}

/// Rows of numbers whose difference is the distance; codes of categories as they are.
fn scaled(table: &Table, ranges: &[Option<f64>]) -> Vec<Vec<f64>> {
    let cell = |row: usize, (_, values): &(String, Values), range: Option<f64>| match values {
        Values::Numeric(values) => values[row] / range.unwrap_or(1.0),
        Values::Categorical { codes, .. } if codes[row] == MISSING => f64::NAN,
        Values::Categorical { codes, .. } => codes[row].into(),
    };
    let row = |row| table.columns.iter().zip(ranges).map(|(column, &range)| cell(row, column, range)).collect();
    (0..table.n_rows()).map(row).collect()
}

fn nearest(row: &[f64], others: &[Vec<f64>], ranges: &[Option<f64>]) -> f64 {
    let distance = |other: &Vec<f64>| -> f64 {
        let cells = row.iter().zip(other).zip(ranges);
        let sum: f64 = cells
            .map(|((&a, &b), range)| match (a.is_nan(), b.is_nan()) {
                (true, true) => 0.0,
                (false, false) if range.is_some() => (a - b).abs().min(1.0),
                (false, false) => f64::from(u8::from(a != b)),
                _ => 1.0,
            })
            .sum();
        sum / row.len() as f64
    };
    others.iter().map(distance).fold(f64::INFINITY, f64::min)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
