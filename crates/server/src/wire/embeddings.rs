//! `POST /v1/embeddings`.

use super::Prompts;
use crate::http::to_base64;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Fields of the published interface that mean nothing here.
pub const WITHOUT_EFFECT: &[&str] = &["user"];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EmbeddingsRequest")]
pub struct Request {
    /// Which model; the first where none is named.
    pub model: Option<String>,
    /// The texts, or their tokens.
    pub input: Prompts,
    /// How the numbers are written.
    pub encoding_format: Option<EncodingFormat>,
    /// The width of the vectors; only the model's own.
    pub dimensions: Option<u64>,
}

/// How the numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodingFormat {
    /// As a list.
    #[default]
    Float,
    /// As little-endian f32 in base64.
    Base64,
}

/// One vector for each text.
pub fn list(model: &str, vectors: &[Vec<f32>], format: EncodingFormat, n_tokens: usize) -> Value {
    let one = |(index, vector): (usize, &Vec<f32>)| {
        let numbers = match format {
            EncodingFormat::Float => json!(vector),
            EncodingFormat::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                json!(to_base64(&bytes))
            }
        };
        json!({ "object": "embedding", "index": index, "embedding": numbers })
    };
    let data: Vec<Value> = vectors.iter().enumerate().map(one).collect();
    json!({
        "object": "list", "data": data, "model": model,
        "usage": { "prompt_tokens": n_tokens, "total_tokens": n_tokens },
    })
}
