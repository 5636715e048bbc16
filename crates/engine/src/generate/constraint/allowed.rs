//! Fixed sets of tokens.

use super::{Constraint, TokenMask};
use genera_tokens::TokenId;

/// Only tokens of a fixed set may come, the same at every step or one set for each of the first steps.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// The sets of the first steps, last one first.
    steps: Vec<TokenMask>,
    /// The set of every later step.
    after: Option<TokenMask>,
}

impl Allowed {
    /// Only `tokens` may come, at every step.
    ///
    /// # Panics
    /// When one is outside the vocabulary of `vocab_size`.
    pub fn only(tokens: &[TokenId], vocab_size: usize) -> Self {
        Self { steps: Vec::new(), after: Some(mask_of(tokens, vocab_size)) }
    }

    /// Every token but `tokens` may come, at every step.
    pub fn except(tokens: &[TokenId], vocab_size: usize) -> Self {
        let mut mask = TokenMask::all(vocab_size);
        tokens.iter().for_each(|&token| mask.forbid(token));
        Self { steps: Vec::new(), after: Some(mask) }
    }

    /// The answer's token i must be one of `steps[i]`; behind them every token may come. Sets of one token force a
    /// beginning.
    ///
    /// # Panics
    /// When a token is outside the vocabulary of `vocab_size`.
    pub fn stepwise(steps: &[&[TokenId]], vocab_size: usize) -> Self {
        Self { steps: steps.iter().rev().map(|tokens| mask_of(tokens, vocab_size)).collect(), after: None }
    }
}

impl Constraint for Allowed {
    fn restrict(&mut self, mask: &mut TokenMask) {
        if let Some(allowed) = self.steps.last().or(self.after.as_ref()) {
            mask.intersect(allowed);
        }
    }

    fn advance(&mut self, _token: TokenId) {
        self.steps.pop();
    }
}

fn mask_of(tokens: &[TokenId], vocab_size: usize) -> TokenMask {
    let mut mask = TokenMask::none(vocab_size);
    tokens.iter().for_each(|&token| mask.allow(token));
    mask
}
