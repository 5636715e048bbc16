//! Refuses a run that would not fit into memory, before it starts.

use crate::failure::{Failure, Outcome};
use crate::machine;
use crate::show::number;
use genera_engine::ModelConfig;
use genera_engine::flops::{Lens, TrainMemory, TrainPlan};
use genera_engine::recipe::Recipe;
use genera_tensor::DType;

/// The memory that training by a recipe needs.
pub fn needed(recipe: &Recipe, config: &ModelConfig, dtype: DType) -> TrainMemory {
    let (target, source) = match config.is_encoder_decoder() {
        true => (recipe.data.max_target_len, recipe.data.max_source_len),
        false => (None, Some(0)),
    };
    let context = config.context_len;
    let train = &recipe.train;
    let lens = Lens { target: target.unwrap_or(context), source: source.unwrap_or(context) };
    let rows = match (recipe.data.tokens_per_batch, config.is_encoder_decoder()) {
        (Some(n_tokens), true) => (n_tokens / (lens.target + lens.source)).clamp(1, train.batch_size),
        _ => train.batch_size,
    };
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
