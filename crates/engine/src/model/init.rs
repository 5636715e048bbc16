//! How the numbers start: one table.

use crate::config::{ModelConfig, ScoreScale};
use crate::params::{ParamSpec, Params, Role, layout};
use genera_tensor::{DType, Device, Key, Tensor};

/// Fresh parameters of an architecture, a pure function of the seed.
///
/// # Determinism
/// Each parameter has a stream of its own, so that adding one changes no other.
pub fn initial_params(config: &ModelConfig, seed: u64, compute: DType, device: &Device) -> Params {
    let specs = layout(config);
    let root = Key::new(seed).fold(0x1217);
    let tensor = |(i, spec): (usize, &ParamSpec)| start(config, spec, root.fold(i as u64), device);
    let masters = specs.iter().enumerate().map(tensor).collect();
    Params::new(specs, masters, compute)
}

fn start(config: &ModelConfig, spec: &ParamSpec, key: Key, device: &Device) -> Tensor {
    let n = spec.shape.n_elements();
    let mut values: Vec<f32> = match standard_deviation(config, spec) {
        Some(deviation) => (0..n as u64).map(|i| deviation * key.normal(i)).collect(),
        None => vec![if spec.role == Role::NormWeight { 1.0 } else { 0.0 }; n],
    };
    if spec.name.ends_with("qkv.weight") {
        let attention = &config.last_stack().attention;
        let n_queries = attention.n_heads * attention.d_head * spec.shape.last();
        values[..n_queries].iter_mut().for_each(|value| *value *= query_factor(config));
    }
    Tensor::from_f32(device, spec.shape, &values)
}

/// Standard deviation of the normal deviates that a parameter starts with; `None` for constants.
///
/// # Source
/// Matrices √(2 / 5·fan-in): Nguyen and Salazar, arXiv 1910.05895. Residual outputs divided by √(2L): Radford et al.,
/// "Language models are unsupervised multitask learners", section 2.3. Tables 0.02: the same; 1/√D where the embedding
/// is multiplied by √D: Vaswani et al., arXiv 1706.03762. Queries without score scale take it over: Raffel et al.,
/// arXiv 1910.10683.
fn standard_deviation(config: &ModelConfig, spec: &ParamSpec) -> Option<f32> {
    let fan_in = spec.shape.last() as f32;
    let matrix = (2.0 / (5.0 * fan_in)).sqrt();
    match spec.role {
        Role::Embedding if config.embedding.scaled && spec.name == "embedding.weight" => {
            Some(1.0 / (config.d_model as f32).sqrt())
        }
        Role::Embedding | Role::Head => Some(0.02),
        Role::Matrix => Some(matrix),
        Role::Query => Some(matrix * query_factor(config)),
        Role::Residual => Some(matrix / (2.0 * depth(config, &spec.name) as f32).sqrt()),
        Role::NormWeight | Role::Bias | Role::RelativeBias | Role::Fixed | Role::Adapter => None,
    }
}

fn query_factor(config: &ModelConfig) -> f32 {
    let attention = &config.last_stack().attention;
    if attention.scale == ScoreScale::One { 1.0 / (attention.d_head as f32).sqrt() } else { 1.0 }
}

fn depth(config: &ModelConfig, name: &str) -> usize {
    let of_name = |(stack, _): &(&str, _)| name.starts_with(stack);
    config.stacks().into_iter().find(of_name).map_or(1, |(_, stack)| stack.n_layers)
}
