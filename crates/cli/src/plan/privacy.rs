//! Differential privacy: what it refuses, how much noise a budget takes, and what was spent of it.

use super::overrides::Overrides;
use super::{data, trial};
use crate::failure::{Failure, Outcome};
use crate::run::session::compute_dtype;
use genera_data::prepare::Prepared;
use genera_engine::flops::Lens;
use genera_engine::recipe::{OptimizerKind, Reasons, Recipe, ScheduleKind};
use genera_engine::train::{NoisySteps, noise_multiplier};
use genera_tensor::Device;
use std::time::Duration;

/// The δ that is taken where none is given, for tables of so few rows that a tenth of 1 / rows is more.
const DELTA: f64 = 1e-5;

/// Rows of a step on average where nobody says: noise weighs the less the more they are.
const ROWS_OF_STEP: std::ops::RangeInclusive<u64> = 32..=512;

/// Rows of a batch that is only measured.
pub const ROWS_AT_ONCE: usize = 4;

/// Secrets are whole numbers that a recipe can hold.
const SECRET_BITS: u32 = 62;

/// Whether a recipe asks for privacy.
pub fn is_on(recipe: &Recipe) -> bool {
    recipe.privacy.epsilon.is_some()
}

/// Refuses what the guarantee would not hold for, before any data is read.
///
/// # Errors
/// Naming the key, and what to do instead.
pub fn refuse(recipe: &Recipe) -> Outcome<()> {
    let Some(epsilon) = recipe.privacy.epsilon else {
        let others = [recipe.privacy.delta.is_some(), recipe.privacy.noise_multiplier.is_some()];
        return match others.contains(&true) {
            true => Err(Failure::new(
                "train.privacy has no epsilon, so there would be no privacy; give it with --dp-epsilon E",
            )),
            false => Ok(()),
        };
    };
    if !(epsilon > 0.0 && epsilon <= 1e3) {
        return Err(Failure::new(format!("train.privacy.epsilon is {epsilon}; expected above 0 to 1000, such as 3")));
    }
    let (modality, _) = data::modality_of(&recipe.data)?;
    let problem = match () {
        () if modality.name() != "table" => format!(
            "{} has no rows that belong to one person each: a text is cut and packed, and a fact may stand in many; only tables \
             are trained with privacy",
            recipe.data.kind
        ),
        () if recipe.data.deduplicate => {
            "data.deduplicate lets one row decide whether another is learned from; leave it out".to_owned()
        }
        () if recipe.base.path.is_some() || recipe.lora.rank.is_some() => {
            "a base was trained without the guarantee; train a table from nothing".to_owned()
        }
        () if recipe.train.clip <= 0.0 => {
            "train.clip limits the gradient of each row, and must be above 0, such as 1.0".to_owned()
        }
        () => return Ok(()),
    };
    Err(Failure::new(format!("privacy (train.privacy.epsilon, --dp-epsilon) cannot be promised: {problem}")))
}

/// Fills what is open once the rows, the steps and the batch are known: δ, the noise and the secret.
///
/// # Errors
/// When no noise keeps to the budget.
pub fn settle(recipe: &mut Recipe, reasons: &mut Reasons, prepared: &Prepared) -> Outcome<()> {
    let Some(epsilon) = recipe.privacy.epsilon else { return Ok(()) };
    let n_rows = prepared.train.info().n_documents.max(1);
    if recipe.privacy.delta.is_none() {
        recipe.privacy.delta = Some(DELTA.min(0.1 / n_rows as f64));
        reasons.add("train.privacy.delta", "at most a tenth of 1 / rows");
    }
    let delta = recipe.privacy.delta.unwrap_or(DELTA);
    if !(delta > 0.0 && delta < 1.0 / n_rows as f64) {
        return Err(Failure::new(format!(
            "train.privacy.delta is {delta}; with {n_rows} rows it must be above 0 and below 1 / {n_rows}, or whole rows may show"
        )));
    }
    let steps = noisy_steps(recipe, n_rows, recipe.train.steps);
    if recipe.privacy.noise_multiplier.is_none() {
        let noise = noise_multiplier(epsilon, delta, steps.rate, steps.n_steps).ok_or_else(|| {
            Failure::new(format!(
                "no noise keeps to ε = {epsilon} at δ = {delta} over {} steps of {:.2} % of the rows; take fewer steps \
                 (train.steps), a smaller train.batch_size, or a larger --dp-epsilon",
                steps.n_steps,
                100.0 * steps.rate
            ))
        })?;
        recipe.privacy.noise_multiplier = Some(noise);
        reasons.add("train.privacy.noise_multiplier", "the least that keeps to epsilon and delta over all steps");
    }
    // Never that of another run: of two models with the same noise the difference has none.
    let bits =
        getrandom::u64().map_err(|error| Failure::new(format!("the system gives no random numbers: {error}")))?;
    recipe.privacy.secret = Some(bits >> (u64::BITS - SECRET_BITS));
    reasons.add("train.privacy.secret", "drawn anew; keep it to yourself: who knows it can take the noise off");
    check(recipe, n_rows)
}

/// Makes sure that a run goes on as it began, as far as the guarantee is concerned: what was spent is counted as if all steps
/// had been alike.
///
/// # Errors
/// When the recipe differs from that of the checkpoint in a key that the guarantee depends on; the keys are named.
pub fn check_unchanged(recipe: &Recipe, began: &Recipe) -> Outcome<()> {
    if !is_on(recipe) && !is_on(began) {
        return Ok(());
    }
    let (now, then) = (&recipe.privacy, &began.privacy);
    let keys = [
        ("train.privacy.epsilon", is_on(recipe) == is_on(began)),
        ("train.privacy.delta", now.delta == then.delta),
        ("train.privacy.noise_multiplier", now.noise_multiplier == then.noise_multiplier),
        ("train.privacy.secret", now.secret == then.secret),
        ("train.batch_size", rows_of_step(recipe) == rows_of_step(began)),
        ("train.clip", recipe.train.clip == began.train.clip),
    ];
    let changed: Vec<&str> = keys.iter().filter(|(_, is_same)| !is_same).map(|(key, _)| *key).collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} cannot change within a run with differential privacy, or what it promises would not hold; put back what the checkpoint's \
         manifest.json has, or train anew",
        changed.join(", ")
    )))
}

/// Makes sure that a recipe keeps to its budget, as it may not when its steps were raised to resume.
///
/// # Errors
/// When it does not.
pub fn check(recipe: &Recipe, n_rows: u64) -> Outcome<()> {
    let (Some(epsilon), Some((spent, delta))) = (recipe.privacy.epsilon, spent(recipe, n_rows, recipe.train.steps))
    else {
        return Ok(());
    };
    if spent > epsilon * 1.0001 {
        return Err(Failure::new(format!(
            "{} steps with this noise spend ε = {spent:.3} at δ = {delta}, more than train.privacy.epsilon = {epsilon}; lower \
             train.steps, or leave train.privacy.noise_multiplier out and train anew",
            recipe.train.steps
        )));
    }
    Ok(())
}

/// The ε and δ that so many steps of a recipe have spent; `None` without privacy.
pub fn spent(recipe: &Recipe, n_rows: u64, n_steps: u64) -> Option<(f64, f64)> {
    recipe.privacy.epsilon?;
    let delta = recipe.privacy.delta?;
    Some((noisy_steps(recipe, n_rows, n_steps).epsilon(delta), delta))
}

/// Rows of a step on average.
pub fn rows_of_step(recipe: &Recipe) -> usize {
    recipe.train.batch_size.saturating_mul(recipe.train.accumulate.max(1))
}

fn noisy_steps(recipe: &Recipe, n_rows: u64, n_steps: u64) -> NoisySteps {
    let rate = (rows_of_step(recipe) as f64 / n_rows as f64).min(1.0);
    NoisySteps { rate, noise_multiplier: recipe.privacy.noise_multiplier.unwrap_or(0.0), n_steps }
}

/// Chooses sizes and steps for a time: a small model, since each weight gets its noise, and many rows a step.
///
/// # Errors
/// As [`Overrides::apply`].
pub fn choose(
    recipe: &mut Recipe,
    reasons: &mut Reasons,
    prepared: &Prepared,
    time: Duration,
    fixed: &Overrides,
    device: &Device,
) -> Outcome<()> {
    let n_rows = prepared.train.info().n_documents.max(1);
    let row_len = (prepared.summary.n_tokens / n_rows).max(2) as usize;
    (recipe.model.d_model, recipe.model.n_layers, recipe.model.n_heads) = (48, 1, 2);
    reasons.add("model.d_model", "small: every weight gets its noise");
    let train = &mut recipe.train;
    (train.optimizer, train.schedule) = (OptimizerKind::AdamW, ScheduleKind::Linear);
    (train.learning_rate, train.ema_decay, train.weight_decay) = (5e-3, 0.98, 0.0);
    train.batch_size = (n_rows / 100).clamp(*ROWS_OF_STEP.start(), *ROWS_OF_STEP.end()).min(n_rows) as usize;
    reasons.add("train.batch_size", "rows of a step on average: the more, the less the noise weighs");
    fixed.apply(recipe)?;
    let mut one = recipe.clone();
    (one.train.batch_size, one.train.accumulate) = (1, 1);
    one.complete(&mut Reasons::default())?;
    let config = one.model.config(prepared.summary.vocab_size)?;
    let lens = Lens { target: row_len.min(config.context_len), source: 0 };
    let patience = time.mul_f64(0.02).min(Duration::from_secs(4));
    let seconds = trial::seconds_per_step(&one, &config, lens, compute_dtype(&one), device, patience)?;
    recipe.train.steps = ((0.9 * time.as_secs_f64() / (seconds * rows_of_step(recipe) as f64)) as u64).max(20);
    reasons
        .add("train.steps", format!("what fits at {:.1} ms a row, each of which has a pass of its own", 1e3 * seconds));
    fixed.apply(recipe)?;
    fixed.explain(reasons);
    Ok(())
}
