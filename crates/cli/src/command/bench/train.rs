//! `genera bench train`: how fast this machine trains.

use super::operations::{self, Operation};
use super::origin::Origin;
use crate::command::Common;
use crate::failure::{Failure, Outcome};
use crate::machine;
use crate::plan::{memory, privacy, trial};
use crate::rates;
use crate::run::interrupt::{self, Interrupt};
use crate::run::session::compute_dtype;
use crate::show::number;
use crate::show::status_line::StatusLine;
use genera_engine::params::ParamCount;
use genera_engine::recipe::{Reasons, Recipe};
use genera_engine::train::{StepReport, Trainer};
use genera_tensor::{DType, Pass, Profile};
use genera_tokens::Batch;
use serde::Serialize;
use std::iter::{RepeatN, repeat_n};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// What to train on.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// The recipe of a new Transformer, of which the model, the batch and the optimizer are used, or the directory of a run that
    /// trained one.
    #[arg(value_name = "RECIPE.toml|RUN")]
    recipe: PathBuf,
    /// Change one key of the recipe; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Steps that are measured, after two that are not.
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) steps: u32,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    /// Median over the steps.
    tokens_per_s: f64,
    /// Median; training counts three forward passes, attention included.
    pub(super) flops_per_s: f64,
    share_of_peak: f64,
    /// Best rate of large matrix products here, before or after the training.
    pub(super) peak_flops_per_s: f64,
    /// The lesser of the two, as a share of the greater: how steady the machine was.
    steadiness_of_peak: f64,
    /// Whether no instruction multiplies the storage type.
    is_emulated: bool,
    /// Time on processors while the steps were measured, as a share of all threads' time: what other programs left.
    processor_share: Option<f64>,
    /// Of the whole process while it trained.
    peak_memory_bytes: Option<usize>,
    /// Most tensor memory in use at once.
    pub(super) peak_tensor_bytes: usize,
    /// Tensor memory obtained from the system at the end: what is in use, and what is kept for reuse.
    reserved_tensor_bytes: usize,
    /// What `genera inspect` plans for the same run.
    planned_bytes: usize,
    /// Of the process before its model was made, what the measurement of the peak left included.
    resident_bytes_before: Option<usize>,
    /// Pages of memory touched for the first time, by all threads.
    minor_faults_per_step: Option<f64>,
    /// Median, from the start of a step to that of the next.
    pub(super) seconds_per_step: f64,
    /// Mean of the same, to which the operations sum.
    mean_seconds_per_step: f64,
    /// The fastest and the slowest.
    range_of_seconds_per_step: [f64; 2],
    n_steps: u32,
    /// Whether Ctrl-C ended it before all steps.
    pub(super) is_interrupted: bool,
    pub(super) n_parameters: usize,
    pub(super) n_step_tokens: usize,
    vocab_size: usize,
    /// Blocks of which only the input is kept.
    pub(super) recomputed_blocks: usize,
    n_threads: usize,
    pub(super) dtype: &'static str,
    pub(super) device: String,
    loss: f64,
    /// Where the time of a step goes.
    pub(super) operations: Vec<Operation>,
    #[serde(flatten)]
    origin: Origin,
}

/// Shares below this are worth a word.
const STEADY: f64 = 0.9;

/// Steps before those that are measured: they find no memory ready.
const N_WARM_UP: u32 = 2;

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let measured = measure(arguments.recipe()?, arguments.steps, common)?;
    if common.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        print(&measured);
    }
    Ok(if measured.is_interrupted { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::SUCCESS })
}

impl Arguments {
    /// The recipe with all its keys.
    ///
    /// # Errors
    /// When the file or a change of it cannot be used, or it asks for what is not measured.
    pub(super) fn recipe(&self) -> Outcome<Recipe> {
        let mut recipe = trial::load(&self.recipe, &self.set)?;
        if privacy::is_on(&recipe) {
            return Err(Failure::new(format!(
                "train.privacy cannot be measured: with it a step takes its rows one by one; {}",
                trial::advice(&self.recipe, "train.privacy")
            )));
        }
        trial::settle(&mut recipe, &self.recipe, "measured")?;
        Ok(recipe)
    }
}

/// Trains on random tokens.
///
/// # Errors
/// When the recipe cannot be used, or does not fit into memory.
pub(super) fn measure(mut recipe: Recipe, n_steps: u32, common: Common) -> Outcome<Measured> {
    let device = machine::device(common.threads).profiled();
    let (config, n_threads) = (trial::config(&recipe)?, device.kernels().n_threads());
    let dtype = compute_dtype(&recipe);
    let setting = memory::Setting::new(dtype, n_threads);
    fit(&mut recipe, setting)?;
    let interrupt = Interrupt::listen()?;
    let mut status = StatusLine::new();
    let peak_before = rates::peak(n_threads, dtype, rates::LOOK);
    let resident_bytes_before = machine::resident_bytes();
    machine::forget_peak_resident_bytes();
    let planned_bytes = memory::of_process(&recipe, &config, setting);
    let (rows, lens) = memory::largest_batch(&recipe, &config);
    let batch = trial::batch(&config, rows, lens);
    let (n_parameters, vocab_size) = (ParamCount::of(&config).total(), config.vocab_size);
    let mut trainer = trial::trainer(&recipe, config, dtype, &device)?;
    let micro = repeat_n(&batch, recipe.train.accumulate.max(1));
    let n_step_tokens = micro.clone().map(Batch::n_tokens).sum();
    for i in 1..=N_WARM_UP {
        trainer.step(micro.clone())?;
        status.show(|| format!("step {i} of {N_WARM_UP} that are not measured"));
        if interrupt.is_asked() {
            return Err(Failure::new("stopped before a step was measured"));
        }
    }
    let profile = device.profile().expect("the device was made to note its time");
    let (n_faults_before, processor_before) = (machine::n_minor_faults(), machine::processor_seconds());
    let Timed { seconds, last } = timed_steps(&mut trainer, micro, n_steps, profile, &mut status, &interrupt)?;
    let (n_wanted, n_steps) = (n_steps, seconds.len() as u32);
    let processor_seconds = machine::processor_seconds().zip(processor_before).map(|(after, before)| after - before);
    let n_faults = machine::n_minor_faults().zip(n_faults_before).map(|(after, before)| after - before);
    let (peak_memory_bytes, memory) = (machine::peak_resident_bytes(), device.memory());
    let (peak_tensor_bytes, reserved_tensor_bytes) = (memory.peak_bytes(), memory.reserved_bytes());
    drop(trainer);
    let all_seconds = seconds.iter().sum::<f64>();
    let mean_seconds_per_step = all_seconds / f64::from(n_steps);
    let range_of_seconds_per_step = [f64::min, f64::max].map(|of| seconds.iter().copied().reduce(of).unwrap_or(0.0));
    let seconds_per_step = rates::median(seconds);
    let flops_per_s = last.flops_per_s * last.seconds / seconds_per_step;
    let peak_after = rates::peak(n_threads, dtype, rates::LOOK);
    let peak_flops_per_s = peak_after.max(peak_before);
    Ok(Measured {
        tokens_per_s: last.tokens_per_s * last.seconds / seconds_per_step,
        flops_per_s,
        share_of_peak: flops_per_s / peak_flops_per_s,
        peak_flops_per_s,
        steadiness_of_peak: peak_after.min(peak_before) / peak_flops_per_s,
        is_emulated: dtype == DType::Bf16 && !machine::multiplies_bf16(),
        processor_share: processor_seconds.map(|seconds| seconds / (all_seconds * n_threads as f64)),
        peak_memory_bytes,
        peak_tensor_bytes,
        reserved_tensor_bytes,
        planned_bytes,
        resident_bytes_before,
        minor_faults_per_step: n_faults.map(|n| n as f64 / f64::from(n_steps)),
        seconds_per_step,
        mean_seconds_per_step,
        range_of_seconds_per_step,
        n_steps,
        is_interrupted: n_steps < n_wanted,
        n_parameters,
        n_step_tokens,
        vocab_size,
        recomputed_blocks: recipe.train.recomputed_blocks.unwrap_or(0),
        n_threads,
        dtype: dtype.name(),
        device: device.kernels().name(),
        loss: last.loss,
        operations: operations::of(profile, n_steps, mean_seconds_per_step),
        origin: Origin::here(),
    })
}

/// Makes the run fit into memory, and says so where that changes it.
fn fit(recipe: &mut Recipe, setting: memory::Setting) -> Outcome<()> {
    let mut reasons = Reasons::default();
    let config = trial::config(recipe)?;
    memory::fit(recipe, &mut reasons, &config, setting)?;
    if let (Some(n), Some(reason)) = (recipe.train.recomputed_blocks, reasons.get("train.recomputed_blocks")) {
        eprintln!("genera: train.recomputed_blocks = {n}: {reason}");
    }
    Ok(())
}

/// Steps that were measured.
struct Timed {
    /// Of each, what is tidied up after it included.
    seconds: Vec<f64>,
    /// What the last one reported.
    last: StepReport,
}

/// Ends before all steps are done when somebody asks for it.
fn timed_steps(
    trainer: &mut Trainer,
    micro: RepeatN<&Batch>,
    n_steps: u32,
    profile: &Profile,
    status: &mut StatusLine,
    interrupt: &Interrupt,
) -> Outcome<Timed> {
    let mut seconds: Vec<f64> = Vec::with_capacity(n_steps as usize);
    profile.restart();
    loop {
        let start = Instant::now();
        let last = trainer.step(micro.clone())?;
        // What no operation covers, such as giving back the gradients.
        profile.mark(operations::OTHER, Pass::Outside);
        seconds.push(start.elapsed().as_secs_f64());
        let n_done = seconds.len();
        if n_done == n_steps as usize || interrupt.is_asked() {
            return Ok(Timed { seconds, last });
        }
        status.show(|| {
            let left = seconds.iter().sum::<f64>() / n_done as f64 * (n_steps as usize - n_done) as f64;
            format!("step {n_done} of {n_steps}, {left:.0} s left")
        });
    }
}

pub(super) fn print(measured: &Measured) {
    if measured.is_interrupted {
        println!("stopped after {} steps", measured.n_steps);
    }
    println!("{}\n{}", measured.device, measured.origin);
    println!(
        "{} parameters, a vocabulary of {}, {} tokens a step, {}",
        number::count(measured.n_parameters as f64),
        measured.vocab_size,
        measured.n_step_tokens,
        if measured.is_emulated {
            "emulated bf16 (no instruction multiplies it: f32 is faster)"
        } else {
            measured.dtype
        }
    );
    println!("tokens/s       {}", number::count(measured.tokens_per_s));
    println!(
        "arithmetic     {} ({:.0} % of the peak of matrix products, {})",
        number::flops_per_s(measured.flops_per_s),
        100.0 * measured.share_of_peak,
        number::flops_per_s(measured.peak_flops_per_s)
    );
    let [median, mean] = [measured.seconds_per_step, measured.mean_seconds_per_step].map(|seconds| 1e3 * seconds);
    let [fastest, slowest] = measured.range_of_seconds_per_step.map(|seconds| 1e3 * seconds);
    println!("a step         {median:.1} ms (mean {mean:.1} ms, {fastest:.1} to {slowest:.1} ms)");
    if let Some(share) = measured.processor_share {
        println!("processors     {:.0} % of the time of {} threads", 100.0 * share, measured.n_threads);
    }
    if measured.processor_share.is_some_and(|share| share < STEADY) {
        println!("               the rest went to other programs, or threads waited for each other");
    }
    if measured.steadiness_of_peak < STEADY {
        let percent = 100.0 * (1.0 - measured.steadiness_of_peak);
        println!(
            "               the peak moved by {percent:.0} %: other programs slow this machine down, and the figures are too low"
        );
    }
    if let Some(bytes) = measured.peak_memory_bytes {
        let before =
            measured.resident_bytes_before.map_or_else(String::new, |n| format!(", before it {}", number::bytes(n)));
        println!("peak memory    {} (planned {}{before})", number::bytes(bytes), number::bytes(measured.planned_bytes));
    }
    if measured.recomputed_blocks > 0 {
        println!("computed again {} blocks", measured.recomputed_blocks);
    }
    if let Some(n) = measured.minor_faults_per_step {
        println!("fresh pages    {n:.1} a step");
    }
    operations::print(&measured.operations);
}
