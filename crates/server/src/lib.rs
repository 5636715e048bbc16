//! Serves models over HTTP: the OpenAI interface and its relatives, many users at once, and a web page.
//!
//! A request walks `http` (connection, bounds, who may ask) → `routes` (one file each) → `wire` (what clients write; serde
//! stands only there) → `convert` and `prompt` (to what the engine takes) → `worker`, the one thread that owns the model and
//! runs a loop over a closed list of events → `answer` (tokens back to text) → `routes` again. Start with [`serve`], then
//! read `worker.rs`.
//!
//! # What is never done
//! A field without effect is refused, not ignored. What clients send never reaches a log. Nothing waits for a slow client
//! but that client's own stream.

mod answer;
mod constraint;
mod convert;
mod http;
mod identifier;
mod limits;
mod metrics;
mod model;
mod openapi;
mod problem;
mod prompt;
mod routes;
mod runs;
mod settings;
mod state;
mod tools;
mod wire;
mod worker;

pub use http::{bind, serve};
pub use model::Model;
pub use openapi::reference;
pub use settings::{Error, Settings};

/// Whether the body of a request to a route such as `/v1/responses` can be read, without any model.
///
/// # Errors
/// What is wrong with it, or that there is no such route.
pub fn check_body(path: &str, body: &[u8]) -> Result<(), String> {
    let route = routes::ROUTES.iter().find(|route| route.path == path);
    let asks = route.and_then(|route| route.asks.as_ref()).ok_or_else(|| format!("{path} reads nothing"))?;
    (asks.read)(body, asks.without_effect).map_err(|problem| problem.message)
}

/// The paths of the routes that read something.
pub fn paths() -> impl Iterator<Item = &'static str> {
    routes::ROUTES.iter().filter(|route| route.asks.is_some()).map(|route| route.path)
}
