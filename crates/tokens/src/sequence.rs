//! One example: token ids with a role for each stretch of them.

use crate::TokenId;
use std::ops::Range;

/// What a stretch of a sequence is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Given, not learned: a source sentence, a user's turn, requested properties. Carries no loss.
    Condition,
    /// To be produced. Carries loss.
    Target,
}

/// A stretch of a [`TokenSeq`] with one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Given or to be produced.
    pub role: Role,
    /// Positions in the sequence.
    pub range: Range<usize>,
}

/// Token ids and the role of each stretch; the roles cover the ids without gap or overlap.
///
/// An encoder-decoder reads the [`Role::Condition`] stretches with its encoder and produces the [`Role::Target`]
/// ones; a decoder-only model sees them one after the other and pays loss on the target alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSeq {
    ids: Vec<TokenId>,
    spans: Vec<Span>,
}

impl TokenSeq {
    /// A sequence that is to be produced whole.
    pub fn target(ids: Vec<TokenId>) -> Self {
        let mut sequence = Self::default();
        sequence.push(Role::Target, &ids);
        sequence
    }

    /// A given part followed by the part to be produced.
    pub fn conditioned(condition: &[TokenId], target: &[TokenId]) -> Self {
        let mut sequence = Self::default();
        sequence.push(Role::Condition, condition);
        sequence.push(Role::Target, target);
        sequence
    }

    /// Appends a stretch; one of the same role as the last extends it, an empty one changes nothing.
    pub fn push(&mut self, role: Role, ids: &[TokenId]) {
        if ids.is_empty() {
            return;
        }
        let start = self.ids.len();
        self.ids.extend_from_slice(ids);
        match self.spans.last_mut() {
            Some(last) if last.role == role => last.range.end = self.ids.len(),
            _ => self.spans.push(Span { role, range: start..self.ids.len() }),
        }
    }

    /// All ids in order.
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }

    /// The stretches in order.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The ids of one role, joined in order.
    pub fn ids_of(&self, role: Role) -> Vec<TokenId> {
        let of_role = self.spans.iter().filter(|span| span.role == role);
        of_role.flat_map(|span| self.ids[span.range.clone()].iter().copied()).collect()
    }

    /// Whether each token carries loss, in order.
    pub fn loss_mask(&self) -> Vec<bool> {
        let widths = self.spans.iter().map(|span| (span.role == Role::Target, span.range.len()));
        widths.flat_map(|(is_target, n)| std::iter::repeat_n(is_target, n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_cover_the_ids() {
        let mut sequence = TokenSeq::conditioned(&[1, 2], &[3]);
        sequence.push(Role::Target, &[4, 5]);
        sequence.push(Role::Condition, &[]);
        assert_eq!(sequence.ids(), &[1, 2, 3, 4, 5]);
        assert_eq!(sequence.spans().len(), 2);
        assert_eq!(sequence.loss_mask(), [false, false, true, true, true]);
        assert_eq!(sequence.ids_of(Role::Condition), [1, 2]);
        assert_eq!(sequence.ids_of(Role::Target), [3, 4, 5]);
    }
}
