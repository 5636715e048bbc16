//! What an architecture is, in words and in numbers of parameters.

use crate::show::{number, row};
use genera_engine::ModelConfig;
use genera_engine::config::{
    FeedForward, Head, Norm, Placement, Position, Rotary, RotaryScaling, Shape, Stack, activation_name,
};
use genera_engine::params::ParamCount;

/// Prints the lines of an architecture, and how many parameters are where.
pub(super) fn print(config: &ModelConfig, count: &ParamCount) {
    for (name, stack) in config.stacks() {
        row(name, stack_line(stack));
    }
    let shape = match config.shape {
        Shape::DecoderOnly(_) => "decoder-only: each token sees those before it",
        Shape::EncoderOnly(_) => "encoder-only: each token sees all",
        Shape::EncoderDecoder { .. } => "encoder-decoder: reads a source, writes a target",
    };
    row("shape", shape);
    let ModelConfig { d_model, vocab_size, context_len, .. } = config;
    row("residual stream", format_args!("{d_model} wide, {vocab_size} tokens, context {context_len}"));
    row("positions", positions(&config.position));
    row("norm", norm(config));
    row("head", head(config.head));
    let ParamCount { embedding, attention, feed_forward, other } = *count;
    let total = count.total();
    println!("\nParameters{:>23}", number::count(total as f64));
    for (name, n) in [
        ("embedding and head", embedding),
        ("attention", attention),
        ("feed-forward", feed_forward),
        ("norms, biases", other),
    ] {
        row(name, format_args!("{:>8}  {:>4.1} %", number::count(n as f64), 100.0 * n as f64 / total as f64));
    }
}

/// The same for programs.
pub(super) fn parameters(count: &ParamCount) -> serde_json::Value {
    let ParamCount { embedding, attention, feed_forward, other } = *count;
    serde_json::json!({
        "total": count.total(), "embedding": embedding, "attention": attention, "feed_forward": feed_forward,
        "other": other,
    })
}

fn positions(position: &Position) -> String {
    match *position {
        Position::None => "none".to_owned(),
        Position::Learned => "learned".to_owned(),
        Position::Sinusoidal => "sines and cosines".to_owned(),
        Position::Rotary(ref rotary) => rotary_line(rotary),
        Position::Alibi => "ALiBi".to_owned(),
        Position::RelativeBias { n_buckets, max_distance } => {
            format!("relative biases, {n_buckets} buckets up to a distance of {max_distance}")
        }
    }
}

fn rotary_line(rotary: &Rotary) -> String {
    let local = rotary.local_theta.map_or_else(String::new, |theta| format!(", {theta} in layers with a window"));
    let scaling = match rotary.scaling {
        RotaryScaling::None => String::new(),
        RotaryScaling::Linear { factor } => format!(", linear scaling by {factor}"),
        RotaryScaling::Dynamic { factor } => format!(", dynamic scaling by {factor}"),
        RotaryScaling::Llama3 { factor, .. } => format!(", scaled by {factor} as Llama 3.1"),
        RotaryScaling::Yarn { factor, .. } => format!(", YaRN by {factor}"),
        RotaryScaling::LongRope { original_context_len, .. } => {
            format!(", LongRoPE beyond {original_context_len} tokens")
        }
    };
    format!("rotary, theta {}, {} numbers of a head{local}{scaling}", rotary.theta, rotary.n_rotated)
}

fn norm(config: &ModelConfig) -> String {
    let kind = match config.norm {
        Norm::Layer { eps, .. } => format!("layer norm (eps {eps})"),
        Norm::Rms { eps } => format!("RMS norm (eps {eps})"),
    };
    let placement = match config.placement {
        Placement::Pre => "before each part",
        Placement::Post => "after each part",
        Placement::Sandwich => "before and after each part",
        Placement::ResPost => "after each part, before it is added",
        Placement::Parallel => "before attention and feed-forward side by side",
    };
    format!("{kind} {placement}")
}

fn head(head: Head) -> &'static str {
    match head {
        Head::Tied { .. } => "the embedding",
        Head::Untied => "a table of its own",
        Head::None => "none",
    }
}

fn stack_line(stack: &Stack) -> String {
    let attention = &stack.attention;
    let grouped = match attention.n_kv_heads {
        n if n == attention.n_heads => String::new(),
        n => format!(" ({n} for keys and values)"),
    };
    let window = attention.window.as_ref().map_or_else(String::new, |window| format!(", window {}", window.tokens));
    let feed_forward = match stack.feed_forward {
        FeedForward::Plain { activation, d_ff, .. } => format!("{} {d_ff}", activation_name::name(activation)),
        FeedForward::Gated { activation, d_ff, .. } => format!("gated {} {d_ff}", activation_name::name(activation)),
        FeedForward::Experts { activation, d_ff, n_experts, n_active } => {
            format!("gated {} {d_ff}, {n_active} of {n_experts} experts", activation_name::name(activation))
        }
    };
    format!(
        "{} layers, {} heads of {}{grouped}{window}, feed-forward {feed_forward}",
        stack.n_layers, attention.n_heads, attention.d_head
    )
}
