//! `genera bench roofline`: how far a model's training is below what this machine can do, as a picture.

use super::layers::{Layers, layers};
use super::operations::Operation;
use super::traffic::Traffic;
use super::train::{self, Measured};
use crate::answer_writer;
use crate::command::Common;
use crate::failure::{Failure, Outcome, While};
use crate::machine;
use crate::plan::{memory, trial};
use crate::rates::{self, Product};
use crate::run::session::compute_dtype;
use crate::show::number;
use crate::show::roofline::{LayerPoint, Peak, Point, Roofline, StagePoint};
use genera_engine::ModelConfig;
use genera_engine::flops;
use genera_engine::params::ParamCount;
use genera_engine::recipe::{OptimizerKind, Recipe};
use genera_tensor::DType;
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

/// Operations of AdamW on each weight: scaling its gradient 1, the mean 3, the mean square 4, the corrected ratio 5, the weight 4.
const ADAMW_FLOPS: f64 = 17.0;

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let output = &arguments.output;
    if !output.extension().is_some_and(|end| end.eq_ignore_ascii_case("svg")) {
        return Err(Failure::new(format!("--output {} is no name of a picture: end it in .svg", output.display())));
    }
    let recipe = arguments.training.recipe()?;
    answer_writer::check(output)?;
    let measured = train::measure(recipe.clone(), arguments.training.steps, common)?;
    let roofline = roofline(&recipe, &measured, common)?;
    std::fs::write(output, roofline.to_svg()?).during(format!("cannot write {}", output.display()))?;
    if common.json {
        println!("{}", serde_json::to_string(&roofline)?);
    } else {
        println!("wrote {}", output.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn roofline(recipe: &Recipe, measured: &Measured, common: Common) -> Outcome<Roofline> {
    let device = machine::device(common.threads);
    let (config, dtype) = (trial::config(recipe)?, compute_dtype(recipe));
    let (rows, lens) = memory::largest_batch(recipe, &config);
    let layers = layers(&config, rows, lens);
    let of_layer = |layers: &Layers| {
        let name = format!("{}: {} → {}", layers.names.join(", "), layers.layer.n_in, layers.layer.n_out);
        Product::ALL.map(|product| LayerPoint {
            layer: name.clone(),
            product,
            point: Point {
                flops_per_byte: layers.layer.flops() / layers.layer.bytes(dtype, product),
                flops_per_s: rates::product(&device, dtype, layers.layer, product),
            },
        })
    };
    let products: Vec<LayerPoint> = layers.iter().flat_map(of_layer).collect();
    // What any product has reached, the machine can do.
    let reached = products.iter().map(|product| product.point.flops_per_s).fold(measured.peak_flops_per_s, f64::max);
    let n_threads = device.kernels().n_threads();
    let peak_of = |other: DType| if other == dtype { reached } else { rates::peak(n_threads, other, rates::LOOK) };
    let mut peaks = [DType::F32, DType::Bf16].map(|dtype| Peak { dtype: dtype.name(), flops_per_s: peak_of(dtype) });
    peaks.sort_by(|a, b| b.flops_per_s.total_cmp(&a.flops_per_s));
    let traffic = Traffic::of(recipe, &config, dtype, &layers);
    Ok(Roofline {
        title: format!(
            "{} parameters, {} tokens a step, {} · {}",
            number::count(measured.n_parameters as f64),
            measured.n_step_tokens,
            measured.dtype,
            measured.device
        ),
        read_bytes_per_s: rates::read_bandwidth(n_threads).read_bytes_per_s,
        products,
        stages: stages(recipe, &config, &measured.operations, &traffic),
        peaks: peaks.into(),
        step: Point {
            flops_per_byte: measured.flops_per_s * measured.seconds_per_step / traffic.total(),
            flops_per_s: measured.flops_per_s,
        },
    })
}

/// What takes time beside the products: attention, both ways, and the optimizer where it is one whose operations are known.
fn stages(recipe: &Recipe, config: &ModelConfig, operations: &[Operation], traffic: &Traffic) -> Vec<StagePoint> {
    let (rows, lens) = memory::largest_batch(recipe, config);
    let n_rows = (rows * recipe.train.accumulate.max(1)) as f64;
    let adamw = (recipe.train.optimizer == OptimizerKind::AdamW)
        .then(|| ("optimizer", ADAMW_FLOPS * ParamCount::of(config).total() as f64, traffic.optimizer));
    let attention = ("attention", 3.0 * n_rows * flops::attention(config, lens), traffic.attention);
    let point = |(name, n_flops, n_bytes): (&'static str, f64, f64)| {
        let parts = operations.iter().filter(|operation| operation.name == name);
        let seconds: f64 = parts.map(|operation| operation.seconds).sum();
        let point = Point { flops_per_byte: n_flops / n_bytes, flops_per_s: n_flops / seconds };
        (seconds > 0.0).then_some(StagePoint { name, point })
    };
    [attention].into_iter().chain(adamw).filter_map(point).collect()
}
