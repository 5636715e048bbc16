//! How to fine-tune: batch, steps and learning rate where neither the recipe nor the person says.

use super::has_pairs;
use super::overrides::Overrides;
use crate::failure::Outcome;
use genera_data::n_packed_rows;
use genera_data::prepare::Prepared;
use genera_engine::recipe::{Layout, Reasons, Recipe, ScheduleKind};

/// Longest rows that are made of conversations and texts by default, in tokens: longer ones cost memory.
pub const USUAL_CONTEXT: usize = 1024;

/// Passes over the data by default: enough to learn its manner, few enough not to learn it by heart.
pub const EPOCHS: f64 = 3.0;

/// Tokens of a step, so that its gradient is worth following.
const TOKENS_PER_STEP: usize = 8192;
/// Fewest steps of an epoch, where the data allows it.
const STEPS_PER_EPOCH: u64 = 8;
/// Pairs of a step.
const PAIRS_PER_STEP: u64 = 8;

/// Fills what is left open, for data of `n_rows` rows or pairs.
///
/// # Errors
/// As [`Overrides::apply`].
pub fn choose(recipe: &mut Recipe, reasons: &mut Reasons, n_rows: u64, epochs: f64, fixed: &Overrides) -> Outcome<()> {
    let is_preference = has_pairs(recipe);
    let most = if is_preference { PAIRS_PER_STEP } else { (TOKENS_PER_STEP / recipe.model.context_len).max(1) as u64 };
    recipe.train.batch_size = most.min(n_rows / STEPS_PER_EPOCH).max(1) as usize;
    reasons.add(
        "train.batch_size",
        if is_preference { "pairs a step" } else { "about 8,192 tokens a step, or an eighth of the data" },
    );
    fixed.apply(recipe)?;
    let per_step = recipe.train.batch_size as f64 * recipe.train.accumulate.max(1) as f64;
    recipe.train.steps = ((epochs * n_rows as f64 / per_step).ceil() as u64).max(1);
    reasons.add("train.steps", format!("{epochs} epochs of {n_rows} {}", if is_preference { "pairs" } else { "rows" }));
    // What follows goes by the steps that there will be.
    fixed.apply(recipe)?;
    let (learning_rate, why) = match (recipe.lora.rank.is_some(), is_preference) {
        (false, false) => (2e-5, "small, so that the base forgets little"),
        (true, false) => (2e-4, "as in the QLoRA paper, arXiv 2305.14314: adapters start from nothing"),
        (false, true) => (1e-6, "preferences move a model far with small steps"),
        (true, true) => (1e-5, "ten times that of full fine-tuning: adapters start from nothing"),
    };
    let train = &mut recipe.train;
    train.learning_rate = learning_rate;
    reasons.add("train.learning_rate", why);
    train.warmup_steps = Some(train.steps.saturating_mul(3).div_ceil(100));
    reasons.add("train.warmup_steps", "3 % of the steps");
    (train.schedule, train.weight_decay, train.beta2) = (ScheduleKind::Linear, 0.0, 0.999);
    reasons.add("train.schedule", "usual for fine-tuning");
    reasons.add("train.weight_decay", "the base needs no further shrinking");
    reasons.add("train.beta2", "few steps, noisy gradients");
    if let Some(rank) = recipe.lora.rank {
        recipe.lora.alpha.get_or_insert_with(|| {
            reasons.add("train.lora.alpha", "twice the rank");
            2.0 * rank as f64
        });
    }
    if is_preference {
        recipe.dpo.beta.get_or_insert_with(|| {
            reasons.add("train.dpo.beta", "as in the paper, arXiv 2305.18290");
            0.1
        });
    }
    fixed.apply(recipe)?;
    fixed.explain(reasons);
    Ok(())
}

/// How many rows, or pairs, there are.
///
/// # Errors
/// When the data cannot be read.
pub fn rows_per_epoch(recipe: &Recipe, prepared: &Prepared) -> Outcome<u64> {
    let (summary, context_len) = (&prepared.summary, recipe.model.context_len);
    let is_one_a_row = has_pairs(recipe) || recipe.data.layout == Some(Layout::Padded);
    let n_rows = match recipe.data.layout {
        _ if is_one_a_row => summary.n_documents,
        Some(Layout::Contiguous) => summary.n_tokens.div_ceil(context_len as u64),
        _ => n_packed_rows(&prepared.train, context_len)?,
    };
    Ok(n_rows.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_steps_are_planned_for() {
        let fixed = Overrides::parse(&[format!("train.steps={}", i64::MAX)]).unwrap();
        let (mut recipe, mut reasons) = (Recipe::default(), Reasons::default());
        choose(&mut recipe, &mut reasons, 1, EPOCHS, &fixed).unwrap();
        assert_eq!(recipe.train.steps, i64::MAX as u64);
        assert!(recipe.train.warmup_steps.is_some_and(|steps| steps < recipe.train.steps));
    }
}
