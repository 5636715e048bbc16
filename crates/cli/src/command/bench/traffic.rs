//! How much memory a training step reads and writes, if everything that does not stay in registers goes there once.

use super::layers::{Layers, is_again, n_again};
use super::optimizer;
use crate::plan::memory;
use crate::rates::Product;
use genera_engine::ModelConfig;
use genera_engine::config::{FeedForward, Placement, Stack};
use genera_engine::flops::Lens;
use genera_engine::params::{ParamCount, ParamSpec, Role, layout};
use genera_engine::recipe::Recipe;
use genera_tensor::DType;

/// By what causes it. Of blocks that are computed again on the way back the forward pass is counted twice. Looking up vectors of tokens and the loss are not counted: they are a few in a thousand.
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
        let again = recipe.train.recomputed_blocks.unwrap_or(0);
        let of_layers = |layers: &Layers| {
            let once = Product::ALL.map(|product| layers.layer.bytes(dtype, product)).iter().sum::<f64>();
            once * layers.n as f64 + layers.layer.bytes(dtype, Product::Forward) * layers.n_again as f64
        };
        Self {
            products: n_micro * layers.iter().map(of_layers).sum::<f64>(),
            attention: rows * attention(config, lens, c, again),
            norms: rows * layout(config).iter().map(|spec| norm(config, spec, lens, c, again)).sum::<f64>(),
            activations: rows * activations(config, lens, c, again),
            optimizer: optimizer::work(recipe.train.optimizer, config, dtype).traffic_bytes,
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

/// Traffic of a pass forward and of one backward.
struct Passes {
    forward: f64,
    backward: f64,
}

/// Forward reads queries, keys and values and writes the result; backward reads these and the result's gradient, and writes
/// theirs; both touch a sum of each row and head in f32. Of self-attention in a block of a stack, and of cross attention.
fn attention_of_block(config: &ModelConfig, name: &str, stack: &Stack, lens: Lens, c: usize) -> [Passes; 2] {
    let heads = &stack.attention;
    let [q, kv] = [heads.n_heads, heads.n_kv_heads].map(|n| n * heads.d_head);
    let tokens = n_tokens(config, name, lens);
    let of = |keys: f64| {
        let pass = |n: usize| tokens * (n * q * c + 4 * heads.n_heads) as f64 + keys * (n * kv * c) as f64;
        Passes { forward: pass(2), backward: pass(4) }
    };
    let has_cross = name == "decoder" && config.is_encoder_decoder();
    [of(tokens), if has_cross { of(lens.source as f64) } else { Passes { forward: 0.0, backward: 0.0 } }]
}

fn attention(config: &ModelConfig, lens: Lens, c: usize, recomputed_blocks: usize) -> f64 {
    let of_stack = |(name, stack): (&str, &Stack)| {
        let n_forward = stack.n_layers + n_again(config, name, recomputed_blocks);
        let of_kind = |passes: Passes| n_forward as f64 * passes.forward + stack.n_layers as f64 * passes.backward;
        attention_of_block(config, name, stack, lens, c).map(of_kind).iter().sum::<f64>()
    };
    config.stacks().into_iter().map(of_stack).sum()
}

/// What attention goes through at once: that of one block, backward, over the rows of a micro-batch.
///
/// # Units
/// Bytes.
pub(super) fn attention_at_once(recipe: &Recipe, config: &ModelConfig, dtype: DType) -> f64 {
    let (rows, lens) = memory::largest_batch(recipe, config);
    let of_stack = |(name, stack): (&str, &Stack)| {
        attention_of_block(config, name, stack, lens, dtype.size_bytes()).map(|passes| passes.backward)
    };
    rows as f64 * config.stacks().into_iter().flat_map(of_stack).fold(0.0, f64::max)
}

/// Forward reads what goes in and writes what comes out; backward reads what went in and the result's gradient, and adds to
/// that of what went in.
fn norm(config: &ModelConfig, spec: &ParamSpec, lens: Lens, c: usize, recomputed_blocks: usize) -> f64 {
    if spec.role != Role::NormWeight {
        return 0.0;
    }
    let (stack, _) = spec.name.split_once('.').unwrap_or_default();
    let tokens = n_tokens(config, stack, lens);
    let n_forward = if is_again(config, &spec.name, recomputed_blocks) { 2 } else { 1 };
    // Norms of single heads stand between two products, the others on the residual stream, which is in f32.
    if spec.name.ends_with("q_norm.weight") || spec.name.ends_with("k_norm.weight") {
        let heads = &config.last_stack().attention;
        let n_heads = if spec.name.contains("q_norm") { heads.n_heads } else { heads.n_kv_heads };
        return tokens * (n_heads * heads.d_head * (n_forward * 2 + 3) * c) as f64;
    }
    let is_of_stack =
        !spec.name.contains("attention") && !spec.name.contains("cross") && !spec.name.contains("feed_forward");
    let is_after = matches!(config.placement, Placement::Post | Placement::ResPost) || spec.name.contains("norm_after");
    let out = if is_after && !is_of_stack { 4 } else { c };
    tokens * (config.d_model * (n_forward * (4 + out) + 4 + out + 2 * 4)) as f64
}

/// A product with a plain non-linearity writes its argument beside the result, and backward a pass goes over both gradients and
/// the argument; a gated one is a pass each way. A forward pass from which nothing is kept writes no argument.
fn activations(config: &ModelConfig, lens: Lens, c: usize, recomputed_blocks: usize) -> f64 {
    let of_stack = |(name, stack): (&str, &Stack)| {
        let (both_ways, again) = match stack.feed_forward {
            FeedForward::Plain { d_ff, .. } => (4 * d_ff, 0),
            FeedForward::Gated { d_ff, .. } => (8 * d_ff, 3 * d_ff),
            FeedForward::Experts { d_ff, n_active, .. } => (8 * d_ff * n_active, 3 * d_ff * n_active),
        };
        let width = stack.n_layers * both_ways + n_again(config, name, recomputed_blocks) * again;
        n_tokens(config, name, lens) * (width * c) as f64
    };
    config.stacks().into_iter().map(of_stack).sum()
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
        let of = |recipe: &Recipe, dtype| {
            let again = recipe.train.recomputed_blocks.unwrap_or(0);
            Traffic::of(recipe, &config, dtype, &layers(&config, 5, lens, again))
        };
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
        recipe.train.accumulate = 1;
        recipe.train.recomputed_blocks = Some(2);
        let again = of(&recipe, DType::Bf16);
        assert_eq!(again.attention - found.attention, 2.0 * tokens * (4.0 * 64.0 * 2.0 + 4.0 * 4.0));
        assert_eq!(again.norms - found.norms, 4.0 * tokens * 64.0 * (4.0 + 2.0));
        assert_eq!(again.activations, found.activations);
        // qkv, out, up and down: x and y of each, and the weights.
        let widths = [[64, 192], [64, 64], [64, 256], [256, 64]].map(|[x, y]| tokens * (x + y) as f64 + (x * y) as f64);
        assert_eq!(again.products - found.products, 2.0 * 2.0 * widths.iter().sum::<f64>());
        assert_eq!((again.optimizer, again.clip_and_averages), (found.optimizer, found.clip_and_averages));
        assert_eq!(attention_at_once(&recipe, &config, DType::Bf16), tokens * (8.0 * 64.0 * 2.0 + 4.0 * 4.0));
    }

    /// The encoder's blocks come first, and the head is in none.
    #[test]
    fn blocks_are_computed_again_in_their_order() {
        let recipe = Recipe::parse(
            "[model]\npreset = \"marian\"\nn_layers = 2\nn_encoder_layers = 3\nn_heads = 4\nd_model = 64\ncontext_len = 32\n",
        );
        let config = recipe.unwrap().model.config(100).unwrap();
        let of = |n| ["encoder", "decoder"].map(|stack| n_again(&config, stack, n));
        assert_eq!([0, 2, 4, 9].map(of), [[0, 0], [2, 0], [3, 1], [3, 2]]);
        let lens = Lens { target: 16, source: 8 };
        let n_again: usize = layers(&config, 5, lens, 4).iter().map(|layers| layers.n_again).sum();
        // Four a block of the encoder, and seven of the decoder.
        assert_eq!(n_again, 3 * 4 + 7);
        assert!(
            is_again(&config, "decoder.0.cross.kv.weight", 4) && !is_again(&config, "decoder.1.cross.kv.weight", 4)
        );
        assert!(!is_again(&config, "decoder.norm.weight", 5));
    }
}
