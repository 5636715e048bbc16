//! Gaps of real rows, filled in.

use super::maker::Maker;
use crate::failure::{Failure, Outcome};
use crate::model::SpeakingModel;
use genera_data::{ByteCounter, Columns, Corpus, Files, ReadOptions};
use genera_engine::generate::Sampling;
use genera_modality::table::{self, Cell, Conditions};
use std::path::Path;

/// Rows read at a time.
const GROUP: usize = 1024;

/// How many cells were filled, and how many could not be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filled {
    /// Rows read.
    pub n_rows: u64,
    /// Cells that were empty and are not any more.
    pub n_cells: u64,
    /// Rows in which nothing legal goes with the cells that are there; they stay as they are.
    pub n_left: u64,
}

/// Fills the gaps of the rows of a file; what stands there stays as it is.
///
/// # Errors
/// When the file lacks a column of the table or cannot be read, or the model learned no order but its own.
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
    let names = table.columns().iter().map(|column| column.name.clone()).collect();
    let options = ReadOptions { columns: Columns::rows(names), ..ReadOptions::default() };
    let files = Files::open(&[file.to_owned()], options)?;
    let mut maker = Maker::new(model.clone(), Conditions::none(table), sampling)?;
    let mut filled = Filled::default();
    let mut documents = files.documents(&ByteCounter::default())?;
    loop {
        let group: Vec<Vec<String>> = documents
            .by_ref()
            .take(GROUP)
            .map(|document| Ok(document?.as_row().unwrap_or_default().to_vec()))
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
            filled.n_rows += 1;
            match &made[i] {
                Some(row) => {
                    for ((text, new), cell) in texts.iter_mut().zip(table.texts(row)).zip(&cells[i]) {
                        if is_gap(cell, text) && !new.is_empty() {
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

/// Whether a cell is to be filled in: nothing stands there, or what stands there is how gaps are written.
fn is_gap(cell: &Option<Cell>, text: &str) -> bool {
    match cell {
        Some(Cell::Code(_)) => false,
        Some(Cell::Missing) => true,
        None => table::is_missing(text),
    }
}
