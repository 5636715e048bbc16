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
mod settings;
mod state;
mod tools;
mod wire;
mod worker;

pub use http::{bind, serve};
pub use model::Model;
pub use openapi::reference;
pub use settings::{Error, Settings};
