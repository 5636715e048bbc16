//! One answer after another to a text that grows, such as a conversation.

use super::generator::Event;
use super::prefill::{Held, read};
use super::progress::{Next, Progress};
use super::request::{Answer, Request, RequestId};
use super::sampler::{Choice, Logits, Scratch};
use super::scheduler::Limits;
use crate::error::Result;
use crate::model::Transformer;
use genera_tensor::Tensor;
use genera_tokens::TokenId;

/// Answers one request at a time and keeps what it has read, so that of a prompt that begins as the text before did, only
/// the rest is read.
///
/// # Determinism
/// An answer is a function of its request alone, whatever was read before.
pub struct Dialogue<'m> {
    model: &'m Transformer,
    held: Held,
    progress: Option<Progress>,
    /// Whether the answer has its last token.
    is_complete: bool,
    scratch: Scratch,
    /// Tokens that are read at once of a longer text.
    pub(super) part_len: usize,
}

impl<'m> Dialogue<'m> {
    /// Nothing is read yet.
    pub fn new(model: &'m Transformer) -> Self {
        Self {
            model,
            held: Held::default(),
            progress: None,
            is_complete: false,
            scratch: Scratch::default(),
            part_len: Limits::default().n_prefill_tokens,
        }
    }

    /// Takes a request in the place of any before; gives the number of its prompt's tokens that need not be read again.
    ///
    /// # Errors
    /// [`Error::Request`](crate::Error::Request) when the model cannot meet it.
    ///
    /// # Panics
    /// When the model has an encoder.
    pub fn begin(&mut self, request: Request) -> Result<usize> {
        request.validate(self.model.config())?;
        assert!(request.source.is_none(), "a dialogue is of a decoder alone");
        let n_kept = self.n_common(&request.prompt);
        self.progress = Some(Progress::new(RequestId(0), request, self.model));
        self.is_complete = false;
        Ok(n_kept)
    }

    /// Reads the next part of a long text and gives how many tokens are left then; `None` where [`Self::step`] is to read the rest,
    /// which is one part. Whoever steps at once has the same answer.
    pub fn read_ahead(&mut self) -> Option<usize> {
        let context = &self.progress.as_ref()?.context;
        let n_common = self.n_common(context);
        let is_in_parts = self.model.keeps(self.part_len, context.len());
        let n_left = (context.len() - n_common).checked_sub(self.part_len).filter(|&n| n > 0 && is_in_parts)?;
        let part = &context[n_common..n_common + self.part_len];
        self.held.truncate(n_common);
        read(self.model, &[part], std::slice::from_mut(&mut self.held.row), &[]);
        self.held.tokens.extend_from_slice(part);
        Some(n_left)
    }

    /// The answer goes on by a token, or ends; `None` when there is nothing to answer.
    pub fn step(&mut self) -> Option<Event> {
        if self.is_complete || self.progress.is_none() {
            return self.end().map(Event::Finished);
        }
        let logits = self.read();
        let progress = self.progress.as_mut().expect("it was there before reading");
        let (choice, is_last) = match progress.advance(Logits::of_one(&logits), &mut self.scratch) {
            Next::Token(choice, is_last) => (choice, is_last),
            Next::ReadAgain(choice) => (choice, false),
            Next::End => return self.end().map(Event::Finished),
        };
        self.is_complete = is_last;
        let Choice { token, logprob, top_logprobs } = choice;
        Some(Event::Token { id: RequestId(0), token, logprob, top_logprobs })
    }

    /// Ends the answer and returns it as far as it has come; what was read is kept.
    pub fn end(&mut self) -> Option<Answer> {
        self.is_complete = false;
        self.progress.take().map(Progress::into_answer)
    }

    /// How many tokens of a context are held; the last is always read, for the logits behind it.
    fn n_common(&self, context: &[TokenId]) -> usize {
        if self.model.keeps(self.held.tokens.len(), context.len()) { self.held.n_common(context) } else { 0 }
    }

    /// Reads what is not held of the context; the logits behind it.
    ///
    /// # Shapes
    /// Result: [1, V].
    fn read(&mut self) -> Tensor {
        let context = &self.progress.as_ref().expect("something is answered").context;
        let n_common = self.n_common(context);
        let rest = &context[n_common..];
        self.held.truncate(n_common);
        // A long text in parts, which memory need not hold at work together, unless they would be turned otherwise alone.
        let n_at_once = if self.model.keeps(self.part_len, context.len()) { self.part_len } else { rest.len() };
        let mut hidden = None;
        for part in rest.chunks(n_at_once) {
            hidden = Some(read(self.model, &[part], std::slice::from_mut(&mut self.held.row), &[]));
            self.held.tokens.extend_from_slice(part);
        }
        self.model.logits(&hidden.expect("the last token is always read"))
    }
}
