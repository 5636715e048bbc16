//! What the optimizer of a recipe computes, reads and writes in a step.

use genera_engine::ModelConfig;
use genera_engine::params::{ParamSpec, Role, layout, row_blocks};
use genera_engine::recipe::OptimizerKind;
use genera_tensor::DType;
use std::ops::Add;

/// What an optimizer does in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Work {
    pub(super) flops: f64,
    /// What it reads and writes, each of its passes by itself.
    pub(super) traffic_bytes: f64,
    /// What it goes through: weights, what it remembers, gradients, and rounded copies.
    pub(super) held_bytes: f64,
    /// What goes between memory and the caches at least, where these hold nothing from before and in the end nothing unwritten.
    pub(super) least_traffic_bytes: f64,
}

impl Work {
    /// At least so fast memory was, where it took this long: what the caches may have held before counts as theirs, and what they may
    /// hold unwritten in the end. 0 where that is all.
    ///
    /// # Units
    /// Bytes a second.
    pub(super) fn least_bytes_per_s(self, seconds: f64, last_level_cache_bytes: usize) -> f64 {
        let moved = self.least_traffic_bytes - 2.0 * last_level_cache_bytes as f64;
        if seconds > 0.0 { (moved / seconds).max(0.0) } else { 0.0 }
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            flops: self.flops + other.flops,
            traffic_bytes: self.traffic_bytes + other.traffic_bytes,
            held_bytes: self.held_bytes + other.held_bytes,
            least_traffic_bytes: self.least_traffic_bytes + other.least_traffic_bytes,
        }
    }
}

/// Operations on a weight: scaling its gradient 1, the mean 3, the mean square 4, the corrected ratio 5, the weight 4.
const ADAMW_FLOPS: usize = 17;

/// Operations on a weight: the velocity 3, the weight 3.
const SGD_FLOPS: usize = 6;

/// Operations on a weight around the rounds: the momentum 3, the direction 3, the length 2, the division by it 1, the weight 3.
const MUON_FLOPS: usize = 12;

/// Rounds of Newton and Schulz (engine/train/optimizer/muon.rs).
const N_MUON_ROUNDS: usize = 5;

/// Of all weights that are trained.
pub(super) fn work(kind: OptimizerKind, config: &ModelConfig, dtype: DType) -> Work {
    let trained = layout(config).into_iter().filter(|spec| spec.role != Role::Fixed);
    trained.map(|spec| of_parameter(kind, config, dtype, &spec)).fold(Work::default(), Add::add)
}

fn of_parameter(kind: OptimizerKind, config: &ModelConfig, dtype: DType, spec: &ParamSpec) -> Work {
    let n = spec.shape.n_elements();
    // Rounding is part of AdamW's pass, and else a pass over the weights.
    let (rounded, pass) = if spec.is_rounded(dtype) { (2, 4 + 2) } else { (0, 0) };
    let is_matrix = matches!(spec.role, Role::Matrix | Role::Query | Role::Residual);
    let (flops, traffic, n_moments) = match kind {
        OptimizerKind::Muon if is_matrix => {
            let blocks = row_blocks(config, spec);
            let [flops, traffic] =
                [0, 1].map(|i| blocks.iter().map(|rows| muon(*rows, spec.shape.last(), dtype.size_bytes())[i]).sum());
            (flops, traffic + n * pass, 1)
        }
        // g and v are read and v is written, then v and w are read and w is written.
        OptimizerKind::Sgd => (n * SGD_FLOPS, n * (4 * (3 + 3) + pass), 1),
        // Weights and both means are read and written, and gradients read.
        OptimizerKind::AdamW | OptimizerKind::Muon => (n * ADAMW_FLOPS, n * (4 * (2 * 3 + 1) + rounded), 2),
    };
    let held = n * (4 * (2 + n_moments) + rounded);
    let least = n * (4 * (2 * (1 + n_moments) + 1) + rounded);
    Work {
        flops: flops as f64,
        traffic_bytes: traffic as f64,
        held_bytes: held as f64,
        least_traffic_bytes: least as f64,
    }
}

/// Operations and traffic of a step of Muon on one matrix x: around the rounds, and in each s = x·xᵀ, s·s, the sum of both, their
/// product with x, and that plus x, all with numbers of `c` bytes.
fn muon(rows: usize, width: usize, c: usize) -> [usize; 2] {
    let (n, small) = (rows * width, rows.min(width));
    let square = small * small;
    let flops = 2 * n * small + 2 * square * small + 3 * square + 2 * n * small + 2 * n;
    let moved = (n + square) + 2 * square + 3 * square + (square + 2 * n) + 3 * n;
    // The momentum in three passes, the length, the division by it, and the step.
    let around = 4 * (3 + 2 + 3) + 4 + (4 + c) + (c + 4 + 4);
    [N_MUON_ROUNDS * flops + n * MUON_FLOPS, N_MUON_ROUNDS * moved * c + n * around]
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_engine::recipe::Recipe;

    fn config(preset: &str) -> ModelConfig {
        let recipe = Recipe::parse(&format!(
            "[model]\npreset = \"{preset}\"\nn_layers = 1\nn_heads = 4\nd_model = 16\nd_ff = 24\ncontext_len = 8\n"
        ));
        recipe.unwrap().model.config(10).unwrap()
    }

    #[test]
    fn every_weight_is_counted_once() {
        let config = config("gpt2");
        let n = layout(&config).into_iter().filter(|spec| spec.role != Role::Fixed).map(|spec| spec.shape.n_elements());
        let n = n.sum::<usize>() as f64;
        let adamw = work(OptimizerKind::AdamW, &config, DType::F32);
        let of = |flops, traffic, held, least| Work {
            flops: flops * n,
            traffic_bytes: traffic * n,
            held_bytes: held * n,
            least_traffic_bytes: least * n,
        };
        assert_eq!(adamw, of(17.0, 28.0, 16.0, 28.0));
        let sgd = work(OptimizerKind::Sgd, &config, DType::F32);
        assert_eq!(sgd, of(6.0, 24.0, 12.0, 20.0));
        assert!(work(OptimizerKind::Sgd, &config, DType::Bf16).traffic_bytes > sgd.traffic_bytes);
    }

    #[test]
    fn what_caches_may_have_held_says_nothing_of_memory() {
        let work = Work { least_traffic_bytes: 100e6, traffic_bytes: 300e6, ..Work::default() };
        assert_eq!(work.least_bytes_per_s(0.01, 0), 10e9);
        assert_eq!(work.least_bytes_per_s(0.01, 25_000_000), 5e9);
        assert_eq!(work.least_bytes_per_s(0.01, 60_000_000), 0.0);
        assert_eq!(work.least_bytes_per_s(0.0, 0), 0.0);
    }

    /// A round on [6, 10]: s 720 operations, s·s 432, their sum 108, with x 720, plus x 120.
    #[test]
    fn a_round_of_muon_by_hand() {
        let [flops, bytes] = muon(6, 10, 2);
        assert_eq!(flops, 5 * (720 + 432 + 108 + 720 + 120) + 60 * 12);
        assert_eq!(bytes, 5 * 2 * (6 * 60 + 7 * 36) + 60 * (32 + 4 + 6 + 10));
        assert_eq!(muon(6, 10, 2), muon(10, 6, 2));
    }

    #[test]
    fn muon_takes_fused_matrices_apart_and_leaves_the_rest_to_adamw() {
        let config = config("llama");
        let specs = layout(&config);
        let spec = |name: &str| specs.iter().find(|spec| spec.name == name).unwrap();
        assert_eq!(row_blocks(&config, spec("decoder.0.attention.qkv.weight")), [16, 16, 16]);
        assert_eq!(row_blocks(&config, spec("decoder.0.feed_forward.up.weight")), [24, 24]);
        assert_eq!(row_blocks(&config, spec("decoder.0.feed_forward.down.weight")), [16]);
        let of = |kind, name: &str| of_parameter(kind, &config, DType::F32, spec(name));
        let norm = "decoder.0.attention.norm.weight";
        assert_eq!(of(OptimizerKind::Muon, norm), of(OptimizerKind::AdamW, norm));
        let up = of(OptimizerKind::Muon, "decoder.0.feed_forward.up.weight");
        assert_eq!(up.flops, 2.0 * muon(24, 16, 4)[0] as f64);
    }
}
