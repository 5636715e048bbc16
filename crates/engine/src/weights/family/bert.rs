//! BERT: learned positions, layer norm after each part and after the embeddings, GELU, biases everywhere. The result is the
//! hidden states. RoBERTa is the same with positions behind two rows that mean nothing.

use super::{Family, PLAIN_EMBEDDING, full_heads, no_copy, object};
use crate::config::{Embedding, FeedForward, Head, ModelConfig, Norm, Placement, Position, Shape, Stack};
use crate::error::Result;
use crate::weights::config_json::{Fields, activation_name, shortest};
use crate::weights::names::Row;
use serde_json::{Map, Value, json};

pub(super) static BERT: Family = Family {
    model_type: "bert",
    other_types: &[],
    architecture: "BertModel",
    covers: "BERT and sentence encoders made from it, such as all-MiniLM: hidden states",
    task: "feature-extraction",
    prefixes: &["bert."],
    rows: &[&[Row::plain("embedding.position", &["embeddings.position_embeddings.weight"])], ROWS],
    ignored: HEADS,
    cuts: &[],
    ids: [Some(0), None, None, None],
    forced_end: None,
    read,
    write,
    embedding_copy: no_copy,
};

pub(super) static ROBERTA: Family = Family {
    model_type: "roberta",
    other_types: &["xlm-roberta", "camembert"],
    architecture: "RobertaModel",
    covers: "RoBERTa, XLM-RoBERTa and CamemBERT, and sentence encoders made from them: hidden states",
    task: "feature-extraction",
    prefixes: &["roberta."],
    rows: &[&[Row::after(N_UNUSED, "embedding.position", &["embeddings.position_embeddings.weight"])], ROWS],
    ignored: HEADS,
    cuts: &[],
    ids: [Some(1), Some(0), Some(2), None],
    forced_end: None,
    read: read_roberta,
    write: write_roberta,
    embedding_copy: no_copy,
};

/// Rows of RoBERTa's table of positions up to that of padding, whose id is 1.
const N_UNUSED: usize = 2;

const ROWS: &[Row] = &[
    Row::plain("embedding", &["embeddings.word_embeddings"]),
    Row::plain("embedding.segment", &["embeddings.token_type_embeddings.weight"]),
    Row::plain("embedding.norm", &["embeddings.LayerNorm"]),
    Row::stacked(
        "encoder.{}.attention.qkv",
        &[
            "encoder.layer.{}.attention.self.query",
            "encoder.layer.{}.attention.self.key",
            "encoder.layer.{}.attention.self.value",
        ],
    ),
    Row::plain("encoder.{}.attention.out", &["encoder.layer.{}.attention.output.dense"]),
    Row::plain("encoder.{}.attention.norm", &["encoder.layer.{}.attention.output.LayerNorm"]),
    Row::plain("encoder.{}.feed_forward.up", &["encoder.layer.{}.intermediate.dense"]),
    Row::plain("encoder.{}.feed_forward.down", &["encoder.layer.{}.output.dense"]),
    Row::plain("encoder.{}.feed_forward.norm", &["encoder.layer.{}.output.LayerNorm"]),
];

/// The layer on top of the first hidden state, which is not read.
pub(in crate::weights) const POOLER: &str = "pooler.*";

/// Layers on top of the hidden states, and a table of 0, 1, 2, …
const HEADS: &[&str] = &[POOLER, "cls.*", "classifier.*", "qa_outputs.*", "lm_head.*", "embeddings.position_ids"];

fn read_roberta(fields: &Fields<'_>) -> Result<ModelConfig> {
    let padding = fields.whole("pad_token_id", 1)?;
    if padding + 1 != N_UNUSED as u64 {
        let message = format!("'pad_token_id' is {padding}; only 1, behind which positions begin, is supported");
        return Err(fields.error(message));
    }
    let config = read(fields)?;
    let context_len = config.context_len.checked_sub(N_UNUSED).filter(|context_len| *context_len > 0);
    let context_len = context_len.ok_or_else(|| {
        let message = format!("'max_position_embeddings' is {}, expected more than {N_UNUSED}", config.context_len);
        fields.error(message)
    })?;
    Ok(ModelConfig { context_len, ..config })
}

fn read(fields: &Fields<'_>) -> Result<ModelConfig> {
    fields.must_be("is_decoder", false)?;
    fields.must_be("add_cross_attention", false)?;
    let positions = fields.text("position_embedding_type", "absolute")?;
    if positions != "absolute" {
        let message = format!("'position_embedding_type' is '{positions}'; only 'absolute' is supported");
        return Err(fields.error(message));
    }
    let d_model = fields.size("hidden_size", 768)?;
    let feed_forward = FeedForward::Plain {
        activation: fields.activation("hidden_act", "gelu")?,
        d_ff: fields.size("intermediate_size", 3072)?,
        bias: true,
    };
    let attention = full_heads(fields, fields.size("num_attention_heads", 12)?, d_model, true)?;
    let stack = Stack { n_layers: fields.layers("num_hidden_layers", 12)?, attention, feed_forward };
    Ok(ModelConfig {
        shape: Shape::EncoderOnly(stack),
        d_model,
        vocab_size: fields.size("vocab_size", 30_522)?,
        context_len: fields.size("max_position_embeddings", 512)?,
        position: Position::Learned,
        norm: Norm::Layer { eps: fields.positive("layer_norm_eps", 1e-12)? as f32, bias: true },
        placement: Placement::Post,
        embedding: Embedding { norm: true, n_segment_types: fields.size("type_vocab_size", 2)?, ..PLAIN_EMBEDDING },
        head: Head::None,
        logit_cap: None,
    })
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let stack = config.last_stack();
    object(json!({
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": activation_name(stack.feed_forward.activation()),
        "hidden_dropout_prob": 0.0,
        "hidden_size": config.d_model,
        "intermediate_size": stack.d_ff(),
        "layer_norm_eps": shortest(config.norm.eps()),
        "max_position_embeddings": config.context_len,
        "num_attention_heads": stack.attention.n_heads,
        "num_hidden_layers": stack.n_layers,
        "type_vocab_size": config.embedding.n_segment_types.max(1),
    }))
}

fn write_roberta(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write(config);
    map.insert("max_position_embeddings".to_owned(), json!(config.context_len + N_UNUSED));
    map
}
