//! Chooses the model and the length of training from the amount of data, the speed of the machine and the time.

use super::overrides::Overrides;
use crate::failure::Outcome;
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
    /// Tokens in the validation data.
    pub n_validation_tokens: u64,
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

/// Share of the training's tokens that one of its ten validations measures at most. A token that is only measured costs
/// a third of one that is learned from, so that all ten together take a twentieth of the time.
const VALIDATION_SHARE: f64 = 0.015;

/// Fewer tokens than this do not tell one model from another.
const LEAST_VALIDATION_TOKENS: u64 = 1 << 15;

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
    /// d_model and n_layers.
    size: (usize, usize),
    /// Tokens that fit into the time.
    n_tokens: f64,
    predicted: f64,
}

/// Fills model sizes, steps, batch, learning rate and regularisation of a recipe that leaves them to Genera, around
/// what `fixed` fixes.
///
/// # Errors
/// As [`Overrides::apply`].
pub fn choose(recipe: &mut Recipe, reasons: &mut Reasons, facts: &Facts, fixed: &Overrides) -> Outcome<()> {
    let budget = facts.peak_flops_per_s * EFFICIENCY * facts.time.as_secs_f64() * (1.0 - OVERHEAD);
    let mut candidates = Vec::new();
    for (d_model, n_layers) in LADDER {
        candidates.extend(candidate(recipe, facts, budget, (d_model, n_layers), fixed)?);
    }
    let best = candidates.into_iter().min_by(|a, b| a.predicted.total_cmp(&b.predicted));
    let Some(best) = best else { return Ok(()) };
    let epochs = best.n_tokens / facts.n_tokens.max(1) as f64;
    apply_sizes(recipe, best.size, fixed)?;
    let why = format!(
        "best of the ladder for {} in {} at {:.0} % of peak {}, {} tokens of data",
        number::flops(budget),
        number::duration(facts.time),
        100.0 * EFFICIENCY,
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
    fixed.apply(recipe)?;
    let per_step = (recipe.train.batch_size * recipe.train.accumulate.max(1) * context) as f64;
    recipe.train.steps = ((best.n_tokens / per_step).round() as u64).max(20);
    reasons.add("train.steps", format!("what fits into {}: {epochs:.1} epochs", number::duration(facts.time)));
    let measured = ((VALIDATION_SHARE * best.n_tokens) as u64).max(LEAST_VALIDATION_TOKENS);
    if measured < facts.n_validation_tokens {
        recipe.train.validation_tokens = Some(measured);
        reasons.add("train.validation_tokens", "ten measurements take a twentieth of the time");
    }
    apply_training(recipe, reasons, epochs);
    fixed.apply(recipe)?;
    fixed.explain(reasons);
    Ok(())
}

/// Widths and depths that are tried.
const LADDER: [(usize, usize); 11] =
    [(64, 2), (96, 3), (128, 4), (192, 4), (256, 5), (320, 6), (384, 6), (512, 8), (640, 10), (768, 12), (1024, 16)];

fn candidate(
    recipe: &Recipe,
    facts: &Facts,
    budget: f64,
    size: (usize, usize),
    fixed: &Overrides,
) -> Outcome<Option<Candidate>> {
    let mut trial = recipe.clone();
    apply_sizes(&mut trial, size, fixed)?;
    let Ok(config) = trial.model.config(facts.vocab_size) else { return Ok(None) };
    let n_params = genera_engine::params::ParamCount::of(&config).total() as f64;
    let lens = if facts.is_paired { PAIR_LENS } else { Lens::longest(&config) };
    let n_tokens = budget / flops::training(&config, lens) * lens.target as f64;
    let unique = facts.n_tokens.max(1) as f64;
    let repeats = (n_tokens / unique - 1.0).max(0.0);
    let worth = n_tokens.min(unique) + unique * EPOCHS_WORTH * (1.0 - (-repeats / EPOCHS_WORTH).exp());
    let (a, alpha, b, beta) = FIT;
    let predicted = a / n_params.powf(alpha) + b / worth.powf(beta);
    Ok(Some(Candidate { size, n_tokens, predicted }))
}

fn apply_sizes(recipe: &mut Recipe, (d_model, n_layers): (usize, usize), fixed: &Overrides) -> Outcome<()> {
    let model = &mut recipe.model;
    (model.d_model, model.n_layers) = (d_model, n_layers);
    (model.n_encoder_layers, model.n_kv_heads, model.d_head, model.d_ff) = (None, None, None, None);
    fixed.apply(recipe)?;
    if !fixed.fixes("model.n_heads") {
        recipe.model.n_heads = (recipe.model.d_model / 64).max(2);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        n_tokens: 10_000_000,
        n_validation_tokens: 500_000,
        vocab_size: 4096,
        is_paired: false,
        time: Duration::from_secs(600),
        peak_flops_per_s: 5e11,
    };

    fn chosen(facts: &Facts, set: &[&str]) -> (Recipe, Reasons) {
        let fixed: Vec<String> = set.iter().map(|&set| set.to_owned()).collect();
        let (mut recipe, mut reasons) = (Recipe::default(), Reasons::default());
        recipe.model.preset = "llama".to_owned();
        choose(&mut recipe, &mut reasons, facts, &Overrides::parse(&fixed).unwrap()).unwrap();
        (recipe, reasons)
    }

    fn n_tokens(recipe: &Recipe) -> f64 {
        (recipe.train.steps as usize * recipe.train.batch_size * recipe.model.context_len) as f64
    }

    #[test]
    fn more_time_means_a_larger_model() {
        let (short, _) = chosen(&FACTS, &[]);
        let (long, _) = chosen(&Facts { time: 20 * FACTS.time, ..FACTS }, &[]);
        assert!(long.model.d_model > short.model.d_model, "{} {}", long.model.d_model, short.model.d_model);
    }

    #[test]
    fn the_rest_is_chosen_around_what_is_fixed() {
        let (free, _) = chosen(&FACTS, &[]);
        let (fixed, reasons) = chosen(&FACTS, &["train.batch_size=3"]);
        assert_eq!(fixed.train.batch_size, 3);
        assert!((n_tokens(&fixed) / n_tokens(&free) - 1.0).abs() < 0.01, "the steps keep the time");
        assert_eq!(reasons.get("train.batch_size"), Some("set by --set"));
        let (wide, _) = chosen(&FACTS, &["model.d_model=512"]);
        assert_eq!((wide.model.d_model, wide.model.n_heads), (512, 8));
        assert!(n_tokens(&wide) < n_tokens(&free), "a wider model learns from fewer tokens in the time");
    }

    #[test]
    fn validation_does_not_eat_the_time() {
        let huge = Facts { n_tokens: 1_000_000_000, n_validation_tokens: 50_000_000, ..FACTS };
        let (recipe, _) = chosen(&huge, &[]);
        let measured = recipe.train.validation_tokens.expect("less than all is measured") as f64;
        assert!(10.0 * measured / 3.0 < 0.06 * n_tokens(&recipe));
        assert_eq!(chosen(&Facts { n_validation_tokens: 9000, ..FACTS }, &[]).0.train.validation_tokens, None);
    }
}
