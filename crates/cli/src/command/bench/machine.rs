//! `genera bench machine`: the ceilings of this machine, measured.

use crate::command::Common;
use crate::failure::Outcome;
use crate::machine;
use crate::rates::{self, Layer, Product};
use crate::show::number;
use genera_tensor::DType;
use serde::Serialize;
use std::process::ExitCode;

/// Whether more shapes are measured.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Also small and skinny products.
    #[arg(long)]
    all: bool,
}

/// The products of model A of the speed comparisons (recipes/bench-a.toml): queries, keys and values; attention's output;
/// up; down; head.
const SHAPES: [(&str, Layer); 5] = [
    ("qkv", layer(3072, 384, 1152)),
    ("out", layer(3072, 384, 384)),
    ("up", layer(3072, 384, 1536)),
    ("down", layer(3072, 1536, 384)),
    ("head", layer(3072, 384, 8192)),
];

/// What small models and generation do.
const SMALL: [(&str, Layer); 4] = [
    ("qkv of width 128", layer(4096, 128, 384)),
    ("up of width 128", layer(4096, 128, 512)),
    ("16 tokens", layer(16, 768, 3072)),
    ("1 token", layer(1, 768, 3072)),
];

const fn layer(n_tokens: usize, n_in: usize, n_out: usize) -> Layer {
    Layer { n_tokens, n_in, n_out }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Ceilings {
    n_cores: usize,
    device: String,
    read_bytes_per_s: f64,
    f32_flops_per_s: f64,
    bf16_flops_per_s: f64,
    products: Vec<Measured>,
}

#[derive(Debug, Serialize)]
struct Measured {
    layer: &'static str,
    n_tokens: usize,
    n_in: usize,
    n_out: usize,
    product: &'static str,
    f32_flops_per_s: f64,
    bf16_flops_per_s: f64,
}

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let small = if arguments.all { &SMALL[..] } else { &[] };
    let mut products = Vec::new();
    for &(name, layer) in SHAPES.iter().chain(small) {
        let Layer { n_tokens, n_in, n_out } = layer;
        products.extend(Product::ALL.map(|product| Measured {
            layer: name,
            n_tokens,
            n_in,
            n_out,
            product: product.name(),
            f32_flops_per_s: rates::product(&device, DType::F32, layer, product),
            bf16_flops_per_s: rates::product(&device, DType::Bf16, layer, product),
        }));
    }
    let ceilings = Ceilings {
        n_cores: machine::n_cores(),
        device: device.kernels().name(),
        read_bytes_per_s: rates::read_bandwidth(device.kernels().n_threads()),
        f32_flops_per_s: rates::peak(&device, DType::F32),
        bf16_flops_per_s: rates::peak(&device, DType::Bf16),
        products,
    };
    if common.json {
        println!("{}", serde_json::to_string(&ceilings)?);
    } else {
        print(&ceilings);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(ceilings: &Ceilings) {
    println!("{} on {} cores", ceilings.device, ceilings.n_cores);
    println!("reads memory at    {:.1} GB/s", ceilings.read_bytes_per_s / 1e9);
    println!("products of 768³   {} in f32", number::flops_per_s(ceilings.f32_flops_per_s));
    println!("                   {} in bf16\n", number::flops_per_s(ceilings.bf16_flops_per_s));
    println!(
        "{:<17} {:>6} {:>6} {:>6}  {:<16} {:>13} {:>13}",
        "layer", "tokens", "in", "out", "product", "f32", "bf16"
    );
    for product in &ceilings.products {
        println!(
            "{:<17} {:>6} {:>6} {:>6}  {:<16} {:>13} {:>13}",
            product.layer,
            product.n_tokens,
            product.n_in,
            product.n_out,
            product.product,
            number::flops_per_s(product.f32_flops_per_s),
            number::flops_per_s(product.bf16_flops_per_s),
        );
    }
}
