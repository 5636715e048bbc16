//! How much memory a training step reads and writes, if everything that does not stay in registers goes there once.

use super::layers::Layers;
use crate::plan::memory;
use crate::rates::Product;
use genera_engine::ModelConfig;
use genera_engine::config::{FeedForward, Placement, Stack};
use genera_engine::flops::Lens;
use genera_engine::params::{ParamCount, ParamSpec, Role, layout};
use genera_engine::recipe::{OptimizerKind, Recipe};
use genera_tensor::DType;

/// By what causes it. Looking up vectors of tokens and the loss are not counted: they are a few in a thousand.
///
/// # Units
/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Traffic {
    pub(super) products: f64,
    pub(super) attention: f64,
    pub(super) norms: f64,
    /// The non-linearities, as far as products do not do them on the way.
    pub(super) activations: f64,
    pub(super) optimizer: f64,
    /// The length of the gradient, and the averages of the weights.
    pub(super) clip_and_averages: f64,
}

impl Traffic {
    /// Of a whole step.
    pub(super) fn of(recipe: &Recipe, config: &ModelConfig, dtype: DType, layers: &[Layers]) -> Self {
        let n_micro = recipe.train.accumulate.max(1) as f64;
        let (rows, lens) = memory::largest_batch(recipe, config);
        let n_parameters = ParamCount::of(config).total();
        let (rows, c) = (n_micro * rows as f64, dtype.size_bytes());
        let of_layers = |layers: &Layers| {
            Product::ALL.map(|product| layers.layer.bytes(dtype, product)).iter().sum::<f64>() * layers.n as f64
        };
        Self {
            products: n_micro * layers.iter().map(of_layers).sum::<f64>(),
            attention: rows * attention(config, lens, c),
            norms: rows * layout(config).iter().map(|spec| norm(config, spec, lens, c)).sum::<f64>(),
            activations: rows * activations(config, lens, c),
            optimizer: optimizer(recipe, config, dtype),
            clip_and_averages: (4 * n_parameters * if recipe.train.ema_decay > 0.0 { 1 + 3 } else { 1 }) as f64,
        }
    }

    /// All together.
    pub(super) fn total(&self) -> f64 {
        let Self { products, attention, norms, activations, optimizer, clip_and_averages } = *self;
        products + attention + norms + activations + optimizer + clip_and_averages
    }
}

/// Tokens that a stack reads of a row.
fn n_tokens(config: &ModelConfig, stack: &str, lens: Lens) -> f64 {
    (if stack == "encoder" && config.is_encoder_decoder() { lens.source } else { lens.target }) as f64
}

/// Forward reads queries, keys and values and writes the result; backward reads these and the result's gradient, and writes
/// theirs; both touch a sum of each row and head in f32.
fn attention(config: &ModelConfig, lens: Lens, c: usize) -> f64 {
    let of_stack = |(name, stack): (&str, &Stack)| {
        let heads = &stack.attention;
        let [q, kv] = [heads.n_heads, heads.n_kv_heads].map(|n| n * heads.d_head);
        let of_query = (6 * q * c + 2 * 4 * heads.n_heads) as f64;
        let of_key = (6 * kv * c) as f64;
        let tokens = n_tokens(config, name, lens);
        let has_cross = name == "decoder" && config.is_encoder_decoder();
        let cross = if has_cross { tokens * of_query + lens.source as f64 * of_key } else { 0.0 };
        stack.n_layers as f64 * (tokens * (of_query + of_key) + cross)
    };
    config.stacks().into_iter().map(of_stack).sum()
}

/// Forward reads what goes in and writes what comes out; backward reads what went in and the result's gradient, and adds to
/// that of what went in.
fn norm(config: &ModelConfig, spec: &ParamSpec, lens: Lens, c: usize) -> f64 {
    if spec.role != Role::NormWeight {
        return 0.0;
    }
    let (stack, _) = spec.name.split_once('.').unwrap_or_default();
    let tokens = n_tokens(config, stack, lens);
    // Norms of single heads stand between two products, the others on the residual stream, which is in f32.
    if spec.name.ends_with("q_norm.weight") || spec.name.ends_with("k_norm.weight") {
        let heads = &config.last_stack().attention;
        let n_heads = if spec.name.contains("q_norm") { heads.n_heads } else { heads.n_kv_heads };
        return tokens * (n_heads * heads.d_head * 5 * c) as f64;
    }
    let is_of_stack =
        !spec.name.contains("attention") && !spec.name.contains("cross") && !spec.name.contains("feed_forward");
    let is_after = matches!(config.placement, Placement::Post | Placement::ResPost) || spec.name.contains("norm_after");
    let out = if is_after && !is_of_stack { 4 } else { c };
    tokens * (config.d_model * (4 + out + 4 + out + 2 * 4)) as f64
}

/// A product with a plain non-linearity writes its argument beside the result, and backward a pass goes over both gradients and
/// the argument; a gated one is a pass each way.
fn activations(config: &ModelConfig, lens: Lens, c: usize) -> f64 {
    let of_stack = |(name, stack): (&str, &Stack)| {
        let width = match stack.feed_forward {
            FeedForward::Plain { d_ff, .. } => 4 * d_ff,
            FeedForward::Gated { d_ff, .. } => 8 * d_ff,
            FeedForward::Experts { d_ff, n_active, .. } => 8 * d_ff * n_active,
        };
        n_tokens(config, name, lens) * (stack.n_layers * width * c) as f64
    };
    config.stacks().into_iter().map(of_stack).sum()
}

/// Reads weights, what it remembers and the gradients, and writes all but the gradients, and the weights' rounded copies.
fn optimizer(recipe: &Recipe, config: &ModelConfig, dtype: DType) -> f64 {
    let of_spec = |spec: &ParamSpec| {
        let is_matrix = matches!(spec.role, Role::Matrix | Role::Query | Role::Residual);
        let n_moments = match recipe.train.optimizer {
            OptimizerKind::Muon if is_matrix => 1,
            OptimizerKind::Sgd => 1,
            OptimizerKind::AdamW | OptimizerKind::Muon => 2,
        };
        let is_rounded = dtype == DType::Bf16 && spec.shape.sizes().len() == 2;
        spec.shape.n_elements() * (4 * (2 * (1 + n_moments) + 1) + if is_rounded { 2 } else { 0 })
    };
    layout(config).iter().map(of_spec).sum::<usize>() as f64
}

#[cfg(test)]
mod tests {
    use super::super::layers::layers;
    use super::*;

    #[test]
    fn a_step_moves_what_its_parts_read_and_write() {
        let mut recipe = Recipe::parse(
            "[model]\npreset = \"gpt2\"\nn_layers = 3\nn_heads = 4\nd_model = 64\ncontext_len = 32\n[train]\nbatch_size = 5\n",
        )
        .unwrap();
        let config = recipe.model.config(100).unwrap();
        let (_, lens) = memory::largest_batch(&recipe, &config);
        let of = |recipe: &Recipe, dtype| Traffic::of(recipe, &config, dtype, &layers(&config, 5, lens));
        let found = of(&recipe, DType::Bf16);
        let tokens = 5.0 * 32.0;
        assert_eq!(found.attention, 3.0 * tokens * (12.0 * 64.0 * 2.0 + 2.0 * 4.0 * 4.0));
        // Two a block and one at the end.
        assert_eq!(found.norms, 7.0 * tokens * 64.0 * (4.0 + 2.0 + 4.0 + 2.0 + 8.0));
        assert_eq!(found.activations, 3.0 * tokens * (4 * 256 * 2) as f64);
        assert!(found.total() > found.products + found.optimizer);
        assert!(of(&recipe, DType::F32).attention > 1.9 * found.attention);
        recipe.train.accumulate = 3;
        let thrice = of(&recipe, DType::Bf16);
        assert_eq!((thrice.norms, thrice.optimizer), (3.0 * found.norms, found.optimizer));
    }
}
