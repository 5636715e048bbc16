//! What may come next, so that what is made is a molecule.

use super::codebook::{END, MoleculeCodebook};
use super::settings::Encoding;
use crate::Codebook;
use genera_chemistry::smiles::{Prefix, Symbol};
use genera_data::{Result, Tokenizer};
use genera_engine::generate::{Constraint, TokenMask};
use genera_tokens::TokenId;
use std::sync::Arc;

/// The rules of SMILES and of valences, token by token.
#[derive(Clone, Debug)]
pub struct MoleculeGrammar {
    prefix: Prefix,
    /// What each token stands for.
    meanings: Arc<[Option<Symbol>]>,
    /// Symbols of which every line is a molecule, once there is one: then there are no other rules.
    free: Option<Free>,
}

/// What is known of a line of free symbols.
#[derive(Clone, Debug)]
struct Free {
    first_symbol: TokenId,
    is_empty: bool,
}

impl MoleculeGrammar {
    /// The rules for an answer that goes on from these tokens.
    ///
    /// # Errors
    /// When the codebook is another kind's, or no molecule begins so.
    pub fn new(codebook: &Codebook, beginning: &[TokenId]) -> Result<Self> {
        let molecules: &MoleculeCodebook = super::of(codebook)?;
        let n = molecules.vocab().size as TokenId;
        let meanings = (0..n).map(|id| molecules.meaning(id)).collect();
        let first_symbol = molecules.first_symbol();
        let free = (molecules.encoding() == Encoding::Robust)
            .then(|| Free { first_symbol, is_empty: !beginning.iter().any(|&id| id >= first_symbol) });
        let mut grammar = Self { prefix: Prefix::new(), meanings, free };
        for &id in beginning {
            let Some(symbol) = molecules.meaning(id) else { continue };
            grammar.prefix.push(symbol).map_err(|fault| {
                super::settings::settings(format!("no molecule begins with {:?}: {fault}", molecules.decode(beginning)))
            })?;
        }
        Ok(grammar)
    }

    fn meaning(&self, token: TokenId) -> Option<Symbol> {
        self.meanings.get(token as usize).copied().flatten()
    }
}

impl Constraint for MoleculeGrammar {
    fn restrict(&mut self, mask: &mut TokenMask) {
        if let Some(free) = &self.free {
            return mask.retain(|id| id >= free.first_symbol || (id == END && !free.is_empty));
        }
        let may_end = self.prefix.is_closed().is_ok();
        mask.retain(|id| match self.meaning(id) {
            Some(symbol) => self.prefix.is_likely(symbol),
            None => id == END && may_end,
        });
    }

    fn confirms(&mut self, token: TokenId) -> bool {
        self.free.is_some()
            || match self.meaning(token) {
                Some(symbol) => self.prefix.allows(symbol),
                None => self.prefix.may_end().is_ok(),
            }
    }

    fn advance(&mut self, token: TokenId) {
        if let Some(free) = &mut self.free {
            free.is_empty = false;
        }
        if let Some(symbol) = self.meaning(token) {
            // What the mask allowed can be pushed; an answer that was forced onto another path stays without rules.
            let _ = self.prefix.push(symbol);
        }
    }
}
