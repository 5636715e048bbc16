//! The architecture as data: one Transformer, described by enums, validated once at the door.

use crate::error::{Error, Result};
use genera_tensor::{Activation, NormKind, Visibility};
use serde::{Deserialize, Serialize};

/// A complete architecture. It is written whole into every checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Which stacks there are.
    pub shape: Shape,
    /// Width D of the residual stream.
    pub d_model: usize,
    /// Number V of tokens.
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub context_len: usize,
    /// How the model knows where a token stands.
    pub position: Position,
    /// Which norm.
    pub norm: Norm,
    /// Where the norms stand.
    pub placement: Placement,
    /// How tokens become vectors.
    pub embedding: Embedding,
    /// How vectors become logits.
    pub head: Head,
}

/// Which stacks a model has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Each token sees those before it: language models.
    DecoderOnly(Stack),
    /// Each token sees all: embeddings, classification.
    EncoderOnly(Stack),
    /// An encoder reads the source whole, a decoder writes the target: translation.
    EncoderDecoder {
        /// Reads the source.
        encoder: Stack,
        /// Writes the target.
        decoder: Stack,
    },
}

/// Equal blocks, one on top of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Number L of blocks.
    pub n_layers: usize,
    /// Attention of each block (and cross attention, in a decoder that has an encoder).
    pub attention: Attention,
    /// Feed-forward layer of each block.
    pub feed_forward: FeedForward,
}

/// An attention layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Query heads H.
    pub n_heads: usize,
    /// Key/value heads G; H is a multiple of it.
    pub n_kv_heads: usize,
    /// Width K of a head.
    pub d_head: usize,
    /// Biases on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub out_bias: bool,
    /// Factor on the scores.
    pub scale: ScoreScale,
    /// Limits how far back a token sees.
    pub window: Option<Window>,
}

/// Factor on the attention scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreScale {
    /// 1 / √K
    InverseSqrt,
    /// 1, as in T5, whose initial weights make up for it.
    One,
}

/// A sliding window over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Keys seen at most, the token itself included.
    pub tokens: usize,
    /// Every `full_every`-th layer sees everything; 0 for none.
    pub full_every: usize,
}

/// A feed-forward layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedForward {
    /// down(f(up(x)))
    Plain {
        /// f
        #[serde(with = "activation_name")]
        activation: Activation,
        /// Width F between up and down.
        d_ff: usize,
        /// Whether both have a bias.
        bias: bool,
    },
    /// down(f(gate(x)) · up(x)): SwiGLU with SiLU, GeGLU with GELU.
    Gated {
        /// f
        #[serde(with = "activation_name")]
        activation: Activation,
        /// Width F of gate and up.
        d_ff: usize,
        /// Whether all three have a bias.
        bias: bool,
    },
}

/// How the model knows where a token stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// It does not, but for the causal mask.
    None,
    /// A learned vector for each position, added to the embedding.
    Learned,
    /// Fixed sines and cosines, added to the embedding (Vaswani et al., arXiv 1706.03762, section 3.5; all sines first).
    Sinusoidal,
    /// Queries and keys are turned by their positions.
    Rotary {
        /// Base of the frequencies θ^(−2i/n).
        theta: f64,
        /// Features of each head that are turned (even, at most K).
        n_rotated: usize,
        /// Pairs are neighbours instead of halves.
        interleaved: bool,
    },
    /// A fixed slope per head times the distance (Press, Smith, Lewis, arXiv 2108.12409).
    Alibi,
    /// A learned number per head and bucket of distance, one table for all layers of a stack (T5).
    RelativeBias {
        /// Number of buckets.
        n_buckets: usize,
        /// Distance from which on all fall into the last bucket.
        max_distance: usize,
    },
}

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Layer norm.
    Layer {
        /// Added to the variance.
        eps: f32,
        /// Whether it has a bias beside its weight.
        bias: bool,
    },
    /// RMS norm.
    Rms {
        /// Added to the mean square.
        eps: f32,
    },
}

/// Where the norms stand, f being attention or feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// x + f(norm(x)), and one norm at the end of the stack.
    Pre,
    /// norm(x + f(x))
    Post,
    /// x + norm(f(norm(x))), and one norm at the end of the stack.
    Sandwich,
}

/// How tokens become vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Multiplied by √D.
    pub scaled: bool,
    /// Followed by a norm (BERT, Bloom).
    pub norm: bool,
    /// Learned vectors for kinds of segments, added; 0 for none (BERT has 2, of which plain text uses the first).
    pub n_segment_types: usize,
}

/// How vectors become logits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// The embedding table, used again.
    Tied {
        /// A bias per token, kept fixed at what the model was loaded with (Marian).
        bias: bool,
        /// The hidden state is multiplied by 1/√D first (T5).
        scaled: bool,
    },
    /// A table of its own.
    Untied,
    /// None: the hidden states are the result.
    None,
}

impl ModelConfig {
    /// Checks that all sizes fit together; everything behind this door trusts them.
    ///
    /// # Errors
    /// [`Error::Config`], naming the field, what it holds and what it may hold.
    pub fn validate(&self) -> Result<()> {
        // The limits are far beyond what any computer trains; with them no product of sizes overflows.
        check_size("d_model", self.d_model, 1 << 17)?;
        check_size("vocab_size", self.vocab_size, 1 << 24)?;
        check_size("context_len", self.context_len, 1 << 24)?;
        check(self.embedding.n_segment_types <= 1 << 16, || {
            format!("n_segment_types is {}; at most {} is supported", self.embedding.n_segment_types, 1 << 16)
        })?;
        let is_encoder_only = matches!(self.shape, Shape::EncoderOnly(_));
        check(is_encoder_only || self.head != Head::None, || {
            "head is none, but only an encoder-only model can do without; use tied or untied".to_owned()
        })?;
        if self.position == Position::Sinusoidal {
            check(self.d_model.is_multiple_of(2), || {
                format!("sinusoidal positions need an even d_model, not {}", self.d_model)
            })?;
        }
        if let Position::Rotary { theta, .. } = self.position {
            check(theta.is_finite() && theta > 0.0, || {
                format!("rope_theta is {theta}; rotary positions need a finite number above 0")
            })?;
        }
        let eps = self.norm.eps();
        check(eps.is_finite() && eps > 0.0, || {
            format!("norm_eps is {eps} in 32 bits; it must be a finite number above 0, as 1e-5")
        })?;
        for (name, stack) in self.stacks() {
            stack.validate(name, &self.position)?;
        }
        Ok(())
    }

    /// The stacks with their names, in the order data meets them.
    pub fn stacks(&self) -> Vec<(&'static str, &Stack)> {
        match &self.shape {
            Shape::DecoderOnly(stack) => vec![("decoder", stack)],
            Shape::EncoderOnly(stack) => vec![("encoder", stack)],
            Shape::EncoderDecoder { encoder, decoder } => vec![("encoder", encoder), ("decoder", decoder)],
        }
    }

    /// The stack whose output goes to the head.
    pub fn last_stack(&self) -> &Stack {
        match &self.shape {
            Shape::DecoderOnly(stack) | Shape::EncoderOnly(stack) => stack,
            Shape::EncoderDecoder { decoder, .. } => decoder,
        }
    }

    /// Whether there is an encoder that a decoder looks at.
    pub fn is_encoder_decoder(&self) -> bool {
        matches!(self.shape, Shape::EncoderDecoder { .. })
    }

    /// Factor on the embeddings.
    pub fn embedding_scale(&self) -> f32 {
        if self.embedding.scaled { (self.d_model as f32).sqrt() } else { 1.0 }
    }
}

impl Stack {
    fn validate(&self, name: &str, position: &Position) -> Result<()> {
        let Attention { n_heads, n_kv_heads, d_head, .. } = self.attention;
        check_size(&format!("{name}: n_layers"), self.n_layers, 1 << 12)?;
        for (field, size) in [("n_heads", n_heads), ("n_kv_heads", n_kv_heads), ("d_head", d_head)] {
            check_size(&format!("{name}: {field}"), size, 1 << 12)?;
        }
        check_size(&format!("{name}: d_ff"), self.d_ff(), 1 << 20)?;
        check(n_heads.is_multiple_of(n_kv_heads), || {
            format!(
                "{name}: n_heads ({n_heads}) is not a multiple of n_kv_heads ({n_kv_heads}); each key/value head serves the same number of query heads"
            )
        })?;
        if let Position::Rotary { n_rotated, .. } = *position {
            check(n_rotated.is_multiple_of(2) && (2..=d_head).contains(&n_rotated), || {
                format!(
                    "{name}: rotary positions turn pairs, so n_rotated must be even and at most d_head ({d_head}), not {n_rotated}"
                )
            })?;
        }
        if let Position::RelativeBias { n_buckets, max_distance } = *position {
            check_size("n_buckets", n_buckets, 1 << 16)?;
            check(n_buckets >= 4 && max_distance > n_buckets, || {
                format!(
                    "{name}: relative bias needs at least 4 buckets and a max_distance above their number, not {n_buckets} and {max_distance}"
                )
            })?;
        }
        let window = self.attention.window;
        check(window.is_none_or(|window| window.tokens > 0), || {
            format!("{name}: a window of 0 tokens hides everything; it must be at least 1")
        })
    }

    /// Width F of the feed-forward layer.
    pub fn d_ff(&self) -> usize {
        match self.feed_forward {
            FeedForward::Plain { d_ff, .. } | FeedForward::Gated { d_ff, .. } => d_ff,
        }
    }

    /// What a token of a causal stack sees in layer `layer`.
    pub fn causal_visibility(&self, layer: usize) -> Visibility {
        match self.attention.window {
            Some(Window { tokens, full_every }) if full_every == 0 || !(layer + 1).is_multiple_of(full_every) => {
                Visibility::Window { tokens }
            }
            _ => Visibility::Causal,
        }
    }
}

impl Attention {
    /// Factor on the scores.
    pub fn score_scale(&self) -> f32 {
        match self.scale {
            ScoreScale::InverseSqrt => 1.0 / (self.d_head as f32).sqrt(),
            ScoreScale::One => 1.0,
        }
    }
}

impl Norm {
    /// Layer or RMS, as the kernels name it.
    pub fn kind(self) -> NormKind {
        match self {
            Norm::Layer { .. } => NormKind::Layer,
            Norm::Rms { .. } => NormKind::Rms,
        }
    }

    /// Added to the variance or mean square.
    pub fn eps(self) -> f32 {
        match self {
            Norm::Layer { eps, .. } | Norm::Rms { eps } => eps,
        }
    }

    /// Whether it has a bias.
    pub fn has_bias(self) -> bool {
        matches!(self, Norm::Layer { bias: true, .. })
    }
}

fn check_size(name: &str, size: usize, most: usize) -> Result<()> {
    check(size > 0, || format!("{name} is 0; it must be at least 1"))?;
    check(size <= most, || format!("{name} is {size}; at most {most} is supported"))
}

fn check(holds: bool, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Config(message())) }
}

/// The names of the activations in files: those that a recipe has for them.
pub mod activation_name {
    use crate::recipe::Choice;
    use genera_tensor::Activation;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// The name of an activation.
    pub fn name(activation: Activation) -> &'static str {
        activation.name()
    }

    /// The activation of a name.
    pub fn parse(name: &str) -> Option<Activation> {
        Activation::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// Writes the name.
    ///
    /// # Errors
    /// What the serializer reports.
    pub fn serialize<S: Serializer>(activation: &Activation, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name(*activation))
    }

    /// Reads the name.
    ///
    /// # Errors
    /// When the name is none of the known ones.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Activation, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            let known: Vec<&str> = Activation::NAMES.iter().map(|(name, _)| *name).collect();
            D::Error::custom(format!("unknown activation '{text}'; known are {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fixture::{config, preset};

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let good = config(preset("llama"));
        let rotary = |theta| Position::Rotary { theta, n_rotated: 8, interleaved: false };
        for theta in [f64::NAN, f64::INFINITY, 0.0] {
            let error = ModelConfig { position: rotary(theta), ..good.clone() }.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("rope_theta is {theta};")), "{error}");
        }
        for eps in [f32::NAN, f32::INFINITY, 0.0] {
            for norm in [Norm::Rms { eps }, Norm::Layer { eps, bias: true }] {
                let error = ModelConfig { norm, ..good.clone() }.validate().unwrap_err().to_string();
                assert!(error.starts_with(&format!("norm_eps is {eps} ")), "{error}");
            }
        }
    }
}
