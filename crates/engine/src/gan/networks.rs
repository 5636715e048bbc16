//! Generator and discriminator.

use super::config::{GanConfig, Part};
use crate::params::Params;
use genera_tensor::op::{
    Linear, NormSpec, activation, add, columns, concat, linear, multiply, norm, scale, soft_cap, softmax,
};
use genera_tensor::{Activation, DType, Device, Key, NormKind, Tape, Tensor, Var, Weight};

/// How decided a choice is while training: the smaller, the nearer to one-hot.
///
/// # Source
/// Jang, Gu, Poole, "Categorical reparameterization with Gumbel-softmax", arXiv 1611.01144.
const TEMPERATURE: f32 = 0.2;

/// Slope of the discriminator's activation below zero.
const SLOPE: f32 = 0.2;

/// Share of the discriminator's features that are silenced while training.
const DROPOUT: f32 = 0.5;

/// Noise for rows from number `first` on: [n, d_noise].
pub(super) fn noise(config: &GanConfig, n: usize, key: Key, first: u64, device: &Device) -> Tensor {
    let row = |i: u64| (0..config.d_noise as u64).map(move |j| key.fold(i).normal(j));
    let values: Vec<f32> = (first..first + n as u64).flat_map(row).collect();
    Tensor::from_f32(device, [n, config.d_noise], &values)
}

/// A deviate whose maximum over logits draws by their softmax.
pub(super) fn gumbel(key: Key, index: u64) -> f32 {
    // Within (0, 1), so that both logarithms are finite.
    let uniform = (f64::from(key.uniform(index)) + 0.5 / 16_777_216.0).min(1.0 - 1e-9);
    -(-uniform.ln()).ln() as f32
}

/// Rows with their conditions behind them, where a table has any.
fn beside(tape: &Tape<'_>, rows: &Var, conditions: &Tensor) -> Var {
    match conditions.n_elements() {
        0 => rows.clone(),
        _ => concat(tape, &[rows, &Var::constant(conditions.clone())]),
    }
}

/// A parameter on a tape, which gets a gradient only where it is trained.
fn parameter(tape: &Tape<'_>, params: &Params, is_trained: bool, name: &str) -> Var {
    let id = params.id(name);
    if is_trained { tape.parameter(id, params.master(id)) } else { Var::constant(params.master(id).clone()) }
}

/// x · wᵀ + b
fn affine(tape: &Tape<'_>, x: &Var, weight: Var, bias: Var) -> Var {
    linear(tape, x, &Weight::from(weight), Linear { bias: Some(bias), ..Linear::plain(DType::F32) })
}

/// Makes rows from noise.
pub(super) struct Generator<'g> {
    pub(super) config: &'g GanConfig,
    pub(super) params: &'g Params,
    pub(super) is_trained: bool,
}

impl Generator<'_> {
    fn parameter(&self, tape: &Tape<'_>, layer: &str, name: &str) -> Var {
        parameter(tape, self.params, self.is_trained, &format!("generator.{layer}.{name}"))
    }

    /// Rows before they are decided: numbers before tanh, logits of choices.
    ///
    /// # Shapes
    /// noise: [N, Z]; conditions: [N, C]; result: [N, F].
    pub(super) fn forward(&self, tape: &Tape<'_>, noise: &Tensor, conditions: &Tensor) -> Var {
        let mut x = beside(tape, &Var::constant(noise.clone()), conditions);
        for layer in 0..self.config.n_layers {
            let layer = layer.to_string();
            let hidden = self.linear(tape, &layer, &x);
            let (weight, bias) =
                (self.parameter(tape, &layer, "norm.weight"), self.parameter(tape, &layer, "norm.bias"));
            let spec = NormSpec { kind: NormKind::Layer, eps: 1e-5, out: DType::F32 };
            let hidden = activation(tape, Activation::Relu, &norm(tape, spec, &hidden, &weight, Some(&bias)));
            x = concat(tape, &[&hidden, &x]);
        }
        self.linear(tape, "out", &x)
    }

    fn linear(&self, tape: &Tape<'_>, layer: &str, x: &Var) -> Var {
        affine(tape, x, self.parameter(tape, layer, "weight"), self.parameter(tape, layer, "bias"))
    }

    /// Rows that are nearly decided, through which gradients go.
    ///
    /// # Shapes
    /// raw and the result: [N, F].
    pub(super) fn soften(&self, tape: &Tape<'_>, raw: &Var, key: Key) -> Var {
        let n = raw.tensor().shape().n_rows();
        let part = |(i, (part, range)): (u64, (Part, std::ops::Range<usize>))| {
            let width = range.len();
            let values = columns(tape, raw, range);
            match part {
                Part::Number => soft_cap(tape, values, 1.0),
                Part::Choice { .. } => {
                    let key = key.fold(i);
                    let deviates: Vec<f32> = (0..(n * width) as u64).map(|j| gumbel(key, j)).collect();
                    let deviates = Var::constant(Tensor::from_f32(raw.tensor().device(), [n, width], &deviates));
                    softmax(tape, &scale(tape, &add(tape, &values, &deviates), 1.0 / TEMPERATURE))
                }
            }
        };
        let parts: Vec<Var> = (0..).zip(self.config.ranges()).map(part).collect();
        concat(tape, &parts.iter().collect::<Vec<&Var>>())
    }
}

/// Judges packed rows.
pub(super) struct Discriminator<'d> {
    pub(super) config: &'d GanConfig,
    pub(super) params: &'d Params,
    pub(super) is_trained: bool,
    /// Decides which features are silenced.
    pub(super) key: Key,
}

impl Discriminator<'_> {
    pub(super) fn parameter(&self, tape: &Tape<'_>, layer: &str, name: &str) -> Var {
        parameter(tape, self.params, self.is_trained, &format!("discriminator.{layer}.{name}"))
    }

    /// Packs rows with their conditions.
    ///
    /// # Shapes
    /// rows: [N, F]; conditions: [N, C]; result: [N / P, P · (F + C)].
    pub(super) fn pack(&self, tape: &Tape<'_>, rows: &Var, conditions: &Tensor) -> Var {
        let joined = beside(tape, rows, conditions);
        let n = joined.tensor().shape().n_rows();
        joined.reshape([n / self.config.n_packed, self.config.judged_len()])
    }

    /// How real packed rows are, and the factor of each hidden feature: the slope where it stands, times dropout.
    ///
    /// # Shapes
    /// x: [B, P · (F + C)]; result: [B, 1], and [B, H] for each layer.
    pub(super) fn forward(&self, tape: &Tape<'_>, x: &Var) -> (Var, Vec<Tensor>) {
        let (mut x, mut factors) = (x.clone(), Vec::new());
        for layer in 0..self.config.n_layers {
            let sum = self.linear(tape, &layer.to_string(), &x);
            let factor = self.factors(sum.tensor(), self.key.fold(layer as u64));
            x = multiply(tape, &sum, &factor);
            factors.push(factor);
        }
        (self.linear(tape, "out", &x), factors)
    }

    fn linear(&self, tape: &Tape<'_>, layer: &str, x: &Var) -> Var {
        affine(tape, x, self.parameter(tape, layer, "weight"), self.parameter(tape, layer, "bias"))
    }

    /// What a leaky ReLU and dropout multiply each feature by.
    fn factors(&self, sum: &Tensor, key: Key) -> Tensor {
        let factor = |(i, &value): (usize, &f32)| {
            let is_kept = key.uniform(i as u64) >= DROPOUT;
            let slope = if value > 0.0 { 1.0 } else { SLOPE };
            if is_kept { slope / (1.0 - DROPOUT) } else { 0.0 }
        };
        let values: Vec<f32> = sum.view().f32().iter().enumerate().map(factor).collect();
        Tensor::from_f32(sum.device(), sum.shape(), &values)
    }
}
