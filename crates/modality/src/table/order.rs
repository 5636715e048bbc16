//! The order of the columns in a row: any of them may come first, so that a model learns to go on from any that are given.

use super::codebook::{Meaning, TableCodebook};
use crate::demo::Dice;
use genera_data::Vary;
use genera_tokens::TokenId;

/// Brings some columns of a row to the front, each time others.
///
/// In half of the readings the columns stand in the order of the table. In the others a random set of them comes first, of a
/// random size; in both parts they keep the order of the table. So every set of given columns is met in one order only, the
/// one in which [`super::RowGrammar`] asks for it.
#[derive(Clone, Debug)]
pub struct RowOrder {
    /// What begins a value, by token: the number of its column.
    columns: Vec<Option<u32>>,
    any_order: bool,
}

impl RowOrder {
    /// The orders of this table.
    pub fn new(table: &TableCodebook) -> Self {
        let n_tokens = genera_data::Tokenizer::vocab(table).size as TokenId;
        let column = |id| match table.meaning(id) {
            Meaning::Column(column) => Some(column as u32),
            _ => None,
        };
        Self { columns: (0..n_tokens).map(column).collect(), any_order: table.any_order() }
    }

    fn column(&self, id: TokenId) -> Option<u32> {
        self.columns.get(id as usize).copied().flatten()
    }
}

impl Vary for RowOrder {
    fn vary(&self, tokens: &mut [TokenId], key: u64) {
        let mut dice = Dice::new(key, 0);
        if !self.any_order || dice.below(2) == 0 {
            return;
        }
        let starts: Vec<usize> = (0..tokens.len()).filter(|&i| self.column(tokens[i]).is_some()).collect();
        let (Some(&first), n @ 2..) = (starts.first(), starts.len()) else { return };
        // The token that ends the row stays where it is.
        let end = tokens.len() - 1;
        let n_front = 1 + dice.below(n - 1);
        let mut n_wanted = n_front;
        let is_front: Vec<bool> = (0..n)
            .map(|i| {
                let takes = dice.below(n - i) < n_wanted;
                n_wanted -= usize::from(takes);
                takes
            })
            .collect();
        let value = |i: usize| starts[i]..starts.get(i + 1).copied().unwrap_or(end);
        let of = |front: bool| (0..starts.len()).filter(|&i| is_front[i] == front).collect::<Vec<usize>>();
        let order = [of(true), of(false)].concat();
        let varied: Vec<TokenId> = order.into_iter().flat_map(|i| tokens[value(i)].to_vec()).collect();
        tokens[first..end].copy_from_slice(&varied);
    }

    fn is_learned(&self, token: TokenId) -> bool {
        self.column(token).is_none()
    }
}
