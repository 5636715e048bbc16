//! What is asked of a model as JSON: what a form asks a person for, and what a program sends.

use genera_data::{Error, Result};
use genera_engine::generate::{Constraint, Guidance};
use genera_tokens::TokenId;
use serde_json::{Map, Value, json};

/// What a model is to go on from, and what it may make of it.
pub struct Input {
    /// The prompt; for a model of pairs what its encoder reads.
    pub prompt: Vec<TokenId>,
    /// What of the prompt is a part of what is made.
    pub given: Vec<TokenId>,
    /// What is led away from, where something is asked for that can be asked for more decidedly.
    pub guidance: Option<Guidance>,
    /// What may come next; one for each answer.
    pub constraint: Option<Box<dyn Fn() -> Box<dyn Constraint> + Send + Sync>>,
}

/// The schema of an input that is a text alone.
pub(crate) fn of_text(title: &str, about: &str, is_required: bool) -> Value {
    let prompt = json!({ "type": "string", "title": title, "description": about, "x-multiline": true });
    let required: &[&str] = if is_required { &["prompt"] } else { &[] };
    json!({
        "type": "object", "properties": { "prompt": prompt }, "required": required, "additionalProperties": false,
    })
}

/// The text of an input that is a text alone.
///
/// # Errors
/// When there are other fields, or the text is none.
pub(crate) fn text_of(input: &Map<String, Value>) -> Result<&str> {
    only(input, &["prompt"])?;
    match input.get("prompt") {
        None => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong(format!("prompt is {}; expected a text", kind_of(other)))),
    }
}

/// Refuses fields that are not `known`.
///
/// # Errors
/// When there is one; the known ones are listed.
pub(crate) fn only(input: &Map<String, Value>, known: &[&str]) -> Result<()> {
    match input.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(wrong(format!("there is no field {:?}; there is {}", short(name), known.join(", ")))),
    }
}

/// An input that is not as the schema says.
pub(crate) fn wrong(problem: impl Into<String>) -> Error {
    Error::Settings { problem: problem.into() }
}

/// What a value is, for messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The beginning of a name that somebody sent.
pub(crate) fn short(name: &str) -> String {
    name.chars().take(60).collect()
}
