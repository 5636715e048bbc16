//! Rows as vectors for networks that are not fed with tokens (`genera_engine::gan`).

use super::codebook::TableCodebook;
use super::column::{Bin, Column, Kind};
use super::condition::Conditions;
use super::domain::Cell;
use super::mixture::Mixture;
use super::settings::settings;
use crate::demo::Dice;
use genera_data::{Result, write_atomically};
use genera_engine::gan::{GanBatch, GanConfig, Part};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file that features are kept in.
const FILE: &str = "features.json";

/// Longest such file that is read.
const MAX_FILE_BYTES: u64 = 1 << 28;

/// Most categories of a column, each of which is an input and an output of the networks.
const MAX_CATEGORIES: usize = 1_000;

/// Rows that the modes of numbers are fitted to at most.
const FITTED: usize = 10_000;

/// How one column becomes parts of a vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Feature {
    /// The place beside a mode, and the mode; one mode more where there may be a gap.
    Modes(Mixture),
    /// A category or a gap, with how many rows have each.
    Categories(Vec<u64>),
}

/// How the columns of a table become a vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// By column; none for those that are not learned.
    columns: Vec<Option<Feature>>,
}

impl Features {
    /// Learns them from rows.
    ///
    /// # Errors
    /// When a column has too many categories.
    pub fn fit(table: &TableCodebook, rows: &[Vec<Option<Cell>>]) -> Result<Self> {
        let feature = |(i, column): (usize, &Column)| {
            column.is_learned().then(|| Feature::fit(column, rows.iter().map(|row| row[i]))).transpose()
        };
        Ok(Self { columns: table.columns().iter().enumerate().map(feature).collect::<Result<_>>()? })
    }

    /// Writes them into a directory.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let json = serde_json::to_vec(self).map_err(|error| settings(format!("features: {error}")))?;
        write_atomically(&directory.join(FILE), &json)
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// When it is missing, damaged, or of another table.
    pub fn load(directory: &Path, table: &TableCodebook) -> Result<Self> {
        let path = directory.join(FILE);
        let missing = |error: std::io::Error| settings(format!("{}: {error}; train the GAN anew", path.display()));
        if std::fs::metadata(&path).map_err(missing)?.len() > MAX_FILE_BYTES {
            return Err(settings(format!("{} is too long to be the features of a table", path.display())));
        }
        Self::from_json(&std::fs::read(&path).map_err(missing)?, table)
    }

    /// Reads them as they are written.
    ///
    /// # Errors
    /// As [`Features::load`].
    pub fn from_json(json: &[u8], table: &TableCodebook) -> Result<Self> {
        let features: Self = serde_json::from_slice(json)
            .map_err(|error| settings(format!("is not the features of a table ({error}); train the GAN anew")))?;
        let fits = features.columns.len() == table.columns().len()
            && features.columns.iter().zip(table.columns()).all(|(feature, column)| match (feature, &column.kind) {
                (None, _) => !column.is_learned(),
                (Some(Feature::Categories(counts)), Kind::Category { .. }) => counts.len() == n_categories(column),
                (Some(Feature::Modes(_)), Kind::Number(_) | Kind::Date(_)) => column.is_learned(),
                _ => false,
            });
        if !fits {
            return Err(settings("the features are those of another table; train the GAN anew"));
        }
        for feature in features.columns.iter().flatten() {
            if let Feature::Modes(mixture) = feature {
                mixture.check()?;
            }
        }
        Ok(features)
    }

    /// The parts of a row's vector.
    pub fn parts(&self, table: &TableCodebook) -> Vec<Part> {
        let parts = |(feature, column): (&Option<Feature>, &Column)| match feature {
            None => Vec::new(),
            Some(Feature::Modes(mixture)) => {
                let n = mixture.n_modes() + usize::from(column.missing.is_some());
                vec![Part::Number, Part::Choice { n, is_asked: false }]
            }
            Some(Feature::Categories(counts)) => vec![Part::Choice { n: counts.len(), is_asked: true }],
        };
        self.columns.iter().zip(table.columns()).flat_map(parts).collect()
    }

    /// A row as a vector; where a number may come from several modes, `key` decides.
    pub fn encode(&self, table: &TableCodebook, row: &[Option<Cell>], key: u64) -> Vec<f32> {
        let mut dice = Dice::new(key, 0);
        let mut vector = Vec::new();
        for ((feature, column), cell) in self.columns.iter().zip(table.columns()).zip(row) {
            match feature {
                None => {}
                Some(Feature::Categories(counts)) => push_choice(&mut vector, counts.len(), category(column, *cell)),
                Some(Feature::Modes(mixture)) => {
                    let n = mixture.n_modes() + usize::from(column.missing.is_some());
                    let share = dice.below(1 << 30) as f64 / f64::from(1 << 30);
                    let (mode, beside) = match cell {
                        Some(Cell::Code(code)) => mixture.place(*code as f64, share),
                        Some(Cell::Missing) | None => (n - 1, 0.0),
                    };
                    vector.push(beside as f32);
                    push_choice(&mut vector, n, Some(mode));
                }
            }
        }
        vector
    }

    /// The row of a vector whose choices are decided: legal in every column.
    pub fn decode(&self, table: &TableCodebook, vector: &[f32]) -> Vec<Option<Cell>> {
        let mut rest = vector;
        let mut take = |n: usize| {
            let (now, later) = rest.split_at(n.min(rest.len()));
            rest = later;
            now
        };
        let chosen = |values: &[f32]| (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0);
        let cell = |(feature, column): (&Option<Feature>, &Column)| match feature {
            None => None,
            Some(Feature::Categories(counts)) => {
                let choice = chosen(take(counts.len()));
                let is_gap = column.missing.is_some() && choice + 1 == counts.len();
                Some(if is_gap { Cell::Missing } else { Cell::Code(choice as i64) })
            }
            Some(Feature::Modes(mixture)) => {
                let beside = f64::from(take(1).first().copied().unwrap_or(0.0));
                let mode = chosen(take(mixture.n_modes() + usize::from(column.missing.is_some())));
                if mode == mixture.n_modes() {
                    return Some(Cell::Missing);
                }
                let code = mixture.value(mode, beside).round() as i64;
                let Bin { low, high } = column.bins[column.nearest_bin(code)];
                Some(Cell::Code(code.clamp(low, high)))
            }
        };
        self.columns.iter().zip(table.columns()).map(cell).collect()
    }

    /// The columns that conditions may be about, with how many rows have each category.
    fn asked(&self) -> impl Iterator<Item = (usize, &[u64])> {
        self.columns.iter().enumerate().filter_map(|(i, feature)| match feature {
            Some(Feature::Categories(counts)) => Some((i, counts.as_slice())),
            _ => None,
        })
    }

    /// Conditions for rows as they are in the table, or as near as one category goes to what is asked of them; `n` of them, of
    /// the rows from number `first` on.
    pub fn conditions(&self, table: &TableCodebook, asked: &Conditions, n: usize, seed: u64, first: u64) -> Vec<f32> {
        let width: usize = self.asked().map(|(_, counts)| counts.len()).sum();
        let allowed = |i: usize, counts: &[u64]| -> Vec<u64> {
            let column = &table.columns()[i];
            let is_gap = |code: usize| column.missing.is_some() && code + 1 == counts.len();
            let cell = |code: usize| if is_gap(code) { Cell::Missing } else { Cell::Code(code as i64) };
            let of = |(code, &count): (usize, &u64)| if asked.domains()[i].allows(cell(code)) { count } else { 0 };
            counts.iter().enumerate().map(of).collect()
        };
        let mut place = 0;
        let mut choices: Vec<(usize, bool, Vec<u64>)> = Vec::new();
        for (i, counts) in self.asked() {
            choices.push((place, asked.asks_for(i), allowed(i, counts)));
            place += counts.len();
        }
        // What is asked for is what the generator is told.
        if choices.iter().any(|(_, is_asked, _)| *is_asked) {
            choices.retain(|(_, is_asked, _)| *is_asked);
        }
        let mut conditions = vec![0.0; n * width.max(1)];
        for (row, i) in conditions.chunks_mut(width.max(1)).zip(first..) {
            let mut dice = Dice::new(seed, i);
            if choices.is_empty() {
                continue;
            }
            let (place, _, counts) = &choices[dice.below(choices.len())];
            if let Some(category) = drawn(counts, &mut dice) {
                row[place + category] = 1.0;
            }
        }
        conditions.truncate(n * width);
        conditions
    }
}

impl Feature {
    fn fit(column: &Column, cells: impl Iterator<Item = Option<Cell>> + Clone) -> Result<Self> {
        if let Kind::Category { .. } = column.kind {
            let n = n_categories(column);
            if n > MAX_CATEGORIES {
                return Err(settings(format!(
                    "column {:?} has {n} categories, and a GAN takes at most {MAX_CATEGORIES}, each of which is an input; merge \
                     rare ones with table.protect_rare, leave the column out with table.skip, or take family = \"transformer\"",
                    column.name
                )));
            }
            let mut counts = vec![0; n];
            cells.filter_map(|cell| category(column, cell)).for_each(|category| counts[category] += 1);
            return Ok(Self::Categories(counts));
        }
        let codes = cells.filter_map(|cell| match cell {
            Some(Cell::Code(code)) => Some(code as f64),
            _ => None,
        });
        let every = codes.clone().count().div_ceil(FITTED).max(1);
        Ok(Self::Modes(Mixture::fit(&codes.step_by(every).collect::<Vec<f64>>())))
    }
}

/// Categories of a column, and one more where there may be a gap.
fn n_categories(column: &Column) -> usize {
    let n = column.range().map_or(0, |(_, high)| usize::try_from(high).map_or(0, |high| high + 1));
    n + usize::from(column.missing.is_some())
}

fn category(column: &Column, cell: Option<Cell>) -> Option<usize> {
    match cell? {
        Cell::Code(code) => usize::try_from(code).ok(),
        Cell::Missing => n_categories(column).checked_sub(1),
    }
}

fn push_choice(vector: &mut Vec<f32>, n: usize, chosen: Option<usize>) {
    vector.extend((0..n).map(|i| f32::from(chosen == Some(i))));
}

/// One of several by their weights; `None` when all are 0.
fn drawn(weights: &[u64], dice: &mut Dice) -> Option<usize> {
    let all: u64 = weights.iter().sum();
    if all == 0 {
        return None;
    }
    let mut left = dice.below(all as usize) as u64;
    weights.iter().position(|&weight| {
        let is_here = left < weight;
        left = left.saturating_sub(weight);
        is_here
    })
}

/// Real rows, drawn so that rare categories are seen often enough (training by sampling).
///
/// # Source
/// Xu et al., arXiv 1907.00503, section 4.3.
pub struct SampledRows<'t> {
    table: &'t TableCodebook,
    features: Features,
    rows: Vec<Vec<Option<Cell>>>,
    /// For each column that conditions may be about: the rows of each category, and the weights by which they are drawn.
    choices: Vec<(Vec<Vec<u32>>, Vec<u64>)>,
}

/// Weights of categories are ln(1 + rows), in units of this.
const LOG_UNIT: f64 = 1e6;

impl<'t> SampledRows<'t> {
    /// The rows with the features that they have.
    pub fn new(table: &'t TableCodebook, features: Features, rows: Vec<Vec<Option<Cell>>>) -> Self {
        let choice = |(i, counts): (usize, &[u64])| {
            let mut of_category = vec![Vec::new(); counts.len()];
            for (row, number) in rows.iter().zip(0..) {
                if let Some(category) = category(&table.columns()[i], row[i]) {
                    of_category[category].push(number);
                }
            }
            let weight = |rows: &Vec<u32>| ((rows.len() as f64).ln_1p() * LOG_UNIT) as u64;
            let weights = of_category.iter().map(weight).collect();
            (of_category, weights)
        };
        let choices = features.asked().map(choice).collect();
        Self { table, features, rows, choices }
    }

    /// The parts of a row's vector.
    pub fn parts(&self) -> Vec<Part> {
        self.features.parts(self.table)
    }

    /// What the columns become.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// `n` rows for a step: a column by chance, one of its categories by the logarithm of how frequent it is, and a row of it.
    ///
    /// # Determinism
    /// A function of the rows, the seed and the step.
    pub fn batch(&self, config: &GanConfig, n: usize, seed: u64, step: u64) -> GanBatch {
        let mut dice = Dice::new(seed, step);
        let places: Vec<usize> = config.asked().map(|(_, conditions)| conditions.start).collect();
        let mut batch = GanBatch { conditions: vec![0.0; n * config.n_conditions()], ..GanBatch::default() };
        for i in 0..n {
            let row = match self.choose(&mut dice) {
                Some((choice, category)) => {
                    batch.conditions[i * config.n_conditions() + places[choice] + category] = 1.0;
                    batch.asked.push((choice, category as u32));
                    let rows = &self.choices[choice].0[category];
                    rows[dice.below(rows.len())] as usize
                }
                None => dice.below(self.rows.len()),
            };
            let key = dice.below(usize::MAX) as u64;
            batch.rows.extend(self.features.encode(self.table, &self.rows[row], key));
        }
        batch
    }

    fn choose(&self, dice: &mut Dice) -> Option<(usize, usize)> {
        if self.choices.is_empty() {
            return None;
        }
        let choice = dice.below(self.choices.len());
        Some((choice, drawn(&self.choices[choice].1, dice)?))
    }
}
