//! Rows by a model: legal by its grammar, and refused where they repeat what must not be repeated.

use super::acceptance::{Acceptance, Row, RowSource, too_few};
use super::weighing::Weighing;
use crate::failure::Outcome;
use crate::model::SpeakingModel;
use genera_engine::generate::{Answer, Finish, Generator, Limits, Request, Sampling};
use genera_modality::table::{self, Conditions, RowGrammar, TableCodebook};
use genera_tokens::TokenId;
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
    acceptance: Acceptance<'m>,
    /// Rows asked of the model.
    n_asked: u64,
}

impl<'m> Maker<'m> {
    /// A maker of rows that meet the conditions.
    ///
    /// # Errors
    /// When the model is not a table's.
    pub fn new(model: SpeakingModel<'m>, conditions: Conditions, sampling: Sampling) -> Outcome<Self> {
        let table = table::of(model.codebook)?;
        let weighing = Weighing::new(table, &conditions, f64::from(sampling.temperature), sampling.seed);
        Ok(Self { acceptance: Acceptance::new(table), model, table, conditions, sampling, weighing, n_asked: 0 })
    }

    /// What decides which rows are taken.
    pub fn acceptance(&mut self) -> &mut Acceptance<'m> {
        &mut self.acceptance
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
}

impl RowSource for Maker<'_> {
    fn next(&mut self, n_wanted: usize) -> Outcome<Vec<Vec<String>>> {
        let (mut rows, mut n_tried) = (Vec::new(), 0);
        let n = n_wanted.min(GROUP);
        while rows.len() < n {
            if n_tried > MOST_REFUSED * n + GROUP {
                return Err(too_few(n_tried, rows.len()));
            }
            let n_missing = n - rows.len();
            // Weights of few rows say little about each other.
            let n_drawn = if self.weighing.is_some() { n_missing.max(N_RUNNING) } else { n_missing };
            n_tried += n_drawn;
            for row in self.draw(n_drawn)? {
                if rows.len() < n {
                    rows.extend(self.acceptance.take(&row));
                }
            }
        }
        Ok(rows)
    }
}
