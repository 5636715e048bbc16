//! Llama and its kin: rotary positions, RMS norm before each part, gated feed-forward. Mistral adds a sliding window, Mixtral
//! experts, Qwen2 biases on queries, keys and values and a window on some layers, Qwen3 norms of queries and keys. Phi-3 has
//! fused matrices, OLMo 2 norms after each part.

use super::{Family, PLAIN_EMBEDDING, even_share, head, no_copy, object, rope, window};
use crate::config::{
    Attention, FeedForward, Head, ModelConfig, Norm, Placement, Position, QkNorm, RotaryScaling, ScoreScale, Shape,
    Stack, Window,
};
use crate::error::Result;
use crate::weights::config_json::{Fields, activation_name, shortest};
use crate::weights::names::{Cut, Row};
use serde_json::{Map, Value, json};

pub(super) static LLAMA: Family = Family {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    covers: "Llama 1 to 3.3, SmolLM2, TinyLlama and others of the kind: grouped heads, biases, scaled rotary positions (linear, dynamic, llama3, YaRN)",
    ids: [None, Some(1), Some(2), None],
    forced_end: None,
    read: read_llama,
    write: write_llama,
    ..KIN
};

pub(super) static MISTRAL: Family = Family {
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    covers: "Mistral and its sliding window",
    ids: [None, Some(1), Some(2), None],
    forced_end: None,
    read: read_mistral,
    write: write_mistral,
    ..KIN
};

pub(super) static QWEN2: Family = Family {
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    covers: "Qwen 2 and 2.5: biases of queries, keys and values; a window on any layers",
    ids: [None; 4],
    forced_end: None,
    read: read_qwen2,
    write: write_qwen2,
    ..KIN
};

pub(super) static QWEN3: Family = Family {
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    covers: "Qwen 3, the dense ones: norms of queries and keys",
    rows: &[COMMON, NORMS, GATED, QK_NORMS],
    read: read_qwen3,
    write: write_qwen3,
    ..KIN
};

pub(super) static MIXTRAL: Family = Family {
    model_type: "mixtral",
    architecture: "MixtralForCausalLM",
    covers: "Mixtral: experts, one tensor each or all in one; a sliding window",
    ids: [None, Some(1), Some(2), None],
    forced_end: None,
    rows: &[COMMON, NORMS, EXPERTS],
    cuts: FUSED_EXPERTS,
    read: read_mixtral,
    write: write_mixtral,
    ..KIN
};

pub(super) static PHI3: Family = Family {
    model_type: "phi3",
    architecture: "Phi3ForCausalLM",
    covers: "Phi-3 and 3.5 mini, Phi-4: fused matrices, LongRoPE, rotary positions on a part of a head",
    ids: [Some(32000), Some(1), Some(32000), None],
    forced_end: None,
    rows: &[FUSED, COMMON, NORMS, GATED],
    read: read_phi3,
    write: write_phi3,
    ..KIN
};

pub(super) static OLMO2: Family = Family {
    model_type: "olmo2",
    architecture: "Olmo2ForCausalLM",
    covers: "OLMo 2: norms after each part, norms of queries and keys",
    ids: [Some(1), None, Some(50279), None],
    forced_end: None,
    rows: &[COMMON, NORMS_AFTER, GATED, QK_NORMS],
    read: read_olmo2,
    write: write_qwen3,
    ..KIN
};

pub(super) const KIN: Family = Family {
    model_type: "",
    other_types: &[],
    architecture: "",
    covers: "",
    task: "text-generation",
    prefixes: &["model."],
    rows: &[COMMON, NORMS, GATED],
    // Older versions kept the frequencies among the weights.
    ignored: &["layers.*.self_attn.rotary_emb.inv_freq"],
    cuts: &[],
    ids: [None; 4],
    forced_end: None,
    read: read_llama,
    write: write_llama,
    embedding_copy: no_copy,
};

/// Everything but the norms of the blocks and the feed-forward layers.
pub(super) const COMMON: &[Row] = &[
    Row::plain("embedding", &["model.embed_tokens"]),
    Row::stacked(
        "decoder.{}.attention.qkv",
        &["model.layers.{}.self_attn.q_proj", "model.layers.{}.self_attn.k_proj", "model.layers.{}.self_attn.v_proj"],
    ),
    Row::plain("decoder.{}.attention.out", &["model.layers.{}.self_attn.o_proj"]),
    Row::plain("decoder.norm", &["model.norm"]),
    Row::plain("head", &["lm_head"]),
];

const NORMS: &[Row] = &[
    Row::plain("decoder.{}.attention.norm", &["model.layers.{}.input_layernorm"]),
    Row::plain("decoder.{}.feed_forward.norm", &["model.layers.{}.post_attention_layernorm"]),
];

const NORMS_AFTER: &[Row] = &[
    Row::plain("decoder.{}.attention.norm", &["model.layers.{}.post_attention_layernorm"]),
    Row::plain("decoder.{}.feed_forward.norm", &["model.layers.{}.post_feedforward_layernorm"]),
];

const QK_NORMS: &[Row] = &[
    Row::plain("decoder.{}.attention.q_norm", &["model.layers.{}.self_attn.q_norm"]),
    Row::plain("decoder.{}.attention.k_norm", &["model.layers.{}.self_attn.k_norm"]),
];

pub(super) const GATED: &[Row] = &[
    Row::stacked("decoder.{}.feed_forward.gate_up", &["model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.up_proj"]),
    Row::plain("decoder.{}.feed_forward.down", &["model.layers.{}.mlp.down_proj"]),
];

const FUSED: &[Row] = &[
    Row::plain("decoder.{}.attention.qkv", &["model.layers.{}.self_attn.qkv_proj"]),
    Row::plain("decoder.{}.feed_forward.gate_up", &["model.layers.{}.mlp.gate_up_proj"]),
];

const EXPERTS: &[Row] = &[
    Row::plain("decoder.{}.feed_forward.router", &["model.layers.{}.block_sparse_moe.gate"]),
    Row::stacked(
        "decoder.{}.feed_forward.experts.{}.gate_up",
        &["model.layers.{}.block_sparse_moe.experts.{}.w1", "model.layers.{}.block_sparse_moe.experts.{}.w3"],
    ),
    Row::plain("decoder.{}.feed_forward.experts.{}.down", &["model.layers.{}.block_sparse_moe.experts.{}.w2"]),
];

/// As version 5 of the library holds experts, and writes them when asked not to go back to the names that were published.
const FUSED_EXPERTS: &[Cut] = &[
    Cut { whole: "layers.*.mlp.gate.weight", parts: &["layers.*.block_sparse_moe.gate.weight"] },
    Cut {
        whole: "layers.*.mlp.experts.gate_up_proj",
        parts: &["layers.*.block_sparse_moe.experts.{}.w1.weight", "layers.*.block_sparse_moe.experts.{}.w3.weight"],
    },
    Cut { whole: "layers.*.mlp.experts.down_proj", parts: &["layers.*.block_sparse_moe.experts.{}.w2.weight"] },
];

/// What the kin leave out of their files, and how they call some of it.
pub(super) struct Defaults {
    pub(super) vocab_size: usize,
    pub(super) d_model: usize,
    pub(super) d_ff: usize,
    pub(super) n_layers: usize,
    pub(super) n_heads: usize,
    /// As many as query heads when absent, and always where a file says null.
    pub(super) n_kv_heads: Option<usize>,
    /// An even share of the width when absent.
    pub(super) d_head: Option<usize>,
    pub(super) context_len: usize,
    pub(super) eps: f64,
    pub(super) is_tied: bool,
    pub(super) activation_key: &'static str,
    pub(super) activation: &'static str,
    pub(super) rope: rope::Defaults,
}

const DEFAULTS: Defaults = Defaults {
    vocab_size: 32_000,
    d_model: 4_096,
    d_ff: 11_008,
    n_layers: 32,
    n_heads: 32,
    n_kv_heads: None,
    d_head: None,
    context_len: 2_048,
    eps: 1e-6,
    is_tied: false,
    activation_key: "hidden_act",
    activation: "silu",
    rope: rope::DEFAULTS,
};

fn read_llama(fields: &Fields<'_>) -> Result<ModelConfig> {
    let (config, mut stack) = read_common(fields, &DEFAULTS)?;
    read_attention_bias(fields, &mut stack)?;
    if let FeedForward::Gated { bias, .. } = &mut stack.feed_forward {
        *bias = fields.flag("mlp_bias", false)?;
    }
    Ok(ModelConfig { shape: Shape::DecoderOnly(stack), ..config })
}

pub(super) fn read_attention_bias(fields: &Fields<'_>, stack: &mut Stack) -> Result<()> {
    let bias = fields.flag("attention_bias", false)?;
    (stack.attention.qkv_bias, stack.attention.out_bias) = (bias, bias);
    Ok(())
}

fn read_mistral(fields: &Fields<'_>) -> Result<ModelConfig> {
    let defaults = Defaults { d_ff: 14_336, n_kv_heads: Some(8), context_len: 4_096 * 32, ..DEFAULTS };
    let (config, mut stack) = read_common(fields, &defaults)?;
    let tokens = fields.nullable_size("sliding_window", 4096)?;
    stack.attention.window = tokens.map(|tokens| Window::regular(tokens, 0));
    Ok(ModelConfig { shape: Shape::DecoderOnly(stack), ..config })
}

fn read_mixtral(fields: &Fields<'_>) -> Result<ModelConfig> {
    let defaults = Defaults {
        d_ff: 14_336,
        n_kv_heads: Some(8),
        context_len: 4_096 * 32,
        eps: 1e-5,
        rope: rope::Defaults { theta: 1e6, ..rope::DEFAULTS },
        ..DEFAULTS
    };
    let (config, mut stack) = read_common(fields, &defaults)?;
    stack.attention.window = uniform_window(fields)?;
    stack.feed_forward = FeedForward::Experts {
        activation: stack.feed_forward.activation(),
        d_ff: stack.d_ff(),
        n_experts: fields.size("num_local_experts", 8)?,
        n_active: fields.size("num_experts_per_tok", 2)?,
    };
    Ok(ModelConfig { shape: Shape::DecoderOnly(stack), ..config })
}

fn uniform_window(fields: &Fields<'_>) -> Result<Option<Window>> {
    Ok(fields.size_if_given("sliding_window")?.map(|tokens| Window::regular(tokens, 0)))
}

fn read_qwen2(fields: &Fields<'_>) -> Result<ModelConfig> {
    let (config, mut stack) = read_qwen(fields, DEFAULTS)?;
    stack.attention.qkv_bias = true;
    Ok(ModelConfig { shape: Shape::DecoderOnly(stack), ..config })
}

fn read_qwen3(fields: &Fields<'_>) -> Result<ModelConfig> {
    let (config, mut stack) = read_qwen(fields, Defaults { d_head: Some(128), ..DEFAULTS })?;
    read_attention_bias(fields, &mut stack)?;
    stack.attention.qk_norm = QkNorm::PerHead;
    Ok(ModelConfig { shape: Shape::DecoderOnly(stack), ..config })
}

fn read_qwen(fields: &Fields<'_>, defaults: Defaults) -> Result<(ModelConfig, Stack)> {
    let defaults =
        Defaults { vocab_size: 151_936, d_ff: 22_016, n_kv_heads: Some(32), context_len: 32_768, ..defaults };
    let (config, mut stack) = read_common(fields, &defaults)?;
    if fields.flag("use_sliding_window", false)?
        && let Some(tokens) = fields.nullable_size("sliding_window", 4096)?
    {
        let n_full = fields.whole("max_window_layers", 28)?;
        stack.attention.window = window::read(fields, &stack, tokens, |layer| (layer as u64) < n_full)?;
    }
    Ok((config, stack))
}

fn read_phi3(fields: &Fields<'_>) -> Result<ModelConfig> {
    let defaults = Defaults {
        vocab_size: 32_064,
        d_model: 3_072,
        d_ff: 8_192,
        context_len: 4_096,
        eps: 1e-5,
        rope: rope::Defaults { share: Some((rope::SHARE, 1.0)), original_context_len: Some(4_096), ..rope::DEFAULTS },
        ..DEFAULTS
    };
    let (config, mut stack) = read_common(fields, &defaults)?;
    stack.attention.window = uniform_window(fields)?;
    Ok(ModelConfig { shape: Shape::DecoderOnly(stack), ..config })
}

fn read_olmo2(fields: &Fields<'_>) -> Result<ModelConfig> {
    let (config, mut stack) = read_common(fields, &Defaults { vocab_size: 50_304, eps: 1e-5, ..DEFAULTS })?;
    read_attention_bias(fields, &mut stack)?;
    stack.attention.qk_norm = QkNorm::AllHeads;
    Ok(ModelConfig { shape: Shape::DecoderOnly(stack), placement: Placement::ResPost, ..config })
}

/// What all kin have in common; `shape` is to be replaced by the stack once it is complete.
pub(super) fn read_common(fields: &Fields<'_>, defaults: &Defaults) -> Result<(ModelConfig, Stack)> {
    let d_model = fields.size("hidden_size", defaults.d_model)?;
    let n_heads = fields.size("num_attention_heads", defaults.n_heads)?;
    let d_head = match fields.size_if_given("head_dim")?.or(defaults.d_head) {
        Some(d_head) => d_head,
        None => even_share(fields, d_model, n_heads)?,
    };
    let n_kv_heads = fields.nullable_size("num_key_value_heads", defaults.n_kv_heads.unwrap_or(n_heads))?;
    let attention = Attention {
        n_heads,
        n_kv_heads: n_kv_heads.unwrap_or(n_heads),
        d_head,
        qkv_bias: false,
        out_bias: false,
        scale: ScoreScale::InverseSqrt,
        window: None,
        qk_norm: QkNorm::None,
        score_cap: None,
    };
    let feed_forward = FeedForward::Gated {
        activation: fields.activation(defaults.activation_key, defaults.activation)?,
        d_ff: fields.size("intermediate_size", defaults.d_ff)?,
        bias: false,
    };
    let stack = Stack { n_layers: fields.layers("num_hidden_layers", defaults.n_layers)?, attention, feed_forward };
    let context_len = fields.size("max_position_embeddings", defaults.context_len)?;
    let config = ModelConfig {
        shape: Shape::DecoderOnly(stack.clone()),
        d_model,
        vocab_size: fields.size("vocab_size", defaults.vocab_size)?,
        context_len,
        position: Position::Rotary(rope::read(fields, &defaults.rope, d_head, context_len)?),
        norm: Norm::Rms { eps: fields.positive("rms_norm_eps", defaults.eps)? as f32 },
        placement: Placement::Pre,
        embedding: PLAIN_EMBEDDING,
        head: head(fields.flag("tie_word_embeddings", defaults.is_tied)?),
        logit_cap: None,
    };
    Ok((config, stack))
}

fn write_llama(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_common(config);
    let stack = config.last_stack();
    let Attention { qkv_bias, out_bias, .. } = stack.attention;
    map.insert("attention_bias".to_owned(), json!(qkv_bias || out_bias));
    map.insert("mlp_bias".to_owned(), json!(stack.feed_forward.has_bias()));
    map
}

fn write_mixtral(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_mistral(config);
    if let FeedForward::Experts { n_experts, n_active, .. } = config.last_stack().feed_forward {
        map.insert("num_local_experts".to_owned(), json!(n_experts));
        map.insert("num_experts_per_tok".to_owned(), json!(n_active));
    }
    map
}

fn write_qwen3(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_qwen2(config);
    let Attention { qkv_bias, out_bias, .. } = config.last_stack().attention;
    map.insert("attention_bias".to_owned(), json!(qkv_bias || out_bias));
    map
}

fn write_mistral(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_common(config);
    map.insert("sliding_window".to_owned(), json!(window::tokens(config.last_stack())));
    map
}

/// Beside what it has in common: the share of a head that is turned, and the context first trained with, which are read there and
/// not inside. Older readers take an object of three fields and no other; it has no place for a factor of its own.
fn write_phi3(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_mistral(config);
    let Position::Rotary(rotary) = &config.position else { return map };
    if let Some(share) = map["rope_parameters"].get(rope::SHARE).cloned() {
        map.insert(rope::SHARE.to_owned(), share);
    }
    if let RotaryScaling::LongRope { short, long, original_context_len, attention_factor } = &rotary.scaling {
        map.insert(rope::ORIGINAL_CONTEXT_LEN.to_owned(), json!(original_context_len));
        map.remove("rope_scaling");
        if attention_factor.is_none() {
            let of_three = json!({ "type": "longrope", "short_factor": short, "long_factor": long });
            map.insert("rope_scaling".to_owned(), of_three);
        }
    }
    map
}

fn write_qwen2(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_common(config);
    let stack = config.last_stack();
    let tokens = window::tokens(stack);
    map.insert("layer_types".to_owned(), window::layer_types(stack));
    map.insert("max_window_layers".to_owned(), json!(window::n_first_full(stack)));
    map.insert("sliding_window".to_owned(), json!(tokens));
    map.insert("use_sliding_window".to_owned(), json!(tokens.is_some()));
    map
}

pub(super) fn write_common(config: &ModelConfig) -> Map<String, Value> {
    let stack = config.last_stack();
    let mut map = object(json!({
        "attention_dropout": 0.0,
        "head_dim": stack.attention.d_head,
        "hidden_act": activation_name(stack.feed_forward.activation()),
        "hidden_size": config.d_model,
        "intermediate_size": stack.d_ff(),
        "max_position_embeddings": config.context_len,
        "num_attention_heads": stack.attention.n_heads,
        "num_hidden_layers": stack.n_layers,
        "num_key_value_heads": stack.attention.n_kv_heads,
        "rms_norm_eps": shortest(config.norm.eps()),
        "tie_word_embeddings": config.head != Head::Untied,
    }));
    rope::write(config, &mut map);
    map
}
