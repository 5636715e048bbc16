//! A smaller model that guesses what the larger one is going to choose.

use super::prefill::{Held, read};
use super::progress::Progress;
use super::request::RequestId;
use super::sampler::{Logits, Sampler, Scratch};
use crate::model::{CacheRow, Transformer};
use genera_tokens::TokenId;
use std::collections::HashMap;
use std::{mem, slice};

/// Tokens of a text that the model has not read, from which on they are read before the guessing.
const MANY_UNREAD: usize = 64;
/// Tokens that are read at once then, at most.
const READ_AT_ONCE: usize = 512;

/// Guesses with a model of its own. Each guess is drawn with the random number that the choice itself will be drawn with: so
/// the more alike the two models are, the more often it is right, at any temperature. What is chosen does not depend on it.
///
/// # Source
/// Leviathan, Kalman and Matias, "Fast inference from Transformers via speculative decoding", arXiv 2211.17192; there a
/// wrong guess is replaced by another draw, here it is simply not the choice.
pub(super) struct Draft<'m> {
    model: &'m Transformer,
    /// Tokens of the model that it guesses for.
    n_tokens: usize,
    /// What the model has read of each request.
    held: HashMap<RequestId, Held>,
    /// Logits of all of these tokens.
    logits: Vec<f32>,
    scratch: Scratch,
}

/// A request to guess for.
struct Guessing {
    /// Its context and the guesses so far.
    text: Vec<TokenId>,
    sampler: Sampler,
    n_left: usize,
    held: Held,
}

impl<'m> Draft<'m> {
    /// A draft model for one of so many tokens.
    pub(super) fn new(model: &'m Transformer, n_tokens: usize) -> Self {
        Self { model, n_tokens, held: HashMap::new(), logits: Vec::new(), scratch: Scratch::default() }
    }

    /// What each request may go on with: at most so many tokens.
    pub(super) fn guesses(&mut self, wanted: &[(RequestId, &Progress, usize)]) -> HashMap<RequestId, Vec<TokenId>> {
        let begin = |&(id, progress, n): &(RequestId, &Progress, usize)| {
            let text = progress.context.clone();
            let n_known = self.model.config().vocab_size;
            let is_readable = text.iter().all(|&token| (token as usize) < n_known);
            let n_left = if is_readable { n.min(self.room(text.len())) } else { 0 };
            let mut held = self.held.remove(&id).unwrap_or_default();
            held.truncate(held.n_common(&text));
            Guessing { text, sampler: progress.sampler().clone(), n_left, held }
        };
        let mut guessing: Vec<Guessing> = wanted.iter().map(begin).collect();
        guessing.iter_mut().filter(|guessing| guessing.n_left > 0).for_each(|guessing| self.catch_up(guessing));
        while guessing.iter().any(|guessing| guessing.n_left > 0) {
            self.guess_one(&mut guessing);
        }
        let finish = |(guessing, (id, progress, _)): (Guessing, &(RequestId, &Progress, usize))| {
            self.held.insert(*id, guessing.held);
            (*id, guessing.text[progress.context.len()..].to_vec())
        };
        guessing.into_iter().zip(wanted).map(finish).collect()
    }

    /// A request is over.
    pub(super) fn forget(&mut self, id: RequestId) {
        self.held.remove(&id);
    }

    /// Tokens that can be guessed behind a context.
    fn room(&self, n_context: usize) -> usize {
        let n_alike = self.model.switch().map_or(usize::MAX, |switch| switch.len);
        n_alike.min(self.model.config().context_len).saturating_sub(n_context)
    }

    /// Reads a text of which much is unread, part by part, up to its last token: memory need not hold all of it at work.
    fn catch_up(&self, Guessing { text, held, .. }: &mut Guessing) {
        while text.len() - held.tokens.len() > MANY_UNREAD {
            let start = held.tokens.len();
            let new = &text[start..text.len().min(start + READ_AT_ONCE + 1) - 1];
            self.model.decode_cached(&[new], slice::from_mut(&mut held.row), &[]);
            held.tokens.extend_from_slice(new);
        }
    }

    /// One more guess for all that want one.
    fn guess_one(&mut self, guessing: &mut [Guessing]) {
        let mut wanting: Vec<&mut Guessing> = guessing.iter_mut().filter(|guessing| guessing.n_left > 0).collect();
        let mut rows: Vec<CacheRow> = wanting.iter_mut().map(|guessing| mem::take(&mut guessing.held.row)).collect();
        let new: Vec<&[TokenId]> =
            wanting.iter().map(|guessing| &guessing.text[guessing.held.tokens.len()..]).collect();
        let logits = self.model.logits(&read(self.model, &new, &mut rows, &[]));
        let mut sums = Vec::new();
        let logits = Logits::rows(&logits, &mut sums);
        for ((guessing, row), logits) in wanting.into_iter().zip(rows).zip(logits) {
            let Guessing { text, held, .. } = guessing;
            held.row = row;
            held.tokens.extend_from_slice(&text[held.tokens.len()..]);
            // The tables of the two may be padded differently; what only one of them has is never guessed.
            self.logits.clear();
            self.logits.extend(logits.values.iter().take(self.n_tokens));
            self.logits.resize(self.n_tokens, f32::NEG_INFINITY);
            let logits = Logits { values: &self.logits, ..logits };
            match guessing.sampler.choose(logits, None, 0, &mut self.scratch) {
                Ok(choice) => {
                    guessing.text.push(choice.token);
                    guessing.n_left -= 1;
                }
                Err(_) => guessing.n_left = 0,
            }
        }
    }
}
