//! `genera bench train`: how fast this machine trains.

use super::operations::{self, Operation};
use crate::command::Common;
use crate::failure::Outcome;
use crate::machine;
use crate::plan::overrides::Overrides;
use crate::plan::{memory, trial};
use crate::rates;
use crate::run::session::compute_dtype;
use crate::show::number;
use genera_engine::ModelConfig;
use genera_engine::params::ParamCount;
use genera_engine::recipe::{Reasons, Recipe};
use genera_tokens::Batch;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to train on.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// The recipe, of which the model, the batch and the optimizer are used.
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// Change one key of the recipe; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Steps that are measured, after two that are not.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) steps: u32,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    /// Median over the steps.
    tokens_per_s: f64,
    /// Median; training counts three forward passes, attention included.
    pub(super) flops_per_s: f64,
    /// Share of the rate of large matrix products here.
    share_of_peak: f64,
    /// Of the whole process.
    peak_memory_bytes: Option<usize>,
    /// Most tensor memory in use at once.
    peak_tensor_bytes: usize,
    /// What `genera inspect` plans for the same run.
    planned_bytes: usize,
    pub(super) seconds_per_step: f64,
    n_steps: u32,
    pub(super) n_parameters: usize,
    pub(super) n_step_tokens: usize,
    pub(super) dtype: &'static str,
    pub(super) device: String,
    loss: f64,
    /// Where the time of a step goes; the parts sum to the mean step.
    operations: Vec<Operation>,
}

/// Steps before those that are measured: they find no memory ready.
const N_WARM_UP: u32 = 2;

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let measured = measure(arguments.recipe()?, arguments.steps, common)?;
    if common.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        print(&measured);
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// The recipe with all its keys.
    ///
    /// # Errors
    /// When the file or a change of it cannot be used.
    pub(super) fn recipe(&self) -> Outcome<Recipe> {
        let mut recipe = Recipe::load(&self.recipe)?;
        Overrides::parse(&self.set)?.apply(&mut recipe)?;
        recipe.complete(&mut Reasons::default())?;
        Ok(recipe)
    }
}

/// The model of a recipe.
///
/// # Errors
/// When its sizes do not fit together.
pub(super) fn config(recipe: &Recipe) -> Outcome<ModelConfig> {
    Ok(recipe.model.config(recipe.tokenizer.vocab_size.unwrap_or(256))?)
}

/// Trains on random tokens.
///
/// # Errors
/// When the recipe cannot be used, or does not fit into memory.
pub(super) fn measure(mut recipe: Recipe, n_steps: u32, common: Common) -> Outcome<Measured> {
    let device = machine::device(common.threads).profiled();
    let config = config(&recipe)?;
    let dtype = compute_dtype(&recipe);
    memory::fit(&mut recipe, &mut Reasons::default(), &config, dtype)?;
    let peak = rates::peak(&device, dtype);
    let planned_bytes = memory::of_process(&recipe, &config, dtype);
    let (rows, lens) = memory::largest_batch(&recipe, &config);
    let batch = trial::batch(&config, rows, lens);
    let n_parameters = ParamCount::of(&config).total();
    let mut trainer = trial::trainer(&recipe, config, dtype, &device)?;
    let micro = vec![batch; recipe.train.accumulate.max(1)];
    let n_step_tokens = micro.iter().map(Batch::n_tokens).sum();
    for _ in 0..N_WARM_UP {
        trainer.step(&micro)?;
    }
    let profile = device.profile().expect("the device was made to note its time");
    profile.restart();
    let mut reports = (0..n_steps).map(|_| trainer.step(&micro)).collect::<Result<Vec<_>, _>>()?;
    let loss = reports.last().map_or(f64::NAN, |report| report.loss);
    let operations = operations::of(profile, n_steps);
    reports.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let median = &reports[reports.len() / 2];
    Ok(Measured {
        tokens_per_s: median.tokens_per_s,
        flops_per_s: median.flops_per_s,
        share_of_peak: median.flops_per_s / peak,
        peak_memory_bytes: machine::peak_resident_bytes(),
        peak_tensor_bytes: device.memory().peak_bytes(),
        planned_bytes,
        seconds_per_step: median.seconds,
        n_steps,
        n_parameters,
        n_step_tokens,
        dtype: dtype.name(),
        device: device.kernels().name(),
        loss,
        operations,
    })
}

fn print(measured: &Measured) {
    println!("{}", measured.device);
    println!(
        "{} parameters, {} tokens a step, {}",
        number::count(measured.n_parameters as f64),
        measured.n_step_tokens,
        measured.dtype
    );
    println!("tokens/s       {}", number::count(measured.tokens_per_s));
    println!(
        "arithmetic     {} ({:.0} % of the peak of matrix products)",
        number::flops_per_s(measured.flops_per_s),
        100.0 * measured.share_of_peak
    );
    println!("a step         {:.1} ms", 1000.0 * measured.seconds_per_step);
    if let Some(bytes) = measured.peak_memory_bytes {
        println!("peak memory    {} (planned {})", number::bytes(bytes), number::bytes(measured.planned_bytes));
    }
    operations::print(&measured.operations);
}
