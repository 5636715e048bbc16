//! `POST /v1/genera/attention`: who attends to whom.

use crate::worker::Attended;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Fields of other routes that mean nothing here.
pub const WITHOUT_EFFECT: &[&str] = &[];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AttentionRequest")]
pub struct Request {
    /// Which model; the first where none is named.
    pub model: Option<String>,
    /// The text, of at most 64 tokens.
    pub text: String,
    /// Which layer, counted from 0.
    #[serde(default)]
    pub layer: u64,
}

/// The weights of one layer, each rounded to thousandths: more cannot be seen.
pub fn answer(tokens: &[String], attended: &Attended) -> Value {
    let rounded = |weight: &f32| (f64::from(*weight) * 1000.0).round() / 1000.0;
    let row = |row: &Vec<f32>| row.iter().map(rounded).collect::<Vec<f64>>();
    let heads: Vec<Vec<Vec<f64>>> = attended.weights.iter().map(|head| head.iter().map(row).collect()).collect();
    json!({
        "object": "attention", "tokens": tokens, "layer": attended.name, "n_layers": attended.n_layers, "heads": heads,
    })
}
