//! OPT: learned positions behind two rows that mean nothing, layer norm before each part, ReLU, biases, tied head.

use super::{Family, PLAIN_EMBEDDING, full_heads, head, no_copy, object};
use crate::config::{Embedding, FeedForward, Head, ModelConfig, Norm, Placement, Position, Shape, Stack};
use crate::error::Result;
use crate::weights::config_json::{Fields, activation_name};
use crate::weights::names::Row;
use serde_json::{Map, Value, json};

pub(super) static OPT: Family = Family {
    model_type: "opt",
    other_types: &[],
    architecture: "OPTForCausalLM",
    covers: "OPT",
    task: "text-generation",
    prefixes: &["model."],
    rows: &[&[
        Row::plain("embedding", &["model.decoder.embed_tokens"]),
        Row::after(2, "embedding.position", &["model.decoder.embed_positions.weight"]),
        Row::plain("decoder.{}.attention.norm", &["model.decoder.layers.{}.self_attn_layer_norm"]),
        Row::stacked(
            "decoder.{}.attention.qkv",
            &[
                "model.decoder.layers.{}.self_attn.q_proj",
                "model.decoder.layers.{}.self_attn.k_proj",
                "model.decoder.layers.{}.self_attn.v_proj",
            ],
        ),
        Row::plain("decoder.{}.attention.out", &["model.decoder.layers.{}.self_attn.out_proj"]),
        Row::plain("decoder.{}.feed_forward.norm", &["model.decoder.layers.{}.final_layer_norm"]),
        Row::plain("decoder.{}.feed_forward.up", &["model.decoder.layers.{}.fc1"]),
        Row::plain("decoder.{}.feed_forward.down", &["model.decoder.layers.{}.fc2"]),
        Row::plain("decoder.norm", &["model.decoder.final_layer_norm"]),
        Row::plain("embedding.projection", &["model.decoder.project_in"]),
        Row::plain("head.projection", &["model.decoder.project_out"]),
        Row::plain("head", &["lm_head"]),
    ]],
    ignored: &[],
    cuts: &[],
    ids: [Some(1), Some(2), Some(2), None],
    forced_end: None,
    read,
    write,
    embedding_copy: no_copy,
};

/// Not in the files: the default of the layer norms.
const EPS: f32 = 1e-5;

fn read(fields: &Fields<'_>) -> Result<ModelConfig> {
    fields.must_be("layer_norm_elementwise_affine", true)?;
    fields.must_be("_remove_final_layer_norm", false)?;
    let d_model = fields.size("hidden_size", 768)?;
    let width = fields.size("word_embed_proj_dim", d_model)?;
    let bias = fields.flag("enable_bias", true)?;
    let attention = full_heads(fields, fields.size("num_attention_heads", 12)?, d_model, bias)?;
    let feed_forward = FeedForward::Plain {
        activation: fields.activation("activation_function", "relu")?,
        d_ff: fields.size("ffn_dim", 3072)?,
        bias,
    };
    let is_before = fields.flag("do_layer_norm_before", true)?;
    Ok(ModelConfig {
        shape: Shape::DecoderOnly(Stack { n_layers: fields.layers("num_hidden_layers", 12)?, attention, feed_forward }),
        d_model,
        vocab_size: fields.size("vocab_size", 50_272)?,
        context_len: fields.size("max_position_embeddings", 2048)?,
        position: Position::Learned,
        norm: Norm::Layer { eps: EPS, bias: true },
        placement: if is_before { Placement::Pre } else { Placement::Post },
        embedding: Embedding { width: Some(width).filter(|&width| width != d_model), ..PLAIN_EMBEDDING },
        head: head(fields.flag("tie_word_embeddings", true)?),
        logit_cap: None,
    })
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let stack = config.last_stack();
    object(json!({
        "activation_function": activation_name(stack.feed_forward.activation()),
        "attention_dropout": 0.0,
        "do_layer_norm_before": config.placement != Placement::Post,
        "dropout": 0.0,
        "enable_bias": stack.attention.qkv_bias || stack.attention.out_bias || stack.feed_forward.has_bias(),
        "ffn_dim": stack.d_ff(),
        "hidden_size": config.d_model,
        "layer_norm_elementwise_affine": true,
        "max_position_embeddings": config.context_len,
        "num_attention_heads": stack.attention.n_heads,
        "num_hidden_layers": stack.n_layers,
        "tie_word_embeddings": config.head != Head::Untied,
        "word_embed_proj_dim": config.embedding_width(),
    }))
}
