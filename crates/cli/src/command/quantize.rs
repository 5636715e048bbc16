//! `genera quantize`: a model in a smaller GGUF file.

use super::Common;
use crate::failure::{Failure, Outcome, While};
use crate::machine;
use crate::model::{self, LoadedModel};
use crate::scoring::{Tally, tally};
use crate::show::number;
use genera_data::{ByteCounter, Corpus, Document, Files, ReadOptions};
use genera_engine::weights::{Purpose, export_gguf};
use genera_modality::demo_by_name;
use genera_tensor::quant::Format;
use genera_tensor::{DType, Device};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Write a model as a GGUF file with quantised weights, and say what that costs in perplexity.
///
/// Examples:
///   genera quantize --model runs/stories --to q8_0 stories.gguf
///   genera quantize --model model.gguf --to q4_0 --text sample.txt smaller.gguf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// A run directory, one of its checkpoints, a directory in the Hugging Face layout, a GGUF file, or a pulled hf:ORG/NAME.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// The format of the matrices. Below 8 bits, the table of tokens and the head keep 8.
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    to: Format,
    /// The text whose perplexity is measured before and after; without it, built-in stories.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Do not measure perplexity: only write the file.
    #[arg(long, conflicts_with = "text")]
    no_perplexity: bool,
    /// The file to be made; it must not exist yet.
    #[arg(value_name = "OUT.gguf")]
    output: PathBuf,
}

/// Stories that are scored where no text is given.
const N_STORIES: u64 = 40;
/// Decides which.
const STORIES_SEED: u64 = 2024;

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    output: PathBuf,
    format: &'static str,
    n_bytes: u64,
    n_tokens_scored: u64,
    perplexity_before: Option<f64>,
    perplexity_after: Option<f64>,
}

fn format(name: &str) -> Result<Format, String> {
    let known: Vec<&str> = Format::all().filter(|format| format.can_encode()).map(Format::name).collect();
    let found = Format::of_name(&name.to_lowercase()).filter(|format| format.can_encode());
    found.ok_or_else(|| format!("expected one of {}", known.join(", ")))
}

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let output = &arguments.output;
    if output.exists() {
        return Err(Failure::new(format!("{} is there already; name a new file", output.display())));
    }
    if !model::is_gguf(output) {
        return Err(Failure::new(format!("{} should end in .gguf", output.display())));
    }
    // What cannot be read is said before the work.
    if let Some(text) = &arguments.text {
        let files = Files::open(std::slice::from_ref(text), ReadOptions::default())?;
        files.documents(&ByteCounter::default())?.next().transpose()?;
    }
    let device = machine::device(common.threads);
    let mut loaded = model::load(&arguments.model, None, Purpose::Training(DType::F32), &device)?;
    loaded.transformer.params_mut().merge();
    let name = arguments.model.file_stem().map_or_else(|| "model".into(), |name| name.to_string_lossy());
    export_gguf(&loaded.transformer, output, arguments.to, &loaded.gguf_facts(&name))?;
    let report = report(arguments, loaded, &device)?;
    if common.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("wrote {} ({}, {})", output.display(), report.format, number::bytes(report.n_bytes as usize));
    match (report.perplexity_before, report.perplexity_after) {
        (Some(before), Some(after)) => println!(
            "perplexity {before:.3} before, {after:.3} after ({:+.2} %, {} tokens)",
            100.0 * (after / before - 1.0),
            report.n_tokens_scored
        ),
        _ if arguments.no_perplexity => {}
        _ => println!("without a tokenizer there is no text to measure perplexity on"),
    }
    Ok(ExitCode::SUCCESS)
}

fn report(arguments: &Arguments, mut before: LoadedModel, device: &Device) -> Outcome<Report> {
    let output = &arguments.output;
    let n_bytes = std::fs::metadata(output).during(format!("cannot look at {}", output.display()))?.len();
    let mut report = Report {
        output: output.clone(),
        format: arguments.to.name(),
        n_bytes,
        n_tokens_scored: 0,
        perplexity_before: None,
        perplexity_after: None,
    };
    if before.codebook.is_none() || arguments.no_perplexity {
        return Ok(report);
    }
    before.transformer.params_mut().freeze();
    let first = scored(&before, arguments.text.as_deref())?;
    drop(before);
    let after = model::load(output, None, Purpose::UseAsStored(DType::F32), device)?;
    let second = scored(&after, arguments.text.as_deref())?;
    report.n_tokens_scored = first.score.n_tokens;
    report.perplexity_before = Some(first.score.nats_per_token().exp());
    report.perplexity_after = Some(second.score.nats_per_token().exp());
    Ok(report)
}

fn scored(model: &LoadedModel, text: Option<&Path>) -> Outcome<Tally> {
    let speaking = model.speaking()?;
    let tally = match text {
        Some(path) => {
            let files = Files::open(&[path.to_owned()], ReadOptions::default())?;
            tally(&speaking, files.documents(&ByteCounter::default())?)?
        }
        None => {
            let (_, stories) = demo_by_name("stories").expect("the stories are built in");
            let story = |i| Ok::<Document, Failure>((stories.make)(STORIES_SEED, i));
            tally(&speaking, (0..N_STORIES).map(story))?
        }
    };
    if tally.score.n_tokens == 0 {
        return Err(Failure::new("the text has no token to predict; it needs at least two"));
    }
    Ok(tally)
}
