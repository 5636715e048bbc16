//! `genera inspect`: what a model is made of, and who attends to whom.

mod adapter;
mod architecture;
mod model;
mod recipe;

use super::Common;
use crate::failure::{Failure, Outcome, While};
use crate::hub;
use crate::show::attention;
use genera_engine::weights::Purpose;
use genera_tensor::DType;
use std::path::PathBuf;
use std::process::ExitCode;

/// Most characters of a text from a model's files that are shown.
const MAX_SHOWN: usize = 1000;

/// Show what a model is made of: architecture, parameters, arithmetic, memory.
///
/// Of a recipe, what its model would be: with the memory that training it takes, part by part, and the arithmetic of a step.
///
/// Examples:
///   genera inspect runs/stories
///   genera inspect recipes/bench-a.toml --set train.batch_size=24
///   genera inspect attention --model runs/stories --prompt "Once upon a time" --output attention.html
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    /// A run directory, one of its checkpoints, a directory in the Hugging Face layout, a GGUF file, a pulled hf:ORG/NAME, an
    /// adapter in PEFT's layout, or a recipe (.toml).
    #[arg(value_name = "MODEL", required_unless_present = "named")]
    model: Option<PathBuf>,
    /// The same, as other commands take it.
    #[arg(id = "named", long = "model", value_name = "MODEL", conflicts_with = "model")]
    named: Option<PathBuf>,
    /// Change one key of the recipe; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
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
    match (arguments.what, arguments.model.or(arguments.named)) {
        (Some(What::Attention(arguments)), _) => draw_attention(&arguments, common),
        (None, Some(path)) if path.extension().is_some_and(|end| end == "toml") => {
            recipe::describe(&path, &arguments.set, common)
        }
        (None, Some(path)) if !arguments.set.is_empty() => Err(Failure::new(format!(
            "--set changes a recipe, and {} is a model; name a recipe (.toml), or leave --set out",
            path.display()
        ))),
        (None, Some(path)) => match hub::locate(&path)? {
            directory if adapter::is_in(&directory) => adapter::describe(&directory, common),
            _ => model::describe(&path, common),
        },
        (None, None) => Err(Failure::new("which model? genera inspect MODEL")),
    }
}

fn draw_attention(arguments: &AttentionArguments, common: Common) -> Outcome {
    let device = crate::machine::device(common.threads);
    let model = crate::model::load(&arguments.model, None, Purpose::Use(DType::F32), &device)?;
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
