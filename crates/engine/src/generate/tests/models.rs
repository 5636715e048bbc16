//! Small models with random numbers everywhere, biases and norms included.

use crate::config::{
    Attention, Embedding, FeedForward, Head, ModelConfig, Norm, Placement, Position, QkNorm, Rotary, RotaryScaling,
    ScoreScale, Shape, Stack, Window,
};
use crate::model::{Transformer, initial_params};
use crate::params::Role;
use genera_tensor::{Activation, DType, Device, Key, ParamId, Tensor};

pub(crate) const VOCAB_SIZE: usize = 23;
pub(crate) const CONTEXT_LEN: usize = 24;

/// A random model of the architecture.
pub(crate) fn model(config: &ModelConfig, dtype: DType, device: &Device) -> Transformer {
    config.validate().expect("a valid architecture");
    let mut params = initial_params(config, 5, dtype, device);
    for i in 0..params.len() {
        let id = ParamId(i);
        let spec = params.specs()[i].clone();
        let (mean, deviation) = match spec.role {
            Role::NormWeight => (1.0, 0.2),
            Role::Bias | Role::Fixed => (0.0, 0.2),
            Role::RelativeBias | Role::Embedding | Role::Head => (0.0, 0.6),
            Role::Matrix | Role::Query | Role::Residual | Role::Adapter => continue,
        };
        let key = Key::new(17).fold(i as u64);
        let values: Vec<f32> = (0..spec.shape.n_elements() as u64).map(|j| mean + deviation * key.normal(j)).collect();
        params.set(id, &Tensor::from_f32(device, spec.shape, &values));
    }
    Transformer::new(config.clone(), params, device)
}

const PLAIN_EMBEDDING: Embedding =
    Embedding { scaled: false, norm: false, n_segment_types: 0, per_stack: false, width: None };

/// The smallest architecture with everything plain.
pub(crate) fn plain() -> ModelConfig {
    ModelConfig {
        shape: Shape::DecoderOnly(stack(4)),
        d_model: 16,
        vocab_size: VOCAB_SIZE,
        context_len: CONTEXT_LEN,
        position: Position::Rotary(Rotary::plain(100.0, 4)),
        norm: Norm::Rms { eps: 1e-5 },
        placement: Placement::Pre,
        embedding: PLAIN_EMBEDDING,
        head: Head::Untied,
        logit_cap: None,
    }
}

fn stack(n_kv_heads: usize) -> Stack {
    Stack {
        n_layers: 2,
        attention: Attention {
            n_heads: 4,
            n_kv_heads,
            d_head: 4,
            qkv_bias: false,
            out_bias: false,
            scale: ScoreScale::InverseSqrt,
            window: None,
            qk_norm: QkNorm::None,
            score_cap: None,
        },
        feed_forward: FeedForward::Gated { activation: Activation::Silu, d_ff: 24, bias: false },
    }
}

fn windowed(full_every: usize) -> Shape {
    let mut stack = stack(2);
    stack.attention.window = Some(Window::regular(3, full_every));
    Shape::DecoderOnly(stack)
}

fn normed(qk_norm: QkNorm) -> ModelConfig {
    let mut stack = stack(2);
    stack.attention.qk_norm = qk_norm;
    ModelConfig { shape: Shape::DecoderOnly(stack), ..plain() }
}

fn experts() -> ModelConfig {
    let feed_forward = FeedForward::Experts { activation: Activation::Silu, d_ff: 12, n_experts: 5, n_active: 2 };
    ModelConfig { shape: Shape::DecoderOnly(Stack { feed_forward, ..stack(2) }), ..plain() }
}

fn capped() -> ModelConfig {
    let mut stack = stack(2);
    (stack.attention.score_cap, stack.attention.scale) = (Some(0.5), ScoreScale::InverseSqrtOf(9.0));
    ModelConfig { shape: Shape::DecoderOnly(stack), logit_cap: Some(2.0), ..plain() }
}

/// Decoder-only models of every position scheme, norm placement and kind of attention.
pub(crate) fn decoders() -> Vec<(&'static str, ModelConfig)> {
    let plain = plain();
    let with = |position| ModelConfig { position, ..plain.clone() };
    let relative = Position::RelativeBias { n_buckets: 8, max_distance: 16 };
    let rotary_part = Position::Rotary(Rotary { interleaved: true, ..Rotary::plain(100.0, 2) });
    let two_bases = Position::Rotary(Rotary { local_theta: Some(9.0), ..Rotary::plain(100.0, 4) });
    // Some of the sequences grow past the switch while they are generated.
    let scaling = RotaryScaling::LongRope {
        short: vec![1.0, 1.5],
        long: vec![2.0, 4.0],
        original_context_len: 7,
        attention_factor: Some(1.1),
    };
    let long_rope = Position::Rotary(Rotary { scaling, ..Rotary::plain(100.0, 4) });
    let layer_norm = Norm::Layer { eps: 1e-5, bias: true };
    let mut biased = stack(4);
    biased.attention.qkv_bias = true;
    biased.attention.out_bias = true;
    biased.feed_forward = FeedForward::Plain { activation: Activation::GeluTanh, d_ff: 24, bias: true };
    let tied = Head::Tied { bias: true, scaled: true };
    let embedding = Embedding { scaled: true, norm: true, n_segment_types: 2, ..PLAIN_EMBEDDING };
    vec![
        ("rotary", plain.clone()),
        ("rotary in part", with(rotary_part)),
        ("no positions", with(Position::None)),
        ("learned", with(Position::Learned)),
        ("sinusoidal", with(Position::Sinusoidal)),
        ("alibi", with(Position::Alibi)),
        ("relative bias", with(relative)),
        ("grouped heads", ModelConfig { shape: Shape::DecoderOnly(stack(1)), ..plain.clone() }),
        ("window", ModelConfig { shape: windowed(0), ..plain.clone() }),
        ("window and full", ModelConfig { shape: windowed(2), ..with(Position::Alibi) }),
        ("post", ModelConfig { placement: Placement::Post, norm: layer_norm, ..plain.clone() }),
        ("sandwich", ModelConfig { placement: Placement::Sandwich, ..plain.clone() }),
        ("res-post and norms of heads", ModelConfig { placement: Placement::ResPost, ..normed(QkNorm::AllHeads) }),
        ("parallel", ModelConfig { placement: Placement::Parallel, norm: layer_norm, ..plain.clone() }),
        ("norms of each head", normed(QkNorm::PerHead)),
        ("experts", experts()),
        ("caps", capped()),
        ("two rotary bases", ModelConfig { shape: windowed(2), ..with(two_bases) }),
        ("long rope", with(long_rope)),
        (
            "biases everywhere",
            ModelConfig { shape: Shape::DecoderOnly(biased), head: tied, embedding, norm: layer_norm, ..plain.clone() },
        ),
    ]
}

/// Encoder-decoders like Marian and like T5, and one with what neither has.
pub(crate) fn encoder_decoders() -> Vec<(&'static str, ModelConfig)> {
    let plain = plain();
    let shape = |stack: Stack| Shape::EncoderDecoder { encoder: stack.clone(), decoder: stack };
    let mut marian = stack(4);
    marian.attention.qkv_bias = true;
    marian.attention.out_bias = true;
    marian.feed_forward = FeedForward::Plain { activation: Activation::Silu, d_ff: 24, bias: true };
    let mut normed_stack = stack(2);
    normed_stack.attention.qk_norm = QkNorm::PerHead;
    let mut t5 = stack(4);
    t5.attention.scale = ScoreScale::One;
    t5.feed_forward = FeedForward::Plain { activation: Activation::Relu, d_ff: 24, bias: false };
    vec![
        (
            "like Marian",
            ModelConfig {
                shape: shape(marian),
                position: Position::Sinusoidal,
                norm: Norm::Layer { eps: 1e-5, bias: true },
                placement: Placement::Post,
                embedding: Embedding { scaled: true, ..PLAIN_EMBEDDING },
                head: Head::Tied { bias: true, scaled: false },
                ..plain.clone()
            },
        ),
        (
            "like T5",
            ModelConfig {
                shape: shape(t5),
                position: Position::RelativeBias { n_buckets: 8, max_distance: 16 },
                head: Head::Tied { bias: false, scaled: true },
                ..plain.clone()
            },
        ),
        (
            "like BART",
            ModelConfig {
                shape: shape(stack(4)),
                position: Position::Learned,
                placement: Placement::Post,
                embedding: Embedding { norm: true, per_stack: true, ..PLAIN_EMBEDDING },
                ..plain.clone()
            },
        ),
        ("rotary and grouped", ModelConfig { shape: shape(normed_stack), placement: Placement::Sandwich, ..plain }),
    ]
}

/// Every model that generates.
pub(crate) fn all() -> Vec<(&'static str, ModelConfig)> {
    decoders().into_iter().chain(encoder_decoders()).collect()
}

/// A sequence of tokens, a function of `seed`.
pub(crate) fn tokens(n: usize, seed: u64) -> Vec<u32> {
    (0..n as u64).map(|i| Key::new(seed).below(i, VOCAB_SIZE as u64) as u32).collect()
}
