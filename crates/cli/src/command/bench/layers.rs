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
}

/// The linear layers of a model by size, in the order in which data meets them.
pub(super) fn layers(config: &ModelConfig, rows: usize, lens: Lens) -> Vec<Layers> {
    let mut found: Vec<Layers> = Vec::new();
    let mut add = |name: &str, layer: Layer| match found.iter_mut().find(|layers| layers.layer == layer) {
        Some(layers) => {
            layers.n += 1;
            if !layers.names.iter().any(|known| known == name) {
                layers.names.push(name.to_owned());
            }
        }
        None => found.push(Layers { names: vec![name.to_owned()], layer, n: 1 }),
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
        add(&name, Layer { n_tokens: rows * if reads_source { lens.source } else { lens.target }, n_in, n_out });
    }
    if matches!(config.head, Head::Tied { .. }) {
        add("head", Layer { n_tokens: rows * lens.target, n_in: config.d_model, n_out: config.vocab_size });
    }
    found
}
