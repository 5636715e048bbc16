//! Which made rows are taken, and what they are called.

use crate::failure::{Failure, Outcome};
use genera_data::Shard;
use genera_modality::table::{Cell, TableCodebook};
use std::collections::HashSet;

/// The cells of a row; `None` in columns that are not learned.
pub type Row = Vec<Option<Cell>>;

/// Makes rows, whatever by.
pub trait RowSource {
    /// The next rows, at most as many as are wanted and as are made at a time; each a text for each column.
    ///
    /// # Errors
    /// When they cannot be made, or nearly all of them must be refused.
    fn next(&mut self, n_wanted: usize) -> Outcome<Vec<Vec<String>>>;
}

/// Takes rows that repeat nothing that must not be repeated.
pub struct Acceptance<'t> {
    table: &'t TableCodebook,
    /// Rows that must not come again.
    refused: HashSet<Row>,
    /// The cells of each unique group of columns so far.
    unique: Vec<HashSet<Row>>,
    n_made: u64,
}

impl<'t> Acceptance<'t> {
    /// Takes any row yet.
    pub fn new(table: &'t TableCodebook) -> Self {
        let unique = vec![HashSet::new(); table.constraints().unique.len()];
        Self { table, refused: HashSet::new(), unique, n_made: 0 }
    }

    /// Refuses exact copies of these rows.
    ///
    /// # Errors
    /// When the shard cannot be read.
    pub fn refuse_copies_of(&mut self, rows: &Shard) -> Outcome<()> {
        for i in 0..rows.info().n_documents {
            self.refused.insert(self.table.decode_cells(rows.document(i)?.ids()));
        }
        Ok(())
    }

    /// The texts of a row that is taken, with a new name where the table names its rows; `None` when it is refused.
    pub fn take(&mut self, row: &Row) -> Option<Vec<String>> {
        self.accepts(row).then(|| self.named(row))
    }

    fn accepts(&mut self, row: &Row) -> bool {
        let groups = &self.table.constraints().unique;
        let key = |group: &[usize]| group.iter().map(|&i| row[i]).collect::<Row>();
        let is_learned = |group: &[usize]| group.iter().all(|&i| self.table.columns()[i].is_learned());
        let repeats =
            self.unique.iter().zip(groups).any(|(seen, group)| is_learned(group) && seen.contains(&key(group)));
        if repeats || self.refused.contains(row) {
            return false;
        }
        for (seen, group) in self.unique.iter_mut().zip(groups) {
            seen.insert(key(group));
        }
        true
    }

    fn named(&mut self, row: &Row) -> Vec<String> {
        let mut texts = self.table.texts(row);
        for (i, text) in texts.iter_mut().enumerate() {
            if let Some(name) = self.table.name(i, self.n_made) {
                *text = name;
            }
        }
        self.n_made += 1;
        texts
    }
}

/// Why there are too few rows.
pub fn too_few(n_tried: usize, n_taken: usize) -> Failure {
    Failure::new(format!(
        "{n_tried} rows were made and all but {n_taken} had to be refused (no row under the conditions and constraints, copies of \
         training rows, or repeated keys); ask for fewer rows or less of them"
    ))
}
