//! Refuses a run that would not fit into memory, before it starts.

use crate::failure::{Failure, Outcome};
use crate::machine;
use crate::show::number;
use genera_engine::ModelConfig;
use genera_engine::flops::{Lens, TrainMemory, TrainPlan};
use genera_engine::recipe::Recipe;
use genera_tensor::DType;

/// The largest batch of a recipe: how many rows, and how long they are.
pub fn largest_batch(recipe: &Recipe, config: &ModelConfig) -> (usize, Lens) {
    let (data, n_rows, context) = (&recipe.data, recipe.train.batch_size, config.context_len);
    if !config.is_encoder_decoder() {
        return (n_rows, Lens { target: context, source: 0 });
    }
    let lens = Lens { target: data.max_target_len.unwrap_or(context), source: data.max_source_len.unwrap_or(context) };
    let fitting = |n_tokens: usize| (n_tokens / (lens.target + lens.source)).clamp(1, n_rows);
    (data.tokens_per_batch.map_or(n_rows, fitting), lens)
}

/// The memory that training by a recipe needs.
pub fn needed(recipe: &Recipe, config: &ModelConfig, dtype: DType) -> TrainMemory {
    let (rows, lens) = largest_batch(recipe, config);
    let train = &recipe.train;
    TrainMemory::of(
        config,
        &TrainPlan {
            rows,
            lens,
            compute: dtype,
            optimizer: train.optimizer,
            averages: train.ema_decay > 0.0,
            checkpointing: train.activation_checkpointing,
        },
    )
}

/// Compares what is needed with what there is.
///
/// # Errors
/// When it does not fit: the plan, and what would make it smaller.
pub fn check(recipe: &Recipe, config: &ModelConfig, dtype: DType) -> Outcome<()> {
    let memory = needed(recipe, config, dtype);
    let Some(available) = machine::available_bytes() else { return Ok(()) };
    if memory.total() <= available {
        return Ok(());
    }
    let checkpointing =
        if recipe.train.activation_checkpointing { "" } else { ", train.activation_checkpointing = true" };
    Err(Failure::new(format!(
        "this run needs {} of memory, and {} are available\n{}\nTo make it fit: a smaller train.batch_size \
         (with train.accumulate for the same step){checkpointing}, a smaller model.d_model or model.n_layers",
        number::bytes(memory.total()),
        number::bytes(available),
        plan_lines(&memory),
    )))
}

fn plan_lines(memory: &TrainMemory) -> String {
    let TrainMemory { weights, gradients, optimizer, averages, activations } = *memory;
    let parts = [
        ("weights", weights),
        ("gradients", gradients),
        ("optimizer", optimizer),
        ("averages", averages),
        ("activations", activations),
    ];
    let lines = parts.map(|(name, bytes)| format!("  {name:<12} {:>9}", number::bytes(bytes)));
    lines.join("\n")
}
