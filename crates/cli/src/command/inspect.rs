//! `genera inspect`: what a model is made of, and who attends to whom.

use super::Common;
use crate::failure::{Failure, Outcome, While};
use crate::model::LoadedModel;
use crate::plan::memory;
use crate::show::{attention, number};
use crate::{hub, machine, model};
use genera_engine::ModelConfig;
use genera_engine::config::{
    FeedForward, Head, Norm, Placement, Position, Rotary, RotaryScaling, Shape, Stack, activation_name,
};
use genera_engine::flops::{self, Lens, RunMemory};
use genera_engine::params::ParamCount;
use genera_engine::recipe::Recipe;
use genera_engine::weights::Purpose;
use genera_engine::weights::gguf::Reader;
use genera_tensor::DType;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show what a model is made of: architecture, parameters, arithmetic, memory.
///
/// Examples:
///   genera inspect runs/stories
///   genera inspect attention --model runs/stories --prompt "Once upon a time" --output attention.html
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    /// A run directory, one of its checkpoints, a directory in the Hugging Face layout, a GGUF file, or a pulled hf:ORG/NAME.
    #[arg(value_name = "MODEL", required = true)]
    model: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Draw who attends to whom, for each layer and head.
    ///
    /// Example: genera inspect attention --model runs/stories --prompt "Once upon a time" --output attention.svg
    Attention(AttentionArguments),
}

#[derive(Debug, clap::Args)]
struct AttentionArguments {
    /// A run directory, one of its checkpoints, a directory in the Hugging Face layout, a GGUF file, or a pulled hf:ORG/NAME.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// The text; for a sequence-to-sequence model the source, whose answer is made first.
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// The picture: .svg, or .html with the weights under the pointer.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    match (arguments.what, arguments.model) {
        (Some(What::Attention(arguments)), _) => draw_attention(&arguments, common),
        (None, Some(path)) => describe(&path, common),
        (None, None) => Err(Failure::new("which model? genera inspect MODEL")),
    }
}

fn draw_attention(arguments: &AttentionArguments, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let model = model::load(&arguments.model, None, Purpose::Use(DType::F32), &device)?;
    let is_page = match arguments.output.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => false,
        Some("html" | "htm") => true,
        _ => return Err(Failure::new(format!("{} should end in .svg or .html", arguments.output.display()))),
    };
    let maps = attention::maps(&model, &arguments.prompt)?;
    let text = if is_page { attention::page(&maps, &arguments.prompt) } else { attention::svg(&maps) };
    std::fs::write(&arguments.output, text).during(format!("cannot write {}", arguments.output.display()))?;
    if common.json {
        println!("{}", serde_json::json!({ "output": arguments.output, "n_layers": maps.len() }));
    } else {
        println!("wrote {} ({} attention layers)", arguments.output.display(), maps.len());
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(path: &Path, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let model = model::load(path, None, Purpose::UseAsStored(DType::F32), &device)?;
    let config = model.transformer.config();
    let recipe = model.recipe.as_ref();
    let facts = Facts::of(&model, recipe, stored_formats(path)?);
    if common.json {
        println!("{}", facts.to_json(config));
    } else {
        facts.print(config, recipe);
    }
    Ok(ExitCode::SUCCESS)
}

/// How many tensors of a GGUF file are in each format, and their bytes; empty for other files.
fn stored_formats(path: &Path) -> Outcome<Vec<Stored>> {
    let path = &*hub::locate(path)?;
    let mut formats: Vec<Stored> = Vec::new();
    if !path.is_file() || !model::is_gguf(path) {
        return Ok(formats);
    }
    for entry in Reader::open(path)?.entries() {
        let format = entry.format.name();
        let n_bytes = entry.format.bytes_of(entry.shape.iter().product());
        match formats.iter_mut().find(|found| found.format == format) {
            Some(found) => (found.n_tensors, found.n_bytes) = (found.n_tensors + 1, found.n_bytes + n_bytes),
            None => formats.push(Stored { format, n_tensors: 1, n_bytes }),
        }
    }
    formats.sort_by_key(|stored| std::cmp::Reverse(stored.n_bytes));
    Ok(formats)
}

/// Tensors of a file that are in one format.
#[derive(Debug, Serialize)]
struct Stored {
    format: &'static str,
    n_tensors: usize,
    n_bytes: usize,
}

struct Facts {
    family: Option<&'static str>,
    stored: Vec<Stored>,
    count: ParamCount,
    forward_flops_per_token: f64,
    training_flops_per_token: f64,
    weight_bytes_per_token: usize,
    /// By precision, as `--precision` calls them.
    run_bytes: [(&'static str, usize); 3],
    train_bytes: Option<usize>,
    step: Option<u64>,
}

impl Facts {
    fn of(model: &LoadedModel, recipe: Option<&Recipe>, stored: Vec<Stored>) -> Self {
        let config = model.transformer.config();
        let len = config.context_len;
        let lens = Lens::longest(config);
        let count = ParamCount::of(config);
        let [wide, narrow] = [DType::F32, DType::Bf16].map(|dtype| RunMemory::of(config, 1, lens, dtype));
        // What no product reads is in f32 whatever the precision.
        let others = (2 * narrow.weights).saturating_sub(wide.weights);
        let as_stored = model.transformer.params().product_bytes() + others + wide.cache;
        Self {
            family: model.transformer.published_as(),
            stored,
            forward_flops_per_token: flops::forward(config, lens) / len as f64,
            training_flops_per_token: flops::training(config, lens) / len as f64,
            weight_bytes_per_token: 4 * count.total(),
            run_bytes: [("stored", as_stored), ("f32", wide.total()), ("bf16", narrow.total())],
            train_bytes: recipe
                .map(|recipe| memory::of_process(recipe, config, crate::run::session::compute_dtype(recipe))),
            step: model.step,
            count,
        }
    }

    fn to_json(&self, config: &ModelConfig) -> serde_json::Value {
        let ParamCount { embedding, attention, feed_forward, other } = self.count;
        let run = self.run_bytes.map(|(precision, n_bytes)| (precision.to_owned(), n_bytes.into()));
        serde_json::json!({
            "family": self.family,
            "stored": self.stored,
            "config": config,
            "parameters": {
                "total": self.count.total(), "embedding": embedding, "attention": attention,
                "feed_forward": feed_forward, "other": other,
            },
            "forward_flops_per_token": self.forward_flops_per_token,
            "training_flops_per_token": self.training_flops_per_token,
            "weight_bytes_read_per_token": self.weight_bytes_per_token,
            "memory_to_run_bytes": serde_json::Map::from_iter(run),
            "memory_to_train_bytes": self.train_bytes,
            "step": self.step,
        })
    }

    fn print(&self, config: &ModelConfig, recipe: Option<&Recipe>) {
        println!("Architecture");
        if let Some(family) = self.family {
            println!("  {:<22} {family}", "family");
        }
        for (name, stack) in config.stacks() {
            println!("  {name:<22} {}", stack_line(stack));
        }
        let shape = match config.shape {
            Shape::DecoderOnly(_) => "decoder-only: each token sees those before it",
            Shape::EncoderOnly(_) => "encoder-only: each token sees all",
            Shape::EncoderDecoder { .. } => "encoder-decoder: reads a source, writes a target",
        };
        println!("  {:<22} {shape}", "shape");
        println!(
            "  {:<22} {} wide, {} tokens, context {}",
            "residual stream", config.d_model, config.vocab_size, config.context_len
        );
        println!("  {:<22} {}", "positions", positions(&config.position));
        println!("  {:<22} {}", "norm", norm(config));
        println!("  {:<22} {}", "head", head(config.head));
        let ParamCount { embedding, attention, feed_forward, other } = self.count;
        let total = self.count.total();
        println!("\nParameters{:>23}", number::count(total as f64));
        for (name, n) in [
            ("embedding and head", embedding),
            ("attention", attention),
            ("feed-forward", feed_forward),
            ("norms, biases", other),
        ] {
            println!("  {name:<22} {:>8}  {:>4.1} %", number::count(n as f64), 100.0 * n as f64 / total as f64);
        }
        if !self.stored.is_empty() {
            println!("\nStored");
            for Stored { format, n_tensors, n_bytes } in &self.stored {
                println!("  {format:<22} {n_tensors} tensors, {}", number::bytes(*n_bytes));
            }
        }
        println!("\nA token at full context");
        println!("  {:<22} {}", "forward", number::flops(self.forward_flops_per_token));
        println!("  {:<22} {}", "training", number::flops(self.training_flops_per_token));
        println!("  {:<22} {} (f32)", "weights read", number::bytes(self.weight_bytes_per_token));
        println!("\nMemory");
        for (precision, n_bytes) in self.run_bytes {
            let is_default = if precision == "stored" { " (the default)" } else { "" };
            println!("  {:<22} {}{is_default}", format!("to run, {precision}"), number::bytes(n_bytes));
        }
        if let (Some(bytes), Some(recipe)) = (self.train_bytes, recipe) {
            println!("  {:<22} {} (batch of {})", "to train", number::bytes(bytes), recipe.train.batch_size);
        }
        if let Some(step) = self.step {
            println!("\nThe checkpoint is of step {step}.");
        }
    }
}

fn positions(position: &Position) -> String {
    match *position {
        Position::None => "none".to_owned(),
        Position::Learned => "learned".to_owned(),
        Position::Sinusoidal => "sines and cosines".to_owned(),
        Position::Rotary(ref rotary) => rotary_line(rotary),
        Position::Alibi => "ALiBi".to_owned(),
        Position::RelativeBias { n_buckets, max_distance } => {
            format!("relative biases, {n_buckets} buckets up to a distance of {max_distance}")
        }
    }
}

fn rotary_line(rotary: &Rotary) -> String {
    let local = rotary.local_theta.map_or_else(String::new, |theta| format!(", {theta} in layers with a window"));
    let scaling = match rotary.scaling {
        RotaryScaling::None => String::new(),
        RotaryScaling::Linear { factor } => format!(", linear scaling by {factor}"),
        RotaryScaling::Dynamic { factor } => format!(", dynamic scaling by {factor}"),
        RotaryScaling::Llama3 { factor, .. } => format!(", scaled by {factor} as Llama 3.1"),
        RotaryScaling::Yarn { factor, .. } => format!(", YaRN by {factor}"),
        RotaryScaling::LongRope { original_context_len, .. } => {
            format!(", LongRoPE beyond {original_context_len} tokens")
        }
    };
    format!("rotary, theta {}, {} numbers of a head{local}{scaling}", rotary.theta, rotary.n_rotated)
}

fn norm(config: &ModelConfig) -> String {
    let kind = match config.norm {
        Norm::Layer { eps, .. } => format!("layer norm (eps {eps})"),
        Norm::Rms { eps } => format!("RMS norm (eps {eps})"),
    };
    let placement = match config.placement {
        Placement::Pre => "before each part",
        Placement::Post => "after each part",
        Placement::Sandwich => "before and after each part",
        Placement::ResPost => "after each part, before it is added",
        Placement::Parallel => "before attention and feed-forward side by side",
    };
    format!("{kind} {placement}")
}

fn head(head: Head) -> &'static str {
    match head {
        Head::Tied { .. } => "the embedding",
        Head::Untied => "a table of its own",
        Head::None => "none",
    }
}

fn stack_line(stack: &Stack) -> String {
    let attention = &stack.attention;
    let grouped = match attention.n_kv_heads {
        n if n == attention.n_heads => String::new(),
        n => format!(" ({n} for keys and values)"),
    };
    let window = attention.window.as_ref().map_or_else(String::new, |window| format!(", window {}", window.tokens));
    let feed_forward = match stack.feed_forward {
        FeedForward::Plain { activation, d_ff, .. } => format!("{} {d_ff}", activation_name::name(activation)),
        FeedForward::Gated { activation, d_ff, .. } => format!("gated {} {d_ff}", activation_name::name(activation)),
        FeedForward::Experts { activation, d_ff, n_experts, n_active } => {
            format!("gated {} {d_ff}, {n_active} of {n_experts} experts", activation_name::name(activation))
        }
    };
    format!(
        "{} layers, {} heads of {}{grouped}{window}, feed-forward {feed_forward}",
        stack.n_layers, attention.n_heads, attention.d_head
    )
}
