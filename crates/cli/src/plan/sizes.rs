//! Chooses the model and the length of training from the amount of data, the speed of the machine and the time.

use crate::show::number;
use genera_engine::flops::{self, Lens};
use genera_engine::recipe::{OptimizerKind, Reasons, Recipe, ScheduleKind};
use genera_tensor::backend::{Matmul, Matrix, Rhs};
use genera_tensor::{DType, Device, Tensor};
use std::time::{Duration, Instant};

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Tokens (of targets) in the training data.
    pub n_tokens: u64,
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Whether the data are pairs.
    pub is_paired: bool,
    /// Time to train.
    pub time: Duration,
    /// Best rate of this machine's matrix products.
    pub peak_flops_per_s: f64,
}

/// Share of the peak that training of a small model reaches, so that the time is kept.
const EFFICIENCY: f64 = 0.35;

/// How long the two sides of a pair are taken to be.
const PAIR_LENS: Lens = Lens { target: 64, source: 64 };

/// Share of the time that validation, samples and checkpoints take.
const OVERHEAD: f64 = 0.08;

/// Fits of loss = E + A / N^α + B / D^β to language models, N parameters and D tokens. What they say about a small
/// model's loss is rough; which size is best for a given amount of arithmetic they say well enough.
///
/// # Source
/// Hoffmann et al., arXiv 2203.15556, section 3.3 and appendix D.3.
const FIT: (f64, f64, f64, f64) = (406.4, 0.34, 410.7, 0.28);

/// Repeating data is worth less and less: beyond about 15 epochs nothing.
///
/// # Source
/// Muennighoff et al., arXiv 2305.16264, equation 5 (R* = 15.39).
const EPOCHS_WORTH: f64 = 15.39;

/// Measures the best rate of matrix products in `dtype`, for a few tenths of a second.
pub fn measure_peak(device: &Device, dtype: DType) -> f64 {
    const N: usize = 768;
    let a = Tensor::zeros(device, [N, N], dtype);
    let mut c = Tensor::zeros(device, [N, N], dtype);
    let mut best = f64::INFINITY;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        let before = Instant::now();
        device.kernels().matmul(Matmul {
            m: N,
            n: N,
            k: N,
            a: Matrix::new(a.view(), N),
            b: Rhs::Matrix(Matrix::transposed(a.view(), N)),
            c: c.view_mut(),
            accumulate: false,
            bias: None,
            activation: None,
            pre_activation: None,
            residual: None,
        });
        best = best.min(before.elapsed().as_secs_f64());
    }
    2.0 * (N as f64).powi(3) / best
}

/// A candidate of the ladder of sizes.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    d_model: usize,
    n_layers: usize,
    /// Tokens that fit into the time.
    n_tokens: f64,
    predicted: f64,
}

/// Fills model sizes, steps, batch, learning rate and regularisation of a recipe that leaves them to Genera.
pub fn choose(recipe: &mut Recipe, reasons: &mut Reasons, facts: &Facts) {
    let budget = facts.peak_flops_per_s * EFFICIENCY * facts.time.as_secs_f64() * (1.0 - OVERHEAD);
    let best = ladder()
        .filter_map(|(d_model, n_layers)| candidate(recipe, facts, budget, d_model, n_layers))
        .min_by(|a, b| a.predicted.total_cmp(&b.predicted));
    let Some(best) = best else { return };
    let epochs = best.n_tokens / facts.n_tokens.max(1) as f64;
    apply_sizes(recipe, best);
    let why = format!(
        "best of the ladder for {} in {} at {} of peak {}, {} tokens of data",
        number::flops(budget),
        number::duration(facts.time),
        format_args!("{:.0} %", 100.0 * EFFICIENCY),
        number::flops_per_s(facts.peak_flops_per_s),
        number::count(facts.n_tokens as f64),
    );
    for key in ["model.d_model", "model.n_layers", "model.n_heads"] {
        reasons.add(key, why.clone());
    }
    let tokens_per_step = (best.n_tokens / 1500.0).clamp(1024.0, 32_768.0);
    let context = if facts.is_paired { PAIR_LENS.target } else { recipe.model.context_len };
    recipe.train.batch_size = ((tokens_per_step / context as f64).round() as usize).max(4);
    reasons.add("train.batch_size", format!("about {} tokens a step", number::count(tokens_per_step)));
    let per_step = (recipe.train.batch_size * context) as f64;
    recipe.train.steps = ((best.n_tokens / per_step).round() as u64).max(20);
    reasons.add("train.steps", format!("what fits into {}: {epochs:.1} epochs", number::duration(facts.time)));
    apply_training(recipe, reasons, epochs);
}

/// Widths and depths that are tried.
fn ladder() -> impl Iterator<Item = (usize, usize)> {
    [(64, 2), (96, 3), (128, 4), (192, 4), (256, 5), (320, 6), (384, 6), (512, 8), (640, 10), (768, 12), (1024, 16)]
        .into_iter()
}

fn candidate(recipe: &Recipe, facts: &Facts, budget: f64, d_model: usize, n_layers: usize) -> Option<Candidate> {
    let mut trial = recipe.clone();
    let mut candidate = Candidate { d_model, n_layers, n_tokens: 0.0, predicted: 0.0 };
    apply_sizes(&mut trial, candidate);
    let config = trial.model.config(facts.vocab_size).ok()?;
    let n_params = genera_engine::params::ParamCount::of(&config).total() as f64;
    let lens = if facts.is_paired { PAIR_LENS } else { Lens::longest(&config) };
    candidate.n_tokens = budget / flops::training(&config, lens) * lens.target as f64;
    let unique = facts.n_tokens.max(1) as f64;
    let repeats = (candidate.n_tokens / unique - 1.0).max(0.0);
    let worth = candidate.n_tokens.min(unique) + unique * EPOCHS_WORTH * (1.0 - (-repeats / EPOCHS_WORTH).exp());
    let (a, alpha, b, beta) = FIT;
    candidate.predicted = a / n_params.powf(alpha) + b / worth.powf(beta);
    Some(candidate)
}

fn apply_sizes(recipe: &mut Recipe, candidate: Candidate) {
    let model = &mut recipe.model;
    (model.d_model, model.n_layers) = (candidate.d_model, candidate.n_layers);
    model.n_heads = (candidate.d_model / 64).max(2);
    (model.n_encoder_layers, model.n_kv_heads, model.d_head, model.d_ff) = (None, None, None, None);
}

fn apply_training(recipe: &mut Recipe, reasons: &mut Reasons, epochs: f64) {
    let train = &mut recipe.train;
    train.optimizer = OptimizerKind::Muon;
    reasons.add("train.optimizer", "needs about half of AdamW's steps at these sizes");
    train.schedule = ScheduleKind::Linear;
    train.learning_rate = 4e-3 * (128.0 / recipe.model.d_model as f64).sqrt();
    reasons.add("train.learning_rate", "0.004 at d_model 128, falling with the square root of the width");
    train.dropout = match epochs {
        _ if epochs < 3.0 => 0.0,
        _ if epochs < 10.0 => 0.1,
        _ => 0.2,
    };
    reasons.add("train.dropout", format!("the data is seen {epochs:.1} times"));
}
