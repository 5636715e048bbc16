//! What the model of a recipe would be, and what training it takes.

use super::architecture;
use crate::command::Common;
use crate::failure::Outcome;
use crate::machine;
use crate::plan::{memory, privacy, trial};
use crate::run::session::compute_dtype;
use crate::show::{number, row};
use genera_engine::ModelConfig;
use genera_engine::flops;
use genera_engine::params::ParamCount;
use genera_engine::recipe::{Reasons, Recipe};
use std::path::Path;
use std::process::ExitCode;

/// Says what the model of a recipe would be, and what training it takes.
///
/// # Errors
/// When the recipe cannot be used, or starts from a base.
pub(super) fn describe(path: &Path, set: &[String], common: Common) -> Outcome {
    let mut recipe = trial::load(path, set)?;
    trial::settle(&mut recipe, path, "planned")?;
    let config = trial::config(&recipe)?;
    let n_threads = common.threads.map_or_else(machine::n_cores, usize::from);
    let setting = memory::Setting::new(compute_dtype(&recipe), n_threads);
    let mut reasons = Reasons::default();
    // A run that does not fit here may fit elsewhere: its plan is shown all the same.
    if let Err(failure) = memory::fit(&mut recipe, &mut reasons, &config, setting) {
        eprintln!("genera: it does not fit: {}", failure.message());
    }
    let plan = Plan::of(&recipe, &config, setting);
    if common.json {
        println!("{}", plan.to_json(&recipe, &config));
    } else {
        plan.print(&recipe, &config, &reasons);
    }
    Ok(ExitCode::SUCCESS)
}

/// What training by a recipe takes.
struct Plan {
    count: ParamCount,
    tokens_per_step: usize,
    flops_per_step: f64,
    parts: memory::Parts,
    setting: memory::Setting,
}

impl Plan {
    fn of(recipe: &Recipe, config: &ModelConfig, setting: memory::Setting) -> Self {
        let (rows, lens) = memory::largest_batch(recipe, config);
        // With privacy the rows of a step go through the model a few at a time.
        let n_rows =
            if privacy::is_on(recipe) { privacy::rows_of_step(recipe) } else { rows * recipe.train.accumulate.max(1) };
        Self {
            count: ParamCount::of(config),
            tokens_per_step: n_rows.saturating_mul(lens.target + lens.source),
            flops_per_step: n_rows as f64 * flops::training(config, lens),
            parts: memory::parts(recipe, config, setting),
            setting,
        }
    }

    fn to_json(&self, recipe: &Recipe, config: &ModelConfig) -> serde_json::Value {
        let parts = self.parts.map(|(name, n_bytes)| (name.to_owned(), n_bytes.into()));
        serde_json::json!({
            "config": config,
            "parameters": architecture::parameters(&self.count),
            "dtype": self.setting.dtype.name(),
            "tokens_per_step": self.tokens_per_step,
            "flops_per_step": self.flops_per_step,
            "recomputed_blocks": recipe.train.recomputed_blocks.unwrap_or(0),
            "memory_to_train_bytes": memory::of_process(recipe, config, self.setting),
            "memory_to_train": serde_json::Map::from_iter(parts),
        })
    }

    fn print(&self, recipe: &Recipe, config: &ModelConfig, reasons: &Reasons) {
        println!("Architecture");
        architecture::print(config, &self.count);
        println!("\nA step, at most");
        row("tokens", self.tokens_per_step);
        row("arithmetic", number::flops(self.flops_per_step));
        let (whole, dtype) = (memory::of_process(recipe, config, self.setting), self.setting.dtype);
        println!("\n{:<24} {} (products in {dtype})", "Memory to train", number::bytes(whole));
        for (name, n_bytes) in self.parts {
            row(name, number::bytes(n_bytes));
        }
        if let Some(n) = recipe.train.recomputed_blocks.filter(|n| *n > 0) {
            let reason = reasons.get("train.recomputed_blocks").map_or_else(String::new, |reason| format!(" {reason}"));
            let reason = if reason.is_empty() { " blocks" } else { &reason };
            row("computed again", format_args!("{n}{reason}"));
        }
    }
}
