//! What holds between the columns of a row: an order, and combinations that only come together.

use super::column::{Column, Kind};
use super::domain::{Cell, Domain};
use super::settings::{TableSettings, find, settings};
use genera_data::Result;
use serde::{Deserialize, Serialize};

/// Constraints between columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    /// The first is at most the second, where neither is missing.
    pub orders: Vec<(usize, usize)>,
    /// Columns whose cells only stand together as listed.
    pub combinations: Vec<Combination>,
    /// Columns that together never repeat.
    pub unique: Vec<Vec<usize>>,
}

/// Columns with the cells that stand together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Combination {
    /// The columns.
    pub columns: Vec<usize>,
    /// A row of cells for each combination; a missing one is none.
    pub rows: Vec<Vec<Option<i64>>>,
}

impl Constraints {
    /// The order constraints that the settings declare, each `a <= b` or `a >= b`.
    ///
    /// # Errors
    /// When a column is unknown or cannot be compared.
    pub(super) fn orders_of(table: &TableSettings, columns: &[Column]) -> Result<Vec<(usize, usize)>> {
        let order = |text: &String| {
            let place = "table.constraints";
            let (a, b) = match (text.split_once("<="), text.split_once(">=")) {
                (Some((a, b)), None) => (a, b),
                (None, Some((a, b))) => (b, a),
                _ => return Err(settings(format!("{place}: {text:?} is not of the form \"a <= b\" or \"a >= b\""))),
            };
            let (a, b) = (find(&table.columns, a, place)?, find(&table.columns, b, place)?);
            let is_date = |i: usize| matches!(columns[i].kind, Kind::Date(_));
            if !columns[a].is_ordered() || !columns[b].is_ordered() || is_date(a) != is_date(b) {
                return Err(settings(format!(
                    "{place}: {text:?} compares {} with {}; expected two numbers or two dates",
                    columns[a].describe(),
                    columns[b].describe()
                )));
            }
            Ok((a, b))
        };
        table.constraints.iter().map(order).collect()
    }

    /// Narrows the domains by one another until nothing changes. What is missing is bound by nothing.
    pub(super) fn propagate(&self, columns: &[Column], domains: &mut [Domain], known: &[Option<Cell>]) {
        let is_free = |i: usize| known[i] == Some(Cell::Missing);
        // Each pass settles at least one more link of a chain.
        for _ in 0..=self.orders.len() {
            let mut has_changed = false;
            for &(a, b) in self.orders.iter().filter(|(a, b)| !is_free(*a) && !is_free(*b)) {
                if !domains[b].missing || known[b].is_some() {
                    let high = code_at_most(&columns[a], columns[b].value(domains[b].high));
                    has_changed |= lower(&mut domains[a].high, high);
                }
                if !domains[a].missing || known[a].is_some() {
                    let low = code_at_least(&columns[b], columns[a].value(domains[a].low));
                    has_changed |= raise(&mut domains[b].low, low);
                }
            }
            if !has_changed {
                break;
            }
        }
    }

    /// Whether a whole row keeps to the orders and combinations.
    pub fn hold(&self, columns: &[Column], row: &[Option<Cell>]) -> bool {
        let code = |i: usize| match row[i] {
            Some(Cell::Code(code)) => Some(code),
            _ => None,
        };
        let in_order = |&(a, b): &(usize, usize)| match (code(a), code(b)) {
            (Some(low), Some(high)) => low <= code_at_most(&columns[a], columns[b].value(high)),
            _ => true,
        };
        let is_known = |combination: &Combination| {
            let cells: Vec<Option<i64>> = combination.columns.iter().map(|&i| code(i)).collect();
            combination.rows.contains(&cells)
        };
        self.orders.iter().all(in_order) && self.combinations.iter().all(is_known)
    }

    /// What a column may hold beside the cells that are known, by the combinations alone.
    pub(super) fn together(&self, column: usize, known: &[Option<Cell>], domains: &[Domain]) -> Option<Domain> {
        let of = |combination: &Combination| {
            let place = combination.columns.iter().position(|&other| other == column)?;
            let cell = |code: &Option<i64>| code.map_or(Cell::Missing, Cell::Code);
            let fits = |row: &&Vec<Option<i64>>| {
                combination.columns.iter().zip(row.iter()).all(|(&other, code)| match known[other] {
                    Some(known) => known == cell(code),
                    None => domains[other].allows(cell(code)),
                })
            };
            let (mut codes, mut missing) = (Vec::new(), false);
            for row in combination.rows.iter().filter(fits) {
                match row[place] {
                    Some(code) => codes.push(code),
                    None => missing = true,
                }
            }
            Some(Domain { missing, ..Domain::some(codes) })
        };
        self.combinations.iter().filter_map(of).reduce(|a, b| a.both(&b))
    }
}

fn lower(bound: &mut i64, to: i64) -> bool {
    let is_lower = to < *bound;
    *bound = (*bound).min(to);
    is_lower
}

fn raise(bound: &mut i64, to: i64) -> bool {
    let is_higher = to > *bound;
    *bound = (*bound).max(to);
    is_higher
}

/// Values that differ by less than this share are equal: grids of different steps meet only so exactly in floats.
const SAME: f64 = 1e-12;

/// The greatest code whose value is at most `limit`.
pub(super) fn code_at_most(column: &Column, limit: f64) -> i64 {
    let (start, unit) = (column.value(0), column.value(1) - column.value(0));
    let slack = SAME * limit.abs().max(unit.abs());
    ((limit - start + slack) / unit).floor() as i64
}

/// The least code whose value is at least `limit`.
pub(super) fn code_at_least(column: &Column, limit: f64) -> i64 {
    let (start, unit) = (column.value(0), column.value(1) - column.value(0));
    let slack = SAME * limit.abs().max(unit.abs());
    ((limit - start - slack) / unit).ceil() as i64
}
