//! Leading answers away from another prompt.

use super::prefill::{Held, read};
use super::progress::Progress;
use super::request::RequestId;
use crate::model::{CacheRow, Transformer};
use genera_tensor::Tensor;
use genera_tokens::TokenId;
use std::collections::HashMap;
use std::mem;

/// Reads the other contexts of guided requests, all of them beside each other.
pub(super) struct Guide<'m> {
    model: &'m Transformer,
    /// What has been read of the other context of each request.
    held: HashMap<RequestId, Held>,
}

/// A request whose next token is to be chosen.
struct Guided {
    /// The row of its logits.
    row: usize,
    id: RequestId,
    scale: f32,
    /// The other context.
    text: Vec<TokenId>,
    held: Held,
}

impl<'m> Guide<'m> {
    pub(super) fn new(model: &'m Transformer) -> Self {
        Self { model, held: HashMap::new() }
    }

    /// The logits that tokens are chosen by, from the model's own.
    ///
    /// # Shapes
    /// `logits` and result: [M, V]; `chosen` names the rows behind which a token is to be chosen.
    pub(super) fn lead<'p>(
        &mut self,
        logits: Tensor,
        chosen: impl Iterator<Item = (usize, RequestId, &'p Progress)>,
    ) -> Tensor {
        let guided = chosen.filter_map(|(row, id, progress)| {
            let (scale, text) = progress.guided()?;
            let held = self.held.remove(&id).unwrap_or_default();
            Some(Guided { row, id, scale, held: self.begun(held, &text), text })
        });
        let mut guided: Vec<Guided> = guided.collect();
        if guided.is_empty() {
            return logits;
        }
        let others = self.read(&mut guided);
        let mut values = logits.view().f32().to_vec();
        let n_vocab = self.model.config().vocab_size;
        for (Guided { row, scale, .. }, others) in guided.iter().zip(others.view().f32().chunks(n_vocab)) {
            lead(&mut values[row * n_vocab..][..n_vocab], others, *scale);
        }
        self.held.extend(guided.into_iter().map(|guided| (guided.id, guided.held)));
        Tensor::from_f32(self.model.device(), logits.dims::<2>(), &values)
    }

    /// A request is over.
    pub(super) fn forget(&mut self, id: RequestId) {
        self.held.remove(&id);
    }

    /// What is held of a text as far as the model makes no more of it than before.
    fn begun(&self, mut held: Held, text: &[TokenId]) -> Held {
        let n_common = if self.model.keeps(held.tokens.len(), text.len()) { held.n_common(text) } else { 0 };
        held.truncate(n_common);
        held
    }

    /// The logits behind the other contexts, a row each.
    fn read(&self, guided: &mut [Guided]) -> Tensor {
        let mut rows: Vec<CacheRow> = guided.iter_mut().map(|guided| mem::take(&mut guided.held.row)).collect();
        let new: Vec<&[TokenId]> = guided.iter().map(|guided| &guided.text[guided.held.tokens.len()..]).collect();
        let logits = self.model.logits(&read(self.model, &new, &mut rows, &[]));
        for (Guided { text, held, .. }, row) in guided.iter_mut().zip(rows) {
            held.row = row;
            held.tokens.extend_from_slice(&text[held.tokens.len()..]);
        }
        logits
    }
}

/// `o + scale · (l − o)` for each logit l and the other one o.
pub(super) fn lead(logits: &mut [f32], others: &[f32], scale: f32) {
    for (logit, &other) in logits.iter_mut().zip(others) {
        *logit = other + scale * (*logit - other);
    }
}
