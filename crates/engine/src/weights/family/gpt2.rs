//! GPT-2: learned positions, layer norm before each part, GELU, biases everywhere, matrices stored (in, out).

use super::{Family, PLAIN_EMBEDDING, full_heads, head, no_copy, object};
use crate::config::{FeedForward, Head, ModelConfig, Norm, Placement, Position, ScoreScale, Shape, Stack};
use crate::error::Result;
use crate::weights::config_json::{Fields, activation_name, shortest};
use crate::weights::names::Row;
use serde_json::{Map, Value, json};

pub(super) static GPT2: Family = Family {
    model_type: "gpt2",
    other_types: &[],
    architecture: "GPT2LMHeadModel",
    covers: "GPT-2 of all sizes and models of its shape",
    task: "text-generation",
    prefixes: &["transformer."],
    rows: &[&[
        Row::plain("embedding", &["transformer.wte"]),
        Row::plain("embedding.position", &["transformer.wpe.weight"]),
        Row::plain("decoder.{}.attention.norm", &["transformer.h.{}.ln_1"]),
        Row::transposed("decoder.{}.attention.qkv", &["transformer.h.{}.attn.c_attn"]),
        Row::transposed("decoder.{}.attention.out", &["transformer.h.{}.attn.c_proj"]),
        Row::plain("decoder.{}.feed_forward.norm", &["transformer.h.{}.ln_2"]),
        Row::transposed("decoder.{}.feed_forward.up", &["transformer.h.{}.mlp.c_fc"]),
        Row::transposed("decoder.{}.feed_forward.down", &["transformer.h.{}.mlp.c_proj"]),
        Row::plain("decoder.norm", &["transformer.ln_f"]),
        Row::plain("head", &["lm_head"]),
    ]],
    // Masks that older versions kept among the weights.
    ignored: &["h.*.attn.bias", "h.*.attn.masked_bias"],
    cuts: &[],
    ids: [None, Some(50256), Some(50256), None],
    forced_end: None,
    read,
    write,
    embedding_copy: no_copy,
};

fn read(fields: &Fields<'_>) -> Result<ModelConfig> {
    fields.must_be("scale_attn_by_inverse_layer_idx", false)?;
    fields.must_be("add_cross_attention", false)?;
    let d_model = fields.size("n_embd", 768)?;
    let mut attention = full_heads(fields, fields.size("n_head", 12)?, d_model, true)?;
    if !fields.flag("scale_attn_weights", true)? {
        attention.scale = ScoreScale::One;
    }
    let feed_forward = FeedForward::Plain {
        activation: fields.activation("activation_function", "gelu_new")?,
        d_ff: fields.size("n_inner", 4 * d_model)?,
        bias: true,
    };
    Ok(ModelConfig {
        shape: Shape::DecoderOnly(Stack { n_layers: fields.layers("n_layer", 12)?, attention, feed_forward }),
        d_model,
        vocab_size: fields.size("vocab_size", 50257)?,
        context_len: fields.size("n_positions", 1024)?,
        position: Position::Learned,
        norm: Norm::Layer { eps: fields.positive("layer_norm_epsilon", 1e-5)? as f32, bias: true },
        placement: Placement::Pre,
        embedding: PLAIN_EMBEDDING,
        head: head(fields.flag("tie_word_embeddings", true)?),
        logit_cap: None,
    })
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let stack = config.last_stack();
    object(json!({
        "activation_function": activation_name(stack.feed_forward.activation()),
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "layer_norm_epsilon": shortest(config.norm.eps()),
        "n_embd": config.d_model,
        "n_head": stack.attention.n_heads,
        "n_inner": stack.d_ff(),
        "n_layer": stack.n_layers,
        "n_positions": config.context_len,
        "resid_pdrop": 0.0,
        "scale_attn_weights": stack.attention.scale == ScoreScale::InverseSqrt,
        "tie_word_embeddings": config.head != Head::Untied,
    }))
}
