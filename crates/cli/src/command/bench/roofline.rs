//! `genera bench roofline`: how far a model's training is below what this machine can do, as a picture.

use super::train::{self, Measured};
use crate::command::Common;
use crate::failure::{Failure, Outcome, While};
use crate::machine;
use crate::plan::memory;
use crate::rates::{self, Layer, Product};
use crate::run::session::compute_dtype;
use crate::show::number;
use crate::show::roofline::{LayerPoint, Peak, Point, Roofline};
use genera_engine::ModelConfig;
use genera_engine::config::Head;
use genera_engine::flops::Lens;
use genera_engine::params::{Role, layout};
use genera_engine::recipe::Recipe;
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

/// Linear layers of one size.
struct Layers {
    names: Vec<String>,
    layer: Layer,
    n: usize,
}

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let output = &arguments.output;
    if !output.extension().is_some_and(|end| end.eq_ignore_ascii_case("svg")) {
        return Err(Failure::new(format!("--output {} is no name of a picture: end it in .svg", output.display())));
    }
    let recipe = arguments.training.recipe()?;
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
    let (config, dtype) = (train::config(recipe)?, compute_dtype(recipe));
    let (rows, lens) = memory::largest_batch(recipe, &config);
    let layers = layers(&config, rows, lens);
    let mut peaks =
        [DType::F32, DType::Bf16].map(|dtype| Peak { dtype: dtype.name(), flops_per_s: rates::peak(&device, dtype) });
    peaks.sort_by(|a, b| b.flops_per_s.total_cmp(&a.flops_per_s));
    let products = layers.iter().flat_map(|layers| {
        Product::ALL.map(|product| LayerPoint {
            layer: format!("{}: {} → {}", layers.names.join(", "), layers.layer.n_in, layers.layer.n_out),
            product,
            point: Point {
                flops_per_byte: layers.layer.flops() / layers.layer.bytes(dtype, product),
                flops_per_s: rates::product(&device, dtype, layers.layer, product),
            },
        })
    });
    let n_flops = measured.flops_per_s * measured.seconds_per_step;
    Ok(Roofline {
        title: format!(
            "{} parameters, {} tokens a step, {} · {}",
            number::count(measured.n_parameters as f64),
            measured.n_step_tokens,
            measured.dtype,
            measured.device
        ),
        read_bytes_per_s: rates::read_bandwidth(device.kernels().n_threads()),
        products: products.collect(),
        peaks: peaks.into(),
        step: Point {
            flops_per_byte: n_flops / step_bytes(recipe, &config, dtype, &layers),
            flops_per_s: measured.flops_per_s,
        },
    })
}

/// Memory traffic of a training step: what the products read and write, and what the optimizer does, once each.
fn step_bytes(recipe: &Recipe, config: &ModelConfig, dtype: DType, layers: &[Layers]) -> f64 {
    let of_layers = |layers: &Layers| {
        Product::ALL.map(|product| layers.layer.bytes(dtype, product)).iter().sum::<f64>() * layers.n as f64
    };
    let memory = memory::needed(recipe, config, dtype);
    let optimizer = 2 * (memory.weights + memory.optimizer) + memory.gradients;
    recipe.train.accumulate.max(1) as f64 * layers.iter().map(of_layers).sum::<f64>() + optimizer as f64
}

/// The linear layers of a model by size, in the order in which data meets them.
fn layers(config: &ModelConfig, rows: usize, lens: Lens) -> Vec<Layers> {
    let mut found: Vec<Layers> = Vec::new();
    let mut add = |name: &str, layer: Layer| match found.iter_mut().find(|layers| layers.layer == layer) {
        Some(layers) => {
            layers.n += 1;
            if !layers.names.iter().any(|known| known == name) {
                layers.names.push(name.to_owned());
            }
        }
        None => found.push(Layers { names: vec![name.to_owned()], layer, n: 1 }),
    };
    for spec in layout(config) {
        if !matches!(spec.role, Role::Matrix | Role::Query | Role::Residual | Role::Head) {
            continue;
        }
        // For example decoder.3.cross.kv.weight.
        let path: Vec<&str> = spec.name.split('.').collect();
        let name = match path[..] {
            [_, _, "cross", name, _] => format!("cross {name}"),
            [.., name, _] => name.to_owned(),
            _ => spec.name.clone(),
        };
        let reads_source = config.is_encoder_decoder() && (path[0] == "encoder" || name == "cross kv");
        let [n_out, n_in] = [spec.shape.sizes()[0], spec.shape.sizes()[1]];
        add(&name, Layer { n_tokens: rows * if reads_source { lens.source } else { lens.target }, n_in, n_out });
    }
    if matches!(config.head, Head::Tied { .. }) {
        add("head", Layer { n_tokens: rows * lens.target, n_in: config.d_model, n_out: config.vocab_size });
    }
    found
}
