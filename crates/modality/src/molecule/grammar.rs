//! What may come next, so that what is made is a molecule.

use super::codebook::{END, MoleculeCodebook};
use super::settings::Encoding;
use crate::Codebook;
use genera_chemistry::smiles::{Effect, Prefix, Symbol};
use genera_data::{Result, Tokenizer};
use genera_engine::generate::{Constraint, TokenMask};
use genera_tokens::TokenId;

/// The rules of SMILES and of valences, token by token.
#[derive(Clone, Debug)]
pub struct MoleculeGrammar {
    prefix: Prefix,
    /// The symbols with their tokens, grouped: what is alike is allowed alike.
    groups: Vec<(Symbol, Vec<TokenId>)>,
    /// What each token stands for.
    meanings: Vec<Option<Symbol>>,
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
        let meanings: Vec<Option<Symbol>> = (0..n).map(|id| molecules.meaning(id)).collect();
        let mut groups: Vec<(Symbol, Vec<TokenId>)> = Vec::new();
        for (id, symbol) in (0..n).zip(&meanings) {
            let Some(symbol) = symbol else { continue };
            match groups.iter_mut().find(|(known, _)| known == symbol) {
                Some((_, ids)) => ids.push(id),
                None => groups.push((*symbol, vec![id])),
            }
        }
        let first_symbol = molecules.first_symbol();
        let free = (molecules.encoding() == Encoding::Robust)
            .then(|| Free { first_symbol, is_empty: !beginning.iter().any(|&id| id >= first_symbol) });
        let mut grammar = Self { prefix: Prefix::new(), groups, meanings, free };
        for &id in beginning {
            let Some(symbol) = molecules.meaning(id) else { continue };
            grammar.prefix.push(symbol).map_err(|fault| {
                super::settings::settings(format!("no molecule begins with {:?}: {fault}", molecules.decode(beginning)))
            })?;
        }
        Ok(grammar)
    }
}

impl Constraint for MoleculeGrammar {
    fn restrict(&mut self, mask: &mut TokenMask) {
        if let Some(free) = &self.free {
            return mask.retain(|id| id >= free.first_symbol || (id == END && !free.is_empty));
        }
        let mut allowed = TokenMask::none(mask.len());
        // What has the same effect is looked at once.
        let mut known: Vec<(Effect, bool)> = Vec::new();
        let look = self.prefix.look();
        for (symbol, ids) in &self.groups {
            if !ids.iter().any(|&id| mask.allows(id)) {
                continue;
            }
            let effect = self.prefix.effect(*symbol);
            let seen = known.iter().find(|(other, _)| *other == effect).map(|(_, may_come)| *may_come);
            let may_come = seen.unwrap_or_else(|| {
                let may_come = look.allows(*symbol);
                known.push((effect, may_come));
                may_come
            });
            if may_come {
                ids.iter().for_each(|&id| allowed.allow(id));
            }
        }
        if self.prefix.may_end().is_ok() {
            allowed.allow(END);
        }
        mask.intersect(&allowed);
    }

    fn advance(&mut self, token: TokenId) {
        if let Some(free) = &mut self.free {
            free.is_empty = false;
        }
        if let Some(symbol) = self.meanings.get(token as usize).copied().flatten() {
            // What the mask allowed can be pushed; an answer that was forced onto another path stays without rules.
            let _ = self.prefix.push(symbol);
        }
    }
}
