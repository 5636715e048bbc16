//! What the tensors of a GGUF file are called: the same in all architectures.

use crate::weights::names::{Names, Row};

pub(super) const NAMES: Names = Names {
    model_type: "GGUF",
    prefix: "",
    rows: &[&[
        Row::plain("embedding", &["token_embd"]),
        Row::plain("decoder.{}.attention.norm", &["blk.{}.attn_norm"]),
        Row::stacked("decoder.{}.attention.qkv", &["blk.{}.attn_q", "blk.{}.attn_k", "blk.{}.attn_v"]),
        Row::plain("decoder.{}.attention.q_norm", &["blk.{}.attn_q_norm"]),
        Row::plain("decoder.{}.attention.k_norm", &["blk.{}.attn_k_norm"]),
        Row::plain("decoder.{}.attention.out", &["blk.{}.attn_output"]),
        Row::plain("decoder.{}.feed_forward.norm", &["blk.{}.ffn_norm"]),
        Row::stacked("decoder.{}.feed_forward.gate_up", &["blk.{}.ffn_gate", "blk.{}.ffn_up"]),
        Row::plain("decoder.{}.feed_forward.down", &["blk.{}.ffn_down"]),
        Row::plain("decoder.norm", &["output_norm"]),
        Row::plain("head", &["output"]),
    ]],
    ignored: &[super::architecture::ROPE_FACTORS],
};
