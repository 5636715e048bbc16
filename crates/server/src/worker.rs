//! The one thread that owns a model: it takes events and lets every answer go on by a token at each step.

use crate::limits::N_BEHIND;
use crate::metrics::{Gauges, Recorder};
use crate::problem::Problem;
use genera_engine::generate::{self, Finish, Generator, Limits, Request, RequestId, attend, embed};
use genera_engine::model::Transformer;
use genera_tokens::TokenId;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc as channel, oneshot};

/// How often an idle worker says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A worker that was silent for so long is not ready: longer than any step should take.
const SILENCE: Duration = Duration::from_secs(30);

/// Everything that can be asked of the thread.
pub enum Event {
    /// Answers to make; all share a ticket.
    Submit { ticket: Ticket, requests: Vec<Request>, to: channel::Sender<Said> },
    /// Nobody waits for these any more.
    Cancel(Ticket),
    /// One of the answers is complete although the model would go on.
    End { ticket: Ticket, choice: usize },
    /// One vector for each text.
    Embed { texts: Vec<Vec<TokenId>>, to: oneshot::Sender<Result<Vec<Vec<f32>>, String>> },
    /// Who attends to whom in a text, in one layer.
    Attend { tokens: Vec<TokenId>, layer: usize, to: oneshot::Sender<Result<Attended, String>> },
}

/// Who attends to whom in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Attended {
    /// The layer, such as `decoder.2.attention`.
    pub name: String,
    /// How many layers there are.
    pub n_layers: usize,
    /// `[H][T][S]`
    pub weights: Vec<Vec<Vec<f32>>>,
}

/// The number of what one client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// What the thread says about one of the answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Its prompt begins to be read, but for so many tokens that were read before.
    Begun { choice: usize, n_reused: usize },
    /// It has a token more.
    Token { choice: usize, token: TokenId, logprob: f32, top_logprobs: Vec<(TokenId, f32)> },
    /// It is complete.
    Finished { choice: usize, finish: Finish },
    /// The engine cannot meet the request.
    Refused(String),
    /// The engine failed while this was in progress.
    Failed,
}

/// A handle on the thread.
pub struct Worker {
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
    most_in_flight: usize,
}

struct Shared {
    start: Instant,
    /// Milliseconds after `start` at which the thread was last alive.
    heartbeat: AtomicU64,
    is_alive: AtomicBool,
    is_draining: AtomicBool,
    n_in_flight: AtomicUsize,
    next_ticket: AtomicU64,
    gauges: Gauges,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(model: Transformer, limits: Limits, n_waiting: usize) -> std::io::Result<Self> {
        let (events, inbox) = mpsc::channel();
        let shared = Arc::new(Shared {
            start: Instant::now(),
            heartbeat: AtomicU64::new(0),
            is_alive: AtomicBool::new(true),
            is_draining: AtomicBool::new(false),
            n_in_flight: AtomicUsize::new(0),
            next_ticket: AtomicU64::new(0),
            gauges: Gauges::default(),
        });
        let of_thread = shared.clone();
        std::thread::Builder::new().name("model".to_owned()).spawn(move || {
            let alive = Alive(&of_thread.is_alive);
            Loop::new(&model, limits, &of_thread).run(&inbox);
            drop(alive);
        })?;
        Ok(Self { events, shared, most_in_flight: limits.n_running + n_waiting })
    }

    /// Asks for answers.
    ///
    /// # Errors
    /// 429 when too many wait, 503 when the server is about to end or the thread has ended.
    pub fn submit(&self, requests: Vec<Request>) -> Result<Answers, Problem> {
        if self.shared.is_draining.load(Ordering::Relaxed) {
            return Err(Problem::shutting_down());
        }
        let n = requests.len();
        let admit = |in_flight: usize| (in_flight + n <= self.most_in_flight).then_some(in_flight + n);
        if self.shared.n_in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).is_err() {
            let most = self.most_in_flight;
            return Err(Problem::overloaded(format!(
                "{most} answers are in progress or wait already, and {n} more do not fit; ask again in a moment"
            )));
        }
        let ticket = Ticket(self.shared.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (to, from) = channel::channel(N_BEHIND + 2 * n);
        let record = Recorder::new(&requests);
        let (events, shared) = (self.events.clone(), self.shared.clone());
        let answers = Answers { ticket, is_open: vec![true; n], n_reused: vec![0; n], from, events, shared, record };
        self.send(Event::Submit { ticket, requests, to })?;
        Ok(answers)
    }

    /// One vector for each text.
    ///
    /// # Errors
    /// 400 when the engine refuses a text, 503 when the thread has ended.
    pub async fn embed(&self, texts: Vec<Vec<TokenId>>) -> Result<Vec<Vec<f32>>, Problem> {
        let (to, from) = oneshot::channel();
        self.send(Event::Embed { texts, to })?;
        let vectors = from.await.map_err(|_| Problem::internal("the engine failed; the server's log says where"))?;
        vectors.map_err(|message| Problem::invalid("input", message))
    }

    /// Who attends to whom in a text, in one layer.
    ///
    /// # Errors
    /// 400 when the engine refuses the text or has no such layer, 503 when the thread has ended.
    pub async fn attend(&self, tokens: Vec<TokenId>, layer: usize) -> Result<Attended, Problem> {
        let (to, from) = oneshot::channel();
        self.send(Event::Attend { tokens, layer, to })?;
        let attended = from.await.map_err(|_| Problem::internal("the engine failed; the server's log says where"))?;
        attended.map_err(|message| Problem::invalid("layer", message))
    }

    fn send(&self, event: Event) -> Result<(), Problem> {
        self.events.send(event).map_err(|_| {
            let message = "the thread of this model has ended; restart the server";
            Problem { status: hyper::StatusCode::SERVICE_UNAVAILABLE, ..Problem::internal(message) }
        })
    }

    /// Takes nothing more in.
    pub fn drain(&self) {
        self.shared.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether the thread was alive a moment ago and takes requests.
    pub fn is_ready(&self) -> bool {
        let age = self.shared.start.elapsed().as_millis() as u64 - self.shared.heartbeat.load(Ordering::Relaxed);
        self.shared.is_alive.load(Ordering::Relaxed)
            && !self.shared.is_draining.load(Ordering::Relaxed)
            && age < SILENCE.as_millis() as u64
    }

    /// What it counts.
    pub fn gauges(&self) -> &Gauges {
        &self.shared.gauges
    }
}

struct Alive<'a>(&'a AtomicBool);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Answers in the making. Dropping them ends them.
pub struct Answers {
    ticket: Ticket,
    /// Which of the answers are still being made.
    is_open: Vec<bool>,
    /// Tokens of each one's prompt that needed no reading.
    n_reused: Vec<usize>,
    from: channel::Receiver<Said>,
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
    record: Recorder,
}

impl Answers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.is_open.len()
    }

    /// Tokens of all prompts that had been read before, when there are `n_each` answers to each prompt. That answers to one
    /// prompt share its reading does not count.
    ///
    /// # Panics
    /// When `n_each` is 0.
    pub fn n_cached(&self, n_each: usize) -> usize {
        self.n_reused.chunks(n_each).filter_map(|of_prompt| of_prompt.iter().min()).sum()
    }

    /// What happens next; `None` when all are complete.
    ///
    /// # Errors
    /// 400 when the engine refuses the request, 500 when it fails or this stream lags too far behind.
    pub async fn next(&mut self) -> Result<Option<Said>, Problem> {
        while self.is_open.contains(&true) {
            let said = self.from.recv().await;
            // What was said before the thread learned that the answer has ended.
            if said.as_ref().and_then(Said::choice).is_some_and(|choice| !self.is_open[choice]) {
                continue;
            }
            self.record.saw(said.as_ref(), &self.shared.gauges);
            return match said {
                Some(Said::Refused(message)) => Err(Problem::invalid("messages", message)),
                Some(Said::Failed) => Err(Problem::internal("the engine failed; the server's log says where")),
                Some(Said::Begun { choice, n_reused }) => {
                    self.n_reused[choice] = n_reused;
                    continue;
                }
                Some(said) => {
                    if let Said::Finished { choice, .. } = said {
                        self.is_open[choice] = false;
                    }
                    Ok(Some(said))
                }
                None => Err(Problem::internal("the answer was read too slowly and has been given up")),
            };
        }
        Ok(None)
    }

    /// One of the answers is complete although the model would go on.
    pub fn end(&mut self, choice: usize) {
        self.is_open[choice] = false;
        self.record.ended(choice, &self.shared.gauges);
        // Without a thread there is nothing to end.
        let _ = self.events.send(Event::End { ticket: self.ticket, choice });
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.shared.n_in_flight.fetch_sub(self.is_open.len(), Ordering::Relaxed);
        if self.is_open.contains(&true) {
            // Without a thread there is nothing to cancel.
            let _ = self.events.send(Event::Cancel(self.ticket));
        }
    }
}

impl Said {
    /// Which of the answers it is about.
    fn choice(&self) -> Option<usize> {
        match self {
            Said::Begun { choice, .. } | Said::Token { choice, .. } | Said::Finished { choice, .. } => Some(*choice),
            Said::Refused(_) | Said::Failed => None,
        }
    }
}

/// What the thread works with.
struct Loop<'m> {
    model: &'m Transformer,
    limits: Limits,
    generator: Generator<'m>,
    /// Where each answer's tokens go.
    answers: HashMap<RequestId, Answer>,
    tickets: HashMap<Ticket, Vec<RequestId>>,
    shared: &'m Shared,
}

struct Answer {
    ticket: Ticket,
    choice: usize,
    to: channel::Sender<Said>,
}

impl<'m> Loop<'m> {
    fn new(model: &'m Transformer, limits: Limits, shared: &'m Shared) -> Self {
        let (answers, tickets) = (HashMap::new(), HashMap::new());
        Self { model, limits, generator: Generator::new(model, limits), answers, tickets, shared }
    }

    /// Goes on until every handle is gone, whatever panics on the way.
    fn run(&mut self, inbox: &mpsc::Receiver<Event>) {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.turn(inbox))) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return,
                Err(_) => self.start_again(),
            }
        }
    }

    /// Takes in what has come, then lets every answer go on.
    fn turn(&mut self, inbox: &mpsc::Receiver<Event>) -> ControlFlow<()> {
        self.tell_state();
        if self.generator.is_idle() {
            match inbox.recv_timeout(HEARTBEAT) {
                Ok(event) => self.handle(event),
                Err(RecvTimeoutError::Timeout) => return ControlFlow::Continue(()),
                Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
            }
        }
        while let Ok(event) = inbox.try_recv() {
            self.handle(event);
        }
        if !self.generator.is_idle() {
            self.generator.step().into_iter().for_each(|event| self.tell(event));
        }
        ControlFlow::Continue(())
    }

    fn tell_state(&self) {
        self.shared.heartbeat.store(self.shared.start.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.shared.gauges.set_state(self.generator.n_running(), self.generator.n_waiting());
        let share = self.generator.n_pages() as f64 / self.limits.n_pages as f64;
        self.shared.gauges.set_cache(share, self.generator.n_reused());
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Submit { ticket, requests, to } => self.submit(ticket, requests, &to),
            Event::Cancel(ticket) => self.cancel(ticket),
            Event::End { ticket, choice } => self.end(ticket, choice),
            Event::Embed { texts, to } => {
                let embed_all = || texts.iter().map(|text| embed(self.model, text)).collect::<Result<Vec<_>, _>>();
                // A panic drops `to`, which is how the other side learns of it.
                if let Ok(vectors) = catch_unwind(AssertUnwindSafe(embed_all)) {
                    let _ = to.send(vectors.map_err(|error| error.to_string()));
                }
            }
            Event::Attend { tokens, layer, to } => {
                if let Ok(attended) = catch_unwind(AssertUnwindSafe(|| attended(self.model, &tokens, layer))) {
                    let _ = to.send(attended);
                }
            }
        }
    }

    fn submit(&mut self, ticket: Ticket, requests: Vec<Request>, to: &channel::Sender<Said>) {
        let mut ids = Vec::with_capacity(requests.len());
        for (choice, request) in requests.into_iter().enumerate() {
            match self.generator.submit(request) {
                Ok(id) => {
                    self.answers.insert(id, Answer { ticket, choice, to: to.clone() });
                    ids.push(id);
                }
                Err(error) => {
                    let _ = to.try_send(Said::Refused(error.to_string()));
                    break;
                }
            }
        }
        self.tickets.insert(ticket, ids);
    }

    fn cancel(&mut self, ticket: Ticket) {
        for id in self.tickets.remove(&ticket).into_iter().flatten() {
            self.generator.cancel(id);
            self.answers.remove(&id);
        }
    }

    fn end(&mut self, ticket: Ticket, choice: usize) {
        let Some(ids) = self.tickets.get_mut(&ticket) else { return };
        let ended = ids.extract_if(.., |id| self.answers.get(id).is_some_and(|answer| answer.choice == choice));
        let ended: Vec<RequestId> = ended.collect();
        if ids.is_empty() {
            self.tickets.remove(&ticket);
        }
        for id in ended {
            self.generator.cancel(id);
            self.answers.remove(&id);
        }
    }

    /// After a panic nothing is known of the generator's state: every answer in progress ends with an error, and those to
    /// come find a new generator.
    fn start_again(&mut self) {
        for (_, answer) in self.answers.drain() {
            let _ = answer.to.try_send(Said::Failed);
        }
        self.tickets.clear();
        self.generator = Generator::new(self.model, self.limits);
    }

    fn tell(&mut self, event: generate::Event) {
        let id = event.id();
        // An answer may have been cancelled by an event of this very step.
        let Some(Answer { ticket, choice, to }) = self.answers.get(&id) else { return };
        let (ticket, choice) = (*ticket, *choice);
        let said = match event {
            generate::Event::Begun { n_reused, .. } => Said::Begun { choice, n_reused },
            generate::Event::Token { token, logprob, top_logprobs, .. } => {
                Said::Token { choice, token, logprob, top_logprobs }
            }
            generate::Event::Finished(answer) => Said::Finished { choice, finish: answer.reason },
        };
        let is_finished = matches!(said, Said::Finished { .. });
        // Full or closed: whoever asked is too slow or gone. Dropping the sender tells a slow one.
        let is_lost = matches!(to.try_send(said), Err(TrySendError::Full(_) | TrySendError::Closed(_)));
        if is_lost {
            self.cancel(ticket);
        } else if is_finished {
            self.end(ticket, choice);
        }
    }
}

fn attended(model: &Transformer, tokens: &[TokenId], layer: usize) -> Result<Attended, String> {
    let layers = attend(model, tokens).map_err(|error| error.to_string())?;
    let n_layers = layers.len();
    let captured =
        layers.get(layer).ok_or_else(|| format!("there is no layer {layer}; there are {n_layers}, from 0"))?;
    Ok(Attended { name: captured.name.clone(), n_layers, weights: captured.weights() })
}

#[cfg(test)]
mod tests;
