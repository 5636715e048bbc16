//! Server-sent events: an answer that a client sees while it is made.

use super::body::Body;
use crate::limits::COMMENT_TIME;
use crate::problem::Problem;
use crate::state::{Stage, closing};
use bytes::Bytes;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use std::future::Future;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Events that wait for the connection to take them; the task that makes them waits then, too.
const N_EVENTS: usize = 16;

/// Where events go.
pub struct Events {
    to: mpsc::Sender<Bytes>,
    stage: watch::Receiver<Stage>,
    /// When the last bytes were sent.
    sent: Instant,
}

/// Why no more events come.
pub enum Ended {
    /// The client is gone: nobody reads any more.
    Gone,
    /// Something failed, of which the client is to learn.
    Problem(Problem),
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Ended::Problem(problem)
    }
}

/// An answer whose events `make` sends. What fails on the way becomes the event that `last_word` makes of it.
pub fn stream<F>(
    stage: watch::Receiver<Stage>,
    make: impl FnOnce(Events) -> F,
    last_word: impl Fn(&Problem) -> String + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = Result<(), Ended>> + Send + 'static,
{
    let (to, from) = mpsc::channel(N_EVENTS);
    let events = Events { to: to.clone(), stage, sent: Instant::now() };
    let made = make(events);
    tokio::spawn(async move {
        // In a task of its own, a panic ends this stream alone.
        let ended = tokio::spawn(made).await;
        let problem = match ended {
            Ok(Ok(()) | Err(Ended::Gone)) => return,
            Ok(Err(Ended::Problem(problem))) => problem,
            Err(_) => Problem::internal("the server failed while it answered; its log says where"),
        };
        // A client that is gone needs no last word.
        let _ = to.send(last_word(&problem).into()).await;
    });
    let mut response = Response::new(Body::Parts(from));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies such as nginx would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Events {
    /// Sends an event without a name.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn send(&mut self, data: &Value) -> Result<(), Ended> {
        self.send_raw(format!("data: {data}\n\n")).await
    }

    /// Sends an event with a name.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn send_named(&mut self, name: &str, data: &Value) -> Result<(), Ended> {
        self.send_raw(format!("event: {name}\ndata: {data}\n\n")).await
    }

    /// Sends the word that ends streams of the OpenAI interface.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn send_done(&mut self) -> Result<(), Ended> {
        self.send_raw("data: [DONE]\n\n".to_owned()).await
    }

    async fn send_raw(&mut self, text: String) -> Result<(), Ended> {
        self.sent = Instant::now();
        self.to.send(text.into()).await.map_err(|_| Ended::Gone)
    }

    /// Waits for something, but not for longer than the client and the server are there. A quiet stream is kept open by
    /// comments, which every client skips.
    ///
    /// # Errors
    /// When the client is gone, or the server ends.
    pub async fn wait<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return Ok(done),
                () = self.to.closed() => return Err(Ended::Gone),
                () = closing(&mut self.stage) => return Err(Problem::shutting_down().into()),
                () = tokio::time::sleep_until(self.sent + COMMENT_TIME) => self.send_raw(": still at it\n\n".to_owned()).await?,
            }
        }
    }
}
