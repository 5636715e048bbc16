//! Gaps of real rows, filled in.

use super::maker::Maker;
use crate::failure::{Failure, Outcome};
use crate::model::SpeakingModel;
use genera_data::source::column_names;
use genera_data::{ByteCounter, Columns, Corpus, Files, ReadOptions};
use genera_engine::generate::Sampling;
use genera_modality::table::{self, Cell, Conditions, Kind, TableCodebook};
use std::path::Path;

/// Rows read at a time.
const GROUP: usize = 1024;

/// How many cells were filled, and how many could not be.
#[derive(Clone, Debug, Default)]
pub struct Filled {
    /// Rows read.
    pub n_rows: u64,
    /// Cells that were empty and are not any more.
    pub n_cells: u64,
    /// Rows in which nothing legal goes with the cells that are there; they stay as they are.
    pub n_left: u64,
    /// Cells with what the column never held, and the first of them with its column.
    pub unknown: Option<(u64, String)>,
}

/// Fills the gaps of the rows of a file; what stands there stays as it is.
///
/// # Errors
/// When the file lacks a column that was learned or cannot be read, or the model learned no order but its own.
pub fn fill(
    model: &SpeakingModel<'_>,
    file: &Path,
    sampling: Sampling,
    write: &mut dyn FnMut(&[String]) -> Outcome<()>,
) -> Outcome<Filled> {
    let table = table::of(model.codebook)?;
    if !table.any_order() {
        return Err(Failure::new(
            "this model learned the columns in one order only (table.any_order = false), so it cannot go on from given cells",
        ));
    }
    // What is not learned may be left out: it is made up, as it is for new rows.
    let there = column_names(file)?;
    let is_read: Vec<bool> =
        table.columns().iter().map(|column| column.is_learned() || there.contains(&column.name)).collect();
    let names = table.columns().iter().zip(&is_read).filter(|(_, is_read)| **is_read);
    let names = names.map(|(column, _)| column.name.clone()).collect();
    let options = ReadOptions { columns: Columns::rows(names), ..ReadOptions::default() };
    let files = Files::open(&[file.to_owned()], options)?;
    let mut maker = Maker::new(model.clone(), Conditions::none(table), sampling)?;
    let mut filled = Filled::default();
    let mut documents = files.documents(&ByteCounter::default())?;
    loop {
        let group: Vec<Vec<String>> = documents
            .by_ref()
            .take(GROUP)
            .map(|document| Ok(whole_row(document?.as_row().unwrap_or_default(), &is_read)))
            .collect::<Outcome<_>>()?;
        if group.is_empty() {
            return Ok(filled);
        }
        let cells = group.iter().map(|row| Ok(table.cells(row)?)).collect::<Outcome<Vec<_>>>()?;
        let has_gap = |row: &Vec<Option<Cell>>, texts: &Vec<String>| {
            table
                .columns()
                .iter()
                .zip(row)
                .zip(texts)
                .any(|((column, cell), text)| column.is_learned() && is_gap(cell, text))
        };
        let open: Vec<usize> = (0..group.len()).filter(|&i| has_gap(&cells[i], &group[i])).collect();
        let conditions: Vec<Conditions> = open.iter().map(|&i| Conditions::given(table, &cells[i])).collect();
        let mut made = vec![None; group.len()];
        open.iter().zip(maker.ask(&conditions)?).for_each(|(&i, row)| made[i] = row);
        for (i, mut texts) in group.into_iter().enumerate() {
            filled.note_unknown(table, &texts);
            make_up(table, &is_read, filled.n_rows, &mut texts);
            filled.n_rows += 1;
            match &made[i] {
                Some(row) => {
                    let columns = table.columns().iter().zip(table.texts(row)).zip(&cells[i]);
                    for (text, ((column, new), cell)) in texts.iter_mut().zip(columns) {
                        if column.is_learned() && is_gap(cell, text) && !new.is_empty() {
                            *text = new;
                            filled.n_cells += 1;
                        }
                    }
                }
                None => filled.n_left += u64::from(open.contains(&i)),
            }
            write(&texts)?;
        }
    }
}

impl Filled {
    /// Counts the cells of the next row with what their columns never held.
    fn note_unknown(&mut self, table: &TableCodebook, texts: &[String]) {
        for (column, text) in table.columns().iter().zip(texts) {
            if column.is_learned() && !table::is_missing(text) && !column.knows(text) {
                let first = || (0, format!("{} = {text} in row {}", column.name, self.n_rows + 1));
                self.unknown.get_or_insert_with(first).0 += 1;
            }
        }
    }
}

/// A row with an empty cell for each column that was not read.
fn whole_row(row: &[String], is_read: &[bool]) -> Vec<String> {
    let mut cells = row.iter();
    is_read
        .iter()
        .map(|is_read| if *is_read { cells.next().cloned().unwrap_or_default() } else { String::new() })
        .collect()
}

/// What stands in the columns that were not read, in row number `i`: names of rows, and what is always the same.
fn make_up(table: &TableCodebook, is_read: &[bool], i: u64, texts: &mut [String]) {
    for (place, text) in texts.iter_mut().enumerate().filter(|(place, _)| !is_read[*place]) {
        *text = match &table.columns()[place].kind {
            Kind::Constant { value } => value.clone(),
            _ => table.name(place, i).or_else(|| table.columns()[place].missing.clone()).unwrap_or_default(),
        };
    }
}

/// Whether a cell is to be filled in: nothing stands there, or what stands there is how gaps are written.
fn is_gap(cell: &Option<Cell>, text: &str) -> bool {
    match cell {
        Some(Cell::Code(_)) => false,
        Some(Cell::Missing) => true,
        None => table::is_missing(text),
    }
}
