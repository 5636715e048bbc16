//! What a GGUF file says of its architecture, in the words of a `config.json`: the families that read those then read
//! these, and no architecture is described twice.

use super::header::{Sound, Value};
use super::metadata::Metadata;
use super::reader::Reader;
use crate::config::{ModelConfig, Position, Rotary, RotaryScaling};
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

/// The architecture of llama.cpp that a published family is.
///
/// # Errors
/// [`Error::Config`] when it has none here, or none with these positions.
pub(super) fn dialect(model_type: &str, config: &ModelConfig) -> Result<&'static str> {
    let has_window = config.last_stack().attention.window.is_some();
    // Without its window a Mistral is a Llama.
    let model_type = if model_type == "mistral" && !has_window { "llama" } else { model_type };
    let found = NAMES.iter().find(|(_, published)| *published == model_type).filter(|_| !has_window);
    let (name, _) = found.ok_or_else(|| {
        let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        let window = if has_window { " with a sliding window" } else { "" };
        Error::Config(format!(
            "{model_type}{window} is not written as a GGUF file; known are {}; `genera export --to hf` writes every model",
            known.join(", ")
        ))
    })?;
    match rotary_of(config).map(|rotary| &rotary.scaling) {
        Some(RotaryScaling::Dynamic { .. }) => {
            Err(Error::Config("dynamic scaling of rotary positions has no place in a GGUF file".to_owned()))
        }
        Some(RotaryScaling::LongRope { short, long, attention_factor, .. })
            if short != long || *attention_factor != Some(1.0) =>
        {
            Err(Error::Config("LongRoPE's two lists of factors are not written to GGUF files".to_owned()))
        }
        _ => Ok(name),
    }
}

fn rotary_of(config: &ModelConfig) -> Option<&Rotary> {
    match &config.position {
        Position::Rotary(rotary) => Some(rotary),
        _ => None,
    }
}

/// What a `config.json` says, in the words of GGUF.
pub(super) fn metadata(dialect: &str, json: &Map<String, Json>, config: &ModelConfig) -> Vec<(String, Value)> {
    let mut list = Vec::new();
    let mut push = |key: &str, value: Value| list.push((format!("{dialect}.{key}"), value));
    for (gguf, published) in SIZES {
        if let Some(size) = json.get(published).and_then(Json::as_u64) {
            push(gguf, Value::Integer(size.into()));
        }
    }
    push("attention.value_length", Value::Integer(config.last_stack().attention.d_head as i128));
    push("attention.layer_norm_rms_epsilon", Value::Float(config.norm.eps().into()));
    push("vocab_size", Value::Integer(config.vocab_size as i128));
    let Some(rotary) = rotary_of(config) else { return list };
    push("rope.dimension_count", Value::Integer(rotary.n_rotated as i128));
    push("rope.freq_base", Value::Float(rotary.theta));
    let (kind, factor, original) = match rotary.scaling {
        RotaryScaling::Linear { factor } => ("linear", factor, None),
        RotaryScaling::Yarn { factor, original_context_len, .. } => ("yarn", factor, Some(original_context_len)),
        _ => return list,
    };
    push("rope.scaling.type", Value::Text(kind.to_owned()));
    push("rope.scaling.factor", Value::Float(factor));
    if let Some(original) = original {
        push("rope.scaling.original_context_length", Value::Integer(original as i128));
    }
    list
}

/// What the wavelengths of rotary positions are multiplied by, where that is a list: the tensor [`ROPE_FACTORS`].
pub(super) fn rope_factors(config: &ModelConfig) -> Option<Vec<f32>> {
    let rotary = rotary_of(config)?;
    match &rotary.scaling {
        RotaryScaling::LongRope { long, .. } => Some(long.iter().map(|&factor| factor as f32).collect()),
        &RotaryScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_len } => {
            let of_pair = |i: usize| {
                let wavelength = std::f64::consts::TAU * rotary.theta.powf(2.0 * i as f64 / rotary.n_rotated as f64);
                let turns = original_context_len as f64 / wavelength;
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                (1.0 / ((1.0 - kept) / factor + kept)) as f32
            };
            Some((0..rotary.n_rotated / 2).map(of_pair).collect())
        }
        _ => None,
    }
}
