//! The architecture as data: one Transformer, described by enums, validated once at the door.

use crate::error::{Error, Result};
use genera_tensor::{Activation, NormKind, Visibility};
use serde::{Deserialize, Serialize};

/// Tokens of the longest sequence that any model reads.
const MAX_CONTEXT_LEN: usize = 1 << 24;

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
    /// Longest sequence that the model was made for, in tokens. See [`ModelConfig::longest`].
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
    /// c: logits become c · tanh(logit / c) (Gemma 2, arXiv 2408.00118, section 2).
    #[serde(default)]
    pub logit_cap: Option<f32>,
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
    /// Norms of queries and keys.
    #[serde(default)]
    pub qk_norm: QkNorm,
    /// c: scaled scores become c · tanh(score / c) (Gemma 2, arXiv 2408.00118, section 2).
    #[serde(default)]
    pub score_cap: Option<f32>,
}

/// RMS norms of queries and keys, before they are turned by their positions.
///
/// # Source
/// Henry et al., "Query-key normalization for Transformers", arXiv 2010.04245; as RMS norm: Dehghani et al., arXiv 2302.05442.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// None.
    #[default]
    None,
    /// Each head by itself, with one weight of width K for all query heads and one for all key heads (Qwen3, Gemma 3).
    PerHead,
    /// All query heads together as one vector of width H·K, and all key heads as one of G·K (OLMo 2).
    AllHeads,
}

/// Factor on the attention scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreScale {
    /// 1 / √K
    InverseSqrt,
    /// 1, as in T5, whose initial weights make up for it.
    One,
    /// 1 / √n for a number n of its own (Gemma's `query_pre_attn_scalar`).
    InverseSqrtOf(f64),
}

/// A sliding window over the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Keys seen at most, the token itself included.
    pub tokens: usize,
    /// Every `full_every`-th layer sees everything; 0 for none.
    pub full_every: usize,
    /// Further layers that see everything, counted from 0: where they are not every n-th.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub full_layers: Vec<usize>,
}

impl Window {
    /// A window in all layers but every `full_every`-th; in all for 0.
    pub const fn regular(tokens: usize, full_every: usize) -> Self {
        Self { tokens, full_every, full_layers: Vec::new() }
    }

    /// The window of a stack in which layer i sees everything where `is_full[i]` says so; none where all do.
    pub fn of_layers(tokens: usize, is_full: &[bool]) -> Option<Self> {
        let full: Vec<usize> = (0..is_full.len()).filter(|&layer| is_full[layer]).collect();
        let regular = Self::regular(tokens, full.first().map_or(0, |first| first + 1));
        let is_regular = (0..is_full.len()).all(|layer| regular.is_full(layer) == is_full[layer]);
        let window = if is_regular { regular } else { Self { full_layers: full, ..Self::regular(tokens, 0) } };
        is_full.contains(&false).then_some(window)
    }

    /// Whether a layer sees everything.
    fn is_full(&self, layer: usize) -> bool {
        self.full_every > 0 && (layer + 1).is_multiple_of(self.full_every) || self.full_layers.contains(&layer)
    }
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
    /// Gated layers of which each token goes through a few, weighted by the softmax of its router logits over those few:
    /// Σ shareₑ · downₑ(f(gateₑ(x)) · upₑ(x)), without biases (Mixtral, arXiv 2401.04088, section 2.1).
    Experts {
        /// f
        #[serde(with = "activation_name")]
        activation: Activation,
        /// Width F of an expert.
        d_ff: usize,
        /// Number E of experts.
        n_experts: usize,
        /// Experts of each token.
        n_active: usize,
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
    Rotary(Rotary),
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

/// Rotary positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotary {
    /// Base of the frequencies θ^(−2i/n).
    pub theta: f64,
    /// Number n of features of each head that are turned, at most K. They are turned in pairs: an odd number takes one more in,
    /// at the frequencies of n.
    pub n_rotated: usize,
    /// Pairs are neighbours instead of halves.
    pub interleaved: bool,
    /// What stretches the frequencies beyond the context that the model was first trained with.
    #[serde(default)]
    pub scaling: RotaryScaling,
    /// Base in layers with a window, whose frequencies are not scaled; as in the others when absent (Gemma 3).
    #[serde(default)]
    pub local_theta: Option<f64>,
}

impl Rotary {
    /// One base for all layers, not scaled, pairs in halves.
    pub const fn plain(theta: f64, n_rotated: usize) -> Self {
        Self { theta, n_rotated, interleaved: false, scaling: RotaryScaling::None, local_theta: None }
    }

    /// Pairs of features that are turned.
    pub const fn n_pairs(&self) -> usize {
        self.n_rotated.div_ceil(2)
    }
}

/// How rotary frequencies are changed for contexts longer than those first trained on. Lengths are tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RotaryScaling {
    /// Not at all.
    #[default]
    None,
    /// All divided by a factor (Chen et al., arXiv 2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// A base that grows with the length of a sequence beyond the model's context: θ · (factor · length / context − factor +
    /// 1)^(n/(n−2)) for all of its tokens.
    Dynamic {
        /// The factor.
        factor: f64,
    },
    /// Low frequencies divided by a factor, high ones kept, a smooth passage between (Llama 3.1, arXiv 2407.21783).
    Llama3 {
        /// Divides low frequencies.
        factor: f64,
        /// Wavelengths above `original_context_len` divided by this are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original_context_len` divided by this are high frequencies.
        high_freq_factor: f64,
        /// Context first trained with.
        original_context_len: usize,
    },
    /// Few turns within the context: divided by a factor; many turns: kept; a ramp between (Peng et al., "YaRN", arXiv
    /// 2309.00071, section 3.2).
    Yarn {
        /// Divides the frequencies.
        factor: f64,
        /// Context first trained with.
        original_context_len: usize,
        /// Multiplies queries and keys; 0.1 · ln(factor) + 1 when absent.
        attention_factor: Option<f64>,
        /// Turns within the context from which on a frequency is kept.
        beta_fast: f64,
        /// Turns up to which it is divided.
        beta_slow: f64,
        /// Whether the ends of the ramp are whole numbers.
        truncate: bool,
    },
    /// Each frequency divided by a factor of its own: one list for sequences up to the original context, one for longer
    /// ones (Ding et al., "LongRoPE", arXiv 2402.13753).
    LongRope {
        /// For short sequences, one for each pair of features.
        short: Vec<f64>,
        /// For long ones.
        long: Vec<f64>,
        /// Context first trained with.
        original_context_len: usize,
        /// Multiplies queries and keys; [`long_rope_factor`] of how far the context is stretched when absent.
        attention_factor: Option<f64>,
    },
}

/// What LongRoPE multiplies queries and keys by when a context of so many tokens is stretched by `factor`.
///
/// # Source
/// Ding et al., "LongRoPE", arXiv 2402.13753, as published with Phi-3.
pub fn long_rope_factor(factor: f64, original_context_len: usize) -> f64 {
    (1.0 + factor.max(1.0).ln() / (original_context_len as f64).ln()).sqrt()
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
    /// x + norm(f(x)), and one norm at the end of the stack (OLMo 2, arXiv 2501.00656, section 3.2).
    ResPost,
    /// x + f(norm(x)) + g(norm'(x)) with attention f and feed-forward g side by side, and one norm at the end of the stack
    /// (GPT-J; GPT-NeoX, arXiv 2204.06745, section 2.1).
    Parallel,
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
    /// Each stack has learned positions and a norm of its own; the tokens share one table (BART).
    #[serde(default)]
    pub per_stack: bool,
    /// Width of the table, where it is another than that of the model: a matrix leads into the model, and another out of it
    /// to the head (OPT-350m).
    #[serde(default)]
    pub width: Option<usize>,
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
        check_size("context_len", self.context_len, MAX_CONTEXT_LEN)?;
        check(self.embedding.n_segment_types <= 1 << 16, || {
            format!("n_segment_types is {}; at most {} is supported", self.embedding.n_segment_types, 1 << 16)
        })?;
        check_size("embedding.width", self.embedding_width(), 1 << 17)?;
        let is_encoder_only = matches!(self.shape, Shape::EncoderOnly(_));
        check(is_encoder_only || self.head != Head::None, || {
            "head is none, but only an encoder-only model can do without; use tied or untied".to_owned()
        })?;
        if self.position == Position::Sinusoidal {
            check(self.d_model.is_multiple_of(2), || {
                format!("sinusoidal positions need an even d_model, not {}", self.d_model)
            })?;
        }
        if let Position::Rotary(rotary) = &self.position {
            rotary.validate()?;
        }
        check_cap("logit_cap", self.logit_cap)?;
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

    /// Width W of the table of tokens, and of what the head multiplies.
    pub fn embedding_width(&self) -> usize {
        self.embedding.width.unwrap_or(self.d_model)
    }

    /// Tokens that a sequence may have: `context_len`, or where it may go on beyond that, as many as positions reach. Those that
    /// are added to the embeddings end there; others do not, and the limit is what is checked everywhere.
    pub fn longest(&self, goes_on: bool) -> usize {
        let is_table = matches!(self.position, Position::Learned | Position::Sinusoidal);
        if goes_on && !is_table { MAX_CONTEXT_LEN } else { self.context_len }
    }

    /// Factor on the embeddings.
    pub fn embedding_scale(&self) -> f32 {
        if self.embedding.scaled { (self.d_model as f32).sqrt() } else { 1.0 }
    }
}

impl Stack {
    fn validate(&self, name: &str, position: &Position) -> Result<()> {
        let Attention { n_heads, n_kv_heads, d_head, scale, .. } = self.attention;
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
        if let FeedForward::Experts { n_experts, n_active, .. } = self.feed_forward {
            check_size(&format!("{name}: n_experts"), n_experts, 1 << 12)?;
            check((1..=n_experts).contains(&n_active), || {
                format!("{name}: n_active is {n_active}; a token goes through 1 to {n_experts} experts")
            })?;
        }
        check_cap(&format!("{name}: score_cap"), self.attention.score_cap)?;
        check(self.attention.score_cap.is_none() || !position.is_bias(), || {
            format!("{name}: score_cap cannot be combined with a bias on the scores; use other positions")
        })?;
        if let ScoreScale::InverseSqrtOf(n) = scale {
            check(n.is_finite() && n > 0.0, || format!("{name}: scores are divided by √{n}; it must be above 0"))?;
        }
        if let Position::Rotary(rotary) = position {
            let (n_rotated, most) = (rotary.n_rotated, d_head / 2 * 2);
            check((1..=most).contains(&n_rotated), || {
                format!(
                    "{name}: rotary positions turn pairs of the {d_head} features of a head, so n_rotated must be from 1 to {most}, not {n_rotated}"
                )
            })?;
        }
        if let Position::RelativeBias { n_buckets, max_distance } = *position {
            check_size("n_buckets", n_buckets, 1 << 16)?;
            check(n_buckets >= 4 && max_distance > n_buckets / 2, || {
                format!(
                    "{name}: relative bias needs at least 4 buckets and a max_distance above half their number, not {n_buckets} and {max_distance}"
                )
            })?;
        }
        let Some(window) = &self.attention.window else { return Ok(()) };
        check(window.tokens > 0, || format!("{name}: a window of 0 tokens hides everything; it must be at least 1"))?;
        check(window.full_layers.iter().all(|&layer| layer < self.n_layers), || {
            format!(
                "{name}: full_layers of the window are {:?}; layers are 0 to {}",
                window.full_layers,
                self.n_layers - 1
            )
        })
    }

    /// Width F of the feed-forward layer.
    pub fn d_ff(&self) -> usize {
        match self.feed_forward {
            FeedForward::Plain { d_ff, .. } | FeedForward::Gated { d_ff, .. } | FeedForward::Experts { d_ff, .. } => {
                d_ff
            }
        }
    }

    /// What a token of a causal stack sees in layer `layer`.
    pub fn causal_visibility(&self, layer: usize) -> Visibility {
        match &self.attention.window {
            Some(window) if !window.is_full(layer) => Visibility::Window { tokens: window.tokens },
            _ => Visibility::Causal,
        }
    }
}

impl FeedForward {
    /// The non-linearity f.
    pub fn activation(&self) -> Activation {
        match *self {
            FeedForward::Plain { activation, .. }
            | FeedForward::Gated { activation, .. }
            | FeedForward::Experts { activation, .. } => activation,
        }
    }

    /// Whether the products have biases.
    pub fn has_bias(&self) -> bool {
        matches!(self, FeedForward::Plain { bias: true, .. } | FeedForward::Gated { bias: true, .. })
    }

    /// Whether a gate goes through f, in a matrix with that which it is multiplied by.
    pub fn is_gated(&self) -> bool {
        !matches!(self, FeedForward::Plain { .. })
    }
}

impl Position {
    /// Whether it is a bias on the scores.
    fn is_bias(&self) -> bool {
        matches!(self, Position::Alibi | Position::RelativeBias { .. })
    }
}

impl Rotary {
    fn validate(&self) -> Result<()> {
        for (name, theta) in [("rope_theta", Some(self.theta)), ("local rope_theta", self.local_theta)] {
            check(theta.is_none_or(|theta| theta.is_finite() && theta > 0.0), || {
                let theta = theta.unwrap_or_default();
                format!("{name} is {theta}; rotary positions need a finite number above 0")
            })?;
        }
        self.scaling.validate(self.n_pairs())
    }
}

impl RotaryScaling {
    fn validate(&self, n_pairs: usize) -> Result<()> {
        let above_0 = |name: &str, value: f64| {
            check(value.is_finite() && value > 0.0, || {
                format!("rope scaling: {name} is {value}; it must be a finite number above 0")
            })
        };
        match self {
            RotaryScaling::None => Ok(()),
            RotaryScaling::Linear { factor } | RotaryScaling::Dynamic { factor } => above_0("factor", *factor),
            RotaryScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_len } => {
                check_size("rope scaling: the original context", *original_context_len, 1 << 24)?;
                above_0("factor", *factor)?;
                above_0("low_freq_factor", *low_freq_factor)?;
                check(high_freq_factor.is_finite() && high_freq_factor > low_freq_factor, || {
                    format!(
                        "rope scaling: high_freq_factor is {high_freq_factor}; it must be above low_freq_factor, {low_freq_factor}"
                    )
                })
            }
            RotaryScaling::Yarn { factor, original_context_len, attention_factor, beta_fast, beta_slow, .. } => {
                check_size("rope scaling: the original context", *original_context_len, 1 << 24)?;
                above_0("factor", *factor)?;
                above_0("attention_factor", attention_factor.unwrap_or(1.0))?;
                above_0("beta_fast", *beta_fast)?;
                above_0("beta_slow", *beta_slow)
            }
            RotaryScaling::LongRope { short, long, original_context_len, attention_factor } => {
                check_size("rope scaling: the original context", *original_context_len, 1 << 24)?;
                above_0("attention_factor", attention_factor.unwrap_or(1.0))?;
                for (name, factors) in [("short", short), ("long", long)] {
                    check(factors.len() == n_pairs, || {
                        format!(
                            "rope scaling: {} {name} factors, but {n_pairs} pairs of features are turned; give one for each",
                            factors.len()
                        )
                    })?;
                    factors.iter().try_for_each(|&factor| above_0(&format!("a {name} factor"), factor))?;
                }
                Ok(())
            }
        }
    }
}

impl Attention {
    /// Factor on the scores.
    pub fn score_scale(&self) -> f32 {
        match self.scale {
            ScoreScale::InverseSqrt => 1.0 / (self.d_head as f32).sqrt(),
            ScoreScale::One => 1.0,
            ScoreScale::InverseSqrtOf(n) => n.powf(-0.5) as f32,
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

fn check_cap(name: &str, cap: Option<f32>) -> Result<()> {
    check(cap.is_none_or(|cap| cap.is_finite() && cap > 0.0), || {
        format!("{name} is {}; it must be a finite number above 0", cap.unwrap_or_default())
    })
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
        let rotary = |theta| Position::Rotary(Rotary::plain(theta, 8));
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
    /// Layers that see everything, S for those that do not: every n-th is said as such, others one by one.
    #[test]
    fn a_window_is_in_any_layers() {
        for (layers, full_every, full_layers) in [
            ("ss", 0, vec![]),
            ("sfsf", 2, vec![]),
            ("ssf", 3, vec![]),
            ("fss", 0, vec![0]),
            ("fsf", 0, vec![0, 2]),
            ("sff", 0, vec![1, 2]),
            ("sfss", 0, vec![1]),
        ] {
            let is_full: Vec<bool> = layers.chars().map(|layer| layer == 'f').collect();
            let window = Window::of_layers(7, &is_full).unwrap();
            assert_eq!(window, Window { tokens: 7, full_every, full_layers }, "{layers}");
            let good = config(preset("llama"));
            let attention = Attention { window: Some(window), ..good.last_stack().attention.clone() };
            let stack = Stack { n_layers: layers.len(), attention, ..good.last_stack().clone() };
            let sees = |layer| stack.causal_visibility(layer) == Visibility::Causal;
            assert_eq!((0..layers.len()).map(sees).collect::<Vec<_>>(), is_full, "{layers}");
        }
        assert_eq!(Window::of_layers(7, &[true, true]), None);
    }

    /// Checkpoints from before `full_layers` are read, and regular windows are still written so.
    #[test]
    fn a_regular_window_is_written_as_ever() {
        let json = r#"{"tokens":5,"full_every":2}"#;
        let window: Window = serde_json::from_str(json).unwrap();
        assert_eq!(window, Window::regular(5, 2));
        assert_eq!(serde_json::to_string(&window).unwrap(), json);
    }

    #[test]
    fn what_a_head_cannot_turn_is_refused() {
        let good = config(preset("llama"));
        let with = |n_rotated, d_head| {
            let mut config = ModelConfig { position: Position::Rotary(Rotary::plain(1e4, n_rotated)), ..good.clone() };
            let Shape::DecoderOnly(stack) = &mut config.shape else { panic!("a decoder") };
            stack.attention.d_head = d_head;
            config.validate().map_err(|error| error.to_string())
        };
        for (n_rotated, d_head) in [(1, 12), (3, 12), (11, 12), (12, 12), (3, 5)] {
            assert_eq!(with(n_rotated, d_head), Ok(()), "{n_rotated} of {d_head}");
        }
        for (n_rotated, d_head) in [(0, 12), (13, 12), (5, 5)] {
            assert!(with(n_rotated, d_head).unwrap_err().contains("n_rotated must be from 1 to"), "{n_rotated}");
        }
    }
}
