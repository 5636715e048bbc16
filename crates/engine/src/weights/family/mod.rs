//! The published families of models, one file each: how `config.json` maps to our configuration and back, and what the
//! weights are called.
//!
//! Adding a family is one file here, or a few lines in that of its kin, and one line in [`FAMILIES`]. `write` puts down what
//! the family can say of a configuration and no more: whether that was all of it is found out by reading it back
//! ([`architecture_of`](super::architecture_of)).

mod bart;
mod bert;
mod gemma;
mod gpt2;
mod gpt_neox;
mod llama;
mod marian;
mod opt;
mod rope;
mod t5;
#[cfg(test)]
mod tests;
mod window;

pub(in crate::weights) use bert::POOLER;
pub(in crate::weights) use rope::ORIGINAL_CONTEXT_LEN;

use super::config_json::{Fields, SpecialIds};
use super::names::{Cut, Names, Row};
use crate::config::{Attention, Embedding, Head, ModelConfig, QkNorm, ScoreScale, Shape, Stack};
use crate::error::Result;
use genera_tokens::TokenId;
use serde_json::{Map, Value};
use std::fmt;

/// Every known family.
pub static FAMILIES: [&Family; 18] = [
    &gpt2::GPT2,
    &llama::LLAMA,
    &llama::MISTRAL,
    &llama::MIXTRAL,
    &llama::QWEN2,
    &llama::QWEN3,
    &llama::PHI3,
    &llama::OLMO2,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &gpt_neox::GPT_NEOX,
    &opt::OPT,
    &marian::MARIAN,
    &marian::PEGASUS,
    &bart::BART,
    &t5::T5,
    &bert::BERT,
    &bert::ROBERTA,
];

/// A published family of models.
pub struct Family {
    /// Its name in `config.json`.
    pub model_type: &'static str,
    /// Other names there of what is read alike.
    pub(super) other_types: &'static [&'static str],
    /// The library's class that a model of it is loaded with.
    pub architecture: &'static str,
    /// Which published models it is, and what of theirs is covered.
    pub covers: &'static str,
    /// What its models are for, in the words of the library's model cards.
    pub(super) task: &'static str,
    /// What the names of weights begin with, or do not, depending on the class that wrote the file; of several that fit,
    /// the first.
    pub(super) prefixes: &'static [&'static str],
    /// Tables of names.
    pub(super) rows: &'static [&'static [Row]],
    /// Tensors that files may have and that mean nothing here, without a prefix; one `*` stands for any text.
    pub(super) ignored: &'static [&'static str],
    /// Tensors that hold several of those in the tables.
    pub(super) cuts: &'static [Cut],
    /// The ids of padding, begin and end, and the decoder's start, where `config.json` leaves them out.
    pub(super) ids: [Option<TokenId>; 4],
    /// The token that closes an answer without room for more, where no file says.
    pub(super) forced_end: Option<TokenId>,
    /// Understands a `config.json`.
    pub(super) read: fn(&Fields<'_>) -> Result<ModelConfig>,
    /// The architecture's part of a `config.json`, without `vocab_size`.
    pub(super) write: fn(&ModelConfig) -> Map<String, Value>,
    /// A name under which the embedding is written once more.
    pub(super) embedding_copy: fn(&ModelConfig) -> Option<&'static str>,
}

impl Family {
    /// What a `config.json` may call it, its own name first.
    pub fn model_types(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.model_type].into_iter().chain(self.other_types.iter().copied())
    }

    /// The ids of a `config.json` that names none.
    pub(super) fn default_ids(&self) -> SpecialIds {
        let [padding, begin, end, decoder_start] = self.ids;
        SpecialIds { padding, begin, end: end.into_iter().collect(), decoder_start, gguf_ends: None }
    }

    /// What its tensors are called.
    pub(super) fn names(&self) -> Names {
        let Self { model_type, prefixes, rows, ignored, cuts, .. } = *self;
        Names { model_type, prefixes, rows, ignored, cuts }
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type)
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

/// Embeddings as they are.
const PLAIN_EMBEDDING: Embedding =
    Embedding { scaled: false, norm: false, n_segment_types: 0, per_stack: false, width: None };

/// As many key/value heads as query heads, together as wide as the model.
fn full_heads(fields: &Fields<'_>, n_heads: usize, d_model: usize, bias: bool) -> Result<Attention> {
    Ok(Attention {
        n_heads,
        n_kv_heads: n_heads,
        d_head: even_share(fields, d_model, n_heads)?,
        qkv_bias: bias,
        out_bias: bias,
        scale: ScoreScale::InverseSqrt,
        window: None,
        qk_norm: QkNorm::None,
        score_cap: None,
    })
}

/// The embedding table as the head, or a table of its own.
fn head(is_tied: bool) -> Head {
    if is_tied { Head::Tied { bias: false, scaled: false } } else { Head::Untied }
}

/// The width of a head when all together are as wide as the model.
fn even_share(fields: &Fields<'_>, d_model: usize, n_heads: usize) -> Result<usize> {
    if d_model.is_multiple_of(n_heads) {
        return Ok(d_model / n_heads);
    }
    Err(fields.error(format!("the width {d_model} is not a multiple of the number of heads {n_heads}")))
}

/// The encoder and the decoder; of a model with one stack, that one twice.
fn both_stacks(config: &ModelConfig) -> [&Stack; 2] {
    match &config.shape {
        Shape::DecoderOnly(stack) | Shape::EncoderOnly(stack) => [stack, stack],
        Shape::EncoderDecoder { encoder, decoder } => [encoder, decoder],
    }
}

fn no_copy(_: &ModelConfig) -> Option<&'static str> {
    None
}

/// The object that `json!` made.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("expected an object, found {other}"),
    }
}
