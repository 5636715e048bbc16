//! What is said of a run before it begins: room on the disk, and lengths that are hardly meant so.

use crate::destination;
use crate::failure::Outcome;
use crate::show::{number, word};
use genera_data::prepare::Summary;
use genera_engine::checkpoint::CheckpointSize;
use genera_engine::recipe::{Layout, Recipe};
use genera_modality::demo_by_name;
use std::path::Path;

/// Bytes on the disk that are worth a word.
const MUCH: u64 = 256 << 20;

/// Steps of a pass over the data below which the data is so small that a run is meant to see all of it.
const FEW_STEPS: u64 = 1000;

/// Sequences below which a validation loss says little.
const FEW_SEQUENCES: u64 = 5;

/// Refuses to train where the disk cannot hold what the run is sure to write: `n_there` checkpoints are there, and it goes on
/// after `step`. `elsewhere` says how its directory can be another.
///
/// # Errors
/// When less is free.
pub fn check_disk(
    recipe: &Recipe,
    run: &Path,
    size: CheckpointSize,
    (step, n_there): (u64, u64),
    elsewhere: &str,
) -> Outcome<()> {
    let n_needed = least_bytes(recipe, size, step, n_there);
    let remedy = format!(
        "{elsewhere}write fewer of its checkpoints, each {} (train.checkpoint_every, train.keep_last)",
        number::bytes_of_file(size.n_bytes)
    );
    destination::check_room(run, n_needed, "written", &remedy)
}

/// Bytes that a run takes beyond what is there, at its fullest: the last checkpoints and the next, or in the end those and the
/// model. The best one may be one of the last.
fn least_bytes(recipe: &Recipe, size: CheckpointSize, step: u64, n_there: u64) -> u64 {
    let n_more = (recipe.train.keep_last.max(1) as u64).saturating_sub(n_there);
    let n_saves = n_saves(recipe, step);
    let with_next = n_saves.min(n_more.saturating_add(1)).saturating_mul(size.n_bytes);
    with_next.max(n_saves.min(n_more).saturating_mul(size.n_bytes).saturating_add(size.model_bytes))
}

/// Where a run goes on that is resumed after `step`; `None` where nothing is left to do.
pub fn of_resuming(recipe: &Recipe, step: u64) -> Option<String> {
    let n_steps = recipe.train.steps;
    match step {
        0 => Some(format!("no checkpoint was written yet: beginning with the first step of {n_steps}")),
        _ if step < n_steps => Some(format!("going on after step {step} of {n_steps}")),
        _ => None,
    }
}

/// How many checkpoints are still saved after `step`.
fn n_saves(recipe: &Recipe, step: u64) -> u64 {
    let train = &recipe.train;
    let every = train.checkpoint_every.filter(|&every| every > 0).unwrap_or(train.steps).max(1);
    if step < train.steps { train.steps.div_ceil(every) - step / every } else { 0 }
}

/// How much room a run takes on the disk; `None` where it is little.
pub fn of_disk(recipe: &Recipe, run: &Path, size: CheckpointSize, is_validated: bool) -> Option<String> {
    let train = &recipe.train;
    let n_kept = (train.keep_last.max(1) as u64).saturating_add(u64::from(is_validated));
    // The next one is whole before an older one goes.
    let n = n_saves(recipe, 0).min(n_kept.saturating_add(1));
    let n_needed = n.saturating_mul(size.n_bytes).saturating_add(size.model_bytes);
    if n_needed < MUCH {
        return None;
    }
    let [needed, each, model] = [n_needed, size.n_bytes, size.model_bytes].map(number::bytes_of_file);
    let checkpoints = match n {
        1 => format!("a checkpoint of {each}"),
        _ if n <= n_kept => format!("{n} checkpoints of {each}"),
        _ => format!(
            "{n} checkpoints of {each} at once (the last {}{}, and the next; train.keep_last and train.checkpoint_every say how \
             many)",
            train.keep_last.max(1),
            if is_validated { ", the best" } else { "" }
        ),
    };
    let free = destination::lacking(run, n_needed);
    let free = free.map_or_else(String::new, |n| {
        format!("; only {} are free: make room, or name another --run", number::bytes_of_file(n))
    });
    Some(format!("{} takes up to {needed} on the disk: {checkpoints}, and the model, {model}{free}", word(run)))
}

/// What is odd in the lengths of a run and of its data, of which `n_rows` rows or pairs are learned.
pub fn of_lengths(recipe: &Recipe, summary: &Summary, n_rows: u64, is_validated: bool) -> Vec<String> {
    let few = few_to_validate(recipe, summary).filter(|_| is_validated);
    [less_than_a_pass(recipe, n_rows), long_warm_up(recipe), few].into_iter().flatten().collect()
}

/// Not of data that is made by rule, of large data, or of rows whose number a step draws or fills by tokens.
fn less_than_a_pass(recipe: &Recipe, n_rows: u64) -> Option<String> {
    let train = &recipe.train;
    let is_other = demo_by_name(&recipe.data.kind).is_some()
        || recipe.privacy.epsilon.is_some()
        || recipe.data.tokens_per_batch.is_some();
    let per_step = (train.batch_size as u64).saturating_mul(train.accumulate.max(1) as u64).max(1);
    let (n_seen, pass) = (train.steps.saturating_mul(per_step), n_rows.div_ceil(per_step));
    (!is_other && n_seen < n_rows && pass <= FEW_STEPS).then(|| {
        format!(
            "with train.steps = {} the run sees {n_seen} of the {n_rows} rows of the data; one pass over all of it takes \
             --set train.steps={pass}",
            train.steps
        )
    })
}

fn long_warm_up(recipe: &Recipe) -> Option<String> {
    let (steps, warmup) = (recipe.train.steps, recipe.train.warmup_steps?);
    (warmup > steps).then(|| {
        format!(
            "the learning rate still rises at the last step: train.warmup_steps = {warmup} is beyond train.steps = {steps}; it \
             reaches {:.0} % of train.learning_rate",
            100.0 * steps as f64 / warmup as f64
        )
    })
}

fn few_to_validate(recipe: &Recipe, summary: &Summary) -> Option<String> {
    let n_tokens = summary.n_validation_tokens;
    let n_rows = n_tokens.div_ceil(recipe.model.context_len.max(1) as u64);
    let n = match recipe.data.layout {
        Some(Layout::Contiguous) => n_rows,
        _ => n_rows.max(summary.n_validation_documents),
    };
    (n_tokens > 0 && n < FEW_SEQUENCES).then(|| {
        format!(
            "the validation data is {n} {} of {n_tokens} tokens, so that its loss says little of new data; keep more aside with \
             data.validation_fraction, or name some with data.validation_files",
            if n == 1 { "sequence" } else { "sequences" }
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(steps: u64) -> Recipe {
        let mut recipe = Recipe::default();
        (recipe.train.steps, recipe.train.batch_size, recipe.model.context_len) = (steps, 8, 10);
        recipe.train.warmup_steps = Some(2);
        recipe
    }

    #[test]
    fn room_on_the_disk_is_told_of_where_it_is_much() {
        let size = CheckpointSize { model_bytes: 1 << 29, n_bytes: 3 << 29 };
        let said = |recipe: &Recipe| of_disk(recipe, Path::new("no-such-run"), size, true).unwrap();
        let mut long = recipe(100);
        long.train.checkpoint_every = Some(10);
        let text = said(&long);
        assert!(text.contains("6.50 GiB") && text.contains("4 checkpoints of 1.50 GiB"), "{text}");
        let text = said(&recipe(100));
        assert!(text.contains("2.00 GiB") && text.contains("a checkpoint of 1.50 GiB"), "{text}");
        let small = CheckpointSize { model_bytes: 1 << 20, n_bytes: 3 << 20 };
        assert_eq!(of_disk(&long, Path::new("."), small, true), None);
    }

    #[test]
    fn a_run_needs_room_for_what_it_is_sure_to_write() {
        let size = CheckpointSize { model_bytes: 10, n_bytes: 30 };
        let mut recipe = recipe(100);
        recipe.train.keep_last = 2;
        let mut check = |every: u64, step: u64, n_there: u64, expect: u64| {
            recipe.train.checkpoint_every = Some(every);
            assert_eq!(least_bytes(&recipe, size, step, n_there), expect, "{every} {step} {n_there}");
        };
        check(0, 0, 0, 30 + 10);
        check(60, 0, 0, 30 + 30 + 10);
        check(40, 0, 0, 30 + 30 + 30);
        check(7, 0, 0, 30 + 30 + 30);
        // One more at a time beside those that are there.
        check(7, 50, 2, 30);
        check(7, 7, 1, 30 + 30);
        check(60, 60, 1, 30 + 10);
        check(99, 99, 3, 30);
        check(7, 100, 2, 10);
        recipe.train.keep_last = usize::MAX;
        (recipe.train.steps, recipe.train.checkpoint_every) = (u64::MAX, Some(1));
        assert_eq!(least_bytes(&recipe, size, 0, 0), u64::MAX);
        assert!(of_disk(&recipe, Path::new("no-such-run"), size, true).is_some());
        let refused = check_disk(&recipe, Path::new("no-such-run"), size, (0, 0), "name another --run, or ");
        assert_eq!(refused.is_err(), cfg!(unix));
        if let Err(failure) = refused {
            let message = failure.message();
            assert!(message.contains("free where no-such-run is") && message.contains("train.keep_last"), "{message}");
        }
    }

    #[test]
    fn lengths_that_are_hardly_meant_are_told_of() {
        let check =
            |recipe: &Recipe, n_rows: u64, n_validation_tokens: u64, n_validation_documents: u64, expect: &[&str]| {
                let summary = Summary { n_validation_tokens, n_validation_documents, ..Summary::default() };
                let found = of_lengths(recipe, &summary, n_rows, true);
                assert_eq!(found.len(), expect.len(), "{found:?}");
                found.iter().zip(expect).for_each(|(found, expect)| assert!(found.contains(expect), "{found}"));
            };
        check(&recipe(100), 800, 100, 10, &[]);
        check(&recipe(99), 800, 100, 10, &["sees 792 of the 800 rows"]);
        check(&recipe(99), 800_000, 100, 10, &[]);
        check(&recipe(1), 8, 0, 0, &["2 is beyond train.steps = 1; it reaches 50 %"]);
        check(&recipe(1), 800, 12, 1, &["train.steps=100", "beyond", "2 sequences of 12 tokens"]);
    }
}
