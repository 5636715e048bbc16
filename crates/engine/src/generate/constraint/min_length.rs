//! Answers of at least some length.

use super::{Constraint, TokenMask};
use genera_tokens::TokenId;

/// The answer may not end before it has a number of tokens.
#[derive(Clone, Debug)]
pub struct MinLength {
    n_missing: usize,
    stop: Vec<TokenId>,
}

impl MinLength {
    /// None of the `stop` tokens may come before `n_tokens` others have.
    pub fn new(n_tokens: usize, stop: &[TokenId]) -> Self {
        Self { n_missing: n_tokens, stop: stop.to_vec() }
    }
}

impl Constraint for MinLength {
    fn restrict(&mut self, mask: &mut TokenMask) {
        if self.n_missing > 0 {
            self.stop.iter().for_each(|&token| mask.forbid(token));
        }
    }

    fn advance(&mut self, _token: TokenId) {
        self.n_missing = self.n_missing.saturating_sub(1);
    }
}
