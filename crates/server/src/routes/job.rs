//! What all routes that make answers have in common: read what is asked, prepare it, ask the worker, write what it says.

use super::aside;
use crate::http::{Body, Ended, Events, Room, json, read_json, stream};
use crate::model::Served;
use crate::problem::Problem;
use crate::state::{State, unless_closing};
use crate::wire::output::Head;
use crate::wire::parse;
use crate::worker::Answers;
use genera_engine::generate;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;

/// What is to be done once the worker has taken the requests of one interface.
pub trait Job: Sized + Send + Sync + 'static {
    /// What clients write.
    type Asked: DeserializeOwned;
    /// Fields of the published interface that mean nothing here.
    const WITHOUT_EFFECT: &'static [&'static str];
    /// What the names of answers begin with.
    const PREFIX: &'static str;

    /// Checks what is asked and makes requests of it.
    ///
    /// # Errors
    /// 400 and 404, naming the field.
    fn prepare(asked: Self::Asked, state: &State) -> Result<(Self, Vec<generate::Request>), Problem>;

    /// The model that answers.
    fn model(&self) -> &Arc<Served>;

    /// Whether the answer is written while it is made.
    fn is_stream(&self) -> bool;

    /// The whole answer.
    fn whole(&self, answers: Answers, head: &Head) -> impl Future<Output = Result<Value, Problem>> + Send;

    /// Writes the answer while it is made.
    fn write(&self, answers: Answers, head: &Head, events: Events) -> impl Future<Output = Result<(), Ended>> + Send;

    /// What a stream ends with in which something failed.
    fn last_word(problem: &Problem) -> String {
        format!("data: {}\n\ndata: [DONE]\n\n", problem.body())
    }
}

/// Answers a request by the interface of `J`.
///
/// # Errors
/// What is wrong with it; 429 and 503 when it cannot be met now.
pub async fn create<J: Job>(
    request: Request<Incoming>,
    state: &Arc<State>,
    room: &Room,
) -> Result<Response<Body>, Problem> {
    let input = read_json(request, room).await?;
    let of_task = state.clone();
    let prepare = move || J::prepare(parse(&input.bytes, J::WITHOUT_EFFECT)?, &of_task);
    let (job, requests) = aside(prepare).await?;
    // Before a stream begins, so that a refusal has its status.
    let answers = job.model().worker.submit(requests)?;
    let head = Head::new(J::PREFIX, job.model());
    if !job.is_stream() {
        return Ok(json(&unless_closing(&state.stage, job.whole(answers, &head)).await?));
    }
    let make = |events| async move { job.write(answers, &head, events).await };
    Ok(stream(state.stage.clone(), make, J::last_word))
}
