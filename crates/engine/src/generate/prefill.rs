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

/// Sequences of any lengths as rows of one length. The padding is token 0, which nothing sees.
pub(super) fn padded(sequences: &[&[TokenId]]) -> Rows {
    let t = sequences.iter().map(|sequence| sequence.len()).max().unwrap_or(0);
    let padding = |sequence: &[TokenId]| std::iter::repeat_n(0, t - sequence.len());
    let tokens: Vec<TokenId> =
        sequences.iter().flat_map(|sequence| sequence.iter().copied().chain(padding(sequence))).collect();
    let lens = sequences.iter().map(|sequence| sequence.len() as u32).collect();
    Rows { lens: Some(lens), ..Rows::dense(t, &tokens) }
}
