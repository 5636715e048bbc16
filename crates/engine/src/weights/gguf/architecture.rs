//! What a GGUF file says of its architecture, in the words of a `config.json`: the families that read those then read
//! these, and no architecture is described twice.

use super::header::Sound;
use super::metadata::Metadata;
use super::reader::Reader;
use crate::error::{Error, Result};
use serde_json::{Map, Value as Json, json};

/// Architectures by their names in GGUF and in `config.json`.
const NAMES: [(&str, &str); 3] = [("llama", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3")];

/// Keys after the architecture's name, and what they are called in `config.json`.
const SIZES: [(&str, &str); 7] = [
    ("embedding_length", "hidden_size"),
    ("block_count", "num_hidden_layers"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("context_length", "max_position_embeddings"),
    ("attention.key_length", "head_dim"),
    ("attention.head_count_kv", "num_key_value_heads"),
];

/// Factors on the wavelengths of rotary positions, in a tensor beside the weights.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The file's `config.json`.
///
/// # Errors
/// When a value is missing, of another type or not supported, or when the file cannot be read.
pub(super) fn config_json(reader: &mut Reader) -> Result<Map<String, Json>> {
    let factors = if reader.find(ROPE_FACTORS).is_some() { Some(reader.read(ROPE_FACTORS)?) } else { None };
    of_metadata(reader, factors).map_err(|message| Error::file(reader.path(), message))
}

fn of_metadata(reader: &Reader, factors: Option<Vec<f32>>) -> Sound<Map<String, Json>> {
    let metadata = Metadata(reader.metadata());
    let name = metadata.text("general.architecture")?.ok_or("it does not name its architecture")?;
    let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    let (_, model_type) = NAMES.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        format!("its architecture is '{name}', which is not read from GGUF files; known are {}", known.join(", "))
    })?;
    let key = |key: &str| format!("{name}.{key}");
    let mut map = Map::new();
    let mut insert = |key: &str, value: Json| drop(map.insert(key.to_owned(), value));
    insert("model_type", json!(model_type));
    for (gguf, published) in SIZES {
        match metadata.whole(&key(gguf))? {
            Some(value) => insert(published, json!(value)),
            None if matches!(gguf, "attention.key_length" | "attention.head_count_kv") => {}
            None => return Err(format!("it has no '{}'", key(gguf))),
        }
    }
    if metadata.whole(&key("attention.head_count_kv"))?.is_none() {
        insert("num_key_value_heads", json!(metadata.whole(&key("attention.head_count"))?));
    }
    let eps = metadata.number(&key("attention.layer_norm_rms_epsilon"))?;
    insert("rms_norm_eps", json!(eps.map(|eps| (eps as f32).to_string().parse::<f64>().unwrap_or(eps))));
    insert("rope_theta", json!(metadata.number(&key("rope.freq_base"))?.unwrap_or(10_000.0)));
    insert("tie_word_embeddings", json!(reader.find("output.weight").is_none()));
    insert("attention_bias", json!(reader.find("blk.0.attn_q.bias").is_some()));
    let embedding = reader.find("token_embd.weight").ok_or("it has no tensor 'token_embd.weight'")?;
    insert("vocab_size", json!(embedding.shape[0]));
    let scaling = metadata.text(&key("rope.scaling.type"))?.unwrap_or("none");
    if let Some(factors) = factors {
        // Factors of long rotary positions, but that the scores stay as they are.
        insert(
            "rope_scaling",
            json!({ "rope_type": "longrope", "short_factor": factors, "long_factor": factors, "attention_factor": 1.0 }),
        );
    } else if scaling != "none" {
        insert(
            "rope_scaling",
            json!({
                "rope_type": scaling,
                "factor": metadata.number(&key("rope.scaling.factor"))?,
                "original_max_position_embeddings": metadata.whole(&key("rope.scaling.original_context_length"))?,
            }),
        );
    }
    for (gguf, published) in [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id")] {
        insert(published, json!(metadata.id(&format!("tokenizer.ggml.{gguf}_token_id"))?));
    }
    Ok(map)
}
