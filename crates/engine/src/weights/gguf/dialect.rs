//! The architectures of llama.cpp as data: which family of ours each is, what its metadata is called in a `config.json`, and
//! what its tensors are called.
//!
//! # Source
//! llama.cpp, `gguf-py/gguf/constants.py` for the names, `convert_hf_to_gguf.py` for how numbers lie.

use crate::weights::names::{Cut, Names, Row};
use genera_tensor::Activation;

/// One architecture of llama.cpp.
#[derive(Debug)]
pub struct Dialect {
    /// Its name in files.
    pub name: &'static str,
    /// The family whose `config.json` says the same.
    pub model_type: &'static str,
    /// Its metadata.
    pub(super) keys: &'static [&'static [Key]],
    /// Its tensors.
    rows: &'static [&'static [Row]],
    /// Whether rows of queries and keys are kept so that the features which a position turns together are neighbours.
    pub(super) has_pairs: bool,
    /// The n of the layers without a window, every n-th; none where no layer has a window.
    pub(super) full_every: Option<usize>,
    /// Whether attention has biases; none where the tensors of a file say it.
    pub(super) has_biases: Option<bool>,
    /// Whether there is a table of the head in every file.
    pub(super) has_head: bool,
    /// What its feed-forward layers are computed with: no file says so.
    pub(super) activation: Activation,
}

/// A value of the metadata.
#[derive(Debug)]
pub(super) struct Key {
    /// What follows the architecture's name.
    pub(super) gguf: &'static str,
    /// Its name in `config.json`.
    pub(super) published: &'static str,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Whole,
    Number,
    Flag,
}

const fn size(gguf: &'static str, published: &'static str) -> Key {
    Key { gguf, published, kind: Kind::Whole, is_required: true }
}

const fn optional(gguf: &'static str, published: &'static str, kind: Kind) -> Key {
    Key { gguf, published, kind, is_required: false }
}

/// Every architecture that is read and written. Of two with one name, that with experts is meant where a file has them.
pub static DIALECTS: [Dialect; 10] = [
    Dialect { name: "llama", model_type: "llama", has_pairs: true, has_biases: None, ..PLAIN },
    Dialect {
        name: "llama",
        model_type: "mixtral",
        keys: &[
            SIZES,
            RMS_NORM,
            &[size(EXPERT_COUNT, "num_local_experts"), size("expert_used_count", "num_experts_per_tok")],
        ],
        rows: &[EMBEDDING, NORMS, ATTENTION, EXPERTS],
        has_pairs: true,
        ..PLAIN
    },
    Dialect { name: "qwen2", model_type: "qwen2", has_biases: None, ..PLAIN },
    Dialect { name: "qwen3", model_type: "qwen3", ..PLAIN },
    Dialect {
        name: "olmo2",
        model_type: "olmo2",
        rows: &[EMBEDDING, NORMS_AFTER, ATTENTION, GATED],
        has_head: true,
        ..PLAIN
    },
    Dialect {
        name: "phi3",
        model_type: "phi3",
        keys: &[SIZES, RMS_NORM, WINDOW],
        rows: &[EMBEDDING, NORMS, FUSED, ATTENTION, FUSED_GATED],
        full_every: Some(0),
        ..PLAIN
    },
    Dialect {
        name: "gemma2",
        model_type: "gemma2",
        keys: &[
            SIZES,
            RMS_NORM,
            WINDOW,
            &[optional("attn_logit_softcapping", "attn_logit_softcapping", Kind::Number)],
            LOGIT_CAP,
        ],
        rows: &[EMBEDDING, NORMS, NORMS_AROUND, ATTENTION, GATED],
        full_every: Some(2),
        activation: Activation::GeluTanh,
        ..PLAIN
    },
    Dialect {
        name: "gemma3",
        model_type: "gemma3_text",
        keys: &[SIZES, RMS_NORM, WINDOW, LOGIT_CAP],
        rows: &[EMBEDDING, NORMS, NORMS_AROUND, ATTENTION, GATED],
        full_every: Some(6),
        activation: Activation::GeluTanh,
        ..PLAIN
    },
    Dialect {
        name: "gpt2",
        model_type: "gpt2",
        keys: &[&[
            size("context_length", "n_positions"),
            size("embedding_length", "n_embd"),
            size("block_count", "n_layer"),
            size("feed_forward_length", "n_inner"),
            size("attention.head_count", "n_head"),
            optional("attention.layer_norm_epsilon", "layer_norm_epsilon", Kind::Number),
        ]],
        rows: &[EMBEDDING, NORMS, FUSED, ATTENTION, UNGATED],
        has_biases: Some(true),
        activation: Activation::GeluTanh,
        ..PLAIN
    },
    Dialect {
        name: "gptneox",
        model_type: "gpt_neox",
        keys: &[
            SIZES,
            &[
                optional("attention.layer_norm_epsilon", "layer_norm_eps", Kind::Number),
                optional("use_parallel_residual", "use_parallel_residual", Kind::Flag),
            ],
        ],
        rows: &[EMBEDDING, NORMS, FUSED, ATTENTION, UNGATED],
        has_biases: Some(true),
        has_head: true,
        // As published; llama.cpp itself approximates it by a tanh.
        activation: Activation::GeluErf,
        ..PLAIN
    },
];

/// What tells the two architectures called llama apart.
pub(super) const EXPERT_COUNT: &str = "expert_count";
/// Factors on the wavelengths of rotary positions, in tensors beside the weights: one list, or two.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";
pub(super) const SHORT_FACTORS: &str = "rope_factors_short.weight";
pub(super) const LONG_FACTORS: &str = "rope_factors_long.weight";

const PLAIN: Dialect = Dialect {
    name: "",
    model_type: "",
    keys: &[SIZES, RMS_NORM],
    rows: &[EMBEDDING, NORMS, ATTENTION, GATED],
    has_pairs: false,
    full_every: None,
    has_biases: Some(false),
    has_head: false,
    activation: Activation::Silu,
};

const SIZES: &[Key] = &[
    size("embedding_length", "hidden_size"),
    size("block_count", "num_hidden_layers"),
    size("feed_forward_length", "intermediate_size"),
    size("attention.head_count", "num_attention_heads"),
    size("context_length", "max_position_embeddings"),
    optional("attention.key_length", "head_dim", Kind::Whole),
    optional("attention.head_count_kv", "num_key_value_heads", Kind::Whole),
];
const RMS_NORM: &[Key] = &[optional("attention.layer_norm_rms_epsilon", "rms_norm_eps", Kind::Number)];
const WINDOW: &[Key] = &[optional("attention.sliding_window", "sliding_window", Kind::Whole)];
const LOGIT_CAP: &[Key] = &[optional("final_logit_softcapping", "final_logit_softcapping", Kind::Number)];

const EMBEDDING: &[Row] = &[
    Row::plain("embedding", &["token_embd"]),
    Row::plain("embedding.position", &["position_embd.weight"]),
    Row::plain("decoder.norm", &["output_norm"]),
    Row::plain("head", &["output"]),
];
const NORMS: &[Row] = &[
    Row::plain("decoder.{}.attention.norm", &["blk.{}.attn_norm"]),
    Row::plain("decoder.{}.feed_forward.norm", &["blk.{}.ffn_norm"]),
];
const NORMS_AFTER: &[Row] = &[
    Row::plain("decoder.{}.attention.norm", &["blk.{}.post_attention_norm"]),
    Row::plain("decoder.{}.feed_forward.norm", &["blk.{}.post_ffw_norm"]),
];
const NORMS_AROUND: &[Row] = &[
    Row::plain("decoder.{}.attention.norm_after", &["blk.{}.post_attention_norm"]),
    Row::plain("decoder.{}.feed_forward.norm_after", &["blk.{}.post_ffw_norm"]),
];
/// Goes before [`ATTENTION`].
const FUSED: &[Row] = &[Row::plain("decoder.{}.attention.qkv", &["blk.{}.attn_qkv"])];
const ATTENTION: &[Row] = &[
    Row::stacked("decoder.{}.attention.qkv", &["blk.{}.attn_q", "blk.{}.attn_k", "blk.{}.attn_v"]),
    Row::plain("decoder.{}.attention.q_norm", &["blk.{}.attn_q_norm"]),
    Row::plain("decoder.{}.attention.k_norm", &["blk.{}.attn_k_norm"]),
    Row::plain("decoder.{}.attention.out", &["blk.{}.attn_output"]),
];
const GATED: &[Row] = &[
    Row::stacked("decoder.{}.feed_forward.gate_up", &["blk.{}.ffn_gate", "blk.{}.ffn_up"]),
    Row::plain("decoder.{}.feed_forward.down", &["blk.{}.ffn_down"]),
];
const FUSED_GATED: &[Row] = &[
    Row::plain("decoder.{}.feed_forward.gate_up", &["blk.{}.ffn_up"]),
    Row::plain("decoder.{}.feed_forward.down", &["blk.{}.ffn_down"]),
];
const UNGATED: &[Row] = &[
    Row::plain("decoder.{}.feed_forward.up", &["blk.{}.ffn_up"]),
    Row::plain("decoder.{}.feed_forward.down", &["blk.{}.ffn_down"]),
];
/// As files of 2023 have them; newer ones keep those of all experts in one tensor ([`EXPERT_CUTS`]).
const EXPERTS: &[Row] = &[
    Row::plain("decoder.{}.feed_forward.router", &["blk.{}.ffn_gate_inp"]),
    Row::stacked("decoder.{}.feed_forward.experts.{}.gate_up", &["blk.{}.ffn_gate.{}", "blk.{}.ffn_up.{}"]),
    Row::plain("decoder.{}.feed_forward.experts.{}.down", &["blk.{}.ffn_down.{}"]),
];
const EXPERT_CUTS: &[Cut] = &[
    Cut { whole: "blk.*.ffn_gate_exps.weight", parts: &["blk.*.ffn_gate.{}.weight"] },
    Cut { whole: "blk.*.ffn_up_exps.weight", parts: &["blk.*.ffn_up.{}.weight"] },
    Cut { whole: "blk.*.ffn_down_exps.weight", parts: &["blk.*.ffn_down.{}.weight"] },
];

impl Dialect {
    /// What its tensors are called.
    pub(super) fn names(&self) -> Names {
        Names {
            model_type: self.name,
            prefixes: &[],
            rows: self.rows,
            ignored: &[ROPE_FACTORS, SHORT_FACTORS, LONG_FACTORS],
            cuts: EXPERT_CUTS,
        }
    }

    /// The names in files, each once.
    pub fn known() -> String {
        let mut names: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
        names.dedup();
        names.join(", ")
    }
}
