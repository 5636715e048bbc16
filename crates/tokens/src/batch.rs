//! What a training step consumes: rows of tokens with the targets beside them.

use crate::TokenId;

/// A target that carries no loss.
pub const IGNORE: TokenId = TokenId::MAX;

/// The encoder's side of a [`Batch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Padded length S of a row.
    pub len: usize,
    /// Ids, `[B, S]` row by row; positions at or beyond the row's length hold any valid id.
    pub tokens: Vec<TokenId>,
    /// Number of real tokens in each row, `[B]`, each in `1..=S`.
    pub lens: Vec<u32>,
}

/// Rows of tokens with the targets beside them.
///
/// # Shapes
/// `tokens`, `targets`, `positions`, `segments`: `[B, T]`, row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Number of rows B.
    pub n_rows: usize,
    /// Length T of a row.
    pub len: usize,
    /// Input ids.
    pub tokens: Vec<TokenId>,
    /// What to predict at each position, or [`IGNORE`].
    pub targets: Vec<TokenId>,
    /// Position of each token inside its document, from 0.
    pub positions: Vec<u32>,
    /// Which document of the row a token belongs to, from 1; 0 is padding. Tokens see only their own document.
    pub segments: Vec<u32>,
    /// Encoder input of an encoder-decoder.
    pub source: Option<Source>,
    /// Number of bytes of original data that the targets stand for, for bits per byte; 0 where unknown.
    pub n_bytes: u64,
}

impl Batch {
    /// A batch in which every row is one stretch of one document.
    ///
    /// # Panics
    /// When the lengths of `tokens` and `targets` are not `n_rows * len`.
    pub fn dense(n_rows: usize, len: usize, tokens: Vec<TokenId>, targets: Vec<TokenId>) -> Self {
        assert_eq!(tokens.len(), n_rows * len, "tokens must be [n_rows {n_rows}, len {len}]");
        assert_eq!(targets.len(), n_rows * len, "targets must be [n_rows {n_rows}, len {len}]");
        let positions = (0..n_rows).flat_map(|_| 0..len as u32).collect();
        let segments = vec![1; n_rows * len];
        Self { n_rows, len, tokens, targets, positions, segments, source: None, n_bytes: 0 }
    }

    /// Number of positions that carry loss.
    pub fn n_targets(&self) -> usize {
        self.targets.iter().filter(|&&target| target != IGNORE).count()
    }

    /// Number of tokens the model processes: T and S of every row, padding included.
    pub fn n_tokens(&self) -> usize {
        self.tokens.len() + self.source.as_ref().map_or(0, |source| source.tokens.len())
    }

    /// Whether every row is one stretch of one document without padding, so that no document mask is needed.
    pub fn is_dense(&self) -> bool {
        self.segments.iter().all(|&segment| segment == 1)
    }

    /// The rows `range` as a batch of their own.
    pub fn rows(&self, range: std::ops::Range<usize>) -> Self {
        let flat = range.start * self.len..range.end * self.len;
        let source = self.source.as_ref().map(|source| Source {
            len: source.len,
            tokens: source.tokens[range.start * source.len..range.end * source.len].to_vec(),
            lens: source.lens[range.clone()].to_vec(),
        });
        Self {
            n_rows: range.len(),
            len: self.len,
            tokens: self.tokens[flat.clone()].to_vec(),
            targets: self.targets[flat.clone()].to_vec(),
            positions: self.positions[flat.clone()].to_vec(),
            segments: self.segments[flat].to_vec(),
            source,
            n_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_split_a_batch() {
        let mut batch = Batch::dense(2, 2, vec![1, 2, 3, 4], vec![2, IGNORE, 4, 5]);
        batch.source = Some(Source { len: 1, tokens: vec![7, 8], lens: vec![1, 1] });
        assert_eq!(batch.n_targets(), 3);
        assert_eq!(batch.n_tokens(), 6);
        let second = batch.rows(1..2);
        assert_eq!(second.tokens, [3, 4]);
        assert_eq!(second.source.unwrap().tokens, [8]);
        assert!(batch.is_dense());
    }
}
