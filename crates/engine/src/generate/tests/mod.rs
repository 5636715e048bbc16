//! Laws of generation over small random models of every shape and position scheme.

mod beam;
mod dialogue;
mod generator;
pub(crate) mod models;
mod pages;
mod refusal;
mod sampler;
mod score;
