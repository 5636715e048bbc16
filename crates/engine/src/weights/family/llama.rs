//! Llama and its kin: rotary positions, RMS norm before each part, gated feed-forward. Mistral adds a sliding window, Qwen2
//! biases on queries, keys and values and a window on some layers.

use super::{Family, PLAIN_EMBEDDING, even_share, no_copy, object};
use crate::config::{
    Attention, FeedForward, Head, ModelConfig, Norm, Placement, Position, ScoreScale, Shape, Stack, Window,
};
use crate::error::Result;
use crate::weights::config_json::{Fields, activation_name, shortest};
use crate::weights::names::Row;
use genera_tensor::Visibility;
use serde_json::{Map, Value, json};

pub(super) static LLAMA: Family = Family {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    ids: [None, Some(1), Some(2), None],
    read: read_llama,
    write: write_llama,
    ..KIN
};

pub(super) static MISTRAL: Family = Family {
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    ids: [None, Some(1), Some(2), None],
    read: read_mistral,
    write: write_mistral,
    ..KIN
};

pub(super) static QWEN2: Family = Family {
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    ids: [None; 4],
    read: read_qwen2,
    write: write_qwen2,
    ..KIN
};

const KIN: Family = Family {
    model_type: "",
    architecture: "",
    task: "text-generation",
    prefix: "model.",
    rows: &[&[
        Row::plain("embedding", &["model.embed_tokens"]),
        Row::plain("decoder.{}.attention.norm", &["model.layers.{}.input_layernorm"]),
        Row::stacked(
            "decoder.{}.attention.qkv",
            &[
                "model.layers.{}.self_attn.q_proj",
                "model.layers.{}.self_attn.k_proj",
                "model.layers.{}.self_attn.v_proj",
            ],
        ),
        Row::plain("decoder.{}.attention.out", &["model.layers.{}.self_attn.o_proj"]),
        Row::plain("decoder.{}.feed_forward.norm", &["model.layers.{}.post_attention_layernorm"]),
        Row::stacked(
            "decoder.{}.feed_forward.gate_up",
            &["model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.up_proj"],
        ),
        Row::plain("decoder.{}.feed_forward.down", &["model.layers.{}.mlp.down_proj"]),
        Row::plain("decoder.norm", &["model.norm"]),
        Row::plain("head", &["lm_head"]),
    ]],
    // Older versions kept the frequencies among the weights.
    ignored: &["layers.*.self_attn.rotary_emb.inv_freq"],
    ids: [None; 4],
    read: read_llama,
    write: write_llama,
    embedding_copy: no_copy,
};

/// What the kin leave out of their files.
struct Defaults {
    vocab_size: usize,
    d_ff: usize,
    /// As many as query heads when absent.
    n_kv_heads: Option<usize>,
    context_len: usize,
}

fn read_llama(fields: &Fields<'_>) -> Result<ModelConfig> {
    let defaults = Defaults { vocab_size: 32_000, d_ff: 11_008, n_kv_heads: None, context_len: 2_048 };
    let (mut config, mut stack) = read_common(fields, &defaults)?;
    let attention_bias = fields.flag("attention_bias", false)?;
    (stack.attention.qkv_bias, stack.attention.out_bias) = (attention_bias, attention_bias);
    if let FeedForward::Gated { bias, .. } = &mut stack.feed_forward {
        *bias = fields.flag("mlp_bias", false)?;
    }
    config.shape = Shape::DecoderOnly(stack);
    Ok(config)
}

fn read_mistral(fields: &Fields<'_>) -> Result<ModelConfig> {
    let defaults = Defaults { vocab_size: 32_000, d_ff: 14_336, n_kv_heads: Some(8), context_len: 4_096 * 32 };
    let (mut config, mut stack) = read_common(fields, &defaults)?;
    let tokens = if fields.is_given("sliding_window") { fields.size_if_given("sliding_window")? } else { Some(4096) };
    stack.attention.window = tokens.map(|tokens| Window { tokens, full_every: 0 });
    config.shape = Shape::DecoderOnly(stack);
    Ok(config)
}

fn read_qwen2(fields: &Fields<'_>) -> Result<ModelConfig> {
    let defaults = Defaults { vocab_size: 151_936, d_ff: 22_016, n_kv_heads: Some(32), context_len: 32_768 };
    let (mut config, mut stack) = read_common(fields, &defaults)?;
    stack.attention.qkv_bias = true;
    if fields.flag("use_sliding_window", false)? {
        stack.attention.window = qwen2_window(fields, &stack)?;
    }
    config.shape = Shape::DecoderOnly(stack);
    Ok(config)
}

/// The window of a model in which only the layers of type `sliding_attention` have one.
fn qwen2_window(fields: &Fields<'_>, stack: &Stack) -> Result<Option<Window>> {
    let n_layers = stack.n_layers;
    let tokens = fields.size("sliding_window", 4096)?;
    let is_full: Vec<bool> = match fields.texts_if_given("layer_types")? {
        Some(types) if types.len() == n_layers => types.iter().map(|kind| *kind == "full_attention").collect(),
        Some(types) => {
            let message =
                format!("'layer_types' has {} entries, expected one for each of {n_layers} layers", types.len());
            return Err(fields.error(message));
        }
        None => {
            let n_full = fields.whole("max_window_layers", 28)?;
            (0..n_layers).map(|layer| (layer as u64) < n_full).collect()
        }
    };
    let window = match is_full.iter().position(|&full| full) {
        _ if is_full.iter().all(|&full| full) => return Ok(None),
        None => Window { tokens, full_every: 0 },
        Some(first) => Window { tokens, full_every: first + 1 },
    };
    let windowed = Stack { attention: Attention { window: Some(window), ..stack.attention.clone() }, ..stack.clone() };
    let is_pattern = is_full.iter().enumerate().all(|(layer, &full)| full == is_full_layer(&windowed, layer));
    let message = "layers with and without a sliding window are mixed in a way that is not supported; \
                   expected all with one, or every n-th without";
    if is_pattern { Ok(Some(window)) } else { Err(fields.error(message)) }
}

fn is_full_layer(stack: &Stack, layer: usize) -> bool {
    stack.causal_visibility(layer) == Visibility::Causal
}

/// What all kin have in common; `shape` is to be replaced by the stack once it is complete.
fn read_common(fields: &Fields<'_>, defaults: &Defaults) -> Result<(ModelConfig, Stack)> {
    let d_model = fields.size("hidden_size", 4096)?;
    let n_heads = fields.size("num_attention_heads", 32)?;
    let d_head = match fields.size_if_given("head_dim")? {
        Some(d_head) => d_head,
        None => even_share(fields, d_model, n_heads)?,
    };
    let attention = Attention {
        n_heads,
        n_kv_heads: fields.size("num_key_value_heads", defaults.n_kv_heads.unwrap_or(n_heads))?,
        d_head,
        qkv_bias: false,
        out_bias: false,
        scale: ScoreScale::InverseSqrt,
        window: None,
    };
    let feed_forward = FeedForward::Gated {
        activation: fields.activation("hidden_act", "silu")?,
        d_ff: fields.size("intermediate_size", defaults.d_ff)?,
        bias: false,
    };
    let stack = Stack { n_layers: fields.size("num_hidden_layers", 32)?, attention, feed_forward };
    let config = ModelConfig {
        shape: Shape::DecoderOnly(stack.clone()),
        d_model,
        vocab_size: fields.size("vocab_size", defaults.vocab_size)?,
        context_len: fields.size("max_position_embeddings", defaults.context_len)?,
        position: Position::Rotary { theta: theta(fields)?, n_rotated: d_head, interleaved: false },
        norm: Norm::Rms { eps: fields.positive("rms_norm_eps", 1e-6)? as f32 },
        placement: Placement::Pre,
        embedding: PLAIN_EMBEDDING,
        head: if fields.flag("tie_word_embeddings", false)? {
            Head::Tied { bias: false, scaled: false }
        } else {
            Head::Untied
        },
    };
    Ok((config, stack))
}

/// The base of the rotary frequencies: in `rope_parameters`, or in older files beside `rope_scaling`.
fn theta(fields: &Fields<'_>) -> Result<f64> {
    let rope = match fields.object("rope_parameters")? {
        Some(rope) => Some(rope),
        None => fields.object("rope_scaling")?,
    };
    let beside = fields.positive("rope_theta", 10_000.0)?;
    let Some(rope) = rope else { return Ok(beside) };
    let kind = rope.text("rope_type", rope.text("type", "default")?)?;
    if kind != "default" {
        return Err(rope.error(format!("rotary positions of type '{kind}' are not supported yet; expected 'default'")));
    }
    rope.positive("rope_theta", beside)
}

fn write_llama(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_common(config);
    let stack = config.last_stack();
    let Attention { qkv_bias, out_bias, .. } = stack.attention;
    let (FeedForward::Gated { bias, .. } | FeedForward::Plain { bias, .. }) = stack.feed_forward;
    map.insert("attention_bias".to_owned(), json!(qkv_bias || out_bias));
    map.insert("mlp_bias".to_owned(), json!(bias));
    map
}

fn write_mistral(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_common(config);
    let window = config.last_stack().attention.window;
    map.insert("sliding_window".to_owned(), json!(window.map(|window| window.tokens)));
    map
}

fn write_qwen2(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_common(config);
    let stack = config.last_stack();
    let window = stack.attention.window;
    let kind = |layer| if is_full_layer(stack, layer) { "full_attention" } else { "sliding_attention" };
    map.insert("layer_types".to_owned(), (0..stack.n_layers).map(kind).collect());
    map.insert("max_window_layers".to_owned(), json!(if window.is_some() { 0 } else { stack.n_layers }));
    map.insert("sliding_window".to_owned(), json!(window.map(|window| window.tokens)));
    map.insert("use_sliding_window".to_owned(), json!(window.is_some()));
    map
}

fn write_common(config: &ModelConfig) -> Map<String, Value> {
    let stack = config.last_stack();
    let (FeedForward::Plain { activation, .. } | FeedForward::Gated { activation, .. }) = stack.feed_forward;
    let theta = match config.position {
        Position::Rotary { theta, .. } => theta,
        _ => 10_000.0,
    };
    object(json!({
        "attention_dropout": 0.0,
        "head_dim": stack.attention.d_head,
        "hidden_act": activation_name(activation),
        "hidden_size": config.d_model,
        "intermediate_size": stack.d_ff(),
        "max_position_embeddings": config.context_len,
        "num_attention_heads": stack.attention.n_heads,
        "num_hidden_layers": stack.n_layers,
        "num_key_value_heads": stack.attention.n_kv_heads,
        "rms_norm_eps": shortest(config.norm.eps()),
        "rope_parameters": { "rope_theta": theta, "rope_type": "default" },
        // For readers older than `rope_parameters`.
        "rope_theta": theta,
        "tie_word_embeddings": config.head != Head::Untied,
    }))
}
