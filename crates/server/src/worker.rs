//! The one thread that owns a model: it takes events and lets every answer go on by a token at each step.

mod thread;

use crate::limits::N_BEHIND;
use crate::metrics::{Gauges, Recorder};
use crate::problem::Problem;
use genera_engine::generate::{Finish, Limits, Request};
use genera_engine::model::Transformer;
use genera_tokens::TokenId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use thread::Loop;
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
        let n = requests.len();
        let place = self.admit(n)?;
        let ticket = Ticket(self.shared.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (to, from) = channel::channel(N_BEHIND + 2 * n);
        let record = Recorder::new(&requests);
        let (events, shared) = (self.events.clone(), self.shared.clone());
        let answers = Answers {
            ticket,
            is_open: vec![true; n],
            n_reused: vec![0; n],
            from,
            events,
            shared,
            record,
            _place: place,
        };
        self.send(Event::Submit { ticket, requests, to })?;
        Ok(answers)
    }

    /// Places for so many answers.
    ///
    /// # Errors
    /// 429 when too many wait, 503 when the server is about to end.
    fn admit(&self, n: usize) -> Result<Place, Problem> {
        if self.shared.is_draining.load(Ordering::Relaxed) {
            return Err(Problem::shutting_down());
        }
        let admit = |in_flight: usize| (in_flight + n <= self.most_in_flight).then_some(in_flight + n);
        if self.shared.n_in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).is_err() {
            let most = self.most_in_flight;
            return Err(Problem::overloaded(format!(
                "{most} answers are in progress or wait already, and {n} more do not fit; ask again in a moment"
            )));
        }
        Ok(Place { shared: self.shared.clone(), n })
    }

    /// One vector for each text. They are made a text at a time, between the steps of answers.
    ///
    /// # Errors
    /// 400 when the engine refuses a text, 429 and 503 as [`Self::submit`].
    pub async fn embed(&self, texts: Vec<Vec<TokenId>>) -> Result<Vec<Vec<f32>>, Problem> {
        let _place = self.admit(1)?;
        let (to, from) = oneshot::channel();
        self.send(Event::Embed { texts, to })?;
        let vectors = from.await.map_err(|_| Problem::internal("the engine failed; the server's log says where"))?;
        vectors.map_err(|message| Problem::invalid("input", message))
    }

    /// Who attends to whom in a text, in one layer.
    ///
    /// # Errors
    /// 400 when the engine refuses the text or has no such layer, 429 and 503 as [`Self::submit`].
    pub async fn attend(&self, tokens: Vec<TokenId>, layer: usize) -> Result<Attended, Problem> {
        let _place = self.admit(1)?;
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
        // The thread may say so between the two looks.
        let heartbeat = self.shared.heartbeat.load(Ordering::Relaxed);
        let age = (self.shared.start.elapsed().as_millis() as u64).saturating_sub(heartbeat);
        self.shared.is_alive.load(Ordering::Relaxed)
            && !self.shared.is_draining.load(Ordering::Relaxed)
            && age < SILENCE.as_millis() as u64
    }

    /// What it counts.
    pub fn gauges(&self) -> &Gauges {
        &self.shared.gauges
    }
}

/// Answers that are in progress or wait, until they are dropped.
struct Place {
    shared: Arc<Shared>,
    n: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.n_in_flight.fetch_sub(self.n, Ordering::Relaxed);
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
    _place: Place,
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
        for choice in (0..self.is_open.len()).filter(|&choice| self.is_open[choice]) {
            self.record.left(choice, &self.shared.gauges);
        }
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

#[cfg(test)]
mod tests;
