//! `POST /v1/generate`: whatever a model makes, as typed items.

use super::output::{Head, Usage};
use genera_modality::{Artifact, Preview};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Fields that other routes have and this one has not.
pub const WITHOUT_EFFECT: &[&str] = &["messages", "prompt", "stop", "user"];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GenerateRequest")]
pub struct Request {
    /// Which model; the first where none is named.
    pub model: Option<String>,
    /// What is asked of its kind of data; `GET /v1/genera/models` gives the JSON Schema of each model's input.
    #[serde(default)]
    pub input: Map<String, Value>,
    /// How many items, 1 to 128.
    pub n: Option<u64>,
    /// The same seed gives the same items; drawn, and told in the answer, where there is none.
    pub seed: Option<u64>,
    /// Tokens of an item at most; only for kinds of data whose items do not end by their form.
    pub max_tokens: Option<u64>,
    /// How far to stray from the most probable token, 0 to 2; 0 always takes it.
    pub temperature: Option<f64>,
    /// Choose among the most probable tokens that together have this probability, 0 to 1.
    pub top_p: Option<f64>,
    /// Choose among so many of the most probable tokens; 0 for all.
    pub top_k: Option<i64>,
    /// Choose among tokens at least so many times as probable as the most probable one, 0 to 1.
    pub min_p: Option<f64>,
    /// Divides the logits of tokens that stand in the text already; 1 changes nothing.
    pub repetition_penalty: Option<f64>,
    /// Whether items are sent as they are made.
    pub stream: Option<bool>,
}

/// Something that was made.
pub struct Item {
    pub index: usize,
    pub artifact: Artifact,
    /// Its parts, where it has parts.
    pub value: Option<Value>,
    pub preview: Preview,
    pub finish_reason: &'static str,
}

impl Item {
    /// As JSON: its text, its parts, and how to show it.
    pub fn to_value(&self) -> Value {
        let (kind, preview) = match &self.preview {
            Preview::Text(text) => ("text", text),
            Preview::Svg(picture) => ("svg", picture),
        };
        json!({
            "index": self.index, "media_type": self.artifact.media_type, "text": self.artifact.as_text(), "value": self.value,
            "preview": { "type": kind, "text": preview }, "finish_reason": self.finish_reason,
        })
    }
}

/// The whole answer; in a stream its end, without items.
pub fn generation(head: &Head, kind: &str, seed: u64, items: &[Item], usage: &Usage) -> Value {
    let items: Vec<Value> = items.iter().map(Item::to_value).collect();
    json!({
        "id": head.id, "object": "generation", "created": head.created, "model": head.model, "kind": kind, "seed": seed,
        "items": items, "usage": usage.openai(), "system_fingerprint": head.fingerprint,
    })
}

/// A part of a stream: text of an item under way.
pub fn delta(head: &Head, index: usize, text: &str) -> Value {
    json!({ "id": head.id, "object": "generation.delta", "index": index, "text": text })
}

/// A part of a stream: an item, complete.
pub fn item(head: &Head, seed: u64, item: &Item) -> Value {
    json!({ "id": head.id, "object": "generation.item", "seed": seed, "item": item.to_value() })
}
