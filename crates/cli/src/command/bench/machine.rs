//! `genera bench machine`: the ceilings of this machine, measured.

use super::origin::Origin;
use crate::command::Common;
use crate::failure::Outcome;
use crate::machine;
use crate::rates::{self, Bandwidth, Layer, Product, SelfAttention};
use crate::show::number;
use crate::show::status_line::StatusLine;
use genera_tensor::backend::cpu::Isa;
use genera_tensor::{DType, Device};
use serde::{Serialize, Serializer};
use std::process::ExitCode;

/// Whether more shapes are measured.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Also the products of a small model (model B) and of few tokens.
    #[arg(long)]
    all: bool,
}

/// The products of model A of the speed comparisons (recipes/bench-a.toml): queries, keys and values; attention's output;
/// up; down; head.
const SHAPES: [(&str, Layer); 5] = [
    ("A qkv", layer(3072, 384, 1152)),
    ("A out", layer(3072, 384, 384)),
    ("A up", layer(3072, 384, 1536)),
    ("A down", layer(3072, 1536, 384)),
    ("A head", layer(3072, 384, 8192)),
];

/// What small models (model B) and generation do.
const SMALL: [(&str, Layer); 6] = [
    ("B qkv", layer(4096, 128, 384)),
    ("B out", layer(4096, 128, 128)),
    ("B up, head", layer(4096, 128, 512)),
    ("B down", layer(4096, 512, 128)),
    ("16 tokens", layer(16, 768, 3072)),
    ("1 token", layer(1, 768, 3072)),
];

/// Attention alone: eight heads of 64 over a short and a long context.
const ATTENTION: [SelfAttention; 2] = [attention(1024), attention(4096)];

const fn layer(n_tokens: usize, n_in: usize, n_out: usize) -> Layer {
    Layer { n_tokens, n_in, n_out }
}

const fn attention(context_len: usize) -> SelfAttention {
    SelfAttention { n_heads: 8, d_head: 64, context_len }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Ceilings {
    n_cores: usize,
    n_threads: usize,
    device: String,
    /// Those of this processor that matter.
    instruction_sets: InstructionSets,
    /// The widest that are used.
    isa: &'static str,
    /// Whether there is no instruction for products of bf16: they are widened to f32 first.
    bf16_is_emulated: bool,
    #[serde(flatten)]
    memory: Bandwidth,
    /// What it costs to share work among all threads.
    parallel_call_seconds: f64,
    /// Best rates of products: of large ones, and of those below.
    f32_flops_per_s: f64,
    bf16_flops_per_s: f64,
    products: Vec<MeasuredProduct>,
    attention: [MeasuredAttention; 2],
    #[serde(flatten)]
    origin: Origin,
}

/// Whether this processor has each.
#[derive(Debug)]
struct InstructionSets(Vec<(&'static str, bool)>);

impl Serialize for InstructionSets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

#[derive(Debug, Serialize)]
struct MeasuredProduct {
    layer: &'static str,
    n_tokens: usize,
    n_in: usize,
    n_out: usize,
    product: Product,
    f32_flops_per_s: f64,
    bf16_flops_per_s: f64,
}

/// Forward and backward together.
#[derive(Debug, Serialize)]
struct MeasuredAttention {
    n_heads: usize,
    d_head: usize,
    context_len: usize,
    f32_seconds: f64,
    f32_flops_per_s: f64,
    bf16_seconds: f64,
    bf16_flops_per_s: f64,
}

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let small = if arguments.all { &SMALL[..] } else { &[] };
    let shapes: Vec<_> = SHAPES.iter().chain(small).collect();
    let n_threads = device.kernels().n_threads();
    let mut status = StatusLine::new();
    let memory = rates::bandwidth(n_threads);
    let parallel_call_seconds = rates::parallel_call(n_threads);
    let mut products = Vec::with_capacity(shapes.len() * Product::ALL.len());
    for (i, &&(name, layer)) in shapes.iter().enumerate() {
        status.show(|| format!("measuring products: {name}, layer {} of {}", i + 1, shapes.len()));
        products.extend(measure_layer(&device, name, layer));
    }
    status.show(|| "measuring the best rate of products".to_owned());
    let best = |dtype: DType, of: fn(&MeasuredProduct) -> f64| {
        products.iter().map(of).fold(rates::peak(n_threads, dtype, rates::LOOK), f64::max)
    };
    let [f32_flops_per_s, bf16_flops_per_s] =
        [best(DType::F32, |product| product.f32_flops_per_s), best(DType::Bf16, |product| product.bf16_flops_per_s)];
    status.show(|| "measuring attention".to_owned());
    let attention = ATTENTION.map(|shape| measure_attention(&device, shape));
    drop(status);
    let ceilings = Ceilings {
        n_cores: machine::n_cores(),
        n_threads,
        device: device.kernels().name(),
        instruction_sets: InstructionSets(machine::instruction_sets()),
        isa: Isa::detect().name(),
        bf16_is_emulated: !machine::multiplies_bf16(),
        memory,
        parallel_call_seconds,
        f32_flops_per_s,
        bf16_flops_per_s,
        products,
        attention,
        origin: Origin::here(),
    };
    if common.json {
        println!("{}", serde_json::to_string(&ceilings)?);
    } else {
        print(&ceilings);
    }
    Ok(ExitCode::SUCCESS)
}

fn measure_layer(device: &Device, name: &'static str, layer: Layer) -> [MeasuredProduct; 3] {
    let Layer { n_tokens, n_in, n_out } = layer;
    Product::ALL.map(|product| MeasuredProduct {
        layer: name,
        n_tokens,
        n_in,
        n_out,
        product,
        f32_flops_per_s: rates::product(device, DType::F32, layer, product),
        bf16_flops_per_s: rates::product(device, DType::Bf16, layer, product),
    })
}

fn measure_attention(device: &Device, shape: SelfAttention) -> MeasuredAttention {
    let SelfAttention { n_heads, d_head, context_len } = shape;
    let [f32_seconds, bf16_seconds] = [DType::F32, DType::Bf16].map(|dtype| rates::attention(device, dtype, shape));
    let (f32_flops_per_s, bf16_flops_per_s) = (shape.flops() / f32_seconds, shape.flops() / bf16_seconds);
    MeasuredAttention { n_heads, d_head, context_len, f32_seconds, f32_flops_per_s, bf16_seconds, bf16_flops_per_s }
}

fn print(ceilings: &Ceilings) {
    println!("{} on {} cores\n{}", ceilings.device, ceilings.n_cores, ceilings.origin);
    let sets = &ceilings.instruction_sets.0;
    let names = |has: bool| sets.iter().filter(move |set| set.1 == has).map(|set| set.0).collect::<Vec<_>>().join(", ");
    for (title, has) in [("instructions", true), ("without", false)] {
        if !names(has).is_empty() {
            println!("{title:<18} {}", names(has));
        }
    }
    println!("kernels use        {}", ceilings.isa);
    let Bandwidth { read_bytes_per_s, update_bytes_per_s, n_bytes_read, last_level_cache_bytes } = ceilings.memory;
    let cache =
        last_level_cache_bytes.map_or_else(String::new, |n| format!("; the last-level cache: {}", number::bytes(n)));
    println!(
        "reads memory at    {:.1} GB/s ({} each time{cache})",
        read_bytes_per_s / 1e9,
        number::bytes(n_bytes_read)
    );
    println!("changes it at      {:.1} GB/s, reading and writing", update_bytes_per_s / 1e9);
    println!(
        "a parallel call    {:.1} µs, the work of {} threads aside",
        1e6 * ceilings.parallel_call_seconds,
        ceilings.n_threads
    );
    println!("products, at best  {} in f32", number::flops_per_s(ceilings.f32_flops_per_s));
    let emulated = if ceilings.bf16_is_emulated { " (emulated: no instruction multiplies it)" } else { "" };
    println!("                   {} in bf16{emulated}\n", number::flops_per_s(ceilings.bf16_flops_per_s));
    let bf16 = if ceilings.bf16_is_emulated { "emulated bf16" } else { "bf16" };
    println!("{:<10} {:>6} {:>6} {:>6}  {:<16} {:>13} {:>13}", "layer", "tokens", "in", "out", "product", "f32", bf16);
    for product in &ceilings.products {
        println!(
            "{:<10} {:>6} {:>6} {:>6}  {:<16} {:>13} {:>13}",
            product.layer,
            product.n_tokens,
            product.n_in,
            product.n_out,
            product.product.name(),
            number::flops_per_s(product.f32_flops_per_s),
            number::flops_per_s(product.bf16_flops_per_s),
        );
    }
    println!("\n{:<27} {:>6}  {:>10} {:>24}", "attention, both passes", "T", "f32", bf16);
    for attention in &ceilings.attention {
        println!(
            "{:<27} {:>6}  {:>7.2} ms {:>13} {:>7.2} ms {:>13}",
            format!("causal, {} heads of {}", attention.n_heads, attention.d_head),
            attention.context_len,
            1e3 * attention.f32_seconds,
            number::flops_per_s(attention.f32_flops_per_s),
            1e3 * attention.bf16_seconds,
            number::flops_per_s(attention.bf16_flops_per_s),
        );
    }
}
