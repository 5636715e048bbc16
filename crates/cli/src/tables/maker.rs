//! Rows by a model: legal by its grammar, and refused where they repeat what must not be repeated.

use super::weighing::Weighing;
use crate::failure::{Failure, Outcome};
use crate::model::SpeakingModel;
use genera_data::Shard;
use genera_engine::generate::{Answer, Finish, Generator, Limits, Request, Sampling};
use genera_modality::table::{self, Cell, Conditions, RowGrammar, TableCodebook};
use genera_tokens::TokenId;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Rows made at a time.
const GROUP: usize = 1024;

/// Rows in progress at once: each step reads the weights once for all of them.
const N_RUNNING: usize = 256;

/// Rows that may be refused for each that is wanted.
const MOST_REFUSED: usize = 40;

/// Makes rows.
pub struct Maker<'m> {
    model: SpeakingModel<'m>,
    table: &'m TableCodebook,
    conditions: Conditions,
    sampling: Sampling,
    /// Takes rows so that several conditions bind together.
    weighing: Option<Weighing>,
    /// Rows that must not come again.
    refused: HashSet<Row>,
    /// The cells of each unique group of columns so far.
    unique: Vec<HashSet<Row>>,
    /// Rows asked of the model.
    n_asked: u64,
    n_made: u64,
}

/// The cells of a row; `None` in columns that are not learned.
pub type Row = Vec<Option<Cell>>;

impl<'m> Maker<'m> {
    /// A maker of rows that meet the conditions.
    ///
    /// # Errors
    /// When the model is not a table's.
    pub fn new(model: SpeakingModel<'m>, conditions: Conditions, sampling: Sampling) -> Outcome<Self> {
        let table = table::of(model.codebook)?;
        let unique = vec![HashSet::new(); table.constraints().unique.len()];
        let weighing = Weighing::new(table, &conditions, f64::from(sampling.temperature), sampling.seed);
        let refused = HashSet::new();
        Ok(Self { model, table, conditions, sampling, weighing, refused, unique, n_asked: 0, n_made: 0 })
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

    /// The next rows, at most as many as are wanted and as are made at a time; each a text for each column.
    ///
    /// # Errors
    /// When the model cannot make them, or nearly all of them must be refused.
    pub fn next(&mut self, n_wanted: usize) -> Outcome<Vec<Vec<String>>> {
        let (mut rows, mut n_tried) = (Vec::new(), 0);
        let n = n_wanted.min(GROUP);
        while rows.len() < n {
            if n_tried > MOST_REFUSED * n + GROUP {
                return Err(Failure::new(format!(
                    "{n_tried} rows were made and all but {} had to be refused (no row under the conditions and constraints, \
                     copies of training rows, or repeated keys); ask for fewer rows or less of them",
                    rows.len()
                )));
            }
            let n_missing = n - rows.len();
            // Weights of few rows say little about each other.
            let n_drawn = if self.weighing.is_some() { n_missing.max(N_RUNNING) } else { n_missing };
            n_tried += n_drawn;
            for row in self.draw(n_drawn)? {
                if rows.len() < n && self.accepts(&row) {
                    rows.push(self.named(&row));
                }
            }
        }
        Ok(rows)
    }

    /// As many rows under the conditions, without those that came to no end or are not taken.
    fn draw(&mut self, n: usize) -> Outcome<Vec<Row>> {
        let (first, conditions) = (self.n_asked, vec![self.conditions.clone(); n]);
        let drawn: Vec<Vec<TokenId>> = self.tokens(&conditions)?.into_iter().flatten().collect();
        let takes = match &mut self.weighing {
            None => vec![true; drawn.len()],
            Some(weighing) => {
                let rows: Vec<&[TokenId]> = drawn.iter().map(Vec::as_slice).collect();
                weighing.takes(&self.model, &self.model.encode("")?, &rows, first)?
            }
        };
        let taken = drawn.iter().zip(takes).filter(|(_, is_taken)| *is_taken);
        Ok(taken.map(|(tokens, _)| self.table.decode_cells(tokens)).collect())
    }

    /// One row for each of the conditions, in their order; `None` where there is none that meets them.
    ///
    /// # Errors
    /// When the model cannot be asked.
    pub fn ask(&mut self, conditions: &[Conditions]) -> Outcome<Vec<Option<Row>>> {
        let tokens = self.tokens(conditions)?;
        Ok(tokens.into_iter().map(|tokens| Some(self.table.decode_cells(&tokens?))).collect())
    }

    fn tokens(&mut self, conditions: &[Conditions]) -> Outcome<Vec<Option<Vec<TokenId>>>> {
        let limits = Limits { n_running: N_RUNNING, ..Limits::default() };
        let mut generator = Generator::new(self.model.transformer, limits);
        let prompt = self.model.encode("")?;
        for conditions in conditions {
            let mut request = Request::new(prompt.clone());
            request.max_tokens = self.table.max_row_len();
            request.stop = self.model.stop_ids();
            request.sampling = self.sampling.clone();
            request.sample = self.n_asked;
            request.constraint = Some(Box::new(RowGrammar::new(self.model.codebook, conditions)?));
            generator.submit(request)?;
            self.n_asked += 1;
        }
        let answers = generator.run(|_| ControlFlow::Continue(()));
        let whole = |answer: Answer| matches!(answer.reason, Finish::Stop(_)).then_some(answer.tokens);
        Ok(answers.into_iter().map(whole).collect())
    }

    /// Whether a row repeats nothing that must not be repeated; then it counts as made.
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

    /// The texts of a row, with a new name where the table names its rows.
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
