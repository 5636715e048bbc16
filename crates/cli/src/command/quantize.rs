//! `genera quantize`: a model in a smaller GGUF file.

use super::Common;
use crate::destination::Destination;
use crate::failure::{Failure, Outcome, While};
use crate::machine;
use crate::model::{self, LoadedModel, SpeakingModel};
use crate::provenance::{self, Provenance};
use crate::scoring::{self, Tally, in_words, n_scored, tally};
use crate::show::number;
use crate::show::prose::fitted;
use crate::show::status_line::StatusLine;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command};
use genera_data::{Document, Documents};
use genera_engine::weights::gguf::{Entry, Reader};
use genera_engine::weights::{Purpose, bytes_as, export_gguf};
use genera_eval::Interval;
use genera_modality::{Modality, Text, demo_by_name};
use genera_tensor::Device;
use genera_tensor::quant::Format;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Write a model as a GGUF file with quantised weights, and say what that costs in perplexity.
///
/// Examples:
///   genera quantize --model runs/stories --to q8_0 stories.gguf
///   genera quantize --model model.gguf --to q4_0 --text sample.txt smaller.gguf
///   genera quantize --model base-model --adapter my-adapter --to q4_k tuned.gguf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// A run directory, one of its checkpoints, a directory in the Hugging Face layout, a GGUF file, or a pulled hf:ORG/NAME.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// An adapter in PEFT's layout (LoRA), or the run that made it; it is merged into the weights first.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// The format of the matrices. Below 8 bits, the table of tokens and the head keep 8 (with q6_k: 6).
    #[arg(long, value_name = "FORMAT", value_parser = Formats)]
    to: Format,
    /// The text, or JSON lines in any layout that fine-tuning reads (scored as by genera score), whose perplexity is measured before and after, each model computing as it is stored; without it,
    /// built-in stories.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// The column or field of tables and JSON lines that holds the text.
    #[arg(long, value_name = "NAME", requires = "text")]
    column: Option<String>,
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
#[derive(Debug, Default, Serialize)]
struct Report {
    output: PathBuf,
    format: &'static str,
    /// In which format of blocks most of it was before.
    requantised_from: Option<&'static str>,
    n_bytes: u64,
    n_tokens_scored: u64,
    perplexity_before: Option<f64>,
    perplexity_after: Option<f64>,
    perplexity_before_interval: Option<Interval>,
    perplexity_after_interval: Option<Interval>,
    /// By how many percent the perplexity has risen.
    change_percent: Option<f64>,
    change_percent_interval: Option<Interval>,
}

/// Names of types elsewhere, and the format here that comes nearest.
const ELSEWHERE: [(&str, Format); 25] = [
    ("q4_k_m", Format::Q4K),
    ("q4_k_s", Format::Q4K),
    ("q4_k_l", Format::Q4K),
    ("iq4_xs", Format::Q4K),
    ("iq4_nl", Format::Q4K),
    ("mxfp4", Format::Q4K),
    ("q2_k", Format::Q4K),
    ("q2_k_s", Format::Q4K),
    ("q3_k", Format::Q4K),
    ("q3_k_s", Format::Q4K),
    ("q3_k_m", Format::Q4K),
    ("q3_k_l", Format::Q4K),
    ("int4", Format::Q4K),
    ("q5_k", Format::Q5_1),
    ("q5_k_s", Format::Q5_1),
    ("q5_k_m", Format::Q5_1),
    ("q5_k_l", Format::Q5_1),
    ("q6_k_l", Format::Q6K),
    ("q8_k", Format::Q8_0),
    ("int8", Format::Q8_0),
    ("fp16", Format::F16),
    ("float16", Format::F16),
    ("bfloat16", Format::Bf16),
    ("float32", Format::F32),
    ("fp32", Format::F32),
];

/// The format of a name that can be written, or the nearest to one that other programs write; names are in small letters.
pub(super) fn nearest_format(name: &str) -> Option<Format> {
    let elsewhere = || ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name).map(|(_, nearest)| *nearest);
    Format::of_name(name).filter(|format| format.can_encode()).or_else(elsewhere)
}

/// Reads the name of a format that can be written, in capitals or not, and tells who uses another program's name what comes
/// nearest.
#[derive(Clone, Debug)]
struct Formats;

impl TypedValueParser for Formats {
    type Value = Format;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<Format, clap::Error> {
        let name = value.to_string_lossy().to_lowercase();
        match nearest_format(&name) {
            Some(format) if format.name() == name => return Ok(format),
            Some(format) => {
                let message = format!("--to: {name} is not written here; the nearest is {}: --to {0}\n", format.name());
                return Err(clap::Error::raw(ErrorKind::InvalidValue, message).with_cmd(command));
            }
            None => {}
        }
        let known = Format::all().filter(|format| format.can_encode()).map(Format::name);
        Err(PossibleValuesParser::new(known).parse_ref(command, argument, value).expect_err("it is none of them"))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Format::all().filter(|format| format.can_encode()).map(|format| format.name().into())))
    }
}

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let (output, adapter) = (&arguments.output, arguments.adapter.as_deref());
    let destination = Destination::gguf(output)?;
    // What cannot be read is said before the work.
    if let Some(text) = &arguments.text {
        let column = arguments.column.as_deref();
        read_first(text, column, true).or_else(|_| read_first(text, column, false))?;
    }
    let device = machine::device(common.threads);
    eprintln!("reading {}", arguments.model.display());
    let loaded = model::load(&arguments.model, adapter, Purpose::Export, &device)?;
    destination.begin(bytes_as(loaded.transformer.params(), Some(arguments.to)) as u64)?;
    let before = loaded.transformer.params().blocks_in_files().first().copied();
    let before = before.filter(|_| arguments.to.coding().is_some());
    if let Some(before) = before {
        eprintln!(
            "genera: {} is quantised already ({}): what it has lost does not come back, and this loses more; if there is an \
             original in f32, bf16 or f16, quantise that",
            arguments.model.display(),
            before.name()
        );
    }
    let (text, column) = (arguments.text.as_deref(), arguments.column.as_deref());
    let sample = if arguments.no_perplexity { Ok(None) } else { Sample::find(&loaded, text, column)? };
    let origin = Provenance::of(&loaded, &arguments.model, adapter.is_some())?.origin;
    let facts = loaded.gguf_facts(&provenance::name(&arguments.model), origin);
    eprintln!("writing {}", output.display());
    let lost = export_gguf(&loaded.transformer, output, Some(arguments.to), &facts)?;
    let n_bytes = std::fs::metadata(output).during(format!("cannot look at {}", output.display()))?.len();
    let mut report = Report {
        output: output.clone(),
        format: arguments.to.name(),
        requantised_from: before.map(Format::name),
        n_bytes,
        ..Report::default()
    };
    if !common.json {
        let wrote = format!("wrote {} ({}, {})", output.display(), report.format, number::bytes_of_file(n_bytes));
        println!("{}", fitted(&wrote, 0));
    }
    let others = note_on_others(Reader::open(output)?.entries(), arguments.to);
    for note in [lost, loaded.note_on_gguf(), others].into_iter().flatten() {
        eprintln!("genera: {note}");
    }
    drop(loaded);
    match sample {
        Ok(Some(sample)) => {
            measure(&mut report, &sample, (&arguments.model, adapter), &device).map_err(|failure| {
                failure.and(format!("{} is whole; only its perplexity is not known", output.display()))
            })?;
        }
        Ok(None) => {}
        Err(reason) => eprintln!("genera: perplexity is not measured: {reason}"),
    }
    if common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else if let Some((before, after)) = report.perplexity_before.zip(report.perplexity_after) {
        let behind = |interval: Option<Interval>, n_decimals| match in_words(interval, n_decimals) {
            words if words.is_empty() => words,
            words => format!(" ({words})"),
        };
        let perplexity = format!(
            "perplexity {before:.3}{} before, {after:.3}{} after: {:+.2} %{}, {} tokens",
            behind(report.perplexity_before_interval, 3),
            behind(report.perplexity_after_interval, 3),
            report.change_percent.unwrap_or_default(),
            behind(report.change_percent_interval, 2),
            report.n_tokens_scored
        );
        println!("{}", fitted(&perplexity, 0));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the first document of a file, of which a model with a chat template may take other fields than one without.
///
/// # Errors
/// When it cannot be read.
fn read_first(text: &Path, column: Option<&str>, has_template: bool) -> Outcome<()> {
    scoring::documents(text, (column, None), &Text, has_template)?.0.next().transpose()?;
    Ok(())
}

/// What perplexity is measured on.
struct Sample<'a> {
    /// Built-in stories where there is none.
    file: Option<&'a Path>,
    /// Where somebody says which holds the text.
    column: Option<&'a str>,
    has_template: bool,
    kind: &'static dyn Modality,
}

impl<'a> Sample<'a> {
    /// A text that the model can read; the reason where there is none and the person named none.
    ///
    /// # Errors
    /// When the text that the person named cannot be read or is too short.
    fn find(
        model: &LoadedModel,
        file: Option<&'a Path>,
        column: Option<&'a str>,
    ) -> Outcome<Result<Option<Self>, String>> {
        let kind = scoring::as_text(model.modality);
        let problem = match &model.codebook {
            None => Some("the model has no tokenizer".to_owned()),
            Some(_) if kind.name() != Text.name() => {
                Some(format!("it is one of texts, and this model makes data of the kind {}", kind.name()))
            }
            Some(_) => None,
        };
        match (problem, file) {
            (Some(problem), Some(_)) => return Err(Failure::new(format!("--text: {problem}; leave it out"))),
            (Some(problem), None) => return Ok(Err(problem)),
            (None, _) => {}
        }
        let has_template = model.codebook.as_ref().is_some_and(|codebook| codebook.chat_template().is_some());
        let Some(file) = file else {
            let sample = Self { file: None, column, has_template, kind };
            // A small vocabulary may lack some of their characters.
            let is_readable = n_scored(&sample.asked(model)?, sample.documents()?);
            let reason = |failure: Failure| format!("{}; name a text with --text", failure.message());
            return Ok(is_readable.map(|_| Some(sample)).map_err(reason));
        };
        let (_, kind) = scoring::documents(file, (column, None), kind, has_template)?;
        let sample = Self { file: Some(file), column, has_template, kind };
        if n_scored(&sample.asked(model)?, sample.documents()?)? == 0 {
            return Err(Failure::new(format!("{} has no token to predict; it needs at least two", file.display())));
        }
        Ok(Ok(Some(sample)))
    }

    fn asked<'m>(&self, model: &'m LoadedModel) -> Outcome<SpeakingModel<'m>> {
        let mut speaking = model.speaking()?;
        speaking.modality = self.kind;
        Ok(speaking)
    }

    fn documents(&self) -> Outcome<Documents> {
        match self.file {
            Some(file) => Ok(scoring::documents(file, (self.column, None), self.kind, self.has_template)?.0),
            None => {
                let (_, stories) = demo_by_name("stories").expect("the stories are built in");
                let story = move |i| Ok::<Document, genera_data::Error>((stories.make)(STORIES_SEED, i));
                Ok(Box::new((0..N_STORIES).map(story)))
            }
        }
    }

    fn score(&self, model: &LoadedModel, what: &str) -> Outcome<Tally> {
        eprintln!("measuring perplexity {what}");
        let mut status = StatusLine::new();
        let progress = |n| status.show(|| format!("scored {} tokens", number::count(n as f64)));
        tally(&self.asked(model)?, self.documents()?, progress)
    }
}

/// Adds the perplexities to a report.
fn measure(
    report: &mut Report,
    sample: &Sample<'_>,
    (before, adapter): (&Path, Option<&Path>),
    device: &Device,
) -> Outcome<()> {
    let score = |path: &Path, adapter: Option<&Path>, what| {
        sample.score(&model::load(path, adapter, Purpose::UseAsStored(None), device)?, what)
    };
    let first = score(before, adapter, "before")?;
    let second = score(&report.output, None, "after")?;
    report.n_tokens_scored = first.score.n_tokens;
    report.perplexity_before = Some(first.score.nats_per_token().exp());
    report.perplexity_after = Some(second.score.nats_per_token().exp());
    report.perplexity_before_interval = first.intervals().perplexity;
    report.perplexity_after_interval = second.intervals().perplexity;
    let (change, interval) = second.change_since(&first);
    (report.change_percent, report.change_percent_interval) = (Some(change), interval);
    scoring::warn_of_few(report.n_tokens_scored, "--text");
    Ok(())
}

/// Which matrices are in other formats than was asked for, because their rows are not whole blocks.
fn note_on_others(entries: &[Entry], wanted: Format) -> Option<String> {
    let matrices: Vec<&Entry> = entries.iter().filter(|entry| entry.shape.len() > 1).collect();
    let is_other = |entry: &&&Entry| {
        let width = entry.shape.last().copied().unwrap_or(0);
        let is_table = ["token_embd.weight", "output.weight"].contains(&entry.name.as_str());
        // Tables, and what is always f32, are in another format wherever blocks fit.
        let is_usual = entry.format == Format::F32 || is_table && entry.format != Format::F16;
        !is_usual && entry.format != wanted && !width.is_multiple_of(wanted.block_len())
    };
    let others: Vec<&Entry> = matrices.iter().filter(is_other).copied().collect();
    let formats: BTreeSet<&str> = others.iter().map(|entry| entry.format.name()).collect();
    // Of all blocks alike.
    let name = |entry: &&Entry| {
        let name = entry.name.strip_suffix(".weight").unwrap_or(&entry.name);
        name.splitn(3, '.').last().unwrap_or(name).to_owned()
    };
    let names: BTreeSet<String> = others.iter().map(name).collect();
    let join = |parts: &mut dyn Iterator<Item = &str>| parts.collect::<Vec<_>>().join(", ");
    (!others.is_empty()).then(|| {
        format!(
            "{} of {} matrices are in {} instead of {}, whose blocks of {} do not fit their rows: {}",
            others.len(),
            matrices.len(),
            join(&mut formats.iter().copied()),
            wanted.name(),
            wanted.block_len(),
            join(&mut names.iter().map(String::as_str)),
        )
    })
}
