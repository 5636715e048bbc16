//! One file per command: its arguments, and what it does with them.

pub mod bench;
pub mod chat;
pub mod check;
pub mod evaluate;
pub mod export;
pub mod generate;
pub mod inspect;
pub mod logits;
pub mod optimize;
pub mod pull;
pub mod quantize;
pub mod quickstart;
pub mod reference;
pub mod replay;
pub mod report;
pub mod resume;
mod sampling;
pub mod score;
pub mod serve;
pub mod train;

pub use crate::Common;
