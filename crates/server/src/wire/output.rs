//! What answers of several interfaces have in common.

use crate::answer::Token;
use crate::identifier;
use crate::model::Served;
use genera_modality::Codebook;
use genera_tokens::TokenId;
use serde_json::{Value, json};

/// What stands at the head of every answer and chunk.
#[derive(Clone, Debug)]
pub struct Head {
    pub id: String,
    pub created: u64,
    pub model: String,
    /// Differs between models that may answer otherwise to the same seed.
    pub fingerprint: String,
}

impl Head {
    /// A new answer of a model, whose name begins with `prefix`.
    pub fn new(prefix: &str, model: &Served) -> Self {
        Self {
            id: identifier::new(prefix),
            created: identifier::now(),
            model: model.name.clone(),
            fingerprint: model.fingerprint.clone(),
        }
    }
}

/// Tokens of a request and its answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub n_prompt: usize,
    /// Those of the prompt that had been read before.
    pub n_cached: usize,
    pub n_completion: usize,
}

impl Usage {
    /// As completions have it.
    pub fn openai(&self) -> Value {
        json!({
            "prompt_tokens": self.n_prompt, "completion_tokens": self.n_completion,
            "total_tokens": self.n_prompt + self.n_completion,
            "prompt_tokens_details": { "cached_tokens": self.n_cached, "audio_tokens": 0 },
            "completion_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        })
    }
}

/// What chat answers say of a token, with the first `n_top` of the most probable ones in its place.
pub fn token_logprob(codebook: &Codebook, token: &Token, n_top: usize) -> Value {
    let mut value = one_logprob(codebook, token.id, token.logprob);
    value["top_logprobs"] = token.top.iter().take(n_top).map(|&(id, p)| one_logprob(codebook, id, p)).collect();
    value
}

fn one_logprob(codebook: &Codebook, id: TokenId, logprob: f32) -> Value {
    let bytes = codebook.token_content(id);
    // Special tokens stand for no text and go by their names.
    let text = if bytes.is_empty() { codebook.token_text(id) } else { String::from_utf8_lossy(&bytes).into_owned() };
    json!({ "token": text, "logprob": finite(logprob), "bytes": bytes })
}

/// JSON has no infinities; the interface writes −9999 for what is next to impossible.
pub fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}
