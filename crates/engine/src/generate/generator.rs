//! Many requests in progress at once, a token for each of them at every step.

use super::kv_cache::{KvCache, Rows as CacheRows};
use super::prefill::{padded, read};
use super::progress::{Next, Progress};
use super::request::{Answer, Request, RequestId};
use super::sampler::{Choice, Scratch};
use super::scheduler::{Limits, Scheduler};
use crate::error::Result;
use crate::model::Transformer;
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
    n_guessed: u64,
    n_guessed_right: u64,
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
            n_guessed: 0,
            n_guessed_right: 0,
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
            let guesses = self.guesses(&plan.decode);
            let logits = self.decode(&plan.decode, &guesses);
            self.accept(&plan.decode, &guesses, &logits, &mut events);
        }
        if !plan.prefill.is_empty() {
            let logits = self.prefill(&plan.prefill);
            let none = vec![Vec::new(); plan.prefill.len()];
            self.accept(&plan.prefill, &none, &logits, &mut events);
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

    /// Tokens that were guessed ahead so far, and how many of them were right.
    pub fn n_guessed(&self) -> (u64, u64) {
        (self.n_guessed, self.n_guessed_right)
    }

    /// Requests that are being generated.
    pub fn n_running(&self) -> usize {
        self.scheduler.n_running()
    }

    /// Requests that wait for room.
    pub fn n_waiting(&self) -> usize {
        self.scheduler.n_waiting()
    }

    /// What each row may go on with, besides its newest token.
    fn guesses(&self, ids: &[RequestId]) -> Vec<Vec<TokenId>> {
        let room = self.cache.room().saturating_sub(1);
        ids.iter().map(|id| self.active[id].guesses(room)).collect()
    }

    /// The logits behind the newest token of each row and behind each of its guesses, row by row.
    fn decode(&mut self, ids: &[RequestId], guesses: &[Vec<TokenId>]) -> Tensor {
        let newest = |id| *self.active[id].context.last().expect("a context holds at least the prompt's first token");
        let tokens: Vec<Vec<TokenId>> =
            ids.iter().zip(guesses).map(|(id, guesses)| [&[newest(id)], guesses.as_slice()].concat()).collect();
        let rows = padded(&tokens.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let t = rows.t;
        let CacheRows { own, cross } = self.cache.reserved(t);
        let hidden = self.model.decode_cached(&rows, own, cross.as_ref());
        if t == 1 {
            return self.model.logits(&hidden);
        }
        let real =
            tokens.iter().enumerate().flat_map(|(row, tokens)| (0..tokens.len()).map(move |i| (row * t + i) as u32));
        let tape = Tape::inference(self.model.device());
        self.model.logits(&gather_rows(&tape, &hidden, &real.collect()))
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

    /// Goes on with each request from its logits: a token, and one more for every guess that was right.
    fn accept(&mut self, ids: &[RequestId], guesses: &[Vec<TokenId>], logits: &Tensor, events: &mut Vec<Event>) {
        let mut logits = logits.view().f32().chunks(logits.shape().last());
        for (row, (&id, guesses)) in ids.iter().zip(guesses).enumerate() {
            // Without its newest token, which has been read by now.
            let n_held = self.active[&id].context.len() as u32 - 1;
            let logits: Vec<&[f32]> = logits.by_ref().take(1 + guesses.len()).collect();
            let mut n_right = 0;
            while self.accept_one(id, logits[n_right], events).is_some_and(|token| guesses.get(n_right) == Some(&token))
            {
                n_right += 1;
            }
            if n_right < guesses.len() {
                self.cache.truncate(row, n_held + 1 + n_right as u32);
            }
            self.n_guessed += guesses.len() as u64;
            self.n_guessed_right += n_right as u64;
        }
    }

    /// The next token of a request that goes on after it.
    fn accept_one(&mut self, id: RequestId, logits: &[f32], events: &mut Vec<Event>) -> Option<TokenId> {
        let progress = self.active.get_mut(&id).expect("a planned request is in progress");
        let mut tell = |Choice { token, logprob, top_logprobs }: Choice| {
            events.push(Event::Token { id, token, logprob, top_logprobs });
            token
        };
        match progress.advance(logits, &mut self.scratch) {
            Next::Token(choice, false) => return Some(tell(choice)),
            Next::Token(choice, true) => drop(tell(choice)),
            Next::ReadAgain(choice) => {
                tell(choice);
                self.scheduler.read_again(id, progress.context.len());
                return None;
            }
            Next::End => {}
        }
        events.extend(self.cancel(id).map(Event::Finished));
        None
    }
}
