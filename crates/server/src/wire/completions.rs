//! `POST /v1/completions`.

use super::message::{ResponseFormat, StreamOptions, StructuredOutputs};
use super::output::{Head, finite};
use super::{Prompts, Texts};
use crate::answer::Token;
use genera_modality::Codebook;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Fields of the published interface that mean nothing here.
pub const WITHOUT_EFFECT: &[&str] = &["best_of", "suffix", "user"];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CompletionsRequest")]
pub struct Request {
    /// Which model; the first where none is named.
    pub model: Option<String>,
    /// What to go on with: a text, texts, or their tokens.
    pub prompt: Prompts,
    /// Whether the answer begins with the prompt.
    pub echo: Option<bool>,
    /// How far to stray from the most probable token, 0 to 2; 0 always takes it.
    pub temperature: Option<f64>,
    /// Choose among the most probable tokens that together have this probability, 0 to 1.
    pub top_p: Option<f64>,
    /// Choose among so many of the most probable tokens; 0 for all. Beyond the published interface.
    pub top_k: Option<i64>,
    /// Choose among tokens at least so many times as probable as the most probable one. Beyond the published interface.
    pub min_p: Option<f64>,
    /// How many answers to each prompt, 1 to 128.
    pub n: Option<u64>,
    /// Whether the answer is sent while it is made.
    pub stream: Option<bool>,
    /// How a stream is written.
    pub stream_options: Option<StreamOptions>,
    /// Texts that end an answer, at most 16.
    pub stop: Option<Texts>,
    /// Tokens of an answer at most.
    pub max_tokens: Option<u64>,
    /// Tokens of an answer at least. Beyond the published interface.
    pub min_tokens: Option<u64>,
    /// No run of so many tokens comes twice in the text; 0 for no such rule. Beyond the published interface.
    pub no_repeat_ngram_size: Option<u64>,
    /// Subtracted from the logit of every token generated before, −2 to 2.
    pub presence_penalty: Option<f64>,
    /// Subtracted from a token's logit for each time it was generated before, −2 to 2.
    pub frequency_penalty: Option<f64>,
    /// Divides the logits of tokens that stand in the text already; 1 changes nothing. Beyond the published interface.
    pub repetition_penalty: Option<f64>,
    /// Added to the logits of tokens, by their ids, −100 to 100.
    pub logit_bias: Option<BTreeMap<String, f64>>,
    /// Alternatives of which ln p is told, with that of each token, 0 to 5.
    pub logprobs: Option<u64>,
    /// The same seed gives the same answer, alone or among others.
    pub seed: Option<i64>,
    /// The form of the answer: any text, JSON, or JSON of a schema.
    pub response_format: Option<ResponseFormat>,
    /// Another form of the answer, one of `json`, `regex`, `choice` and `grammar`. Beyond the published interface.
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
