//! Rows under several conditions as the model would make them.
//!
//! The conditions bind one column after the other: each cell is drawn from what its own condition leaves. So a first cell that
//! makes the later conditions unlikely comes as often as any. How unlikely it made them is known afterwards, and rows are taken
//! in that proportion.

use crate::failure::Outcome;
use crate::model::SpeakingModel;
use genera_engine::generate::{Constraint, TokenMask};
use genera_engine::model::{Mode, Rows};
use genera_modality::table::{Conditions, RowGrammar, TableCodebook};
use genera_tensor::{Key, Tape};
use genera_tokens::TokenId;

/// Rows that are read at once.
const GROUP: usize = 32;

/// Rows are drawn for each that is taken at most, on average: a weight beyond so many times the mean counts as that.
const MOST_DRAWN: f64 = 16.0;

/// Tells the stream of random numbers from that of the tokens.
const STREAM: u64 = 0x3E16;

/// Takes rows by how probable the conditions were behind each of their cells.
pub struct Weighing {
    conditions: Conditions,
    temperature: f64,
    key: Key,
    /// Greatest weight so far, and their sum and number.
    greatest: f64,
    sum: f64,
    n: f64,
}

impl Weighing {
    /// `None` where rows come as they should by themselves: conditions on one column alone, or before the last only on
    /// single values.
    pub fn new(table: &TableCodebook, conditions: &Conditions, temperature: f64, seed: u64) -> Option<Self> {
        let asked: Vec<usize> = (0..table.columns().len()).filter(|&i| conditions.asks_for(i)).collect();
        let is_open = |&i: &usize| {
            let domain = &conditions.domains()[i];
            domain.n_codes(&table.columns()[i]).saturating_add(domain.missing.into()) > 1
        };
        let (_, earlier) = asked.split_last()?;
        let is_needed = temperature > 0.0 && table.any_order() && earlier.iter().any(is_open);
        is_needed.then(|| Self {
            conditions: conditions.clone(),
            temperature,
            key: Key::new(seed).fold(STREAM),
            greatest: 0.0,
            sum: 0.0,
            n: 0.0,
        })
    }

    /// Which of the rows are taken; they are the tokens behind `prompt`, from number `first` of those that were drawn.
    ///
    /// # Errors
    /// When the codebook is not a table's.
    pub fn takes(
        &mut self,
        model: &SpeakingModel<'_>,
        prompt: &[TokenId],
        rows: &[&[TokenId]],
        first: u64,
    ) -> Outcome<Vec<bool>> {
        let mut weights = Vec::with_capacity(rows.len());
        for group in rows.chunks(GROUP) {
            weights.extend(self.weights(model, prompt, group)?);
        }
        for weight in &weights {
            self.greatest = self.greatest.max(*weight);
            (self.sum, self.n) = (self.sum + weight, self.n + 1.0);
        }
        let limit = self.greatest.min(MOST_DRAWN * self.sum / self.n);
        let is_taken = |(weight, i): (f64, u64)| f64::from(self.key.uniform(i)) * limit <= weight;
        Ok(weights.into_iter().zip(first..).map(is_taken).collect())
    }

    /// For each row the share of probability that the conditions left, over all its tokens.
    fn weights(&self, model: &SpeakingModel<'_>, prompt: &[TokenId], rows: &[&[TokenId]]) -> Outcome<Vec<f64>> {
        let n_read = rows.iter().map(|row| prompt.len() + row.len()).max().unwrap_or(0);
        let padded = |row: &&[TokenId]| {
            let ids = prompt.iter().chain(row.iter()).copied();
            ids.chain(std::iter::repeat(0)).take(n_read).collect::<Vec<TokenId>>()
        };
        let tokens: Vec<TokenId> = rows.iter().flat_map(padded).collect();
        let transformer = model.transformer;
        // What stands behind a row is seen by nothing in it.
        let hidden = transformer.decode(
            &Tape::inference(transformer.device()),
            &Rows::dense(n_read, &tokens),
            None,
            Mode::default(),
        );
        let logits = transformer.logits(&hidden);
        let width = logits.shape().last();
        let logits = logits.to_vec();
        let weight = |(i, row): (usize, &&[TokenId])| {
            let start = (i * n_read + prompt.len() - 1) * width;
            self.weight(model, row, logits[start..].chunks(width))
        };
        rows.iter().enumerate().map(weight).collect()
    }

    fn weight<'l>(
        &self,
        model: &SpeakingModel<'_>,
        row: &[TokenId],
        logits: impl Iterator<Item = &'l [f32]>,
    ) -> Outcome<f64> {
        let mut bound = RowGrammar::new(model.codebook, &self.conditions)?;
        let mut free = RowGrammar::unbound(model.codebook, &self.conditions)?;
        let mut log_weight = 0.0;
        for (&token, logits) in row.iter().zip(logits) {
            let [bound_sum, free_sum] = [&mut bound, &mut free].map(|grammar| self.sum(grammar, logits));
            log_weight += (bound_sum / free_sum).ln();
            bound.advance(token);
            free.advance(token);
        }
        Ok(log_weight.exp())
    }

    /// Unscaled probability of all that a grammar lets through.
    fn sum(&self, grammar: &mut RowGrammar, logits: &[f32]) -> f64 {
        let mut mask = TokenMask::all(logits.len());
        grammar.restrict(&mut mask);
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        mask.iter().map(|id| (f64::from(logits[id as usize] - largest) / self.temperature).exp()).sum()
    }
}
