//! The table of contents of the interface: one file a route.

mod chat;
mod completions;
mod embeddings;
mod messages;
mod models;
mod page;

use crate::http::{Body, Room, json_status, with_type};
use crate::metrics::Page;
use crate::problem::Problem;
use crate::state::State;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use std::sync::Arc;

/// The routes that anybody may ask, whatever they know.
pub fn health(method: &Method, path: &str, state: &State) -> Option<Response<Body>> {
    let (is_well, word) = match (method, path) {
        (&Method::GET, "/health/live") => (true, "alive"),
        (&Method::GET, "/health/ready" | "/health") => {
            let is_ready = state.is_ready();
            (is_ready, if is_ready { "ready" } else { "not ready" })
        }
        _ => return None,
    };
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Some(json_status(status, &json!({ "status": word })))
}

/// Answers a request of somebody who may ask.
///
/// # Errors
/// What the route cannot do; 404 and 405 where there is none.
pub async fn answer(request: Request<Incoming>, state: &Arc<State>, room: &Room) -> Result<Response<Body>, Problem> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/v1/models") => Ok(models::list(state)),
        (&Method::GET, path) if path.starts_with("/v1/models/") => models::one(state, &path["/v1/models/".len()..]),
        (&Method::POST, "/v1/chat/completions") => chat::create(request, state, room).await,
        (&Method::POST, "/v1/completions") => completions::create(request, state, room).await,
        (&Method::POST, "/v1/embeddings") => embeddings::create(request, state, room).await,
        (&Method::POST, "/v1/messages") => messages::create(request, state, room).await,
        (&Method::GET, "/v1/genera/models") => models::facts(state),
        (&Method::GET, "/metrics") => Ok(metrics(state)),
        (&Method::GET, path) if page::file(path).is_some() => {
            page::file(path).ok_or_else(|| no_route(&Method::GET, path))
        }
        (method, path) => Err(no_route(method, path)),
    }
}

const POSTS: &[&str] = &["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages"];
const GETS: &[&str] = &["/v1/models", "/v1/genera/models", "/metrics", "/health", "/health/live", "/health/ready"];

fn no_route(method: &Method, path: &str) -> Problem {
    let other = if POSTS.contains(&path) { Some("POST") } else { GETS.contains(&path).then_some("GET") };
    if let Some(other) = other {
        let message = format!("{path} is asked with {other}, not with {method}");
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
    }
    let message = "there is no such route; `genera serve --help` lists those that there are";
    Problem::new(StatusCode::NOT_FOUND, "unknown_url", message)
}

fn metrics(state: &State) -> Response<Body> {
    let mut page = Page::default();
    state.models.iter().for_each(|model| model.worker.gauges().write(&model.name, &mut page));
    with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page.into_text())
}

/// Does what takes time beside the connections.
///
/// # Errors
/// Those of `work`; 500 when it panics.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Problem::internal("the server failed; its log says where")))
}
