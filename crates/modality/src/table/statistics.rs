//! What is remembered of a column while its cells go by: exact counts while they are few, and a fair sample.

use super::column::is_missing;
use super::number::{decimals_of, is_decimal_comma, parse, without_comma};
use crate::demo::Dice;
use std::collections::HashMap;

/// Distinct values that are counted one by one at most.
pub(super) const MAX_DISTINCT: usize = 100_000;

/// Bytes of distinct values that are kept at most.
const MAX_DISTINCT_BYTES: usize = 1 << 24;

/// Cells of the sample.
const SAMPLE: usize = 1 << 16;

/// Longest cell that is kept.
const MAX_CELL_BYTES: usize = 1 << 12;

/// What is known of a column.
#[derive(Debug)]
pub(super) struct Statistics {
    pub(super) n_present: u64,
    pub(super) n_missing: u64,
    /// How the first missing value was written.
    pub(super) missing: Option<String>,
    /// How often each value occurs; `None` once there are too many.
    pub(super) counts: Option<HashMap<String, u64>>,
    n_bytes: usize,
    /// Cells that are not missing, each with the same chance.
    pub(super) sample: Vec<String>,
    /// Numbers without a point or comma, with a point, and with a comma for it.
    wholes: Numbers,
    points: Numbers,
    commas: Numbers,
    /// Whether some comma cannot part thousands, as three digits behind it might.
    has_decimal_comma: bool,
    dice: Dice,
}

/// What is known of the cells that are numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    n: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) min_decimals: u32,
    pub(super) max_decimals: u32,
}

impl Statistics {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            n_present: 0,
            n_missing: 0,
            missing: None,
            counts: Some(HashMap::new()),
            n_bytes: 0,
            sample: Vec::new(),
            wholes: Numbers::none(),
            points: Numbers::none(),
            commas: Numbers::none(),
            has_decimal_comma: false,
            dice: Dice::new(seed, 0),
        }
    }

    pub(super) fn add(&mut self, cell: &str) {
        if is_missing(cell) {
            self.n_missing += 1;
            self.missing.get_or_insert_with(|| cell.to_owned());
            return;
        }
        let cell = start_of(cell, MAX_CELL_BYTES);
        self.n_present += 1;
        self.add_to_numbers(cell);
        self.add_to_sample(cell);
        let Some(counts) = &mut self.counts else { return };
        if let Some(count) = counts.get_mut(cell) {
            *count += 1;
            return;
        }
        self.n_bytes += cell.len();
        if counts.len() >= MAX_DISTINCT || self.n_bytes > MAX_DISTINCT_BYTES {
            self.counts = None;
        } else {
            counts.insert(cell.to_owned(), 1);
        }
    }

    fn add_to_numbers(&mut self, cell: &str) {
        let (known, other) = match cell.contains('.') {
            true => (&mut self.points, None),
            false => (&mut self.wholes, without_comma(cell)),
        };
        if let Some(number) = other {
            self.has_decimal_comma |= is_decimal_comma(cell);
            self.commas.add(&number);
        } else {
            known.add(cell);
        }
    }

    fn add_to_sample(&mut self, cell: &str) {
        if self.sample.len() < SAMPLE {
            self.sample.push(cell.to_owned());
            return;
        }
        let place = self.dice.below(self.n_present as usize);
        if let Some(kept) = self.sample.get_mut(place) {
            cell.clone_into(kept);
        }
    }

    /// What is known of the values as numbers, and whether a comma is their point; `None` where some are none.
    pub(super) fn numbers(&self) -> Option<(Numbers, bool)> {
        let ways = [(&self.points, false), (&self.commas, true)];
        let all = ways.map(|(numbers, has_comma)| (self.wholes.with(numbers), has_comma));
        all.into_iter().find(|(numbers, has_comma)| {
            self.n_present > 0 && numbers.n == self.n_present && (!has_comma || self.has_decimal_comma)
        })
    }

    /// Number of distinct values, as far as they were counted.
    pub(super) fn n_distinct(&self) -> usize {
        self.counts.as_ref().map_or(usize::MAX, HashMap::len)
    }

    /// The distinct values with how often they occur, in the whole or in the sample, in order of the text.
    pub(super) fn weighted(&self) -> Vec<(&str, u64)> {
        let mut weighted: Vec<(&str, u64)> = match &self.counts {
            Some(counts) => counts.iter().map(|(value, count)| (value.as_str(), *count)).collect(),
            None => self.sample.iter().map(|value| (value.as_str(), 1)).collect(),
        };
        weighted.sort_unstable();
        weighted
    }
}

impl Numbers {
    fn none() -> Self {
        Self { n: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, min_decimals: u32::MAX, max_decimals: 0 }
    }

    /// These and others.
    fn with(&self, other: &Self) -> Self {
        Self {
            n: self.n + other.n,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            min_decimals: self.min_decimals.min(other.min_decimals),
            max_decimals: self.max_decimals.max(other.max_decimals),
        }
    }

    /// Adds a cell, where it is a number.
    fn add(&mut self, cell: &str) {
        let Some(value) = parse(cell) else { return };
        self.n += 1;
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
        let decimals = decimals_of(cell);
        (self.min_decimals, self.max_decimals) = (self.min_decimals.min(decimals), self.max_decimals.max(decimals));
    }
}

/// The first `n_bytes` of a text, or fewer where a character would be cut.
pub(super) fn start_of(text: &str, n_bytes: usize) -> &str {
    let end = (0..=n_bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}
