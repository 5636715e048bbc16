//! Files of rows as the tables that are compared: one kind for each column, one list of categories for all of them.

use crate::failure::{Failure, Outcome};
use genera_data::prepare::Fit;
use genera_data::{ByteCounter, Columns, Corpus, Files, ReadOptions, Shard, Tokenizer};
use genera_eval::table::{MISSING, Table, Values};
use genera_modality::table::{Column, Kind, TableCodebook, TableFit, TableSettings, is_missing};
use std::any::Any;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Rows that are compared at most; of a longer file the first ones.
const MOST_ROWS: usize = 1_000_000;

/// The columns of a file, by its own cells.
///
/// # Errors
/// When the file cannot be read, or has too few rows.
pub fn columns_of(path: &Path) -> Outcome<Arc<dyn Tokenizer>> {
    let columns = crate::plan::table::kept_columns(path, &[])?;
    let fit = TableFit::new(TableSettings { columns: columns.clone(), ..TableSettings::default() });
    let mut fitting = fit.begin();
    for document in open(path, columns)?.take(MOST_ROWS) {
        fitting.add(&document?)?;
    }
    Ok(fitting.finish()?)
}

/// The codebook behind what [`columns_of`] gives.
///
/// # Panics
/// When it is another kind's.
pub fn table_of(codebook: &Arc<dyn Tokenizer>) -> &TableCodebook {
    let any: &dyn Any = &**codebook;
    any.downcast_ref().expect("the columns of a file are a table's")
}

/// The rows of a file, with the cells of these columns.
///
/// # Errors
/// When it cannot be read or lacks a column.
pub(super) fn open(path: &Path, columns: Vec<String>) -> Outcome<genera_data::Documents> {
    let options = ReadOptions { columns: Columns::rows(columns), ..ReadOptions::default() };
    Ok(Files::open(&[path.to_owned()], options)?.documents(&ByteCounter::default())?)
}

/// The tables that are compared.
pub struct Frames<'t> {
    table: &'t TableCodebook,
    /// Places of the columns that take part: those that do not name rows.
    compared: Vec<usize>,
    /// The categories of each column that is compared, over all tables.
    labels: Vec<HashMap<String, u32>>,
    tables: Vec<Vec<Cells>>,
}

/// The cells of one column, before all categories are known.
enum Cells {
    Numeric(Vec<f64>),
    Categorical(Vec<u32>),
}

impl<'t> Frames<'t> {
    /// None yet.
    pub fn new(table: &'t TableCodebook) -> Self {
        let compared: Vec<usize> = (0..table.columns().len())
            .filter(|&i| !matches!(table.columns()[i].kind, Kind::Id { .. } | Kind::Empty))
            .collect();
        Self { table, labels: vec![HashMap::new(); compared.len()], compared, tables: Vec::new() }
    }

    /// Adds the rows of a file.
    ///
    /// # Errors
    /// When it cannot be read or lacks a column.
    pub fn add_file(&mut self, path: &Path) -> Outcome<()> {
        let names = self.table.columns().iter().map(|column| column.name.clone()).collect();
        let mut cells = self.none();
        for document in open(path, names)?.take(MOST_ROWS) {
            self.push(&mut cells, document?.as_row().unwrap_or_default());
        }
        self.tables.push(cells);
        Ok(())
    }

    /// Adds the rows of a shard.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_shard(&mut self, shard: &Shard) -> Outcome<()> {
        let mut cells = self.none();
        for i in 0..shard.info().n_documents.min(MOST_ROWS as u64) {
            let row = self.table.texts(&self.table.decode_cells(shard.document(i)?.ids()));
            self.push(&mut cells, &row);
        }
        self.tables.push(cells);
        Ok(())
    }

    fn none(&self) -> Vec<Cells> {
        let of = |&i: &usize| match self.table.columns()[i].is_ordered() {
            true => Cells::Numeric(Vec::new()),
            false => Cells::Categorical(Vec::new()),
        };
        self.compared.iter().map(of).collect()
    }

    fn push(&mut self, cells: &mut [Cells], row: &[String]) {
        for ((cells, labels), &i) in cells.iter_mut().zip(&mut self.labels).zip(&self.compared) {
            let (column, text) = (&self.table.columns()[i], row[i].trim());
            match cells {
                Cells::Numeric(values) => values.push(column.number(text).unwrap_or(f64::NAN)),
                Cells::Categorical(codes) if is_missing(text) => codes.push(MISSING),
                Cells::Categorical(codes) => {
                    let next = labels.len() as u32;
                    codes.push(*labels.entry(text.to_owned()).or_insert(next));
                }
            }
        }
    }

    /// The tables in the order in which they were added.
    ///
    /// # Errors
    /// When one has no row.
    pub fn finish(self) -> Outcome<Vec<Table>> {
        let labels: Vec<Arc<[String]>> = self.labels.into_iter().map(in_order).collect();
        let columns: Vec<&Column> = self.compared.iter().map(|&i| &self.table.columns()[i]).collect();
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let is_date = |column: &&&Column| matches!(column.kind, Kind::Date(_));
        let dates: Vec<String> = columns.iter().filter(is_date).map(|column| column.name.clone()).collect();
        let of = |cells: Vec<Cells>| {
            let columns = cells.into_iter().zip(&labels).zip(&names).map(|((cells, labels), name)| {
                let values = match cells {
                    Cells::Numeric(values) => Values::Numeric(values),
                    Cells::Categorical(codes) => Values::Categorical { codes, labels: labels.clone() },
                };
                (name.clone(), values)
            });
            Table { columns: columns.collect(), dates: dates.clone() }
        };
        let tables: Vec<Table> = self.tables.into_iter().map(of).collect();
        if tables.iter().any(|table| table.n_rows() == 0) {
            return Err(Failure::new("one of the tables has no row, so there is nothing to compare"));
        }
        Ok(tables)
    }
}

fn in_order(labels: HashMap<String, u32>) -> Arc<[String]> {
    let mut labels: Vec<(u32, String)> = labels.into_iter().map(|(label, code)| (code, label)).collect();
    labels.sort_unstable();
    labels.into_iter().map(|(_, label)| label).collect()
}
