//! Families of architectures, as rows: what makes a GPT-2 a GPT-2, whatever its size.

use crate::config::{
    Attention, Embedding, FeedForward, Head, ModelConfig, Norm, Placement, Position, QkNorm, Rotary, ScoreScale, Shape,
    Stack, Window,
};
use crate::error::Result;
use genera_tensor::Activation;

/// A family of architectures by name.
#[derive(Clone, Debug)]
pub struct Preset {
    /// The name in recipes.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// What its members have in common.
    pub architecture: Architecture,
}

/// An architecture without its sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Which stacks there are.
    pub stacks: Stacks,
    /// How the model knows where a token stands. Rotary positions turn the whole head, whatever `n_rotated` says here.
    pub position: Position,
    /// Which norm.
    pub norm: Norm,
    /// Where the norms stand.
    pub placement: Placement,
    /// The non-linearity of the feed-forward layers.
    pub activation: Activation,
    /// Whether a gate of its own goes through the non-linearity (SwiGLU, GeGLU).
    pub gated: bool,
    /// Biases on all matrices of the blocks.
    pub bias: bool,
    /// Factor on the attention scores.
    pub scale: ScoreScale,
    /// Limits how far back a token sees.
    pub window: Option<Window>,
    /// How tokens become vectors.
    pub embedding: Embedding,
    /// How vectors become logits.
    pub head: Head,
}

/// Which stacks a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stacks {
    /// One that continues its input.
    DecoderOnly,
    /// One that reads its input whole.
    EncoderOnly,
    /// One of each.
    EncoderDecoder,
}

/// How large a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Number V of tokens.
    pub vocab_size: usize,
    /// Longest sequence.
    ///
    /// # Units
    /// Tokens.
    pub context_len: usize,
    /// Width D of the residual stream.
    pub d_model: usize,
    /// Blocks L of the decoder (of the encoder, where it is the only stack).
    pub n_layers: usize,
    /// Blocks of the encoder beside a decoder.
    pub n_encoder_layers: usize,
    /// Query heads H.
    pub n_heads: usize,
    /// Key/value heads G.
    pub n_kv_heads: usize,
    /// Width K of a head.
    pub d_head: usize,
    /// Width F of the feed-forward layers.
    pub d_ff: usize,
}

const PLAIN_EMBEDDING: Embedding =
    Embedding { scaled: false, norm: false, n_segment_types: 0, per_stack: false, width: None };

/// Every family.
pub const ALL: &[Preset] = &[
    // Radford et al., "Language models are unsupervised multitask learners", 2019.
    Preset {
        name: "gpt2",
        summary: "language model: learned positions, layer norm before each part, GELU, biases, tied head",
        architecture: Architecture {
            stacks: Stacks::DecoderOnly,
            position: Position::Learned,
            norm: Norm::Layer { eps: 1e-5, bias: true },
            placement: Placement::Pre,
            activation: Activation::GeluTanh,
            gated: false,
            bias: true,
            scale: ScoreScale::InverseSqrt,
            window: None,
            embedding: PLAIN_EMBEDDING,
            head: Head::Tied { bias: false, scaled: false },
        },
    },
    // Touvron et al., arXiv 2302.13971, section 2.2; grouped heads: Ainslie et al., arXiv 2305.13245.
    Preset {
        name: "llama",
        summary: "language model: rotary positions, RMS norm before each part, SwiGLU, no biases, head of its own",
        architecture: Architecture {
            stacks: Stacks::DecoderOnly,
            position: Position::Rotary(Rotary::plain(10_000.0, 0)),
            norm: Norm::Rms { eps: 1e-6 },
            placement: Placement::Pre,
            activation: Activation::Silu,
            gated: true,
            bias: false,
            scale: ScoreScale::InverseSqrt,
            window: None,
            embedding: PLAIN_EMBEDDING,
            head: Head::Untied,
        },
    },
    // Junczys-Dowmunt et al., arXiv 1804.00344: the Transformer of Vaswani et al., arXiv 1706.03762, with swish.
    Preset {
        name: "marian",
        summary: "translation: sines and cosines as positions, layer norm after each part, SiLU, biases, tied head",
        architecture: Architecture {
            stacks: Stacks::EncoderDecoder,
            position: Position::Sinusoidal,
            norm: Norm::Layer { eps: 1e-5, bias: true },
            placement: Placement::Post,
            activation: Activation::Silu,
            gated: false,
            bias: true,
            scale: ScoreScale::InverseSqrt,
            window: None,
            embedding: Embedding { scaled: true, ..PLAIN_EMBEDDING },
            head: Head::Tied { bias: true, scaled: false },
        },
    },
    // Raffel et al., arXiv 1910.10683, with the gates of Shazeer, arXiv 2002.05202 ("T5 1.1").
    Preset {
        name: "t5",
        summary: "text to text: relative position biases, RMS norm before each part, GeGLU, no biases, tied head",
        architecture: Architecture {
            stacks: Stacks::EncoderDecoder,
            position: Position::RelativeBias { n_buckets: 32, max_distance: 128 },
            norm: Norm::Rms { eps: 1e-6 },
            placement: Placement::Pre,
            activation: Activation::GeluTanh,
            gated: true,
            bias: false,
            scale: ScoreScale::One,
            window: None,
            embedding: PLAIN_EMBEDDING,
            head: Head::Tied { bias: false, scaled: false },
        },
    },
    // Devlin et al., arXiv 1810.04805. Trained here with the embedding table as its head.
    Preset {
        name: "bert",
        summary: "reads a text whole: learned positions, layer norm after each part, GELU, biases, tied head",
        architecture: Architecture {
            stacks: Stacks::EncoderOnly,
            position: Position::Learned,
            norm: Norm::Layer { eps: 1e-12, bias: true },
            placement: Placement::Post,
            activation: Activation::GeluErf,
            gated: false,
            bias: true,
            scale: ScoreScale::InverseSqrt,
            window: None,
            embedding: Embedding { norm: true, n_segment_types: 2, ..PLAIN_EMBEDDING },
            head: Head::Tied { bias: false, scaled: false },
        },
    },
];

/// The family of a name.
pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}

impl Architecture {
    /// The architecture at these sizes.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the sizes do not fit together.
    pub fn config(&self, sizes: &Sizes) -> Result<ModelConfig> {
        let stack = |n_layers| self.stack(n_layers, sizes);
        let config = ModelConfig {
            shape: match self.stacks {
                Stacks::DecoderOnly => Shape::DecoderOnly(stack(sizes.n_layers)),
                Stacks::EncoderOnly => Shape::EncoderOnly(stack(sizes.n_layers)),
                Stacks::EncoderDecoder => {
                    Shape::EncoderDecoder { encoder: stack(sizes.n_encoder_layers), decoder: stack(sizes.n_layers) }
                }
            },
            d_model: sizes.d_model,
            vocab_size: sizes.vocab_size,
            context_len: sizes.context_len,
            position: self.position_in(sizes.d_head),
            norm: self.norm,
            placement: self.placement,
            embedding: self.embedding,
            head: self.head,
            logit_cap: None,
        };
        config.validate()?;
        Ok(config)
    }

    fn stack(&self, n_layers: usize, sizes: &Sizes) -> Stack {
        let &Sizes { n_heads, n_kv_heads, d_head, d_ff, .. } = sizes;
        let (activation, bias) = (self.activation, self.bias);
        Stack {
            n_layers,
            attention: Attention {
                n_heads,
                n_kv_heads,
                d_head,
                qkv_bias: bias,
                out_bias: bias,
                scale: self.scale,
                window: self.window.clone(),
                qk_norm: QkNorm::None,
                score_cap: None,
            },
            feed_forward: if self.gated {
                FeedForward::Gated { activation, d_ff, bias }
            } else {
                FeedForward::Plain { activation, d_ff, bias }
            },
        }
    }

    fn position_in(&self, d_head: usize) -> Position {
        match &self.position {
            Position::Rotary(rotary) => Position::Rotary(Rotary { n_rotated: d_head, ..rotary.clone() }),
            other => other.clone(),
        }
    }

    /// The usual width F: 4·D; a gated layer has three matrices instead of two, so that 8/3·D costs the same.
    pub fn usual_d_ff(&self, d_model: usize) -> usize {
        if self.gated { (8 * d_model / 3).next_multiple_of(32) } else { 4 * d_model }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::ParamCount;

    fn gpt2_small() -> Sizes {
        Sizes {
            vocab_size: 50_257,
            context_len: 1024,
            d_model: 768,
            n_layers: 12,
            n_encoder_layers: 12,
            n_heads: 12,
            n_kv_heads: 12,
            d_head: 64,
            d_ff: 3072,
        }
    }

    /// Published sizes, parameter by parameter.
    #[test]
    fn parameters_are_as_many_as_published() {
        let count = |name: &str, sizes: &Sizes| {
            ParamCount::of(&find(name).unwrap().architecture.config(sizes).unwrap()).total()
        };
        assert_eq!(count("gpt2", &gpt2_small()), 124_439_808);
        // Llama 2 7B.
        let llama = Sizes {
            vocab_size: 32_000,
            context_len: 4096,
            d_model: 4096,
            n_layers: 32,
            n_heads: 32,
            n_kv_heads: 32,
            d_head: 128,
            d_ff: 11_008,
            ..gpt2_small()
        };
        assert_eq!(count("llama", &llama), 6_738_415_616);
    }

    #[test]
    fn the_feed_forward_layer_of_a_gate_costs_the_same() {
        let d_ff = |name: &str| find(name).unwrap().architecture.usual_d_ff(768);
        assert_eq!(d_ff("gpt2"), 3072);
        assert_eq!(d_ff("llama"), 2048);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let sizes = Sizes { n_kv_heads: 5, ..gpt2_small() };
        let error = find("llama").unwrap().architecture.config(&sizes).unwrap_err().to_string();
        assert!(error.contains("n_heads (12) is not a multiple of n_kv_heads (5)"), "{error}");
    }
}
