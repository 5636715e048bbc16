//! What a request may ask for at most: everything is bounded here before the worker sees it.

use crate::problem::Problem;
use std::time::Duration;

/// Connections at once; others wait to be accepted.
pub const N_CONNECTIONS: usize = 4096;
/// Bytes of a request's head.
pub const HEAD_BYTES: usize = 32 << 10;
/// Bytes of a request's body.
pub const BODY_BYTES: usize = 4 << 20;
/// Bytes of all bodies that are being read or worked on.
pub const ALL_BODIES_BYTES: usize = 128 << 20;
/// Time for a request's head, and for the next request on an open connection.
pub const HEAD_TIME: Duration = Duration::from_secs(15);
/// Time for a request's body.
pub const BODY_TIME: Duration = Duration::from_secs(20);
/// Time without a byte of the answer taken, after which a client counts as gone.
pub const WRITE_TIME: Duration = Duration::from_secs(30);
/// Time between comments that keep a quiet stream open.
pub const COMMENT_TIME: Duration = Duration::from_secs(15);
/// Parts of an answer that a stream may lag behind the model before its client counts as gone.
pub const N_BEHIND: usize = 2048;

/// Messages of a conversation.
pub const N_MESSAGES: usize = 4096;
/// Prompts of one request.
pub const N_PROMPTS: usize = 64;
/// Answers to one request.
pub const N_ANSWERS: usize = 128;
/// Texts of one request for vectors.
pub const N_TEXTS: usize = 2048;
/// Stop strings.
pub const N_STOPS: usize = 16;
/// Bytes of a stop string.
pub const STOP_BYTES: usize = 1024;
/// Alternatives to a token.
pub const N_TOP_LOGPROBS: usize = 20;
/// Tokens with a bias.
pub const N_BIASES: usize = 4096;
/// Notes of a client with a request.
pub const N_NOTES: usize = 16;
/// Bytes of a note, or of its name.
pub const NOTE_BYTES: usize = 512;
/// Tools.
pub const N_TOOLS: usize = 128;
/// Bytes of a JSON schema, a grammar or a regular expression.
pub const SCHEMA_BYTES: usize = 128 << 10;
/// Levels within each other of a JSON schema.
pub const SCHEMA_DEPTH: usize = 48;

/// Tokens of a text whose attention is drawn: more could not be read.
pub const N_DRAWN_TOKENS: usize = 64;
/// Runs that are listed.
pub const N_RUNS: usize = 500;
/// Samples of a run that are shown.
pub const N_SAMPLES: usize = 50;
/// Bytes of a sample that are shown.
pub const SAMPLE_BYTES: u64 = 32 << 10;
/// Bytes of a recipe that are shown.
pub const RECIPE_BYTES: u64 = 256 << 10;
/// Bytes of a log that are read at a time.
pub const LOG_PART_BYTES: u64 = 1 << 20;

/// Refuses a list that is too long.
///
/// # Errors
/// 400, with both numbers.
pub fn at_most(param: &str, n: usize, most: usize, what: &str) -> Result<(), Problem> {
    if n <= most {
        return Ok(());
    }
    Err(Problem::invalid(param, format!("`{param}` has {n} {what}; at most {most} are taken")))
}

/// A number in its range, as the engine takes it.
///
/// # Errors
/// 400, with the range.
pub fn in_range(param: &str, value: f64, least: f64, most: f64) -> Result<f32, Problem> {
    // A NaN lies in no range.
    if (least..=most).contains(&value) {
        return Ok(value as f32);
    }
    Err(Problem::invalid(param, format!("`{param}` is {value}; it must be from {least} to {most}")))
}

/// A whole number in its range.
///
/// # Errors
/// 400, with the range.
pub fn whole_in_range(param: &str, value: u64, least: u64, most: u64) -> Result<usize, Problem> {
    if (least..=most).contains(&value) {
        return Ok(value as usize);
    }
    Err(Problem::invalid(param, format!("`{param}` is {value}; it must be from {least} to {most}")))
}

/// Stop strings that end something and are not too many.
///
/// # Errors
/// 400.
pub fn stops(param: &str, stops: &[String]) -> Result<(), Problem> {
    at_most(param, stops.len(), N_STOPS, "texts")?;
    if stops.iter().any(String::is_empty) {
        return Err(Problem::invalid(param, format!("`{param}` holds an empty text, which would end every answer")));
    }
    let longest = stops.iter().map(String::len).max().unwrap_or(0);
    at_most(param, longest, STOP_BYTES, "bytes in one text")
}
