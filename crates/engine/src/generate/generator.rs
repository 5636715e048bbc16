//! Many requests in progress at once, a token for each of them at every step.

use super::kv_cache::{KvCache, Rows as CacheRows};
use super::prefill::read;
use super::progress::{Next, Progress};
use super::request::{Answer, Request, RequestId};
use super::sampler::{Choice, Scratch};
use super::scheduler::{Limits, Scheduler};
use crate::error::Result;
use crate::model::{Rows, Transformer};
use genera_tensor::op::gather_rows;
use genera_tensor::{Tape, Tensor};
use genera_tokens::TokenId;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

/// Generates for any number of requests, which may come and go between any two steps.
///
/// The model's matrices should be packed once before (`Params::pack`): every token then costs less.
///
/// # Determinism
/// An answer is a function of its request alone: the same bits alone or among others, with any number of threads.
pub struct Generator<'m> {
    model: &'m Transformer,
    scheduler: Scheduler,
    cache: KvCache,
    active: BTreeMap<RequestId, Progress>,
    scratch: Scratch,
    n_submitted: u64,
}

/// What happened to a request in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its answer has a token more.
    Token {
        /// The request.
        id: RequestId,
        /// The token.
        token: TokenId,
        /// ln p(token) in the model's own distribution.
        logprob: f32,
        /// As many of the most probable tokens as the request asked for, with their ln p.
        top_logprobs: Vec<(TokenId, f32)>,
    },
    /// Its answer is complete.
    Finished(Answer),
}

impl Event {
    /// The request that it is about.
    pub fn id(&self) -> RequestId {
        match self {
            Event::Token { id, .. } => *id,
            Event::Finished(answer) => answer.id,
        }
    }
}

impl<'m> Generator<'m> {
    /// A generator without requests.
    ///
    /// # Panics
    /// When the limits allow nothing.
    pub fn new(model: &'m Transformer, limits: Limits) -> Self {
        Self {
            model,
            scheduler: Scheduler::new(limits),
            cache: KvCache::new(model.config().context_len),
            active: BTreeMap::new(),
            scratch: Scratch::default(),
            n_submitted: 0,
        }
    }

    /// Takes a request in; it takes part from the next step on, or as soon as there is room.
    ///
    /// # Errors
    /// [`Error::Request`](crate::Error::Request) when the model cannot meet it.
    pub fn submit(&mut self, request: Request) -> Result<RequestId> {
        request.validate(self.model.config())?;
        let id = RequestId(self.n_submitted);
        self.n_submitted += 1;
        let n_source = request.source.as_ref().map_or(0, Vec::len);
        self.scheduler.submit(id, request.prompt.len() + n_source);
        self.active.insert(id, Progress::new(id, request, self.model));
        Ok(id)
    }

    /// Ends a request before the next step, without an event, and returns its answer so far; `None` when it is not in
    /// progress.
    ///
    /// This is also how a stop string works: whoever knows the tokenizer turns the tokens of the events into text, and
    /// cancels when the text holds the string.
    pub fn cancel(&mut self, id: RequestId) -> Option<Answer> {
        self.scheduler.leave(id);
        self.active.remove(&id).map(Progress::into_answer)
    }

    /// Every request in progress goes on by a token, and waiting ones are read and get their first.
    pub fn step(&mut self) -> Vec<Event> {
        let plan = self.scheduler.plan();
        self.cache.rearrange(&plan.keep);
        let mut events = Vec::new();
        if !plan.decode.is_empty() {
            let logits = self.decode(&plan.decode);
            self.accept(&plan.decode, &logits, &mut events);
        }
        if !plan.prefill.is_empty() {
            let logits = self.prefill(&plan.prefill);
            self.accept(&plan.prefill, &logits, &mut events);
        }
        events
    }

    /// Steps until nothing is in progress and returns the answers in the order of submission. `watch` sees every event;
    /// when it breaks, the request of that event ends there.
    pub fn run(&mut self, mut watch: impl FnMut(&Event) -> ControlFlow<()>) -> Vec<Answer> {
        let mut answers = Vec::new();
        while !self.is_idle() {
            for event in self.step() {
                let is_over = watch(&event).is_break();
                match event {
                    Event::Finished(answer) => answers.push(answer),
                    Event::Token { id, .. } if is_over => answers.extend(self.cancel(id)),
                    Event::Token { .. } => {}
                }
            }
        }
        answers.sort_by_key(|answer: &Answer| answer.id);
        answers
    }

    /// Whether no request is in progress or waiting.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Requests that are being generated.
    pub fn n_running(&self) -> usize {
        self.scheduler.n_running()
    }

    /// Requests that wait for room.
    pub fn n_waiting(&self) -> usize {
        self.scheduler.n_waiting()
    }

    /// The logits behind the newest token of each row.
    fn decode(&mut self, ids: &[RequestId]) -> Tensor {
        let newest = |id| *self.active[id].context.last().expect("a context holds at least the prompt's first token");
        let tokens: Vec<TokenId> = ids.iter().map(newest).collect();
        let CacheRows { own, cross } = self.cache.reserved();
        let hidden = self.model.decode_cached(&Rows::dense(1, &tokens), own, cross.as_ref());
        self.model.logits(&hidden)
    }

    /// Reads the contexts of new rows and returns the logits behind each. Equal ones are read once.
    fn prefill(&mut self, ids: &[RequestId]) -> Tensor {
        let mut unique: Vec<&Progress> = Vec::new();
        let mut row_of = HashMap::new();
        let mut from = Vec::with_capacity(ids.len());
        for id in ids {
            let progress = &self.active[id];
            let row = *row_of.entry((&progress.source, &progress.context)).or_insert(unique.len());
            if row == unique.len() {
                unique.push(progress);
            }
            from.push(row);
        }
        let sources: Option<Vec<&[TokenId]>> = unique.iter().map(|progress| progress.source.as_deref()).collect();
        let contexts: Vec<&[TokenId]> = unique.iter().map(|progress| progress.context.as_slice()).collect();
        let (rows, hidden) = read(self.model, sources.as_deref(), &contexts);
        self.cache.join(&rows, &from);
        let tape = Tape::inference(self.model.device());
        let by_request = gather_rows(&tape, &hidden, &from.iter().map(|&row| row as u32).collect());
        self.model.logits(&by_request)
    }

    fn accept(&mut self, ids: &[RequestId], logits: &Tensor, events: &mut Vec<Event>) {
        let rows = logits.view().f32().chunks(logits.shape().last());
        for (&id, logits) in ids.iter().zip(rows) {
            let progress = self.active.get_mut(&id).expect("a planned request is in progress");
            let mut token = |Choice { token, logprob, top_logprobs }| {
                events.push(Event::Token { id, token, logprob, top_logprobs });
            };
            let is_complete = match progress.advance(logits, &mut self.scratch) {
                Next::Token(choice, is_last) => {
                    token(choice);
                    is_last
                }
                Next::ReadAgain(choice) => {
                    token(choice);
                    self.scheduler.read_again(id, progress.context.len());
                    false
                }
                Next::End => true,
            };
            if is_complete {
                events.extend(self.cancel(id).map(Event::Finished));
            }
        }
    }
}
