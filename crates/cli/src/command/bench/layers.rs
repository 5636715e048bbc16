//! The linear layers of a model.

use crate::rates::Layer;
use genera_engine::ModelConfig;
use genera_engine::config::Head;
use genera_engine::flops::Lens;
use genera_engine::params::{Role, layout};

/// Linear layers of one size.
pub(super) struct Layers {
    pub(super) names: Vec<String>,
    pub(super) layer: Layer,
    pub(super) n: usize,
    /// How many of them are computed again on the way back.
    pub(super) n_again: usize,
}

/// How many blocks of a stack are computed again on the way back, where the first `n_blocks` of the model are.
pub(super) fn n_again(config: &ModelConfig, stack: &str, n_blocks: usize) -> usize {
    let stacks = config.stacks();
    let before: usize = stacks.iter().take_while(|(name, _)| *name != stack).map(|(_, stack)| stack.n_layers).sum();
    let own = stacks.iter().find(|(name, _)| *name == stack).map_or(0, |(_, stack)| stack.n_layers);
    n_blocks.saturating_sub(before).min(own)
}

/// Whether a parameter, for example decoder.3.cross.kv.weight, is of a block that is computed again.
pub(super) fn is_again(config: &ModelConfig, name: &str, n_blocks: usize) -> bool {
    let mut path = name.split('.');
    let stack = path.next().unwrap_or_default();
    let block = path.next().and_then(|block| block.parse::<usize>().ok());
    block.is_some_and(|block| block < n_again(config, stack, n_blocks))
}

/// The linear layers of a model by size, in the order in which data meets them; the first `recomputed_blocks` blocks are computed
/// again on the way back.
pub(super) fn layers(config: &ModelConfig, rows: usize, lens: Lens, recomputed_blocks: usize) -> Vec<Layers> {
    let mut found: Vec<Layers> = Vec::new();
    let mut add = |name: &str, layer: Layer, n_again| match found.iter_mut().find(|layers| layers.layer == layer) {
        Some(layers) => {
            layers.n += 1;
            layers.n_again += n_again;
            if !layers.names.iter().any(|known| known == name) {
                layers.names.push(name.to_owned());
            }
        }
        None => found.push(Layers { names: vec![name.to_owned()], layer, n: 1, n_again }),
    };
    for spec in layout(config) {
        if !matches!(spec.role, Role::Matrix | Role::Query | Role::Residual | Role::Head) {
            continue;
        }
        // For example decoder.3.cross.kv.weight.
        let path: Vec<&str> = spec.name.split('.').collect();
        let name = match path[..] {
            [_, _, "cross", name, _] => format!("cross {name}"),
            [.., name, _] => name.to_owned(),
            _ => spec.name.clone(),
        };
        let reads_source = config.is_encoder_decoder() && (path[0] == "encoder" || name == "cross kv");
        let [n_out, n_in] = [spec.shape.sizes()[0], spec.shape.sizes()[1]];
        let n_tokens = rows * if reads_source { lens.source } else { lens.target };
        add(&name, Layer { n_tokens, n_in, n_out }, is_again(config, &spec.name, recomputed_blocks).into());
    }
    if matches!(config.head, Head::Tied { .. }) {
        add("head", Layer { n_tokens: rows * lens.target, n_in: config.d_model, n_out: config.vocab_size }, 0);
    }
    found
}
