//! What a GGUF file says of its architecture, in the words of a `config.json`: the families that read those then read
//! these, and no architecture is described twice.

use super::dialect::{DIALECTS, Dialect, EXPERT_COUNT, Key, Kind, LONG_FACTORS, ROPE_FACTORS, SHORT_FACTORS};
use super::header::{Sound, Value};
use super::metadata::Metadata;
use super::reader::Reader;
use crate::config::{Head, ModelConfig, Position, Rotary, RotaryScaling, ScoreScale, long_rope_factor};
use crate::error::{Error, Result};
use crate::model::Pooling;
use crate::weights::config_json::{activation_name, shortest};
use crate::weights::family::ORIGINAL_CONTEXT_LEN;
use crate::weights::pooling;
use genera_tensor::Visibility;
use serde_json::{Map, Value as Json, json};

/// Layers of the largest Gemma 2 and Gemma 3, whose scores llama.cpp divides by another number.
const LAYERS_OF_27B: [(&str, usize); 2] = [("gemma2", 46), ("gemma3", 62)];

/// Positions that a layer of Gemma 2 looks back where the file does not say it.
const USUAL_WINDOW_OF_GEMMA_2: u64 = 4096;

/// Most factors of rotary positions: one for each pair of features of a head, of which the widest have 512.
const MAX_FACTORS: usize = 4096;

/// The architecture of a file.
///
/// # Errors
/// When the file names none, or one that is not known.
pub(super) fn dialect_of(reader: &Reader) -> Result<&'static Dialect> {
    let metadata = Metadata(reader.metadata());
    let find = || -> Sound<&'static Dialect> {
        let name = metadata.text("general.architecture")?.ok_or("it does not name its architecture")?;
        let has_experts = metadata.whole(&format!("{name}.{EXPERT_COUNT}"))?.is_some_and(|n| n > 0);
        let mut named = DIALECTS.iter().filter(|dialect| dialect.name == name);
        let of_name = named.clone().next().ok_or_else(|| {
            let known = Dialect::known();
            format!("its architecture is '{name}', which is not read from GGUF files; known are {known}")
        })?;
        named
            .find(|dialect| has_expert_keys(dialect) == has_experts)
            .ok_or_else(|| format!("it has experts, which are not read in the architecture '{}'", of_name.name))
    };
    find().map_err(|message| Error::file(reader.path(), message))
}

fn has_expert_keys(dialect: &Dialect) -> bool {
    keys(dialect).any(|key| key.gguf == EXPERT_COUNT)
}

fn keys(dialect: &Dialect) -> impl Iterator<Item = &'static Key> {
    dialect.keys.iter().copied().flatten()
}

/// The file's `config.json`.
///
/// # Errors
/// When a value is missing, of another type or not supported, or when the file cannot be read.
pub(super) fn config_json(reader: &mut Reader) -> Result<Map<String, Json>> {
    let dialect = dialect_of(reader)?;
    let factors = |name: &str| match reader.find(name) {
        Some(entry) if entry.shape.iter().product::<usize>() > MAX_FACTORS => {
            let message =
                format!("tensor '{name}' has shape {:?}; at most {MAX_FACTORS} factors are read", entry.shape);
            Err(Error::file(reader.path(), message))
        }
        Some(_) => reader.read(name).map(Some),
        None => Ok(None),
    };
    let factors = Factors { all: factors(ROPE_FACTORS)?, short: factors(SHORT_FACTORS)?, long: factors(LONG_FACTORS)? };
    of_metadata(reader, dialect, factors).map_err(|message| Error::file(reader.path(), message))
}

/// What the wavelengths of rotary positions are multiplied by.
#[derive(Default)]
struct Factors {
    all: Option<Vec<f32>>,
    short: Option<Vec<f32>>,
    long: Option<Vec<f32>>,
}

fn of_metadata(reader: &Reader, dialect: &Dialect, factors: Factors) -> Sound<Map<String, Json>> {
    let metadata = Metadata(reader.metadata());
    let mut map = Map::new();
    map.insert("model_type".to_owned(), json!(dialect.model_type));
    for key in keys(dialect) {
        let full = format!("{}.{}", dialect.name, key.gguf);
        let value = match key.kind {
            Kind::Whole => metadata.whole(&full)?.map(|value| json!(value)),
            Kind::Number => metadata.number(&full)?.map(|value| json!(shortest(value as f32))),
            Kind::Flag => metadata.flag(&full)?.map(|value| json!(value)),
        };
        match value {
            Some(value) => drop(map.insert(key.published.to_owned(), value)),
            None if key.is_required => return Err(format!("it has no '{full}'")),
            None => {}
        }
    }
    let has = |name: &str| reader.find(name).is_some();
    let embedding = reader.find("token_embd.weight").ok_or("it has no tensor 'token_embd.weight'")?;
    let &[vocab_size, _] = embedding.shape.as_slice() else {
        return Err(format!("tensor '{}' has shape {:?}, expected a matrix", embedding.name, embedding.shape));
    };
    map.insert("vocab_size".to_owned(), json!(vocab_size));
    map.insert("tie_word_embeddings".to_owned(), json!(!has("output.weight")));
    let has_bias = has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias");
    map.insert("attention_bias".to_owned(), json!(has_bias));
    map.insert("mlp_bias".to_owned(), json!(has("blk.0.ffn_down.bias")));
    for (gguf, published) in [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id")] {
        let id = metadata.id(&format!("tokenizer.ggml.{gguf}_token_id"))?;
        map.insert(published.to_owned(), json!(id.filter(|&id| (id as usize) < vocab_size)));
    }
    complete(dialect, &metadata, &mut map, factors)?;
    refuse_other_scales(dialect, &metadata)?;
    refuse_window(dialect, &metadata)?;
    Ok(map)
}

/// The key of how texts become vectors.
pub(super) const POOLING: &str = "pooling_type";

/// How texts become vectors, where the file says it.
///
/// # Errors
/// When it says it by something else than a number.
pub(super) fn pooling(reader: &Reader) -> Result<Option<Pooling>> {
    let key = format!("{}.{POOLING}", dialect_of(reader)?.name);
    let number = Metadata(reader.metadata()).whole(&key).map_err(|message| Error::file(reader.path(), message))?;
    Ok(number.and_then(pooling::of_gguf))
}

/// Keys of architectures that are not read, each changing the result where it is not 0.
const OTHER_SCALES: [&str; 5] =
    ["logit_scale", "embedding_scale", "residual_scale", "attention.clamp_kqv", "attention.max_alibi_bias"];

fn refuse_other_scales(dialect: &Dialect, metadata: &Metadata<'_>) -> Sound<()> {
    for key in OTHER_SCALES {
        let key = format!("{}.{key}", dialect.name);
        let is_neutral = |value: f64| value == 0.0 || value == 1.0 && key.ends_with("_scale");
        if let Some(value) = metadata.number(&key)?.filter(|&value| !is_neutral(value)) {
            return Err(format!("'{key}' is {value}, which is not supported; expected no such key"));
        }
    }
    Ok(())
}

/// OLMo 3 has the name of OLMo 2, and windows in three layers of four.
fn refuse_window(dialect: &Dialect, metadata: &Metadata<'_>) -> Sound<()> {
    let key = format!("{}.attention.sliding_window", dialect.name);
    match metadata.whole(&key)? {
        Some(tokens) if tokens > 0 && dialect.name == "olmo2" => Err(format!(
            "'{key}' is {tokens}: this is OLMo 3, which is not supported; expected OLMo 2, which has no such key"
        )),
        _ => Ok(()),
    }
}

/// Refuses scores that are multiplied by something else than 1/√`scalar`.
fn check_score_scale(dialect: &Dialect, metadata: &Metadata<'_>, scalar: u64) -> Sound<()> {
    let key = format!("{}.attention.scale", dialect.name);
    let expected = 1.0 / (scalar as f64).sqrt();
    match metadata.number(&key)? {
        Some(scale) if scale != 0.0 && (scale / expected - 1.0).abs() > 1e-4 => {
            Err(format!("'{key}' is {scale}, which is not supported; expected {expected}, or no such key"))
        }
        _ => Ok(()),
    }
}

/// What the keys alone do not say.
fn complete(dialect: &Dialect, metadata: &Metadata<'_>, map: &mut Map<String, Json>, factors: Factors) -> Sound<()> {
    let whole = |map: &Map<String, Json>, key: &str| map.get(key).and_then(Json::as_u64);
    if !map.contains_key("num_key_value_heads")
        && let Some(n_heads) = map.get("num_attention_heads").cloned()
    {
        map.insert("num_key_value_heads".to_owned(), n_heads);
    }
    // 0 means none, and so does no key but for Gemma 2, whose older files leave the usual one out.
    let window = whole(map, "sliding_window").or((dialect.name == "gemma2").then_some(USUAL_WINDOW_OF_GEMMA_2));
    if dialect.full_every.is_some() {
        map.insert("sliding_window".to_owned(), json!(window.filter(|&tokens| tokens > 0)));
    }
    let (Some(width), Some(n_heads)) = (whole(map, "hidden_size"), whole(map, "num_attention_heads")) else {
        return Ok(());
    };
    let share = width / n_heads.max(1);
    let d_head = whole(map, "head_dim").unwrap_or(share);
    let rope = rope_parameters(dialect, metadata, map, factors, d_head)?;
    let n_layers = whole(map, "num_hidden_layers").unwrap_or(0);
    let is_27b = LAYERS_OF_27B.iter().any(|(name, n)| (*name, *n as u64) == (dialect.name, n_layers));
    let scalar = if is_27b { share } else { d_head };
    check_score_scale(dialect, metadata, scalar)?;
    if dialect.name.starts_with("gemma") {
        map.insert("query_pre_attn_scalar".to_owned(), json!(scalar));
    }
    if dialect.name == "gemma3" {
        let local = metadata.number("gemma3.rope.freq_base_swa")?.unwrap_or(10_000.0);
        let local = json!({ "rope_theta": local, "rope_type": "default" });
        map.insert("rope_parameters".to_owned(), json!({ "full_attention": rope, "sliding_attention": local }));
    } else {
        map.insert("rope_parameters".to_owned(), Json::Object(rope));
    }
    Ok(())
}

/// How many features of a head rotary positions turn.
const DIMENSION_COUNT: &str = "rope.dimension_count";
const YARN: &str = "yarn";
/// The ends of YaRN's ramp, and what they are called in `rope_parameters`.
const YARN_RAMP: [(&str, &str); 2] = [("scaling.yarn_beta_fast", "beta_fast"), ("scaling.yarn_beta_slow", "beta_slow")];

/// What YaRN multiplies queries and keys by unless a file says otherwise, and llama.cpp always does besides.
fn usual_yarn_factor(factor: f64) -> f64 {
    1.0 + 0.1 * factor.max(1.0).ln()
}

/// Rotary positions in the words of `rope_parameters`.
fn rope_parameters(
    dialect: &Dialect,
    metadata: &Metadata<'_>,
    map: &mut Map<String, Json>,
    factors: Factors,
    d_head: u64,
) -> Sound<Map<String, Json>> {
    let key = |key: &str| format!("{}.rope.{key}", dialect.name);
    let mut rope = Map::new();
    let mut set = |key: &str, value: Json| drop(rope.insert(key.to_owned(), value));
    set("rope_theta", json!(metadata.number(&key("freq_base"))?.unwrap_or(10_000.0)));
    let n_rotated = metadata.whole(&key("dimension_count"))?.filter(|&n| n != d_head && d_head > 0);
    if let Some(n) = n_rotated.filter(|n| !n.is_multiple_of(2)) {
        return Err(format!("'{}' is {n}; expected an even number", key("dimension_count")));
    }
    // A hair more than the quotient, so that it is n again when multiplied.
    let share = n_rotated.map_or(1.0, |n| (n as f64 / d_head as f64).next_up());
    set("partial_rotary_factor", json!(share));
    let original = metadata.whole(&key("scaling.original_context_length"))?;
    // The older key; and without a kind, a factor is linear.
    let factor = match metadata.number(&key("scaling.factor"))? {
        Some(factor) => Some(factor),
        None => metadata.number(&key("scale_linear"))?,
    };
    let usual_kind = if factor.is_some_and(|factor| factor != 0.0 && factor != 1.0) { "linear" } else { "none" };
    match (factors, metadata.text(&key("scaling.type"))?.unwrap_or(usual_kind)) {
        (Factors { all: Some(factors), .. }, kind) => {
            // Both apply; of a ramp nobody has seen it.
            let stretch = match kind {
                "none" => 1.0,
                "linear" => factor.filter(|&factor| factor != 0.0).unwrap_or(1.0),
                _ => {
                    let key = key("scaling.type");
                    return Err(format!(
                        "'{key}' is '{kind}' beside {ROPE_FACTORS}, which is not supported; expected linear or none"
                    ));
                }
            };
            let factors: Vec<f64> = factors.into_iter().map(|of_pair| f64::from(of_pair) * stretch).collect();
            // Factors of long rotary positions, but that the scores stay as they are.
            set("rope_type", json!("longrope"));
            set("short_factor", json!(factors));
            set("long_factor", json!(factors));
            set("attention_factor", json!(1.0));
        }
        (Factors { short: Some(short), long: Some(long), .. }, _) => {
            set("rope_type", json!("longrope"));
            set("short_factor", json!(short));
            set("long_factor", json!(long));
            set("attention_factor", json!(metadata.number(&key("scaling.attn_factor"))?));
            // Phi-3 has it beside the object.
            map.insert(ORIGINAL_CONTEXT_LEN.to_owned(), json!(original));
        }
        (_, "none") => set("rope_type", json!("default")),
        (_, kind) => {
            set("rope_type", json!(kind));
            if let (YARN, Some(factor), Some(share)) = (kind, factor, metadata.number(&key("scaling.attn_factor"))?) {
                set("attention_factor", json!(share * usual_yarn_factor(factor)));
            }
            for (gguf, published) in YARN_RAMP {
                set(published, json!(metadata.number(&key(gguf))?));
            }
            set("factor", json!(factor));
            set(ORIGINAL_CONTEXT_LEN, json!(original.or(map.get("max_position_embeddings").and_then(Json::as_u64))));
        }
    }
    Ok(rope)
}

/// The architecture of llama.cpp that a published family is.
///
/// # Errors
/// [`Error::Config`] when it has none here, or none that computes the same.
pub(super) fn dialect(model_type: &str, config: &ModelConfig) -> Result<&'static Dialect> {
    let has_window = config.last_stack().attention.window.is_some();
    // Without its window a Mistral is a Llama.
    let model_type = if model_type == "mistral" && !has_window { "llama" } else { model_type };
    let found = DIALECTS.iter().find(|dialect| dialect.model_type == model_type);
    let found = found.filter(|dialect| dialect.full_every.is_some() || !has_window).ok_or_else(|| {
        let window = if has_window { " with a sliding window" } else { "" };
        Error::Config(format!(
            "{model_type}{window} is not written as a GGUF file; known are {}; `genera export --to hf` writes every model",
            Dialect::known()
        ))
    })?;
    match obstacle(found, config) {
        Some(reason) => Err(Error::Config(format!("{reason}, which has no place in a GGUF file of {}", found.name))),
        None => Ok(found),
    }
}

/// Refuses a file whose rotary positions turn another part of each head than those of the architecture do.
///
/// # Errors
/// Naming both.
pub(super) fn check_rotated(reader: &Reader, config: &ModelConfig) -> Result<()> {
    let refused = |message| Error::file(reader.path(), message);
    let key = format!("{}.{DIMENSION_COUNT}", dialect_of(reader)?.name);
    let n_rotated = Metadata(reader.metadata()).whole(&key).map_err(refused)?;
    match (n_rotated, rotary_of(config).map(|rotary| rotary.n_rotated)) {
        (Some(found), Some(expected)) if found != expected as u64 => {
            Err(refused(format!("'{key}' is {found}, which is not supported; expected {expected}, the whole head")))
        }
        _ => Ok(()),
    }
}

/// What llama.cpp would compute otherwise.
fn obstacle(dialect: &Dialect, config: &ModelConfig) -> Option<String> {
    match rotary_of(config).map(|rotary| &rotary.scaling) {
        Some(RotaryScaling::Dynamic { .. }) => return Some("dynamic scaling of rotary positions".to_owned()),
        Some(RotaryScaling::Yarn { truncate: false, .. }) => {
            return Some("YaRN's ramp between numbers that are not whole".to_owned());
        }
        Some(RotaryScaling::Llama3 { .. }) if dialect.name != "llama" => {
            return Some("Llama 3's factors of rotary positions".to_owned());
        }
        Some(RotaryScaling::LongRope { .. }) if !["llama", "phi3"].contains(&dialect.name) => {
            return Some("LongRoPE's factors of rotary positions".to_owned());
        }
        Some(RotaryScaling::LongRope { short, long, attention_factor, .. })
            if dialect.name != "phi3" && (short != long || *attention_factor != Some(1.0)) =>
        {
            return Some("LongRoPE's two lists of factors".to_owned());
        }
        _ => {}
    }
    if let Some(n) = rotary_of(config).map(|rotary| rotary.n_rotated).filter(|n| !n.is_multiple_of(2)) {
        return Some(format!("rotary positions of an odd number of features ({n})"));
    }
    let stack = config.last_stack();
    let (attention, n_layers) = (&stack.attention, stack.n_layers);
    let is_full = |layer: usize| stack.causal_visibility(layer) == Visibility::Causal;
    let expects = |every: usize, layer: usize| every > 0 && (layer + 1).is_multiple_of(every);
    if let Some(every) = dialect.full_every
        && attention.window.is_some()
        && (0..n_layers).any(|layer| is_full(layer) != expects(every, layer))
    {
        return Some(format!("a pattern of layers with a window other than {every}"));
    }
    let [some, all] = [attention.qkv_bias || attention.out_bias, attention.qkv_bias && attention.out_bias];
    match dialect.has_biases {
        Some(true) if !all => return Some("attention without biases".to_owned()),
        Some(false) if some => return Some("attention with biases".to_owned()),
        _ => {}
    }
    if dialect.has_head && config.head != Head::Untied {
        return Some("the embedding as the head".to_owned());
    }
    if dialect.name == "gemma2" && config.head == Head::Untied {
        return Some("a head beside the embedding".to_owned());
    }
    let activation = stack.feed_forward.activation();
    if activation != dialect.activation {
        let [found, expected] = [activation, dialect.activation].map(activation_name);
        return Some(format!("the activation {found} instead of {expected}"));
    }
    if !dialect.name.starts_with("gemma") {
        let is_usual = attention.scale == ScoreScale::InverseSqrt;
        return (!is_usual).then(|| "a scale of attention scores other than 1/√d_head".to_owned());
    }
    let is_27b = LAYERS_OF_27B.contains(&(dialect.name, n_layers));
    let scalar = if is_27b { config.d_model / attention.n_heads } else { attention.d_head };
    let scale = match attention.scale {
        ScoreScale::InverseSqrt => attention.d_head as f64,
        ScoreScale::One => 1.0,
        ScoreScale::InverseSqrtOf(scalar) => scalar,
    };
    if scale != scalar as f64 {
        return Some(format!("a query_pre_attn_scalar of {scale} instead of {scalar}"));
    }
    let has_caps = attention.score_cap.is_some() && config.logit_cap.is_some();
    (dialect.name == "gemma2" && !has_caps).then(|| "scores or logits without a cap".to_owned())
}

fn rotary_of(config: &ModelConfig) -> Option<&Rotary> {
    match &config.position {
        Position::Rotary(rotary) => Some(rotary),
        _ => None,
    }
}

/// What a `config.json` says, in the words of GGUF.
pub(super) fn metadata(dialect: &Dialect, json: &Map<String, Json>, config: &ModelConfig) -> Vec<(String, Value)> {
    let mut list = Vec::new();
    let mut push = |key: &str, value: Value| list.push((format!("{}.{key}", dialect.name), value));
    for key in keys(dialect) {
        let Some(value) = json.get(key.published) else { continue };
        let value = match key.kind {
            Kind::Whole => value.as_u64().map(|size| Value::Integer(size.into())),
            Kind::Number => value.as_f64().map(Value::Float),
            Kind::Flag => value.as_bool().map(Value::Flag),
        };
        value.into_iter().for_each(|value| push(key.gguf, value));
    }
    if dialect.name == "gemma2" && config.last_stack().attention.window.is_none() {
        // No key would mean the usual one, and 0 is no window only here.
        push("attention.sliding_window", Value::Integer(config.context_len as i128));
    }
    push("attention.value_length", Value::Integer(config.last_stack().attention.d_head as i128));
    push("vocab_size", Value::Integer(config.vocab_size as i128));
    let Some(rotary) = rotary_of(config) else { return list };
    push(DIMENSION_COUNT, Value::Integer(rotary.n_rotated as i128));
    push("rope.freq_base", Value::Float(rotary.theta));
    rotary.local_theta.into_iter().for_each(|theta| push("rope.freq_base_swa", Value::Float(theta)));
    let (kind, factor, original) = match rotary.scaling {
        RotaryScaling::Linear { factor } => ("linear", factor, None),
        RotaryScaling::Yarn { factor, original_context_len, attention_factor, beta_fast, beta_slow, .. } => {
            if let Some(attention_factor) = attention_factor {
                push("rope.scaling.attn_factor", Value::Float(attention_factor / usual_yarn_factor(factor)));
            }
            push("rope.scaling.yarn_beta_fast", Value::Float(beta_fast));
            push("rope.scaling.yarn_beta_slow", Value::Float(beta_slow));
            (YARN, factor, Some(original_context_len))
        }
        RotaryScaling::LongRope { original_context_len, attention_factor, .. } if dialect.name == "phi3" => {
            let stretched = config.context_len as f64 / original_context_len as f64;
            let factor = attention_factor.unwrap_or_else(|| long_rope_factor(stretched, original_context_len));
            push("rope.scaling.attn_factor", Value::Float(factor));
            push("rope.scaling.original_context_length", Value::Integer(original_context_len as i128));
            return list;
        }
        _ => return list,
    };
    push("rope.scaling.type", Value::Text(kind.to_owned()));
    push("rope.scaling.factor", Value::Float(factor));
    if let Some(original) = original {
        push("rope.scaling.original_context_length", Value::Integer(original as i128));
    }
    list
}

/// What the wavelengths of rotary positions are multiplied by, where that is a list: tensors by name.
pub(super) fn rope_factors(dialect: &Dialect, config: &ModelConfig) -> Vec<(&'static str, Vec<f32>)> {
    let Some(rotary) = rotary_of(config) else { return Vec::new() };
    let singles = |factors: &[f64]| factors.iter().map(|&factor| factor as f32).collect();
    match &rotary.scaling {
        RotaryScaling::LongRope { short, long, .. } if dialect.name == "phi3" => {
            vec![(LONG_FACTORS, singles(long)), (SHORT_FACTORS, singles(short))]
        }
        RotaryScaling::LongRope { long, .. } => vec![(ROPE_FACTORS, singles(long))],
        &RotaryScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_len } => {
            let of_pair = |i: usize| {
                let wavelength = std::f64::consts::TAU * rotary.theta.powf(2.0 * i as f64 / rotary.n_rotated as f64);
                let turns = original_context_len as f64 / wavelength;
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                (1.0 / ((1.0 - kept) / factor + kept)) as f32
            };
            vec![(ROPE_FACTORS, (0..rotary.n_pairs()).map(of_pair).collect())]
        }
        _ => Vec::new(),
    }
}
