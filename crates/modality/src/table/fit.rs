//! Learning the columns of a table from its rows.

use super::codebook::TableCodebook;
use super::column::Column;
use super::constraint::{Combination, Constraints};
use super::domain::Cell;
use super::settings::{TableSettings, settings};
use super::statistics::Statistics;
use super::{declared, infer};
use genera_data::prepare::{Fit, Fitting};
use genera_data::{Document, Result, Tokenizer};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Fewer rows teach nothing.
const LEAST_ROWS: u64 = 20;

/// Combinations that are kept at most.
const MAX_COMBINATIONS: usize = 100_000;

/// Learns columns.
#[derive(Clone, Debug)]
pub struct TableFit {
    settings: TableSettings,
}

impl TableFit {
    /// Learns columns as a person wants them taken.
    pub fn new(settings: TableSettings) -> Self {
        Self { settings }
    }
}

impl Fit for TableFit {
    fn begin(&self) -> Box<dyn Fitting> {
        Box::new(TableFitting {
            cells: (0..self.settings.columns.len() as u64).map(Statistics::new).collect(),
            combinations: Vec::new(),
            n_rows: 0,
            has_long_cell: false,
            settings: self.settings.clone(),
        })
    }

    fn load(&self, directory: &Path) -> Result<Arc<dyn Tokenizer>> {
        Ok(Arc::new(TableCodebook::load(directory)?))
    }

    fn fingerprint(&self) -> String {
        format!("table 2 {:?}", self.settings)
    }
}

struct TableFitting {
    settings: TableSettings,
    cells: Vec<Statistics>,
    /// The cells that stand together, for each declared combination.
    combinations: Vec<BTreeSet<Vec<String>>>,
    n_rows: u64,
    /// Whether a cell goes over several lines, as all do behind a quote that was left open.
    has_long_cell: bool,
}

impl Fitting for TableFitting {
    fn add(&mut self, document: &Document) -> Result<()> {
        let row = document.as_row().filter(|row| row.len() == self.cells.len());
        let row =
            row.ok_or_else(|| settings(format!("{} is no row of {} columns", document.origin, self.cells.len())))?;
        self.n_rows += 1;
        self.has_long_cell |= row.iter().any(|cell| cell.contains('\n'));
        if self.settings.is_private {
            return Ok(());
        }
        self.cells.iter_mut().zip(row).for_each(|(cells, cell)| cells.add(cell));
        if !self.settings.combinations.is_empty() {
            self.combine(row)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn Tokenizer>> {
        if self.n_rows < LEAST_ROWS {
            let rows = if self.n_rows == 1 { "row" } else { "rows" };
            let quote = if self.has_long_cell {
                ". A cell of it goes over several lines: a double quote that is left open takes in all lines behind it"
            } else {
                ""
            };
            return Err(settings(format!(
                "the table has {} {rows} to learn from; a model of a table needs at least {LEAST_ROWS}, and some thousands \
                 to be any good{quote}",
                self.n_rows
            )));
        }
        let types = self.settings.types_by_column()?;
        let declared = declared::columns(&self.settings)?;
        if self.settings.is_private {
            self.settings.check_private(&declared)?;
        }
        let learn = |(i, column): (usize, Option<Column>)| match column {
            Some(column) => Ok(column),
            None => infer::column(&self.settings.columns[i], &self.cells[i], types[i], &self.settings),
        };
        let columns: Vec<Column> = declared.into_iter().enumerate().map(learn).collect::<Result<_>>()?;
        let constraints = Constraints {
            orders: Constraints::orders_of(&self.settings, &columns)?,
            combinations: self.combinations(&columns)?,
            unique: self.settings.groups(&self.settings.unique, "table.unique")?,
        };
        Ok(Arc::new(TableCodebook::new(columns, constraints, self.settings.any_order)?))
    }
}

impl TableFitting {
    fn combine(&mut self, row: &[String]) -> Result<()> {
        let groups = self.settings.groups(&self.settings.combinations, "table.combinations")?;
        self.combinations.resize(groups.len(), BTreeSet::new());
        for (group, seen) in groups.iter().zip(&mut self.combinations) {
            seen.insert(group.iter().map(|&i| row[i].clone()).collect());
            if seen.len() > MAX_COMBINATIONS {
                return Err(settings(format!(
                    "table.combinations: more than {MAX_COMBINATIONS} combinations of {} occur; that is no fixed set",
                    group.iter().map(|&i| self.settings.columns[i].as_str()).collect::<Vec<_>>().join(" + ")
                )));
            }
        }
        Ok(())
    }

    fn combinations(&self, columns: &[Column]) -> Result<Vec<Combination>> {
        let groups = self.settings.groups(&self.settings.combinations, "table.combinations")?;
        let of = |(group, seen): (&Vec<usize>, &BTreeSet<Vec<String>>)| {
            if let Some(&i) = group.iter().find(|&&i| !columns[i].is_learned()) {
                let Column { name, .. } = &columns[i];
                return Err(settings(format!(
                    "table.combinations: column {name:?} is not learned ({}), so it takes part in no combination",
                    columns[i].describe()
                )));
            }
            let row = |texts: &Vec<String>| {
                let code = |(&i, text): (&usize, &String)| match cell(&columns[i], text) {
                    Some(Cell::Code(code)) => Some(code),
                    Some(Cell::Missing) | None => None,
                };
                group.iter().zip(texts).map(code).collect::<Vec<Option<i64>>>()
            };
            let rows: BTreeSet<Vec<Option<i64>>> = seen.iter().map(row).collect();
            Ok(Combination { columns: group.clone(), rows: rows.into_iter().collect() })
        };
        groups.iter().zip(&self.combinations).map(of).collect()
    }
}

/// What a text is in a column: brought to the nearest value that the column has.
fn cell(column: &Column, text: &str) -> Option<Cell> {
    if super::column::is_missing(text) {
        return Some(Cell::Missing);
    }
    let code = column.code(text)?;
    let bin = column.bins[column.nearest_bin(code)];
    Some(Cell::Code(code.clamp(bin.low, bin.high)))
}
