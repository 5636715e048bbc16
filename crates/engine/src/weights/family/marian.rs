//! Marian, the translation models of OPUS-MT: sines and cosines, layer norm after each part. Pegasus is the same with the
//! norms before each part and one at the end of each stack.

use super::{Family, PLAIN_EMBEDDING, both_stacks, full_heads, no_copy, object};
use crate::config::{Embedding, FeedForward, Head, ModelConfig, Norm, Placement, Position, Shape, Stack};
use crate::error::Result;
use crate::weights::config_json::{Fields, activation_name};
use crate::weights::names::{Row, SINES};
use genera_tensor::Activation;
use serde_json::{Map, Value, json};

pub(super) static MARIAN: Family = Family {
    model_type: "marian",
    other_types: &[],
    architecture: "MarianMTModel",
    covers: "OPUS-MT translation models",
    task: "translation",
    prefixes: &["model."],
    rows: &[ROWS],
    ignored: IGNORED,
    cuts: &[],
    ids: [Some(58100), None, Some(0), Some(58100)],
    forced_end: Some(0),
    read: read_marian,
    write: write_marian,
    embedding_copy: no_copy,
};

pub(super) static PEGASUS: Family = Family {
    model_type: "pegasus",
    other_types: &[],
    architecture: "PegasusForConditionalGeneration",
    covers: "Pegasus summarisation models",
    task: "text2text-generation",
    prefixes: &["model."],
    rows: &[
        ROWS,
        &[
            Row::plain("encoder.norm", &["model.encoder.layer_norm"]),
            Row::plain("decoder.norm", &["model.decoder.layer_norm"]),
        ],
    ],
    ignored: IGNORED,
    cuts: &[],
    ids: [Some(0), None, Some(1), Some(0)],
    forced_end: Some(1),
    read: read_pegasus,
    write: write_pegasus,
    embedding_copy: no_copy,
};

/// The fixed tables, and what older files count versions with.
const IGNORED: &[&str] = &[SINES, "encoder.version", "decoder.version"];

pub(super) const ROWS: &[Row] = &[
    Row::plain("embedding", &["model.shared"]).also(&[
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "lm_head.weight",
    ]),
    Row::plain("encoder.{}.attention.norm", &["model.encoder.layers.{}.self_attn_layer_norm"]),
    Row::stacked(
        "encoder.{}.attention.qkv",
        &[
            "model.encoder.layers.{}.self_attn.q_proj",
            "model.encoder.layers.{}.self_attn.k_proj",
            "model.encoder.layers.{}.self_attn.v_proj",
        ],
    ),
    Row::plain("encoder.{}.attention.out", &["model.encoder.layers.{}.self_attn.out_proj"]),
    Row::plain("encoder.{}.feed_forward.norm", &["model.encoder.layers.{}.final_layer_norm"]),
    Row::plain("encoder.{}.feed_forward.up", &["model.encoder.layers.{}.fc1"]),
    Row::plain("encoder.{}.feed_forward.down", &["model.encoder.layers.{}.fc2"]),
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
    Row::plain("decoder.{}.cross.norm", &["model.decoder.layers.{}.encoder_attn_layer_norm"]),
    Row::plain("decoder.{}.cross.q", &["model.decoder.layers.{}.encoder_attn.q_proj"]),
    Row::stacked(
        "decoder.{}.cross.kv",
        &["model.decoder.layers.{}.encoder_attn.k_proj", "model.decoder.layers.{}.encoder_attn.v_proj"],
    ),
    Row::plain("decoder.{}.cross.out", &["model.decoder.layers.{}.encoder_attn.out_proj"]),
    Row::plain("decoder.{}.feed_forward.norm", &["model.decoder.layers.{}.final_layer_norm"]),
    Row::plain("decoder.{}.feed_forward.up", &["model.decoder.layers.{}.fc1"]),
    Row::plain("decoder.{}.feed_forward.down", &["model.decoder.layers.{}.fc2"]),
    // The class without a head writes none.
    Row::one_row("head.bias", &["final_logits_bias"]).or_zeros(),
];

fn read_marian(fields: &Fields<'_>) -> Result<ModelConfig> {
    // Switches of the class that these models were first published for; all have had only one setting.
    for (key, expected) in [
        ("share_encoder_decoder_embeddings", true),
        ("normalize_before", false),
        ("normalize_embedding", false),
        ("add_final_layer_norm", false),
        ("static_position_embeddings", true),
    ] {
        fields.must_be(key, expected)?;
    }
    read_common(fields, 58_101, Placement::Post)
}

fn read_pegasus(fields: &Fields<'_>) -> Result<ModelConfig> {
    for (key, expected) in [
        ("normalize_before", true),
        ("normalize_embedding", false),
        ("add_final_layer_norm", true),
        ("static_position_embeddings", true),
    ] {
        fields.must_be(key, expected)?;
    }
    read_common(fields, 50_265, Placement::Pre)
}

pub(super) fn read_common(fields: &Fields<'_>, vocab_size: usize, placement: Placement) -> Result<ModelConfig> {
    fields.must_be("tie_word_embeddings", true)?;
    let d_model = fields.size("d_model", 1024)?;
    let activation = fields.activation("activation_function", "gelu")?;
    let vocab_size = fields.size("vocab_size", vocab_size)?;
    let of_decoder = fields.size("decoder_vocab_size", vocab_size)?;
    if of_decoder != vocab_size {
        let message =
            format!("'decoder_vocab_size' is {of_decoder}; only that of the encoder, {vocab_size}, is supported");
        return Err(fields.error(message));
    }
    Ok(ModelConfig {
        shape: Shape::EncoderDecoder {
            encoder: stack(fields, "encoder", d_model, activation)?,
            decoder: stack(fields, "decoder", d_model, activation)?,
        },
        d_model,
        vocab_size,
        context_len: fields.size("max_position_embeddings", 1024)?,
        position: Position::Sinusoidal,
        norm: Norm::Layer { eps: EPS, bias: true },
        placement,
        embedding: Embedding { scaled: fields.flag("scale_embedding", false)?, ..PLAIN_EMBEDDING },
        head: Head::Tied { bias: true, scaled: false },
        logit_cap: None,
    })
}

/// Not in the files: the default of the layer norms.
const EPS: f32 = 1e-5;

fn stack(fields: &Fields<'_>, name: &str, d_model: usize, activation: Activation) -> Result<Stack> {
    let size = |what: &str, default| fields.size(&format!("{name}_{what}"), default);
    Ok(Stack {
        n_layers: fields.layers(&format!("{name}_layers"), 12)?,
        attention: full_heads(fields, size("attention_heads", 16)?, d_model, true)?,
        feed_forward: FeedForward::Plain { activation, d_ff: size("ffn_dim", 4096)?, bias: true },
    })
}

fn write_marian(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_pegasus(config);
    map.insert("decoder_vocab_size".to_owned(), json!(config.vocab_size));
    map.insert("share_encoder_decoder_embeddings".to_owned(), json!(true));
    map
}

pub(super) fn write_pegasus(config: &ModelConfig) -> Map<String, Value> {
    let [encoder, decoder] = both_stacks(config);
    object(json!({
        "activation_dropout": 0.0,
        "activation_function": activation_name(encoder.feed_forward.activation()),
        "attention_dropout": 0.0,
        "d_model": config.d_model,
        "decoder_attention_heads": decoder.attention.n_heads,
        "decoder_ffn_dim": decoder.d_ff(),
        "decoder_layers": decoder.n_layers,
        "dropout": 0.0,
        "encoder_attention_heads": encoder.attention.n_heads,
        "encoder_ffn_dim": encoder.d_ff(),
        "encoder_layers": encoder.n_layers,
        "forced_eos_token_id": null,
        "is_encoder_decoder": true,
        "max_position_embeddings": config.context_len,
        "num_hidden_layers": encoder.n_layers,
        "scale_embedding": config.embedding.scaled,
        "static_position_embeddings": true,
        "tie_word_embeddings": true,
    }))
}
