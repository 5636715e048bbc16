//! `POST /v1/completions`.

use super::message::{ResponseFormat, StreamOptions, StructuredOutputs};
use super::output::{Head, finite};
use super::{Prompts, Texts};
use crate::answer::Token;
use genera_modality::Codebook;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Fields of the published interface that mean nothing here.
pub const WITHOUT_EFFECT: &[&str] = &["best_of", "suffix", "user"];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub model: Option<String>,
    pub prompt: Prompts,
    pub echo: Option<bool>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<i64>,
    pub min_p: Option<f64>,
    pub n: Option<u64>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    pub stop: Option<Texts>,
    pub max_tokens: Option<u64>,
    pub min_tokens: Option<u64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub repetition_penalty: Option<f64>,
    pub logit_bias: Option<BTreeMap<String, f64>>,
    pub logprobs: Option<u64>,
    pub seed: Option<i64>,
    pub response_format: Option<ResponseFormat>,
    pub structured_outputs: Option<StructuredOutputs>,
}

/// A part of an answer, or all of it.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub text: String,
    pub logprobs: Option<Logprobs>,
    pub finish_reason: Option<&'static str>,
}

/// Answers, or a chunk of one, which has the same form. `usage` is null in chunks before the one that has it.
pub fn completion(head: &Head, choices: &[(usize, Choice)], usage: Option<Value>) -> Value {
    let choice = |(index, choice): &(usize, Choice)| {
        json!({
            "index": index, "text": choice.text, "finish_reason": choice.finish_reason,
            "logprobs": choice.logprobs.as_ref().map_or(Value::Null, Logprobs::to_value),
        })
    };
    let choices: Vec<Value> = choices.iter().map(choice).collect();
    let mut value = json!({
        "id": head.id, "object": "text_completion", "created": head.created, "model": head.model,
        "choices": choices, "system_fingerprint": head.fingerprint,
    });
    if let Some(usage) = usage {
        value["usage"] = usage;
    }
    value
}

/// What this interface says of tokens.
#[derive(Clone, Debug, Default)]
pub struct Logprobs {
    tokens: Vec<String>,
    logprobs: Vec<f32>,
    top: Vec<Map<String, Value>>,
    offsets: Vec<usize>,
}

impl Logprobs {
    /// Adds tokens, with the first `n_top` of the most probable ones in the place of each. `offset` is the place of the next
    /// token in the text, in characters.
    pub fn add(&mut self, codebook: &Codebook, tokens: &[Token], n_top: usize, offset: &mut usize) {
        let text = |id| String::from_utf8_lossy(&codebook.token_content(id)).into_owned();
        for token in tokens {
            let mut top = Map::new();
            for &(id, logprob) in token.top.iter().take(n_top) {
                // Two tokens may read alike; the more probable one stays.
                top.entry(text(id)).or_insert(json!(finite(logprob)));
            }
            let own = text(token.id);
            self.offsets.push(*offset);
            *offset += own.chars().count();
            self.tokens.push(own);
            self.logprobs.push(finite(token.logprob));
            self.top.push(top);
        }
    }

    fn to_value(&self) -> Value {
        json!({
            "tokens": self.tokens, "token_logprobs": self.logprobs, "top_logprobs": self.top, "text_offset": self.offsets,
        })
    }
}
