//! `genera bench roofline`: how far a model's training is below what this machine can do, as a picture.

use super::layers::{Layers, layers};
use super::optimizer;
use super::traffic::{Traffic, attention_at_once};
use super::train::{self, Measured as Training};
use crate::answer_writer;
use crate::command::Common;
use crate::failure::{Failure, Outcome, While};
use crate::machine;
use crate::plan::{memory, trial};
use crate::rates::{self, Product};
use crate::run::interrupt;
use crate::run::session::compute_dtype;
use crate::show::number;
use crate::show::roofline::{LayerPoint, Measured, Peak, Point, Roofline, Stage, StagePoint};
use genera_engine::ModelConfig;
use genera_engine::flops;
use genera_engine::recipe::Recipe;
use genera_tensor::DType;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to draw.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    training: train::Arguments,
    /// The picture to write.
    #[arg(long, value_name = "FILE.svg")]
    output: PathBuf,
}

/// Cache that is assumed where the system does not tell: more than most machines have.
const ASSUMED_CACHE_BYTES: usize = 256 << 20;

/// The picture as data, and the training that it shows.
#[derive(Debug, Serialize)]
struct Report<'t> {
    #[serde(flatten)]
    roofline: Roofline,
    training: &'t Training,
}

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let output = &arguments.output;
    if !output.extension().is_some_and(|end| end.eq_ignore_ascii_case("svg")) {
        return Err(Failure::new(format!("--output {} is no name of a picture: end it in .svg", output.display())));
    }
    let mut recipe = arguments.training.recipe()?;
    answer_writer::check(output)?;
    let n_threads = machine::device(common.threads).kernels().n_threads();
    let before = rates::bandwidth(n_threads).update_bytes_per_s;
    let training = train::measure(recipe.clone(), arguments.training.steps, common)?;
    if training.is_interrupted {
        eprintln!("genera: stopped before all was measured; no picture was drawn");
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    // As it was made to fit into memory.
    recipe.train.recomputed_blocks = Some(training.recomputed_blocks);
    let after = rates::bandwidth(n_threads).update_bytes_per_s;
    let bytes_per_s = before.max(after).max(moved_by_optimizer(&recipe, &training)?);
    let roofline = roofline(&recipe, &training, bytes_per_s, common)?;
    std::fs::write(output, roofline.to_svg()?).during(format!("cannot write {}", output.display()))?;
    if common.json {
        println!("{}", serde_json::to_string(&Report { roofline, training: &training })?);
    } else {
        train::print(&training);
        println!("\nwrote {}", output.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn roofline(recipe: &Recipe, training: &Training, bytes_per_s: f64, common: Common) -> Outcome<Roofline> {
    let device = machine::device(common.threads);
    let (config, dtype) = (trial::config(recipe)?, compute_dtype(recipe));
    let (rows, lens) = memory::largest_batch(recipe, &config);
    let layers = layers(&config, rows, lens, training.recomputed_blocks);
    let last_level_cache_bytes = machine::last_level_cache_bytes();
    let measured = |point, held_bytes| Measured::new(point, held_bytes, bytes_per_s, last_level_cache_bytes);
    let of_layer = |of: &Layers| {
        let name = name(of, &layers);
        Product::ALL.map(|product| {
            let n_bytes = of.layer.bytes(dtype, product);
            let point = Point {
                flops_per_byte: of.layer.flops() / n_bytes,
                flops_per_s: rates::product(&device, dtype, of.layer, product),
            };
            LayerPoint { layer: name.clone(), product, measured: measured(point, n_bytes) }
        })
    };
    let products: Vec<LayerPoint> = layers.iter().flat_map(of_layer).collect();
    // What any product or the step has reached, the machine can do.
    let found = products.iter().map(|product| product.measured.point.flops_per_s).chain([training.flops_per_s]);
    let reached = found.fold(training.peak_flops_per_s, f64::max);
    let n_threads = device.kernels().n_threads();
    let peak_of = |other: DType| if other == dtype { reached } else { rates::peak(n_threads, other, rates::LOOK) };
    let mut peaks = [DType::F32, DType::Bf16].map(|dtype| Peak { dtype: dtype.name(), flops_per_s: peak_of(dtype) });
    peaks.sort_by(|a, b| b.flops_per_s.total_cmp(&a.flops_per_s));
    let traffic = Traffic::of(recipe, &config, dtype, &layers);
    let step = Point {
        flops_per_byte: training.flops_per_s * training.seconds_per_step / traffic.total(),
        flops_per_s: training.flops_per_s,
    };
    Ok(Roofline {
        title: format!(
            "{} parameters, {} tokens a step, {} · {}",
            number::count(training.n_parameters as f64),
            training.n_step_tokens,
            training.dtype,
            training.device
        ),
        bytes_per_s,
        last_level_cache_bytes,
        recomputed_blocks: training.recomputed_blocks,
        products,
        stages: stages(recipe, &config, training, &traffic, measured),
        peaks: peaks.into(),
        step: measured(step, training.peak_tensor_bytes as f64),
    })
}

/// The rate at which the optimizer moved what no cache can have given or kept; what it has reached, memory can do.
///
/// # Units
/// Bytes a second.
fn moved_by_optimizer(recipe: &Recipe, training: &Training) -> Outcome<f64> {
    let work = optimizer::work(recipe.train.optimizer, &trial::config(recipe)?, compute_dtype(recipe));
    let cache_bytes = machine::last_level_cache_bytes().unwrap_or(ASSUMED_CACHE_BYTES);
    Ok(work.least_bytes_per_s(seconds_of(Stage::Optimizer, training), cache_bytes))
}

/// How long a stage of a step takes.
fn seconds_of(stage: Stage, training: &Training) -> f64 {
    let parts = training.operations.iter().filter(|operation| operation.name == stage.name());
    parts.map(|operation| operation.seconds).sum()
}

/// The name of a kind of layers; with its tokens, where another differs by these alone.
fn name(of: &Layers, all: &[Layers]) -> String {
    let name = |layers: &Layers| format!("{}: {} → {}", layers.names.join(", "), layers.layer.n_in, layers.layer.n_out);
    let n_alike = all.iter().filter(|other| name(other) == name(of)).count();
    if n_alike > 1 { format!("{}, {} tokens", name(of), of.layer.n_tokens) } else { name(of) }
}

/// What takes time beside the products: attention, both ways, and the optimizer.
fn stages(
    recipe: &Recipe,
    config: &ModelConfig,
    training: &Training,
    traffic: &Traffic,
    measured: impl Fn(Point, f64) -> Measured,
) -> Vec<StagePoint> {
    let dtype = compute_dtype(recipe);
    let (rows, lens) = memory::largest_batch(recipe, config);
    let n_rows = (rows * recipe.train.accumulate.max(1)) as f64;
    let of_attention = 3.0 * n_rows * flops::attention(config, lens);
    let optimizer = optimizer::work(recipe.train.optimizer, config, dtype);
    let point = |(name, n_flops, n_bytes, held_bytes): (Stage, f64, f64, f64)| {
        let seconds = seconds_of(name, training);
        let point = Point { flops_per_byte: n_flops / n_bytes, flops_per_s: n_flops / seconds };
        (seconds > 0.0).then(|| StagePoint { name, measured: measured(point, held_bytes) })
    };
    let stages = [
        (Stage::Attention, of_attention, traffic.attention, attention_at_once(recipe, config, dtype)),
        (Stage::Optimizer, optimizer.flops, traffic.optimizer, optimizer.held_bytes),
    ];
    stages.into_iter().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An encoder and a decoder of the same widths that read sentences of different lengths.
    #[test]
    fn layers_that_differ_by_their_tokens_alone_have_names_of_their_own() {
        let recipe = Recipe::parse(
            "[model]\npreset = \"marian\"\nn_layers = 1\nn_encoder_layers = 1\nn_heads = 4\nd_model = 64\ncontext_len = 32\n",
        );
        let config = recipe.unwrap().model.config(100).unwrap();
        let names = |source| {
            let layers = layers(&config, 2, flops::Lens { target: 16, source }, 0);
            layers.iter().map(|of| name(of, &layers)).collect::<Vec<_>>()
        };
        let mut found = names(8);
        assert!(found.contains(&"up: 64 → 256, 32 tokens".to_owned()), "{found:?}");
        let n = found.len();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), n, "{found:?}");
        assert!(names(16).contains(&"up: 64 → 256".to_owned()), "{:?}", names(16));
    }
}
