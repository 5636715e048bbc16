//! Gemma 2 and 3 (text): norms that multiply by 1 + w before and after each part, embeddings times √D, GeGLU, windows on most
//! layers. Gemma 2 caps scores and logits; Gemma 3 norms each query and key head, and its layers with a window have rotary
//! positions of their own.

use super::llama::{COMMON, Defaults, GATED, KIN, read_attention_bias, read_common, write_common};
use super::{Family, object, rope, window};
use crate::config::{
    Attention, Embedding, ModelConfig, Placement, Position, QkNorm, Rotary, ScoreScale, Shape, Window,
};
use crate::error::Result;
use crate::weights::config_json::{Fields, activation_name, shortest};
use crate::weights::names::Row;
use serde_json::{Map, Value, json};

pub(super) static GEMMA2: Family = Family {
    model_type: "gemma2",
    architecture: "Gemma2ForCausalLM",
    covers: "Gemma 2: norms around each part, caps on scores and logits, a window on every other layer or on any",
    rows: &[NORMS, COMMON, GATED],
    ids: [Some(0), Some(2), Some(1), None],
    forced_end: None,
    read: read_gemma2,
    write: write_gemma2,
    ..KIN
};

pub(super) static GEMMA3: Family = Family {
    model_type: "gemma3_text",
    other_types: &["gemma3"],
    architecture: "Gemma3ForCausalLM",
    covers: "Gemma 3, the text models and the text part of those that see: norms of queries and keys, two rotary bases, a window on five layers of six or on any",
    prefixes: &["model.language_model.", "language_model.model.", "language_model.", "model."],
    rows: &[NORMS, COMMON, GATED],
    // What turns images into vectors beside those of tokens.
    ignored: &["vision_tower.*", "multi_modal_projector.*"],
    ids: [Some(0), Some(2), Some(1), None],
    forced_end: None,
    read: read_gemma3,
    write: write_gemma3,
    ..KIN
};

const NORMS: &[Row] = &[
    Row::less_one("decoder.{}.attention.norm", &["model.layers.{}.input_layernorm"]),
    Row::less_one("decoder.{}.attention.norm_after", &["model.layers.{}.post_attention_layernorm"]),
    Row::less_one("decoder.{}.feed_forward.norm", &["model.layers.{}.pre_feedforward_layernorm"]),
    Row::less_one("decoder.{}.feed_forward.norm_after", &["model.layers.{}.post_feedforward_layernorm"]),
    Row::less_one("decoder.{}.attention.q_norm", &["model.layers.{}.self_attn.q_norm"]),
    Row::less_one("decoder.{}.attention.k_norm", &["model.layers.{}.self_attn.k_norm"]),
    Row::less_one("decoder.norm", &["model.norm"]),
];

const DEFAULTS: Defaults = Defaults {
    vocab_size: 256_000,
    d_model: 2_304,
    d_ff: 9_216,
    n_layers: 26,
    n_heads: 8,
    n_kv_heads: Some(4),
    d_head: Some(256),
    context_len: 8_192,
    eps: 1e-6,
    is_tied: true,
    activation_key: "hidden_activation",
    activation: "gelu_pytorch_tanh",
    rope: rope::DEFAULTS,
};
const GEMMA2_CAPS: [f64; 2] = [50.0, 30.0];

fn read_gemma2(fields: &Fields<'_>) -> Result<ModelConfig> {
    read_either(fields, &DEFAULTS, GEMMA2_CAPS.map(Some), |layer| (layer + 1) % 2 == 0)
}

fn read_gemma3(fields: &Fields<'_>) -> Result<ModelConfig> {
    // A model that sees has the part for text in an object of its own, and no cap on the logits.
    let Some(text) = fields.object("text_config")? else { return read_gemma3_text(fields) };
    let config = read_gemma3_text(&text)?;
    match config.logit_cap {
        None => Ok(config),
        Some(cap) => Err(fields.error(format!("'final_logit_softcapping' in 'text_config' is {cap}; expected null"))),
    }
}

fn read_gemma3_text(fields: &Fields<'_>) -> Result<ModelConfig> {
    let rope = rope::Defaults { theta: 1e6, ..rope::DEFAULTS };
    let defaults = Defaults { vocab_size: 262_208, context_len: 131_072, rope, ..DEFAULTS };
    let pattern = fields.size("sliding_window_pattern", fields.size("_sliding_window_pattern", 6)?)?;
    if let Some(cap) = fields.positive_if_given("attn_logit_softcapping")? {
        // The published implementation passes over it, so no model was trained with it.
        return Err(fields.error(format!("'attn_logit_softcapping' is {cap}, which is not supported; expected null")));
    }
    let mut config = read_either(fields, &defaults, [None; 2], |layer| (layer + 1) % pattern == 0)?;
    let Shape::DecoderOnly(stack) = &mut config.shape else { return Ok(config) };
    stack.attention.qk_norm = QkNorm::PerHead;
    let (d_head, has_window) = (stack.attention.d_head, stack.attention.window.is_some());
    // One object for each type of layer; in older files that of the full layers alone, and a key for the others.
    let nested = fields.object("rope_parameters")?;
    let full = match &nested {
        Some(nested) => nested.object("full_attention")?,
        None => fields.object("rope_scaling")?,
    };
    let local = nested.as_ref().map(|nested| nested.object("sliding_attention")).transpose()?.flatten();
    let local_theta = fields.positive("rope_local_base_freq", 10_000.0)?;
    let local = rope::of_object(
        fields,
        local.as_ref(),
        &rope::Defaults { theta: local_theta, theta_key: "rope_local_base_freq", ..rope::DEFAULTS },
        d_head,
        config.context_len,
    )?;
    let full = rope::of_object(fields, full.as_ref(), &defaults.rope, d_head, config.context_len)?;
    if local != Rotary::plain(local.theta, full.n_rotated) {
        return Err(fields.error("'rope_parameters' scale the layers with a window, which is not supported"));
    }
    config.position = Position::Rotary(Rotary { local_theta: has_window.then_some(local.theta), ..full });
    Ok(config)
}

fn read_either(
    fields: &Fields<'_>,
    defaults: &Defaults,
    [score_cap, logit_cap]: [Option<f64>; 2],
    is_full: impl Fn(usize) -> bool,
) -> Result<ModelConfig> {
    fields.must_be("use_bidirectional_attention", false)?;
    let (config, mut stack) = read_common(fields, defaults)?;
    read_attention_bias(fields, &mut stack)?;
    let d_head = stack.attention.d_head;
    let scalar = fields.positive("query_pre_attn_scalar", 256.0)?;
    if scalar != d_head as f64 {
        stack.attention.scale = ScoreScale::InverseSqrtOf(scalar);
    }
    let cap = |key: &str, default: Option<f64>| -> Result<Option<f32>> {
        let cap = if fields.is_given(key) { fields.positive_if_given(key)? } else { default };
        Ok(cap.map(|cap| cap as f32))
    };
    stack.attention.score_cap = cap("attn_logit_softcapping", score_cap)?;
    if let Some(tokens) = fields.nullable_size("sliding_window", 4096)? {
        stack.attention.window = window::read(fields, &stack, tokens, is_full)?;
    }
    Ok(ModelConfig {
        shape: Shape::DecoderOnly(stack),
        placement: Placement::Sandwich,
        embedding: Embedding { scaled: true, ..config.embedding },
        logit_cap: cap("final_logit_softcapping", logit_cap)?,
        ..config
    })
}

fn write_gemma2(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_common(config);
    let stack = config.last_stack();
    let Attention { d_head, qkv_bias, out_bias, scale, score_cap, .. } = stack.attention;
    let scalar = match scale {
        ScoreScale::InverseSqrtOf(n) => n,
        ScoreScale::InverseSqrt => d_head as f64,
        ScoreScale::One => 1.0,
    };
    // The library wants a whole number where it is one.
    let scalar = if scalar.fract() == 0.0 { json!(scalar as u64) } else { json!(scalar) };
    map.extend(object(json!({
        "attention_bias": qkv_bias || out_bias,
        "attn_logit_softcapping": score_cap.map(shortest),
        "final_logit_softcapping": config.logit_cap.map(shortest),
        "hidden_activation": activation_name(stack.feed_forward.activation()),
        "layer_types": window::layer_types(stack),
        "query_pre_attn_scalar": scalar,
    })));
    // The library wants a number, or none.
    map.extend(window::tokens(stack).map(|tokens| ("sliding_window".to_owned(), json!(tokens))));
    map
}

fn write_gemma3(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_gemma2(config);
    let local_theta = match &config.position {
        Position::Rotary(Rotary { local_theta, theta, .. }) => local_theta.unwrap_or(*theta),
        _ => 10_000.0,
    };
    let full = rope::object(config);
    // Readers older than `layer_types` know no other pattern.
    if let Some(Window { full_every, full_layers, .. }) = &config.last_stack().attention.window
        && full_layers.is_empty()
    {
        map.insert("sliding_window_pattern".to_owned(), json!(full_every.max(&1)));
    }
    if full["rope_type"] != "default" {
        map.insert("rope_scaling".to_owned(), full.clone());
    }
    map.insert("rope_local_base_freq".to_owned(), json!(local_theta));
    let sliding = json!({ "rope_theta": local_theta, "rope_type": "default" });
    map.insert("rope_parameters".to_owned(), json!({ "full_attention": full, "sliding_attention": sliding }));
    map
}
