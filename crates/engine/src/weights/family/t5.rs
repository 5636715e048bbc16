//! T5 and T5 v1.1: relative position biases, RMS norm before each part, no other bias anywhere, scores not scaled.
//!
//! The first version multiplies the decoder's output by 1/√D before the tied head. Version 1.1 does not; it has a head of
//! its own, which `tie_word_embeddings: false` says in files up to version 4 of the library; where the weights have none all
//! the same, it is the embedding. From version 5 on, files say `scale_decoder_outputs`, and whether there is a head of its own
//! is seen from the weights.

use super::{Family, PLAIN_EMBEDDING, both_stacks, object};
use crate::config::{
    Attention, FeedForward, Head, ModelConfig, Norm, Placement, Position, QkNorm, ScoreScale, Shape, Stack,
};
use crate::error::Result;
use crate::weights::config_json::{Fields, activation, activation_name, shortest};
use crate::weights::names::Row;
use genera_tensor::Activation;
use serde_json::{Map, Value, json};

pub(super) static T5: Family = Family {
    model_type: "t5",
    other_types: &[],
    architecture: "T5ForConditionalGeneration",
    covers: "T5, T5 v1.1 and Flan-T5: relative positions, gated or plain feed-forward",
    task: "text2text-generation",
    prefixes: &[],
    rows: &[&[
        Row::plain("embedding", &["shared"]).also(&["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]),
        Row::plain("encoder.relative_bias", &["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]),
        Row::plain("encoder.{}.attention.norm", &["encoder.block.{}.layer.0.layer_norm"]),
        Row::stacked(
            "encoder.{}.attention.qkv",
            &[
                "encoder.block.{}.layer.0.SelfAttention.q",
                "encoder.block.{}.layer.0.SelfAttention.k",
                "encoder.block.{}.layer.0.SelfAttention.v",
            ],
        ),
        Row::plain("encoder.{}.attention.out", &["encoder.block.{}.layer.0.SelfAttention.o"]),
        Row::plain("encoder.{}.feed_forward.norm", &["encoder.block.{}.layer.1.layer_norm"]),
        Row::plain("encoder.{}.feed_forward.up", &["encoder.block.{}.layer.1.DenseReluDense.wi"]),
        Row::stacked(
            "encoder.{}.feed_forward.gate_up",
            &["encoder.block.{}.layer.1.DenseReluDense.wi_0", "encoder.block.{}.layer.1.DenseReluDense.wi_1"],
        ),
        Row::plain("encoder.{}.feed_forward.down", &["encoder.block.{}.layer.1.DenseReluDense.wo"]),
        Row::plain("encoder.norm", &["encoder.final_layer_norm"]),
        Row::plain("decoder.relative_bias", &["decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]),
        Row::plain("decoder.{}.attention.norm", &["decoder.block.{}.layer.0.layer_norm"]),
        Row::stacked(
            "decoder.{}.attention.qkv",
            &[
                "decoder.block.{}.layer.0.SelfAttention.q",
                "decoder.block.{}.layer.0.SelfAttention.k",
                "decoder.block.{}.layer.0.SelfAttention.v",
            ],
        ),
        Row::plain("decoder.{}.attention.out", &["decoder.block.{}.layer.0.SelfAttention.o"]),
        Row::plain("decoder.{}.cross.norm", &["decoder.block.{}.layer.1.layer_norm"]),
        Row::plain("decoder.{}.cross.q", &["decoder.block.{}.layer.1.EncDecAttention.q"]),
        Row::stacked(
            "decoder.{}.cross.kv",
            &["decoder.block.{}.layer.1.EncDecAttention.k", "decoder.block.{}.layer.1.EncDecAttention.v"],
        ),
        Row::plain("decoder.{}.cross.out", &["decoder.block.{}.layer.1.EncDecAttention.o"]),
        Row::plain("decoder.{}.feed_forward.norm", &["decoder.block.{}.layer.2.layer_norm"]),
        Row::plain("decoder.{}.feed_forward.up", &["decoder.block.{}.layer.2.DenseReluDense.wi"]),
        Row::stacked(
            "decoder.{}.feed_forward.gate_up",
            &["decoder.block.{}.layer.2.DenseReluDense.wi_0", "decoder.block.{}.layer.2.DenseReluDense.wi_1"],
        ),
        Row::plain("decoder.{}.feed_forward.down", &["decoder.block.{}.layer.2.DenseReluDense.wo"]),
        Row::plain("decoder.norm", &["decoder.final_layer_norm"]),
        Row::plain("head", &["lm_head"]).or_embedding(),
    ]],
    // In the first published files, and never used.
    ignored: &["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"],
    cuts: &[],
    ids: [Some(0), None, Some(1), Some(0)],
    forced_end: None,
    read,
    write,
    embedding_copy,
};

/// The files set no limit; this is the length that the models were trained with.
const CONTEXT_LEN: usize = 512;

fn read(fields: &Fields<'_>) -> Result<ModelConfig> {
    let n_layers = fields.layers("num_layers", 6)?;
    let (n_heads, d_head) = (fields.size("num_heads", 8)?, fields.size("d_kv", 64)?);
    let attention = Attention {
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        qkv_bias: false,
        out_bias: false,
        scale: ScoreScale::One,
        window: None,
        qk_norm: QkNorm::None,
        score_cap: None,
    };
    let encoder = Stack { n_layers, attention, feed_forward: feed_forward(fields)? };
    let decoder = Stack { n_layers: fields.layers("num_decoder_layers", n_layers)?, ..encoder.clone() };
    Ok(ModelConfig {
        shape: Shape::EncoderDecoder { encoder, decoder },
        d_model: fields.size("d_model", 512)?,
        vocab_size: fields.size("vocab_size", 32_128)?,
        context_len: fields.size("n_positions", CONTEXT_LEN)?,
        position: Position::RelativeBias {
            n_buckets: fields.size("relative_attention_num_buckets", 32)?,
            max_distance: fields.size("relative_attention_max_distance", 128)?,
        },
        norm: Norm::Rms { eps: fields.positive("layer_norm_epsilon", 1e-6)? as f32 },
        placement: Placement::Pre,
        embedding: PLAIN_EMBEDDING,
        head: head(fields)?,
        logit_cap: None,
    })
}

fn head(fields: &Fields<'_>) -> Result<Head> {
    let is_tied = fields.flag("tie_word_embeddings", true)?;
    Ok(match fields.flag_if_given("scale_decoder_outputs")? {
        Some(scaled) => Head::Tied { bias: false, scaled },
        None if is_tied => Head::Tied { bias: false, scaled: true },
        None => Head::Untied,
    })
}

fn feed_forward(fields: &Fields<'_>) -> Result<FeedForward> {
    let (d_ff, bias) = (fields.size("d_ff", 2048)?, false);
    let text = fields.text("feed_forward_proj", "relu")?;
    let (name, is_gated) = text.strip_prefix("gated-").map_or((text, false), |name| (name, true));
    // "gated-gelu" has always meant the approximation by tanh.
    let name = if is_gated && name == "gelu" { "gelu_new" } else { name };
    let activation = activation(name).ok_or_else(|| {
        fields.error(format!("'feed_forward_proj' is '{text}', expected an activation such as relu or gated-gelu"))
    })?;
    Ok(if is_gated {
        FeedForward::Gated { activation, d_ff, bias }
    } else {
        FeedForward::Plain { activation, d_ff, bias }
    })
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let [encoder, decoder] = both_stacks(config);
    let (n_buckets, max_distance) = match config.position {
        Position::RelativeBias { n_buckets, max_distance } => (n_buckets, max_distance),
        _ => (32, 128),
    };
    let feed_forward_proj = match encoder.feed_forward {
        FeedForward::Plain { activation, .. } => activation_name(activation).to_owned(),
        FeedForward::Gated { activation: Activation::GeluTanh, .. } => "gated-gelu".to_owned(),
        FeedForward::Gated { activation: Activation::GeluErf, .. } => "gated-gelu_python".to_owned(),
        FeedForward::Gated { activation, .. } | FeedForward::Experts { activation, .. } => {
            format!("gated-{}", activation_name(activation))
        }
    };
    let is_scaled = matches!(config.head, Head::Tied { scaled: true, .. });
    let mut map = object(json!({
        "d_ff": encoder.d_ff(),
        "d_kv": encoder.attention.d_head,
        "d_model": config.d_model,
        "dropout_rate": 0.0,
        "feed_forward_proj": feed_forward_proj,
        "is_encoder_decoder": true,
        "layer_norm_epsilon": shortest(config.norm.eps()),
        "n_positions": config.context_len,
        "num_decoder_layers": decoder.n_layers,
        "num_heads": encoder.attention.n_heads,
        "num_layers": encoder.n_layers,
        "relative_attention_max_distance": max_distance,
        "relative_attention_num_buckets": n_buckets,
        "tie_word_embeddings": is_scaled,
    }));
    if config.head != Head::Untied {
        map.insert("scale_decoder_outputs".to_owned(), json!(is_scaled));
    }
    map
}

/// A tied head that is not scaled: to version 4 of the library that is an untied head with the same numbers.
fn embedding_copy(config: &ModelConfig) -> Option<&'static str> {
    matches!(config.head, Head::Tied { scaled: false, .. }).then_some("lm_head.weight")
}
