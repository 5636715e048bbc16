//! Reading whole contexts at once.

use super::kv_cache::Rows as CacheRows;
use crate::model::{Mode, Rows, Transformer};
use genera_tensor::op::gather_rows;
use genera_tensor::{Tape, Var};
use genera_tokens::TokenId;

/// Reads whole contexts into fresh caches.
///
/// # Shapes
/// Result: a cache of R rows, and the hidden state [R, D] behind each context.
pub(super) fn read(model: &Transformer, sources: Option<&[&[TokenId]]>, contexts: &[&[TokenId]]) -> (CacheRows, Var) {
    let rows = padded(contexts);
    let cross = sources.map(|sources| {
        let tape = Tape::inference(model.device());
        model.cross_cache(&model.encode(&tape, &padded(sources), Mode::default()))
    });
    let mut own = model.stack_cache(rows.b, rows.t);
    let hidden = model.decode_cached(&rows, &mut own, cross.as_ref());
    let last = contexts.iter().enumerate().map(|(row, context)| (row * rows.t + context.len() - 1) as u32).collect();
    let behind = gather_rows(&Tape::inference(model.device()), &hidden, &last);
    (CacheRows { own, cross }, behind)
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
