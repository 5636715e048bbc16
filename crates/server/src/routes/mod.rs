//! The table of contents of the interface: one file a route.

mod attention;
mod chat;
mod completions;
mod description;
mod embeddings;
mod generate;
mod job;
mod messages;
mod models;
mod page;
mod responses;
mod runs;

pub use description::{ALL as ROUTES, Asks, Route};

use crate::http::{Body, Room, json_status, with_type};
use crate::metrics::Page;
use crate::openapi;
use crate::problem::Problem;
use crate::state::State;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use job::create;
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
        (&Method::POST, "/v1/chat/completions") => create::<chat::Chat>(request, state, room).await,
        (&Method::POST, "/v1/completions") => create::<completions::Completions>(request, state, room).await,
        (&Method::POST, "/v1/embeddings") => embeddings::create(request, state, room).await,
        (&Method::POST, "/v1/messages") => create::<messages::Messages>(request, state, room).await,
        (&Method::POST, "/v1/responses") => create::<responses::Responses>(request, state, room).await,
        (&Method::POST, "/v1/generate") => create::<generate::Generate>(request, state, room).await,
        (&Method::GET, "/openapi.json") => Ok(json_status(StatusCode::OK, &openapi::document())),
        (&Method::GET, "/v1/genera/models") => models::facts(state),
        (&Method::POST, "/v1/genera/attention") => attention::create(request, state, room).await,
        (&Method::GET, "/v1/genera/runs") => runs::list(state).await,
        (&Method::GET, path) if path.starts_with("/v1/genera/runs/") => {
            runs::one(state, &path["/v1/genera/runs/".len()..], request.uri().query()).await
        }
        (&Method::GET, "/metrics") => Ok(metrics(state)),
        (&Method::GET, path) if page::file(path).is_some() => {
            page::file(path).ok_or_else(|| no_route(&Method::GET, path))
        }
        (method, path) => Err(no_route(method, path)),
    }
}

fn no_route(method: &Method, path: &str) -> Problem {
    if let Some(Route { method: other, .. }) = ROUTES.iter().find(|route| route.path == path) {
        let message = format!("{path} is asked with {other}, not with {method}");
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
    }
    let message = "there is no such route; /openapi.json lists those that there are";
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
