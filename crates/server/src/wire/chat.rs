//! `POST /v1/chat/completions`.

use super::Texts;
use super::message::{Message, ResponseFormat, StreamOptions, StructuredOutputs, Tool, ToolChoice};
use super::output::{Head, Usage};
use crate::tools::Call;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Fields of the published interface that mean nothing here.
pub const WITHOUT_EFFECT: &[&str] = &[
    "audio",
    "function_call",
    "functions",
    "metadata",
    "modalities",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
    "web_search_options",
];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ChatRequest")]
pub struct Request {
    /// Which model; the first where none is named.
    pub model: Option<String>,
    /// The conversation so far.
    pub messages: Vec<Message>,
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
    /// Another name of `max_tokens`.
    pub max_completion_tokens: Option<u64>,
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
    /// Whether ln p of each token is told.
    pub logprobs: Option<bool>,
    /// Alternatives told of each token, 0 to 20; with `logprobs`.
    pub top_logprobs: Option<u64>,
    /// The same seed gives the same answer, alone or among others.
    pub seed: Option<i64>,
    /// The form of the answer: any text, JSON, or JSON of a schema.
    pub response_format: Option<ResponseFormat>,
    /// Another form of the answer, one of `json`, `regex`, `choice` and `grammar`. Beyond the published interface.
    pub structured_outputs: Option<StructuredOutputs>,
    /// Functions that may be called.
    pub tools: Option<Vec<Tool>>,
    /// Whether a function is to be called, and which.
    pub tool_choice: Option<ToolChoice>,
    /// Whether several functions may be called at once.
    pub parallel_tool_calls: Option<bool>,
}

/// One of the answers.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub text: String,
    pub calls: Vec<Call>,
    pub logprobs: Option<Vec<Value>>,
    pub finish_reason: &'static str,
}

/// The whole answer.
pub fn completion(head: &Head, choices: &[Choice], usage: &Usage) -> Value {
    let choices: Vec<Value> = choices.iter().enumerate().map(|(index, choice)| choice_value(index, choice)).collect();
    json!({
        "id": head.id, "object": "chat.completion", "created": head.created, "model": head.model,
        "choices": choices, "usage": usage.openai(), "system_fingerprint": head.fingerprint,
    })
}

fn choice_value(index: usize, choice: &Choice) -> Value {
    let is_silent = choice.text.is_empty() && !choice.calls.is_empty();
    let content = if is_silent { Value::Null } else { json!(choice.text) };
    let mut message = json!({ "role": "assistant", "content": content, "refusal": null, "annotations": [] });
    if !choice.calls.is_empty() {
        message["tool_calls"] = choice.calls.iter().map(call_value).collect();
    }
    json!({
        "index": index, "message": message, "logprobs": logprobs_value(choice.logprobs.as_deref()),
        "finish_reason": choice.finish_reason,
    })
}

fn call_value(call: &Call) -> Value {
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } })
}

fn logprobs_value(logprobs: Option<&[Value]>) -> Value {
    logprobs.map_or(Value::Null, |content| json!({ "content": content, "refusal": null }))
}

/// What a chunk adds.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    pub is_first: bool,
    pub text: String,
    /// Calls with their numbers.
    pub calls: Vec<(usize, Call)>,
    pub logprobs: Option<Vec<Value>>,
    pub finish_reason: Option<&'static str>,
}

/// A part of an answer. `announces_usage` is whether a chunk with the usage comes at the end.
pub fn chunk(head: &Head, index: usize, delta: &Delta, announces_usage: bool) -> Value {
    let mut value = if delta.is_first { json!({ "role": "assistant", "content": "" }) } else { json!({}) };
    if !delta.text.is_empty() {
        value["content"] = json!(delta.text);
    }
    if !delta.calls.is_empty() {
        let numbered = |(number, call): &(usize, Call)| {
            let mut value = call_value(call);
            value["index"] = json!(number);
            value
        };
        value["tool_calls"] = delta.calls.iter().map(numbered).collect();
    }
    let choice = json!({
        "index": index, "delta": value, "logprobs": logprobs_value(delta.logprobs.as_deref()),
        "finish_reason": delta.finish_reason,
    });
    let mut chunk = chunk_of(head, json!([choice]));
    if announces_usage {
        chunk["usage"] = Value::Null;
    }
    chunk
}

/// The last chunk of a stream that was asked for its usage.
pub fn usage_chunk(head: &Head, usage: &Usage) -> Value {
    let mut chunk = chunk_of(head, json!([]));
    chunk["usage"] = usage.openai();
    chunk
}

fn chunk_of(head: &Head, choices: Value) -> Value {
    json!({
        "id": head.id, "object": "chat.completion.chunk", "created": head.created, "model": head.model,
        "system_fingerprint": head.fingerprint, "choices": choices,
    })
}
