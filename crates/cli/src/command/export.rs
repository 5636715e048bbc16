//! `genera export`: a model in the layout that other programs read.

use super::Common;
use super::quantize::nearest_format;
use crate::destination::Destination;
use crate::failure::{Outcome, While};
use crate::provenance::{self, Provenance};
use crate::show::number;
use crate::{machine, model};
use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, ValueEnum};
use genera_engine::weights::{CardFacts, Purpose, bytes_as, export_gguf, export_hf, format_of_matrices};
use genera_tensor::quant::Format;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Write a model so that other programs can open it; an adapter is merged into its base.
///
/// Examples:
///   genera export --model runs/chat --to hf merged
///   genera export --model base-model --adapter my-adapter --to hf merged
///   genera export --model runs/chat --to gguf chat.gguf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// A run directory, one of its checkpoints, a directory in the Hugging Face layout, a GGUF file, or a pulled hf:ORG/NAME.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// An adapter in PEFT's layout, or the run that made it; it is merged into the weights.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// The layout.
    #[arg(long, value_name = "LAYOUT", value_parser = Layouts)]
    to: Layout,
    /// What the numbers are written as; without it as they are stored, quantised ones and those of runs in f32.
    #[arg(long, value_name = "TYPE", value_enum, ignore_case = true)]
    dtype: Option<Stored>,
    /// What is to be made; it must not exist yet.
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Layout {
    /// A directory for Hugging Face transformers: config.json, model.safetensors, the tokenizer.
    Hf,
    /// One file for llama.cpp and others (`genera quantize` makes smaller ones).
    Gguf,
}

/// Reads the name of a layout, and tells who names a type of numbers where it goes.
#[derive(Clone, Debug)]
struct Layouts;

impl TypedValueParser for Layouts {
    type Value = Layout;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<Layout, clap::Error> {
        let name = value.to_string_lossy().to_lowercase();
        let Some(format) = nearest_format(&name) else {
            return EnumValueParser::<Layout>::new().parse_ref(command, argument, value);
        };
        let hint = match format.coding() {
            None => format!("say --to hf --dtype {0}, or --to gguf --dtype {0}", format.name()),
            Some(_) if format.name() == name => format!("`genera quantize --to {name}` writes GGUF files with such"),
            Some(_) => format!("`genera quantize --to {}` writes GGUF files with what is nearest to it", format.name()),
        };
        let message = format!("--to: {name} is a type of numbers, and a layout is expected here, hf or gguf; {hint}\n");
        Err(clap::Error::raw(ErrorKind::InvalidValue, message).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Layout::value_variants().iter().filter_map(Layout::to_possible_value)))
    }
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stored {
    /// 32 bits: whatever was stored is kept exactly.
    #[value(alias = "float32", alias = "fp32")]
    F32,
    /// 16 bits with the range of f32, as most models are published.
    #[value(alias = "bfloat16")]
    Bf16,
    /// 16 bits with more digits and a smaller range: up to 65504.
    #[value(alias = "float16", alias = "fp16")]
    F16,
}

impl Stored {
    fn format(self) -> Format {
        match self {
            Stored::F32 => Format::F32,
            Stored::Bf16 => Format::Bf16,
            Stored::F16 => Format::F16,
        }
    }
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let Arguments { model: path, adapter, to, dtype, output } = arguments;
    let dtype = dtype.map(Stored::format);
    let destination = match to {
        Layout::Hf => Destination::hf(&output)?,
        Layout::Gguf => Destination::gguf(&output)?,
    };
    let device = machine::device(common.threads);
    let loaded = model::load(&path, adapter.as_deref(), Purpose::Export, &device)?;
    let format = dtype.unwrap_or_else(|| format_of_matrices(loaded.transformer.params()));
    destination.begin(bytes_as(loaded.transformer.params(), dtype) as u64)?;
    let provenance = Provenance::of(&loaded, &path, adapter.is_some())?;
    let (name, origin) = (provenance::name(&path), provenance.origin.clone());
    let is_rounded = loaded.transformer.params().has_adapters() && format != Format::F32;
    let note = match to {
        Layout::Hf => {
            let name = origin.name().map_or(name, str::to_owned);
            let facts = CardFacts { name, steps: loaded.step, origin, ..CardFacts::default() };
            let ids = loaded.exported_ids();
            let exported = export_hf(&loaded.transformer, &output, &ids, &loaded.published, &facts, dtype)?;
            loaded.export_tokenizer(&output)?;
            provenance.copy(&output)?;
            exported.note
        }
        Layout::Gguf => export_gguf(&loaded.transformer, &output, dtype, &loaded.gguf_facts(&name, origin))?,
    };
    let n_bytes = size(&output).during(format!("cannot read {}", output.display()))?;
    let rounding = is_rounded.then(|| {
        format!(
            "the adapter is merged into weights of {}, which rounds away the smallest of what it changes; --dtype f32 keeps all",
            format.name()
        )
    });
    let widening = loaded.transformer.params().blocks_in_files().first().filter(|_| dtype.is_none()).map(|blocks| {
        format!(
            "the weights are quantised ({}) and widened to {}: nothing is lost, and they take several times the room; --dtype bf16 \
             takes half of that, and `genera quantize --to {}` writes a quantised GGUF file",
            blocks.name(),
            format.name(),
            nearest_format(blocks.name()).unwrap_or(*blocks).name()
        )
    });
    let untokenized = loaded.note_on_gguf().filter(|_| to == Layout::Gguf);
    let notes: Vec<String> = note.into_iter().chain(rounding).chain(widening).chain(untokenized).collect();
    if common.json {
        let note = Some(notes.join("; ")).filter(|note| !note.is_empty());
        println!("{}", serde_json::json!({ "output": output, "dtype": format.name(), "bytes": n_bytes, "note": note }));
    } else {
        notes.iter().for_each(|note| println!("{note}"));
        println!("wrote {} ({}, {})", output.display(), format.name(), number::bytes_of_file(n_bytes));
    }
    Ok(ExitCode::SUCCESS)
}

/// Bytes of a file, or of those of a directory.
fn size(path: &Path) -> io::Result<u64> {
    if path.is_file() {
        return Ok(path.metadata()?.len());
    }
    std::fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}
