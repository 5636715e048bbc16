//! What a model costs: operations a token, and memory to train and to run it.

mod training_memory;

pub use training_memory::{AdapterPlan, EarlierGradients, TrainMemory, TrainPlan};

use crate::config::{FeedForward, Head, ModelConfig, Stack};
use crate::params::{ParamSpec, Role, layout};
use genera_tensor::backend::{PAGE_TOKENS, PageLayout};
use genera_tensor::{DType, Visibility};
use genera_tokens::Batch;
use serde::Serialize;

/// How long the sequences are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lens {
    /// Tokens that a decoder-only or encoder-only model reads, or that a decoder writes.
    pub target: usize,
    /// Tokens that an encoder beside a decoder reads; 0 without one.
    pub source: usize,
}

impl Lens {
    /// The longest sequences of a model.
    pub fn longest(config: &ModelConfig) -> Self {
        let source = if config.is_encoder_decoder() { config.context_len } else { 0 };
        Self { target: config.context_len, source }
    }
}

/// Operations of a forward pass over one sequence: a multiplication and an addition count as two, what is neither a matrix
/// product nor attention not at all.
pub fn forward(config: &ModelConfig, lens: Lens) -> f64 {
    let n_heads = usize::from(config.head != Head::None);
    let head = 2.0 * (n_heads * config.embedding_width() * config.vocab_size) as f64;
    // Into the model, and out of it to the head.
    let bridges = config.embedding.width.map_or(0.0, |width| 2.0 * ((1 + n_heads) * width * config.d_model) as f64);
    let stacks = config.stacks().into_iter().map(|(name, stack)| match (name, config.is_encoder_decoder()) {
        ("encoder", true) => of_stack(config, stack, lens.source, false),
        ("encoder", false) => of_stack(config, stack, lens.target, false),
        (_, true) => of_stack(config, stack, lens.target, true) + of_cross(config, stack, lens),
        (_, false) => of_stack(config, stack, lens.target, true),
    });
    stacks.sum::<f64>() + (head + bridges) * lens.target as f64
}

/// Operations of a training step over one sequence: backward costs twice what forward does. Computing activations again
/// is not counted: it is a way to save memory, not work on the model.
pub fn training(config: &ModelConfig, lens: Lens) -> f64 {
    3.0 * forward(config, lens)
}

/// As [`training`] of adapters beside frozen weights, whose gradients nobody asks for: a third of what is not attention itself.
/// The small matrices are not counted.
pub fn training_beside_adapters(config: &ModelConfig, lens: Lens) -> f64 {
    2.0 * forward(config, lens) + attention(config, lens)
}

/// Operations of a training step over a batch: each document by itself as `of` counts it, padding not counted.
pub fn of_training_batch(config: &ModelConfig, batch: &Batch, of: fn(&ModelConfig, Lens) -> f64) -> f64 {
    let row = |i: usize| {
        let source = batch.source.as_ref().map_or(0, |source| source.lens[i] as usize);
        let documents = batch.segments[i * batch.len..(i + 1) * batch.len].chunk_by(|a, b| a == b);
        let of_document = |document: &[u32]| of(config, Lens { target: document.len(), source });
        documents.filter(|document| document[0] != 0).map(of_document).sum::<f64>()
    };
    (0..batch.n_rows).map(row).sum()
}

/// Operations of attention itself in a forward pass over one sequence, of both kinds where there are two: queries times keys
/// and scores times values. What [`forward`] counts of it.
pub fn attention(config: &ModelConfig, lens: Lens) -> f64 {
    let of = |(name, stack): (&str, &Stack)| match (name, config.is_encoder_decoder()) {
        ("encoder", true) => scores(stack, lens.source, false),
        ("encoder", false) => scores(stack, lens.target, false),
        (_, true) => scores(stack, lens.target, true) + cross_scores(stack, lens),
        (_, false) => scores(stack, lens.target, true),
    };
    config.stacks().into_iter().map(of).sum()
}

fn of_stack(config: &ModelConfig, stack: &Stack, len: usize, is_causal: bool) -> f64 {
    let (d, attention) = (config.d_model, &stack.attention);
    let (q, kv) = (attention.n_heads * attention.d_head, attention.n_kv_heads * attention.d_head);
    let matrices = d * (2 * q + 2 * kv) + feed_forward_products(&stack.feed_forward, d);
    2.0 * matrices as f64 * (stack.n_layers * len) as f64 + scores(stack, len, is_causal)
}

/// Self-attention of all layers.
fn scores(stack: &Stack, len: usize, is_causal: bool) -> f64 {
    let q = stack.attention.n_heads * stack.attention.d_head;
    let seen = |layer| if is_causal { keys_seen(stack.causal_visibility(layer), len) } else { (len as f64).powi(2) };
    (0..stack.n_layers).map(|layer| 4.0 * q as f64 * seen(layer)).sum()
}

/// Cross attention of a decoder, with the layers around it.
fn of_cross(config: &ModelConfig, stack: &Stack, lens: Lens) -> f64 {
    let (d, attention) = (config.d_model, &stack.attention);
    let (q, kv) = (attention.n_heads * attention.d_head, attention.n_kv_heads * attention.d_head);
    let [d, q, kv, target, source] = [d, q, kv, lens.target, lens.source].map(|size| size as f64);
    let matrices = 2.0 * d * q * target + 2.0 * d * kv * source;
    stack.n_layers as f64 * 2.0 * matrices + cross_scores(stack, lens)
}

fn cross_scores(stack: &Stack, Lens { target, source }: Lens) -> f64 {
    let q = stack.attention.n_heads * stack.attention.d_head;
    stack.n_layers as f64 * 4.0 * q as f64 * target as f64 * source as f64
}

/// Multiplications of a token in a feed-forward layer: of experts, only those that it goes through, and the router.
fn feed_forward_products(feed_forward: &FeedForward, d: usize) -> usize {
    match *feed_forward {
        FeedForward::Plain { d_ff, .. } => 2 * d * d_ff,
        FeedForward::Gated { d_ff, .. } => 3 * d * d_ff,
        FeedForward::Experts { d_ff, n_experts, n_active, .. } => n_active * 3 * d * d_ff + n_experts * d,
    }
}

/// Keys seen by all queries of a sequence together.
fn keys_seen(visibility: Visibility, len: usize) -> f64 {
    let (len, window) = match visibility {
        Visibility::Window { tokens } => (len as f64, tokens.min(len) as f64),
        _ => (len as f64, len as f64),
    };
    window * (window + 1.0) / 2.0 + (len - window) * window
}

/// Memory that generation takes.
///
/// # Units
/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RunMemory {
    /// Matrices arranged for products, and the other weights in f32.
    pub weights: usize,
    /// Keys and values of all rows, in whole pages.
    pub cache: usize,
}

impl RunMemory {
    /// Memory to generate `rows` sequences at once.
    pub fn of(config: &ModelConfig, rows: usize, lens: Lens, compute: DType) -> Self {
        let specs = layout(config);
        let arranged = |spec: &&ParamSpec| {
            is_block_matrix(spec) || spec.role == Role::Head || (spec.name == "embedding.weight" && is_tied(config))
        };
        let c = compute.size_bytes();
        let packed: usize = specs.iter().filter(arranged).map(n_elements).sum();
        let others = specs.iter().map(n_elements).sum::<usize>() - packed;
        let stack = config.last_stack();
        let layout = PageLayout { g: stack.attention.n_kv_heads, d_head: stack.attention.d_head, dtype: compute };
        let n_pages = lens.target.div_ceil(PAGE_TOKENS) + lens.source.div_ceil(PAGE_TOKENS);
        let page_bytes = stack.n_layers as f64 * (layout.n_elements() * c) as f64;
        let cache = (rows as f64 * n_pages as f64 * page_bytes) as usize;
        Self { weights: c * packed + 4 * others, cache }
    }

    /// Both together.
    pub fn total(&self) -> usize {
        self.weights.saturating_add(self.cache)
    }
}

fn n_elements(spec: &ParamSpec) -> usize {
    spec.shape.n_elements()
}

fn is_block_matrix(spec: &ParamSpec) -> bool {
    matches!(spec.role, Role::Matrix | Role::Query | Role::Residual)
}

fn is_tied(config: &ModelConfig) -> bool {
    matches!(config.head, Head::Tied { .. })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{Placement, QkNorm, Shape};
    use crate::params::ParamCount;
    use crate::presets::{self, Sizes};

    /// A small model of a preset, or of llama with one thing changed.
    pub(super) fn config(preset: &str) -> ModelConfig {
        let sizes = Sizes {
            vocab_size: 64,
            context_len: 32,
            d_model: 64,
            n_layers: 3,
            n_encoder_layers: 2,
            n_heads: 4,
            n_kv_heads: 2,
            d_head: 16,
            d_ff: 128,
        };
        let preset_of = |name: &str| presets::find(name).unwrap().architecture.config(&sizes).unwrap();
        let mut config = preset_of(if presets::find(preset).is_some() { preset } else { "llama" });
        let Shape::DecoderOnly(stack) = &mut config.shape else { return config };
        match preset {
            "experts" => {
                let activation = stack.feed_forward.activation();
                stack.feed_forward = FeedForward::Experts { activation, d_ff: 64, n_experts: 4, n_active: 2 };
            }
            "many words" => config.vocab_size = 8192,
            "norms of heads" => stack.attention.qk_norm = QkNorm::PerHead,
            "res-post" => config.placement = Placement::ResPost,
            "parallel" => config.placement = Placement::Parallel,
            "sandwich" => config.placement = Placement::Sandwich,
            _ => {}
        }
        config
    }

    /// An expert layer costs what the active experts cost, and the router.
    #[test]
    fn only_active_experts_cost() {
        let (plain, experts) = (config("llama"), config("experts"));
        let lens = Lens { target: 1, source: 0 };
        let (of_plain, of_experts) = (forward(&plain, lens), forward(&experts, lens));
        // Two of half the width, in three layers.
        assert_eq!(of_experts - of_plain, 3.0 * 2.0 * (64 * 4) as f64);
        let [of_plain, of_experts] = [plain, experts].map(|config| ParamCount::of(&config).feed_forward);
        assert_eq!(of_experts, 2 * of_plain + 3 * 64 * 4);
    }

    /// Kaplan et al., arXiv 2001.08361, section 2.1: 6 operations a parameter and token, embeddings aside; the head is a
    /// product like the others.
    #[test]
    fn six_operations_a_parameter() {
        let mut config = config("llama");
        config.context_len = 1;
        let count = ParamCount::of(&config);
        let matrices = (count.attention + count.feed_forward + 64 * 64) as f64;
        let scores = 3.0 * 3.0 * 4.0 * 64.0;
        let lens = Lens { target: 1, source: 0 };
        assert_eq!(training(&config, lens), 6.0 * matrices + scores);
        assert_eq!(3.0 * attention(&config, lens), scores);
        assert_eq!(training_beside_adapters(&config, lens), 4.0 * matrices + scores);
    }

    #[test]
    fn windows_and_documents_cost_less() {
        assert_eq!(keys_seen(Visibility::Causal, 4), 10.0);
        assert_eq!(keys_seen(Visibility::Window { tokens: 2 }, 4), 7.0);
        assert_eq!(keys_seen(Visibility::Window { tokens: 9 }, 4), 10.0);
        let config = config("gpt2");
        let mut batch = Batch::dense(1, 8, vec![0; 8], vec![0; 8]);
        assert_eq!(of_training_batch(&config, &batch, training), training(&config, Lens { target: 8, source: 0 }));
        batch.segments = vec![1, 1, 1, 2, 2, 0, 0, 0];
        let parts = [3, 2].map(|target| training(&config, Lens { target, source: 0 }));
        assert_eq!(of_training_batch(&config, &batch, training), parts[0] + parts[1]);
    }
}
