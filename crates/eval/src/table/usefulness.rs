//! What boosted trees learn from a synthetic table, and whether they tell it from the real one.

use super::boosting::{Boosted, BoostingSettings, Objective};
use super::{MISSING, Table, Values};

/// Rows of either table that a discriminator learns from and is tested on.
const DISCRIMINATED: usize = 10_000;

/// Classes that are each told from the others at most.
const MAX_CLASSES: usize = 20;

/// How well real rows are predicted by what was learned from a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Usefulness {
    /// Area under the receiver operating characteristic; of several classes the mean over each against the rest.
    Auc(f64),
    /// Share of the variance that is explained.
    R2(f64),
}

impl Usefulness {
    /// The name of the measure, and its value.
    pub fn figure(self) -> (&'static str, f64) {
        match self {
            Self::Auc(value) => ("auc", value),
            Self::R2(value) => ("r2", value),
        }
    }
}

/// Learns a column from the others in `train` and predicts it in `test`; `None` when that is no task: a column that is
/// constant or has too many categories.
pub fn usefulness(train: &Table, test: &Table, target: usize) -> Option<Usefulness> {
    let (train, goal) = without(train, target)?;
    let (test, truth) = without(test, target)?;
    match (goal, truth) {
        (Values::Numeric(goal), Values::Numeric(truth)) => {
            let (train, goal) = present(train, &goal, |value| !value.is_nan());
            let (test, truth) = present(test, &truth, |value| !value.is_nan());
            if goal.is_empty() || truth.len() < 2 {
                return None;
            }
            let said = Boosted::fit(&train, &goal, Objective::Squared, &BoostingSettings::default()).predict(&test);
            r2(&said, &truth).map(Usefulness::R2)
        }
        (Values::Categorical { codes: goal, labels }, Values::Categorical { codes: truth, .. }) => {
            let (train, goal) = present(train, &goal, |&code| code != MISSING);
            let (test, truth) = present(test, &truth, |&code| code != MISSING);
            let classes: Vec<u32> = (0..labels.len() as u32).filter(|class| truth.contains(class)).collect();
            if goal.is_empty() || !(2..=MAX_CLASSES).contains(&classes.len()) {
                return None;
            }
            // Two classes are one question.
            let asked = if classes.len() == 2 { &classes[..1] } else { &classes };
            let of = |&class: &u32| {
                let is_class = |codes: &[u32]| codes.iter().map(|&code| f64::from(u8::from(code == class))).collect();
                let (goal, truth): (Vec<f64>, Vec<f64>) = (is_class(&goal), is_class(&truth));
                let said =
                    Boosted::fit(&train, &goal, Objective::Logistic, &BoostingSettings::default()).predict(&test);
                auc(&said, &truth)
            };
            let areas: Vec<f64> = asked.iter().filter_map(of).collect();
            (!areas.is_empty()).then(|| Usefulness::Auc(super::trends::mean(areas.into_iter())))
        }
        _ => None,
    }
}

/// Area under the curve of trees that tell synthetic rows from real ones, on rows that they have not seen: 0.5 when they
/// cannot, 1 when they always can.
pub fn discriminator_auc(real: &Table, synthetic: &Table, seed: u64) -> Option<f64> {
    let n = real.n_rows().min(synthetic.n_rows()).min(DISCRIMINATED);
    if n < 20 {
        return None;
    }
    let (real, synthetic) = (real.sample(n, seed), synthetic.sample(n, seed ^ 1));
    let part = |range: std::ops::Range<usize>| -> (Table, Vec<f64>) {
        let rows: Vec<usize> = range.collect();
        let labels = [vec![0.0; rows.len()], vec![1.0; rows.len()]].concat();
        (joined(&real.at(&rows), &synthetic.at(&rows)), labels)
    };
    let ((train, goal), (test, truth)) = (part(0..n / 2), part(n / 2..n));
    let said = Boosted::fit(&train, &goal, Objective::Logistic, &BoostingSettings::default()).predict(&test);
    auc(&said, &truth)
}

/// Area under the receiver operating characteristic: how often a positive is scored above a negative, ties counting half.
/// `None` when there are none of either.
pub fn auc(scores: &[f64], truth: &[f64]) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut rank_sum, mut n_positive, mut i) = (0.0, 0.0, 0);
    while i < order.len() {
        let n_tied = order[i..].iter().take_while(|&&j| scores[j] == scores[order[i]]).count();
        // Ranks from 1; those that are tied share theirs.
        let rank = i as f64 + (n_tied as f64 + 1.0) / 2.0;
        let positive = order[i..i + n_tied].iter().filter(|&&j| truth[j] > 0.5).count() as f64;
        (rank_sum, n_positive, i) = (rank_sum + rank * positive, n_positive + positive, i + n_tied);
    }
    let n_negative = scores.len() as f64 - n_positive;
    let area = (rank_sum - n_positive * (n_positive + 1.0) / 2.0) / (n_positive * n_negative);
    area.is_finite().then_some(area)
}

fn r2(said: &[f64], truth: &[f64]) -> Option<f64> {
    let mean = super::trends::mean(truth.iter().copied());
    let left: f64 = said.iter().zip(truth).map(|(said, truth)| (said - truth).powi(2)).sum();
    let all: f64 = truth.iter().map(|truth| (truth - mean).powi(2)).sum();
    (all > 0.0).then(|| 1.0 - left / all)
}

/// A table without one of its columns, and that column.
fn without(table: &Table, target: usize) -> Option<(Table, Values)> {
    let mut table = table.clone();
    if target >= table.columns.len() || table.columns.len() < 2 {
        return None;
    }
    let (_, values) = table.columns.remove(target);
    Some((table, values))
}

/// The rows whose target is there.
fn present<T: Copy>(table: Table, targets: &[T], is_there: impl Fn(&T) -> bool) -> (Table, Vec<T>) {
    let rows: Vec<usize> = (0..targets.len()).filter(|&i| is_there(&targets[i])).collect();
    let targets = rows.iter().map(|&i| targets[i]).collect();
    (table.at(&rows), targets)
}

/// The rows of one table and then those of the other.
fn joined(a: &Table, b: &Table) -> Table {
    let join = |((name, a), (_, b)): (&(String, Values), &(String, Values))| {
        let values = match (a, b) {
            (Values::Numeric(a), Values::Numeric(b)) => Values::Numeric([a.as_slice(), b].concat()),
            (Values::Categorical { codes: a, labels }, Values::Categorical { codes: b, .. }) => {
                Values::Categorical { codes: [a.as_slice(), b].concat(), labels: labels.clone() }
            }
            _ => Values::Numeric(vec![f64::NAN; a.len() + b.len()]),
        };
        (name.clone(), values)
    };
    Table { columns: a.columns.iter().zip(&b.columns).map(join).collect(), dates: a.dates.clone() }
}
