//! Reading whole contexts at once.

use crate::model::{CacheRow, Mode, Rows, Transformer};
use genera_tensor::op::gather_rows;
use genera_tensor::{Tape, Var};
use genera_tokens::TokenId;

/// What the decoder layers see of sources, a row each.
pub(super) fn read_sources(model: &Transformer, sources: &[&[TokenId]]) -> Vec<CacheRow> {
    let tape = Tape::inference(model.device());
    model.read_sources(&model.encode(&tape, &padded(sources), Mode::default()))
}

/// Reads tokens into rows.
///
/// # Shapes
/// Result: [R, D], the hidden state behind each row's new tokens.
pub(super) fn read(model: &Transformer, new: &[&[TokenId]], rows: &mut [CacheRow], sources: &[CacheRow]) -> Var {
    let hidden = model.decode_cached(new, rows, sources);
    let ends = new.iter().scan(0, |end, new| {
        *end += new.len() as u32;
        Some(*end - 1)
    });
    gather_rows(&Tape::inference(model.device()), &hidden, &ends.collect())
}

/// A row with the tokens whose keys and values it holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) row: CacheRow,
    pub(super) tokens: Vec<TokenId>,
}

impl Held {
    /// How many tokens of a text are held; its last is always read, for the logits behind it.
    pub(super) fn n_common(&self, text: &[TokenId]) -> usize {
        n_common(&self.tokens, text).min(text.len() - 1)
    }

    /// Forgets the tokens from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.row.truncate(len);
        self.tokens.truncate(len);
    }
}

/// Tokens that two sequences begin with alike.
pub(super) fn n_common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Sequences of any lengths as rows of one length. The padding is token 0, which nothing sees.
pub(super) fn padded(sequences: &[&[TokenId]]) -> Rows {
    let t = sequences.iter().map(|sequence| sequence.len()).max().unwrap_or(0);
    let padding = |sequence: &[TokenId]| std::iter::repeat_n(0, t - sequence.len());
    let tokens: Vec<TokenId> =
        sequences.iter().flat_map(|sequence| sequence.iter().copied().chain(padding(sequence))).collect();
    let lens = sequences.iter().map(|sequence| sequence.len() as u32).collect();
    Rows { lens: Some(lens), ..Rows::dense(t, &tokens) }
}
