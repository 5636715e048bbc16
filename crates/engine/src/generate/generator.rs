//! Many requests in progress at once, a token for each of them at every step.

use super::draft::Draft;
use super::guide::Guide;
use super::lookup::guess;
use super::prefill::{n_common, read_sources};
use super::prefixes::{PageId, Prefixes};
use super::progress::{Next, Progress};
use super::request::{Answer, Request, RequestId, refuse_if};
use super::sampler::{Choice, Logits, Scratch};
use super::scheduler::{Limits, Scheduler};
use crate::config::Shape;
use crate::error::Result;
use crate::model::{CacheRow, Page, PageCount, Transformer};
use genera_tensor::backend::PAGE_TOKENS;
use genera_tensor::op::gather_rows;
use genera_tensor::{Tape, Tensor};
use genera_tokens::TokenId;
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Generates for any number of requests, which may come and go between any two steps.
///
/// The model's matrices should be packed once before (`Params::pack`): every token then costs less.
///
/// # Determinism
/// An answer is a function of its request alone: the same bits alone or among others, whatever the limits, with any number
/// of threads.
pub struct Generator<'m> {
    model: &'m Transformer,
    limits: Limits,
    scheduler: Scheduler,
    active: BTreeMap<RequestId, Active>,
    prefixes: Prefixes,
    pages: PageCount,
    draft: Option<Draft<'m>>,
    guide: Guide<'m>,
    scratch: Scratch,
    n_submitted: u64,
    n_guessed: u64,
    n_guessed_right: u64,
    n_reused: u64,
}

/// A request that runs or waits.
struct Active {
    progress: Progress,
    /// Keys and values of what has been read of its context.
    row: CacheRow,
    /// Those of its source, once it runs.
    source: Option<CacheRow>,
    /// The last of its pages that was kept, and how many were; none of those to come once one could not be.
    kept: (Option<PageId>, usize),
    /// Whole pages of others that it was let in to begin with.
    n_shared: usize,
    /// Whether it was told that its reading begins.
    has_begun: bool,
}

impl Active {
    /// Pages for its context and a token more that it has yet to take.
    fn n_pages_to_come(&self) -> usize {
        let n_held = if self.row.is_empty() { self.n_shared } else { self.row.pages().len() };
        (self.progress.context.len() + 1).div_ceil(PAGE_TOKENS).saturating_sub(n_held)
    }
}

/// Of a request none of whose pages were offered yet.
const NONE_KEPT: (Option<PageId>, usize) = (Some(PageId::FIRST), 0);

/// How many tokens of its context a step reads of a request, and how many guesses it wants behind them.
struct Share {
    id: RequestId,
    n: usize,
    n_guesses: usize,
}

/// What a step reads of a request.
struct Stretch {
    id: RequestId,
    /// The next tokens of its context, and guesses what comes behind them.
    tokens: Vec<TokenId>,
    guesses: Vec<TokenId>,
    /// Whether its context is read by then, so that a token can be chosen.
    is_last: bool,
}

impl Stretch {
    /// The tokens whose logits are wanted, counted from the stretch's first.
    fn wanted(&self) -> std::ops::Range<usize> {
        if self.is_last { self.tokens.len() - 1 - self.guesses.len()..self.tokens.len() } else { 0..0 }
    }
}

/// What happened to a request in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its prompt begins to be read; comes once, before any token.
    Begun {
        /// The request.
        id: RequestId,
        /// Tokens of the prompt that need no reading, as another request's or kept pages hold them.
        n_reused: usize,
    },
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
            Event::Begun { id, .. } | Event::Token { id, .. } => *id,
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
            limits,
            scheduler: Scheduler::new(limits),
            active: BTreeMap::new(),
            prefixes: Prefixes::new(limits.n_kept_pages),
            pages: PageCount::default(),
            draft: None,
            guide: Guide::new(model),
            scratch: Scratch::default(),
            n_submitted: 0,
            n_guessed: 0,
            n_guessed_right: 0,
            n_reused: 0,
        }
    }

    /// Lets a smaller model guess ahead for requests that ask for guesses, instead of looking up what came before in the text.
    /// The tokens of one are those of the other as far as both have them: tables are padded to different sizes.
    ///
    /// # Errors
    /// [`Error::Request`](crate::Error::Request) when it cannot guess for this model.
    #[must_use = "the generator is given back"]
    pub fn with_draft(mut self, draft: &'m Transformer) -> Result<Self> {
        refuse_if(!matches!(draft.config().shape, Shape::DecoderOnly(_)), || {
            "the draft model is not decoder-only; only such a model can guess ahead".to_owned()
        })?;
        refuse_if(self.model.config().is_encoder_decoder(), || "an encoder-decoder takes no draft model".to_owned())?;
        self.draft = Some(Draft::new(draft, self.model.config().vocab_size));
        Ok(self)
    }

    /// Takes a request in; it takes part from the next step on, or as soon as there is room.
    ///
    /// # Errors
    /// [`Error::Request`](crate::Error::Request) when the model cannot meet it.
    pub fn submit(&mut self, request: Request) -> Result<RequestId> {
        request.validate(self.model.config())?;
        let id = RequestId(self.n_submitted);
        self.n_submitted += 1;
        self.scheduler.submit(id);
        let (progress, row) = (Progress::new(id, request, self.model), CacheRow::new(&self.pages));
        let (kept, n_shared, has_begun) = (NONE_KEPT, 0, false);
        self.active.insert(id, Active { progress, row, source: None, kept, n_shared, has_begun });
        Ok(id)
    }

    /// Ends a request before the next step, without an event, and returns its answer so far; `None` when it is not in
    /// progress.
    ///
    /// This is also how a stop string works: whoever knows the tokenizer turns the tokens of the events into text, and
    /// cancels when the text holds the string.
    pub fn cancel(&mut self, id: RequestId) -> Option<Answer> {
        self.scheduler.leave(id);
        if let Some(draft) = &mut self.draft {
            draft.forget(id);
        }
        self.guide.forget(id);
        self.active.remove(&id).map(|active| active.progress.into_answer())
    }

    /// Every request that has been read goes on by a token, others are read on, and waiting ones let in.
    pub fn step(&mut self) -> Vec<Event> {
        self.admit();
        let plan = self.plan_that_fits();
        let mut events = self.begun(&plan);
        if !plan.is_empty() {
            let logits = self.read(&plan);
            plan.iter().for_each(|stretch| self.keep_pages(stretch.id));
            let logits = self.lead(&plan, logits);
            self.accept(&plan, &logits, &mut events);
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
                    Event::Begun { .. } | Event::Token { .. } => {}
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

    /// Prompt tokens so far that needed no reading, as another request's or kept pages held them.
    pub fn n_reused(&self) -> u64 {
        self.n_reused
    }

    /// Pages of keys and values in use, those included that are kept for later requests.
    pub fn n_pages(&self) -> usize {
        self.pages.n_pages()
    }

    /// Pages of keys and values that requests have; those that are only kept for later ones can be had at any time.
    ///
    /// # Cost
    /// A look at each kept page.
    pub fn n_pages_of_requests(&self) -> usize {
        self.n_pages() - self.prefixes.n_spare()
    }

    /// Requests that are being generated.
    pub fn n_running(&self) -> usize {
        self.scheduler.running().len()
    }

    /// Requests that wait for room.
    pub fn n_waiting(&self) -> usize {
        self.scheduler.n_waiting()
    }

    /// Lets waiting requests in while there are places, and pages for what they and those that run have yet to read.
    fn admit(&mut self) {
        let mut new = Vec::new();
        while let Some(id) = self.scheduler.next() {
            // Held, so that they are not given up for the room that it needs besides.
            let kept = self.kept_pages(id);
            self.active_mut(id).n_shared = kept.len().max(self.n_pages_of_others(id));
            let running = self.scheduler.running().iter();
            let promised: usize = running.map(|running| self.active[running].n_pages_to_come()).sum();
            let n_pages = promised + self.active[&id].n_pages_to_come();
            if self.n_running() > 0 && !self.make_room(n_pages) {
                break;
            }
            self.scheduler.admit();
            new.push(id);
        }
        self.read_sources(&new);
    }

    /// The kept pages that a request's context begins with.
    fn kept_pages(&mut self, id: RequestId) -> Vec<Arc<Page>> {
        let Progress { context, source, .. } = &self.active[&id].progress;
        if source.is_some() || self.is_long(&id) {
            return Vec::new();
        }
        self.prefixes.find(&context[..context.len() - 1])
    }

    /// Whole pages that a request has, or will have, in common with one that runs.
    fn n_pages_of_others(&self, id: RequestId) -> usize {
        let Progress { context, source, .. } = &self.active[&id].progress;
        if self.is_long(&id) {
            return 0;
        }
        let others = self.scheduler.running().iter().filter(|other| !self.is_long(other));
        let others = others.map(|other| &self.active[other].progress).filter(|other| other.source == *source);
        others.map(|other| n_common(&other.context, context).min(context.len() - 1) / PAGE_TOKENS).max().unwrap_or(0)
    }

    /// Gives up kept pages that no request has until so many more may be taken; whether that was possible.
    fn make_room(&mut self, n_pages: usize) -> bool {
        while self.pages.n_pages().saturating_add(n_pages) > self.limits.n_pages {
            if !self.prefixes.free_one() {
                return false;
            }
        }
        true
    }

    /// Lets the encoder read the sources of some requests, equal ones once.
    fn read_sources(&mut self, ids: &[RequestId]) {
        let mut unique: Vec<&[TokenId]> = Vec::new();
        let mut row_of = HashMap::new();
        let mut rows_of = Vec::new();
        for id in ids {
            let active = &self.active[id];
            if let (Some(source), None) = (&active.progress.source, &active.source) {
                let row = *row_of.entry(source).or_insert_with(|| {
                    unique.push(source);
                    unique.len() - 1
                });
                rows_of.push((*id, row));
            }
        }
        if !unique.is_empty() {
            let rows = read_sources(self.model, &unique);
            for (id, row) in rows_of {
                self.active_mut(id).source = Some(rows[row].clone());
            }
        }
    }

    fn active_mut(&mut self, id: RequestId) -> &mut Active {
        self.active.get_mut(&id).expect("a request that runs is active")
    }

    /// What this step reads, after the requests that came last have been put off for whose pages there is no room.
    fn plan_that_fits(&mut self) -> Vec<Stretch> {
        loop {
            let shares = self.shares();
            let n_pages =
                shares.iter().map(|share| self.active[&share.id].row.n_pages_for(share.n + share.n_guesses)).sum();
            if self.make_room(n_pages) {
                return self.plan(&shares);
            }
            let Some(id) = self.scheduler.put_off() else { return self.plan(&shares) };
            self.forget(id);
        }
    }

    /// Forgets all that was read of a request.
    fn forget(&mut self, id: RequestId) {
        if let Some(draft) = &mut self.draft {
            draft.forget(id);
        }
        self.guide.forget(id);
        let row = CacheRow::new(&self.pages);
        let active = self.active_mut(id);
        (active.row, active.kept) = (row, NONE_KEPT);
    }

    /// How much of each running request is read next.
    fn shares(&mut self) -> Vec<Share> {
        let ids = self.scheduler.running().to_vec();
        let begun: Vec<bool> = (0..ids.len()).map(|i| self.begin(&ids, i)).collect();
        let n_unread = |(id, begun): (&RequestId, &bool)| {
            let active = &self.active[id];
            if *begun { active.progress.context.len() - active.row.len() } else { 0 }
        };
        let n_unread: Vec<usize> = ids.iter().zip(&begun).map(n_unread).collect();
        let is_divisible: Vec<bool> = ids.iter().map(|id| !self.is_long(id)).collect();
        let shares = ids.into_iter().zip(self.scheduler.shares(&n_unread, &is_divisible));
        shares.filter(|&(_, n)| n > 0).map(|(id, n)| Share { id, n, n_guesses: self.n_guesses(id, n) }).collect()
    }

    /// How many guesses a request wants behind the `n` tokens that it reads: none before it goes on by its newest.
    fn n_guesses(&self, id: RequestId, n: usize) -> usize {
        let Active { progress, row, .. } = &self.active[&id];
        let goes_on = n == 1 && row.len() + 1 == progress.context.len();
        if goes_on { progress.n_guesses() } else { 0 }
    }

    fn plan(&mut self, shares: &[Share]) -> Vec<Stretch> {
        let mut guesses = self.guesses(shares);
        let stretch = |&Share { id, n, .. }: &Share| {
            let Active { progress, row, .. } = &self.active[&id];
            let end = row.len() + n;
            let guesses = guesses.remove(&id).unwrap_or_default();
            let tokens = [&progress.context[row.len()..end], &guesses].concat();
            Stretch { id, tokens, guesses, is_last: end == progress.context.len() }
        };
        shares.iter().map(stretch).collect()
    }

    /// What requests that want guesses may go on with.
    fn guesses(&mut self, shares: &[Share]) -> HashMap<RequestId, Vec<TokenId>> {
        let wanted = shares.iter().filter(|share| share.n_guesses > 0);
        let wanted: Vec<(RequestId, &Progress, usize)> =
            wanted.map(|share| (share.id, &self.active[&share.id].progress, share.n_guesses)).collect();
        match &mut self.draft {
            Some(draft) => draft.guesses(&wanted),
            None => wanted.iter().map(|(id, progress, n)| (*id, guess(&progress.context, *n).to_vec())).collect(),
        }
    }

    /// Whether the model makes all of a context otherwise because of its length, so that it must be read at once.
    fn is_long(&self, id: &RequestId) -> bool {
        self.model.switch().is_some_and(|switch| self.active[id].progress.context.len() > switch.len)
    }

    /// Begins to read the i-th running request with what others hold of its context already. Not yet, where another one is
    /// about to read the same: false.
    fn begin(&mut self, ids: &[RequestId], i: usize) -> bool {
        let id = ids[i];
        if !self.active[&id].row.is_empty() || self.is_long(&id) {
            return true;
        }
        let kept = self.kept_pages(id);
        let Progress { context, source, .. } = &self.active[&id].progress;
        let mut row = CacheRow::from_pages(kept, &self.pages);
        let mut is_coming = false;
        for (j, other_id) in ids.iter().enumerate().filter(|&(j, other)| j != i && !self.is_long(other)) {
            let other = &self.active[other_id];
            if other.progress.source != *source {
                continue;
            }
            let n_common = n_common(&other.progress.context, context).min(context.len() - 1);
            let n_held = n_common.min(other.row.len());
            if n_held > row.len() {
                row = other.row.clone();
                row.truncate(n_held);
            }
            // Worth waiting for: all of it, or at least a page.
            let n_to_come = n_common.saturating_sub(row.len());
            is_coming |= j < i && n_held < n_common && (n_to_come >= PAGE_TOKENS || n_common + 1 == context.len());
        }
        if is_coming {
            return false;
        }
        self.active_mut(id).row = row;
        true
    }

    /// Tells of the requests that are read from this step on. One that was to begin may have waited for its share or for pages, and
    /// what others hold of it has changed by then.
    fn begun(&mut self, plan: &[Stretch]) -> Vec<Event> {
        let mut events = Vec::new();
        for id in plan.iter().map(|stretch| stretch.id) {
            let active = self.active_mut(id);
            // What is read again after the request was put off was reused before, or read.
            if !mem::replace(&mut active.has_begun, true) {
                let n_reused = active.row.len();
                self.n_reused += n_reused as u64;
                events.push(Event::Begun { id, n_reused });
            }
        }
        events
    }

    /// Reads, and computes the logits that are wanted.
    fn read(&mut self, plan: &[Stretch]) -> Tensor {
        let tokens: Vec<&[TokenId]> = plan.iter().map(|stretch| stretch.tokens.as_slice()).collect();
        let sources: Vec<CacheRow> =
            plan.iter().filter_map(|stretch| self.active[&stretch.id].source.clone()).collect();
        let mut rows: Vec<CacheRow> =
            plan.iter().map(|stretch| mem::take(&mut self.active_mut(stretch.id).row)).collect();
        let hidden = self.model.decode_cached(&tokens, &mut rows, &sources);
        for (stretch, row) in plan.iter().zip(rows) {
            self.active_mut(stretch.id).row = row;
        }
        let mut first = 0;
        let mut wanted = Vec::new();
        for stretch in plan {
            wanted.extend(stretch.wanted().map(|i| (first + i) as u32));
            first += stretch.tokens.len();
        }
        let tape = Tape::inference(self.model.device());
        self.model.logits(&gather_rows(&tape, &hidden, &wanted.into()))
    }

    /// Leads guided requests away from their other prompts.
    fn lead(&mut self, plan: &[Stretch], logits: Tensor) -> Tensor {
        let mut row = 0;
        let chosen = plan.iter().filter(|stretch| stretch.is_last).map(|stretch| {
            let first = row;
            row += stretch.wanted().len();
            (first, stretch.id, &self.active[&stretch.id].progress)
        });
        self.guide.lead(logits, chosen)
    }

    /// Offers the pages that have become full, for requests to come.
    fn keep_pages(&mut self, id: RequestId) {
        if self.limits.n_kept_pages == 0 || self.is_long(&id) {
            return;
        }
        let active = self.active.get_mut(&id).expect("a planned request is active");
        if active.progress.source.is_some() {
            return;
        }
        let (context, (last, n_kept)) = (&active.progress.context, &mut active.kept);
        let n_full = active.row.len().min(context.len()) / PAGE_TOKENS;
        while let Some(before) = last.filter(|_| *n_kept < n_full) {
            let tokens = &context[*n_kept * PAGE_TOKENS..(*n_kept + 1) * PAGE_TOKENS];
            *last = self.prefixes.keep(before, tokens, &active.row.pages()[*n_kept]);
            *n_kept += 1;
        }
    }

    /// Goes on with each request that has been read: a token, and one more for every guess that was right.
    fn accept(&mut self, plan: &[Stretch], logits: &Tensor, events: &mut Vec<Event>) {
        let mut sums = Vec::new();
        let mut logits = Logits::rows(logits, &mut sums);
        for Stretch { id, guesses, .. } in plan.iter().filter(|stretch| stretch.is_last) {
            let n_read = self.active[id].progress.context.len();
            let logits: Vec<Logits<'_>> = logits.by_ref().take(1 + guesses.len()).collect();
            let mut n_right = 0;
            while self
                .accept_one(*id, logits[n_right], events)
                .is_some_and(|token| guesses.get(n_right) == Some(&token))
            {
                n_right += 1;
            }
            if let Some(active) = self.active.get_mut(id) {
                active.row.truncate(n_read + n_right);
            }
            self.n_guessed += guesses.len() as u64;
            self.n_guessed_right += n_right as u64;
        }
    }

    /// The next token of a request that goes on after it.
    fn accept_one(&mut self, id: RequestId, logits: Logits<'_>, events: &mut Vec<Event>) -> Option<TokenId> {
        let progress = &mut self.active.get_mut(&id).expect("a planned request is active").progress;
        let mut tell = |Choice { token, logprob, top_logprobs }: Choice| {
            events.push(Event::Token { id, token, logprob, top_logprobs });
            token
        };
        match progress.advance(logits, &mut self.scratch) {
            Next::Token(choice, false) => return Some(tell(choice)),
            Next::Token(choice, true) => drop(tell(choice)),
            Next::ReadAgain(choice) => {
                tell(choice);
                self.forget(id);
                return None;
            }
            Next::End => {}
        }
        events.extend(self.cancel(id).map(Event::Finished));
        None
    }
}
