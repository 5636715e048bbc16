//! What the thread does: a loop over events, and a step of the generator at a time.

use super::{Attended, Event, HEARTBEAT, Said, Shared, Ticket};
use genera_engine::generate::{self, Generator, Limits, Request, RequestId, attend, embed};
use genera_engine::model::Transformer;
use genera_tokens::TokenId;
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc as channel, oneshot};

/// What the thread works with.
pub(super) struct Loop<'m> {
    model: &'m Transformer,
    limits: Limits,
    generator: Generator<'m>,
    /// Where each answer's tokens go.
    answers: HashMap<RequestId, Answer>,
    tickets: HashMap<Ticket, Vec<RequestId>>,
    embeddings: VecDeque<Embedding>,
    shared: &'m Shared,
    /// When it was told last how full the cache is.
    cache_told: Instant,
}

/// How often that is told while answers are made.
const BETWEEN: Duration = Duration::from_millis(100);

struct Answer {
    ticket: Ticket,
    choice: usize,
    to: channel::Sender<Said>,
}

/// Texts of which vectors are made.
struct Embedding {
    texts: std::vec::IntoIter<Vec<TokenId>>,
    vectors: Vec<Vec<f32>>,
    to: oneshot::Sender<Result<Vec<Vec<f32>>, String>>,
}

impl<'m> Loop<'m> {
    pub(super) fn new(model: &'m Transformer, limits: Limits, shared: &'m Shared) -> Self {
        let (answers, tickets, embeddings) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self {
            model,
            limits,
            generator: Generator::new(model, limits),
            answers,
            tickets,
            embeddings,
            shared,
            cache_told: Instant::now(),
        }
    }

    /// Goes on until every handle is gone, whatever panics on the way.
    pub(super) fn run(&mut self, inbox: &mpsc::Receiver<Event>) {
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
        if self.generator.is_idle() && self.embeddings.is_empty() {
            self.tell_cache();
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
            if self.cache_told.elapsed() >= BETWEEN {
                self.tell_cache();
            }
            self.generator.step().into_iter().for_each(|event| self.tell(event));
        }
        self.embed_one();
        ControlFlow::Continue(())
    }

    fn tell_state(&self) {
        self.shared.heartbeat.store(self.shared.start.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.shared.gauges.set_state(self.generator.n_running(), self.generator.n_waiting());
    }

    /// Tells how full the cache is, which takes a look at every page.
    fn tell_cache(&mut self) {
        let share = self.generator.n_pages_of_requests() as f64 / self.limits.n_pages as f64;
        self.shared.gauges.set_cache(share, self.generator.n_reused());
        self.cache_told = Instant::now();
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Submit { ticket, requests, to } => self.submit(ticket, requests, &to),
            Event::Cancel(ticket) => self.cancel(ticket),
            Event::End { ticket, choice } => self.end(ticket, choice),
            Event::Embed { texts, to } => {
                self.embeddings.push_back(Embedding { texts: texts.into_iter(), vectors: Vec::new(), to });
            }
            Event::Attend { to, .. } if to.is_closed() => {}
            Event::Attend { tokens, layer, to } => {
                if let Ok(attended) = catch_unwind(AssertUnwindSafe(|| attended(self.model, &tokens, layer))) {
                    let _ = to.send(attended);
                }
            }
        }
    }

    /// Makes the vector of one text; those who wait for several take turns.
    fn embed_one(&mut self) {
        let Some(mut next) = self.embeddings.pop_front() else { return };
        if next.to.is_closed() {
            return;
        }
        let Some(text) = next.texts.next() else {
            let _ = next.to.send(Ok(next.vectors));
            return;
        };
        // A panic drops `to`, which is how the other side learns of it.
        match catch_unwind(AssertUnwindSafe(|| embed(self.model, &text))) {
            Ok(Ok(vector)) => {
                next.vectors.push(vector);
                self.embeddings.push_back(next);
            }
            Ok(Err(error)) => drop(next.to.send(Err(error.to_string()))),
            Err(_) => {}
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
