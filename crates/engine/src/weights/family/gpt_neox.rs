//! GPT-NeoX and Pythia: attention and feed-forward side by side, layer norm, rotary positions on a part of each head, queries,
//! keys and values of each head together in one matrix.

use super::{Family, PLAIN_EMBEDDING, full_heads, head, no_copy, object, rope};
use crate::config::{FeedForward, Head, ModelConfig, Norm, Placement, Position, Shape, Stack};
use crate::error::Result;
use crate::weights::config_json::{Fields, activation_name, shortest};
use crate::weights::names::Row;
use serde_json::{Map, Value, json};

pub(super) static GPT_NEOX: Family = Family {
    model_type: "gpt_neox",
    other_types: &[],
    architecture: "GPTNeoXForCausalLM",
    covers: "GPT-NeoX and Pythia: parts side by side or in turn, rotary positions on a part of a head",
    task: "text-generation",
    prefixes: &["gpt_neox."],
    rows: &[&[
        Row::plain("embedding", &["gpt_neox.embed_in"]),
        Row::plain("decoder.{}.attention.norm", &["gpt_neox.layers.{}.input_layernorm"]),
        Row::per_head("decoder.{}.attention.qkv", &["gpt_neox.layers.{}.attention.query_key_value"]),
        Row::plain("decoder.{}.attention.out", &["gpt_neox.layers.{}.attention.dense"]),
        Row::plain("decoder.{}.feed_forward.norm", &["gpt_neox.layers.{}.post_attention_layernorm"]),
        Row::plain("decoder.{}.feed_forward.up", &["gpt_neox.layers.{}.mlp.dense_h_to_4h"]),
        Row::plain("decoder.{}.feed_forward.down", &["gpt_neox.layers.{}.mlp.dense_4h_to_h"]),
        Row::plain("decoder.norm", &["gpt_neox.final_layer_norm"]),
        // As version 5 of the library holds it, and writes it when asked not to go back to the names that were published.
        Row::plain("head", &["embed_out"]).also(&["lm_head.weight"]),
    ]],
    // Masks and frequencies that older versions kept among the weights.
    ignored: &["layers.*.attention.bias", "layers.*.attention.masked_bias", "layers.*.attention.rotary_emb.inv_freq"],
    cuts: &[],
    ids: [None, Some(0), Some(2), None],
    forced_end: None,
    read,
    write,
    embedding_copy: no_copy,
};

const ROPE: rope::Defaults =
    rope::Defaults { theta_key: "rotary_emb_base", share: Some(("rotary_pct", 0.25)), ..rope::DEFAULTS };

fn read(fields: &Fields<'_>) -> Result<ModelConfig> {
    let d_model = fields.size("hidden_size", 6144)?;
    let n_heads = fields.size("num_attention_heads", 64)?;
    let attention = full_heads(fields, n_heads, d_model, fields.flag("attention_bias", true)?)?;
    let context_len = fields.size("max_position_embeddings", 2048)?;
    let rotary = rope::read(fields, &ROPE, attention.d_head, context_len)?;
    let feed_forward = FeedForward::Plain {
        activation: fields.activation("hidden_act", "gelu")?,
        d_ff: fields.size("intermediate_size", 24_576)?,
        bias: true,
    };
    let is_parallel = fields.flag("use_parallel_residual", true)?;
    Ok(ModelConfig {
        shape: Shape::DecoderOnly(Stack { n_layers: fields.layers("num_hidden_layers", 44)?, attention, feed_forward }),
        d_model,
        vocab_size: fields.size("vocab_size", 50_432)?,
        context_len,
        position: Position::Rotary(rotary),
        norm: Norm::Layer { eps: fields.positive("layer_norm_eps", 1e-5)? as f32, bias: true },
        placement: if is_parallel { Placement::Parallel } else { Placement::Pre },
        embedding: PLAIN_EMBEDDING,
        head: head(fields.flag("tie_word_embeddings", false)?),
        logit_cap: None,
    })
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let stack = config.last_stack();
    let mut map = object(json!({
        "attention_bias": stack.attention.qkv_bias || stack.attention.out_bias,
        "attention_dropout": 0.0,
        "hidden_act": activation_name(stack.feed_forward.activation()),
        "hidden_dropout": 0.0,
        "hidden_size": config.d_model,
        "intermediate_size": stack.d_ff(),
        "layer_norm_eps": shortest(config.norm.eps()),
        "max_position_embeddings": config.context_len,
        "num_attention_heads": stack.attention.n_heads,
        "num_hidden_layers": stack.n_layers,
        "tie_word_embeddings": config.head != Head::Untied,
        "use_parallel_residual": config.placement == Placement::Parallel,
    }));
    rope::write(config, &mut map);
    if let Position::Rotary(rotary) = &config.position {
        // For readers older than `rope_parameters`; theirs is read before.
        map.insert("rotary_emb_base".to_owned(), json!(rotary.theta));
        map.insert("rotary_pct".to_owned(), json!(rope::share(rotary.n_rotated, stack.attention.d_head)));
        map["rope_parameters"][rope::SHARE] = map["rotary_pct"].clone();
    }
    map
}
