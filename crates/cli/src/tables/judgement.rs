//! Every measure of a synthetic table at once.

use crate::failure::{Failure, Outcome};
use genera_eval::table::{
    Closest, MISSING, PairTrend, Table, Usefulness, Values, closest, column_shapes, discriminator_auc, mean_trend,
    n_copies, pair_trends, usefulness,
};
use serde_json::{Value, json};
use std::fmt::{self, Display, Formatter};

/// Seed of what is drawn while judging.
const SEED: u64 = 1;

/// Rows that trees learn from at most.
const LEARNED: usize = 50_000;

/// What a synthetic table is worth.
pub struct Judgement {
    /// Shape of each column, 0 to 1.
    pub shapes: Vec<(String, Option<f64>)>,
    /// Mean shape.
    pub shape: f64,
    /// Trend of each pair of columns, 0 to 1.
    pub trends: Vec<PairTrend>,
    /// Mean trend.
    pub trend: f64,
    /// Mean trend of the pairs that are related in the real table, which is what SDMetrics reports by default.
    pub related_trend: f64,
    /// Of trees that tell synthetic rows from real ones; half is ideal.
    pub discriminator_auc: Option<f64>,
    /// The column that is predicted.
    pub target: String,
    /// How well held-out rows are predicted from synthetic ones, and from real ones.
    pub usefulness: Option<(Usefulness, Usefulness)>,
    /// Nearness to single rows.
    pub closest: Option<Closest>,
    /// How well the model's own likelihood tells training rows from held-out ones, where the model is at hand; half is ideal.
    pub likelihood_auc: Option<f64>,
    /// Synthetic rows that stand in the training table, and how many there are.
    pub copies: (usize, usize),
    /// The same of held-out rows.
    pub copies_of_holdout: Option<(usize, usize)>,
    n_train: usize,
}

impl Judgement {
    /// Judges a synthetic table by the training table and rows that were kept aside. `target` is the column to be predicted,
    /// by default the last in which rows differ.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn of(train: &Table, holdout: Option<&Table>, synthetic: &Table, target: Option<&str>) -> Outcome<Self> {
        let names: Vec<&str> = train.columns.iter().map(|(name, _)| name.as_str()).collect();
        let place = match target {
            None => (0..names.len()).rfind(|&i| varies(&train.columns[i].1)).unwrap_or(names.len().saturating_sub(1)),
            Some(name) => names.iter().position(|known| *known == name).ok_or_else(|| {
                Failure::new(format!(
                    "there is no column {name:?} to be predicted; the columns are {}",
                    names.join(", ")
                ))
            })?,
        };
        let (shapes, shape) = column_shapes(train, synthetic);
        let trends = pair_trends(train, synthetic);
        let learned = |table: &Table| usefulness(&table.sample(LEARNED, SEED), holdout?, place);
        let copies = |table: &Table| (n_copies(table, train), table.n_rows());
        Ok(Self {
            shapes: names.iter().map(|name| (*name).to_owned()).zip(shapes).collect(),
            shape,
            trend: mean_trend(&trends, |_| true),
            related_trend: mean_trend(&trends, |pair| pair.is_related),
            trends,
            discriminator_auc: discriminator_auc(train, synthetic, SEED),
            target: names.get(place).map_or_else(String::new, |name| (*name).to_owned()),
            usefulness: learned(synthetic).zip(learned(train)),
            closest: holdout.and_then(|holdout| closest(train, holdout, synthetic, SEED)),
            likelihood_auc: None,
            copies: copies(synthetic),
            copies_of_holdout: holdout.map(copies),
            n_train: train.n_rows(),
        })
    }

    /// All of it, for machines.
    pub fn to_json(&self) -> Value {
        let share = |(n, all): (usize, usize)| n as f64 / all.max(1) as f64;
        let name = |i: usize| self.shapes[i].0.as_str();
        let trends: Vec<Value> = self
            .trends
            .iter()
            .map(|PairTrend { columns: (i, j), trend, is_related }| {
                json!({"columns": [name(*i), name(*j)], "trend": trend, "related": is_related})
            })
            .collect();
        let shapes: serde_json::Map<String, Value> =
            self.shapes.iter().map(|(name, shape)| (name.clone(), json!(shape))).collect();
        let useful = self.usefulness.map(|(synthetic, real)| {
            let ((measure, synthetic), (_, real)) = (synthetic.figure(), real.figure());
            json!({"target": self.target, "measure": measure, "synthetic": synthetic, "real": real})
        });
        let privacy = self.closest.map(|closest| {
            json!({
                "share_closer_to_training": closest.share_closer_to_training,
                "membership_auc": closest.membership_auc,
                "median_distance_to_training": closest.median_to_training,
                "median_distance_of_holdout": closest.median_of_holdout,
            })
        });
        json!({
            "n_real": self.n_train,
            "n_synthetic": self.copies.1,
            "seed": SEED,
            "shape_error": 100.0 * (1.0 - self.shape),
            "trend_error": 100.0 * (1.0 - self.trend),
            "related_trend_error": 100.0 * (1.0 - self.related_trend),
            "discriminator_auc": self.discriminator_auc,
            "usefulness": useful,
            "privacy": privacy,
            "likelihood_membership_auc": self.likelihood_auc,
            "copies": share(self.copies),
            "copies_of_holdout": self.copies_of_holdout.map(share),
            "shapes": shapes,
            "trends": trends,
        })
    }

    /// Each measure with its value and what it means.
    pub fn rows(&self) -> Vec<[String; 3]> {
        let row = |name: &str, value: String, meaning: &str| [name.to_owned(), value, meaning.to_owned()];
        let none = || "–".to_owned();
        let percent =
            |(n, all): (usize, usize)| format!("{:.2} % ({n} of {all})", 100.0 * n as f64 / all.max(1) as f64);
        let (learned, name) = match self.usefulness {
            Some((synthetic, real)) => {
                let ((name, synthetic), (_, real)) = (synthetic.figure(), real.figure());
                (format!("{synthetic:.4} (from real rows {real:.4})"), format!("{name} of {}", self.target))
            }
            None => (none(), format!("prediction of {}", self.target)),
        };
        let of_closest = |of: fn(&Closest) -> String| self.closest.as_ref().map_or_else(none, of);
        let auc = self.discriminator_auc.map_or_else(none, |auc| format!("{auc:.4}"));
        vec![
            row("shape error", format!("{:.2} %", 100.0 * (1.0 - self.shape)), "columns by themselves; 0 is ideal"),
            row("trend error", format!("{:.2} %", 100.0 * (1.0 - self.trend)), "pairs of columns; 0 is ideal"),
            row(
                "related trend error",
                if self.related_trend.is_nan() {
                    none()
                } else {
                    format!("{:.2} %", 100.0 * (1.0 - self.related_trend))
                },
                "pairs related in the real table alone, as SDMetrics counts by default; 0 is ideal",
            ),
            row("discriminator AUC", auc, "boosted trees tell synthetic rows from real ones; 0.5 is ideal"),
            row(&name, learned, "held-out rows predicted by boosted trees that learned from synthetic rows"),
            row(
                "closer to training",
                of_closest(|closest| format!("{:.1} %", 100.0 * closest.share_closer_to_training)),
                "synthetic rows closer to a training row than to a held-out one; 50 % is ideal",
            ),
            row(
                "membership AUC",
                of_closest(|closest| format!("{:.4}", closest.membership_auc)),
                "training rows told from held-out ones by their distance to synthetic rows; 0.5 is ideal",
            ),
            row(
                "likelihood AUC",
                self.likelihood_auc.map_or_else(none, |auc| format!("{auc:.4}")),
                "training rows told from held-out ones by the model's own likelihood; 0.5 is ideal",
            ),
            row(
                "median distance",
                of_closest(|closest| {
                    format!("{:.4} (of held-out rows {:.4})", closest.median_to_training, closest.median_of_holdout)
                }),
                "to the closest training row; as large as that of held-out rows is ideal",
            ),
            row("exact copies", percent(self.copies), "synthetic rows that are training rows"),
            row(
                "exact copies, held out",
                self.copies_of_holdout.map_or_else(none, percent),
                "held-out rows that are training rows: so many are natural",
            ),
        ]
    }
}

/// Whether a column has several values.
fn varies(values: &Values) -> bool {
    match values {
        Values::Numeric(values) => {
            let mut present = values.iter().filter(|value| !value.is_nan());
            present.next().is_some_and(|first| present.any(|value| value != first))
        }
        Values::Categorical { codes, .. } => {
            let mut present = codes.iter().filter(|code| **code != MISSING);
            present.next().is_some_and(|first| present.any(|code| code != first))
        }
    }
}

impl Display for Judgement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for [name, value, meaning] in self.rows() {
            writeln!(f, "{name:<24} {value:<32} {meaning}")?;
        }
        Ok(())
    }
}
