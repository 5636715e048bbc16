//! Chooses the model and the length of training from the amount of data, the speed of the machine and the time.

use super::overrides::Overrides;
use crate::failure::Outcome;
use crate::show::number;
use genera_engine::flops::{self, Lens};
use genera_engine::recipe::{OptimizerKind, Reasons, Recipe, ScheduleKind};
use std::time::Duration;

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Tokens in the training data, of both sides of pairs.
    pub n_tokens: u64,
    /// Documents or pairs in the training data.
    pub n_documents: u64,
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

impl Facts {
    /// How long a row is: the context, or the two sides of the mean pair.
    pub fn lens(&self, context_len: usize) -> Lens {
        if !self.is_paired {
            return Lens { target: context_len, source: 0 };
        }
        let side = (self.n_tokens / (2 * self.n_documents.max(1))) as usize;
        let side = side.clamp(1, context_len);
        Lens { target: side, source: side }
    }
}

/// Share of the peak that training of a small model reaches, so that the time is kept.
const EFFICIENCY: f64 = 0.35;

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

/// A model with more weights than this for each token of its data learns the data by heart, whatever the dropout.
const MOST_WEIGHTS_PER_TOKEN: f64 = 12.0;

/// Passes over the data beyond which small models only grow surer of what they know by heart.
const MOST_EPOCHS: f64 = 60.0;

/// A candidate of the ladder of sizes.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// d_model and n_layers.
    size: (usize, usize),
    n_params: f64,
    /// Tokens that fit into the time.
    n_tokens: f64,
    predicted: f64,
}

/// Fills sizes, batch, learning rate and regularisation of a recipe that leaves them to Genera, around what `fixed`
/// fixes. The number of steps is a first guess; see [`fit_time`].
///
/// # Errors
/// As [`Overrides::apply`].
pub fn choose(recipe: &mut Recipe, reasons: &mut Reasons, facts: &Facts, fixed: &Overrides) -> Outcome<()> {
    let budget = facts.peak_flops_per_s * EFFICIENCY * facts.time.as_secs_f64() * (1.0 - OVERHEAD);
    let mut candidates = Vec::new();
    for size in LADDER {
        candidates.extend(candidate(recipe, facts, budget, size, fixed)?);
    }
    let limit = MOST_WEIGHTS_PER_TOKEN * facts.n_tokens as f64;
    let smallest = candidates.iter().map(|candidate| candidate.n_params).fold(f64::INFINITY, f64::min);
    let fitting = candidates.into_iter().filter(|candidate| candidate.n_params <= limit.max(smallest));
    let best = fitting.min_by(|a, b| a.predicted.total_cmp(&b.predicted));
    let Some(best) = best else { return Ok(()) };
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
    let n_tokens = best.n_tokens.min(MOST_EPOCHS * facts.n_tokens as f64);
    let tokens_per_step = (n_tokens / 1500.0).clamp(1024.0, 32_768.0);
    let lens = facts.lens(recipe.model.context_len);
    let row = (lens.target + lens.source) as f64;
    recipe.train.batch_size = ((tokens_per_step / row).round() as usize).max(4);
    reasons.add("train.batch_size", format!("about {} tokens a step", number::count(tokens_per_step)));
    fixed.apply(recipe)?;
    recipe.train.steps = ((n_tokens / tokens_of_step(recipe, facts)).round() as u64).max(20);
    apply_training(recipe, reasons, facts);
    fixed.apply(recipe)
}

/// Sets the number of steps, and what depends on it, once it is known how long a step takes.
///
/// # Errors
/// As [`Overrides::apply`].
pub fn fit_time(
    recipe: &mut Recipe,
    reasons: &mut Reasons,
    facts: &Facts,
    fixed: &Overrides,
    seconds_per_step: f64,
) -> Outcome<()> {
    let per_step = tokens_of_step(recipe, facts);
    let in_time = facts.time.as_secs_f64() * (1.0 - OVERHEAD) / seconds_per_step;
    let in_epochs = MOST_EPOCHS * facts.n_tokens as f64 / per_step;
    recipe.train.steps = (in_time.min(in_epochs).round() as u64).max(20);
    fixed.apply(recipe)?;
    let epochs = epochs(recipe, facts);
    let reason = if in_time <= in_epochs {
        format!(
            "what fits into {} at {:.0} ms a step, as measured: {epochs:.1} epochs",
            number::duration(facts.time),
            1e3 * seconds_per_step
        )
    } else {
        format!("{epochs:.0} epochs; in more of them so little data would only be learned by heart")
    };
    reasons.add("train.steps", reason);
    let n_tokens = recipe.train.steps as f64 * per_step;
    let measured = ((VALIDATION_SHARE * n_tokens) as u64).max(LEAST_VALIDATION_TOKENS);
    if measured < facts.n_validation_tokens {
        recipe.train.validation_tokens = Some(measured);
        reasons.add("train.validation_tokens", "ten measurements take a twentieth of the time");
    }
    apply_training(recipe, reasons, facts);
    fixed.apply(recipe)?;
    fixed.explain(reasons);
    Ok(())
}

fn tokens_of_step(recipe: &Recipe, facts: &Facts) -> f64 {
    let Lens { target, source } = facts.lens(recipe.model.context_len);
    recipe.train.batch_size.max(1) as f64 * recipe.train.accumulate.max(1) as f64 * (target + source) as f64
}

fn epochs(recipe: &Recipe, facts: &Facts) -> f64 {
    recipe.train.steps as f64 * tokens_of_step(recipe, facts) / facts.n_tokens.max(1) as f64
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
    let lens = facts.lens(config.context_len);
    let n_tokens = budget / flops::training(&config, lens) * (lens.target + lens.source) as f64;
    let unique = facts.n_tokens.max(1) as f64;
    let repeats = (n_tokens / unique - 1.0).max(0.0);
    let worth = n_tokens.min(unique) + unique * EPOCHS_WORTH * (1.0 - (-repeats / EPOCHS_WORTH).exp());
    let (a, alpha, b, beta) = FIT;
    let predicted = a / n_params.powf(alpha) + b / worth.powf(beta);
    Ok(Some(Candidate { size, n_params, n_tokens, predicted }))
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

fn apply_training(recipe: &mut Recipe, reasons: &mut Reasons, facts: &Facts) {
    let epochs = epochs(recipe, facts);
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
        n_documents: 20_000,
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
        let fixed = Overrides::parse(&fixed).unwrap();
        choose(&mut recipe, &mut reasons, facts, &fixed).unwrap();
        // As fast as was guessed.
        let seconds = facts.time.as_secs_f64() * (1.0 - OVERHEAD) / recipe.train.steps as f64;
        fit_time(&mut recipe, &mut reasons, facts, &fixed, seconds).unwrap();
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
    fn little_data_means_a_small_model_and_an_early_end() {
        let (recipe, reasons) = chosen(&Facts { n_tokens: 5_000, n_validation_tokens: 300, ..FACTS }, &[]);
        assert_eq!((recipe.model.d_model, recipe.model.n_layers), LADDER[0]);
        assert!(n_tokens(&recipe) <= 61.0 * 5_000.0);
        assert!(reasons.get("train.steps").unwrap().contains("by heart"));
    }

    #[test]
    fn dropout_follows_the_passes_that_are_really_made() {
        assert_eq!(chosen(&Facts { n_tokens: 500_000, ..FACTS }, &[]).0.train.dropout, 0.2);
        assert_eq!(chosen(&Facts { n_tokens: 500_000, ..FACTS }, &["train.steps=25"]).0.train.dropout, 0.0);
    }

    #[test]
    fn pairs_are_as_long_as_they_are() {
        let facts = Facts { n_tokens: 1_000_000, n_documents: 30_000, is_paired: true, ..FACTS };
        assert_eq!(facts.lens(256), Lens { target: 16, source: 16 });
        assert_eq!(Facts { n_documents: 3, ..facts }.lens(256), Lens { target: 256, source: 256 });
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
