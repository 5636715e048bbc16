//! `genera export`: a model in the layout that other programs read.

use super::Common;
use crate::failure::{Failure, Outcome};
use crate::{machine, model};
use genera_engine::weights::{CardFacts, Purpose, export_gguf, export_hf};
use genera_tensor::DType;
use genera_tensor::quant::Format;
use std::path::PathBuf;
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
    /// An adapter in PEFT's layout, which is merged into the weights.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// The layout.
    #[arg(long, value_enum)]
    to: Layout,
    /// What is to be made; it must not exist yet.
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Layout {
    /// A directory for Hugging Face transformers: config.json, model.safetensors in f32, the tokenizer.
    Hf,
    /// One file for llama.cpp and others, in f32 (`genera quantize` makes smaller ones).
    Gguf,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let Arguments { model: path, adapter, to, output } = arguments;
    let is_taken = output.is_file() || std::fs::read_dir(&output).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken {
        return Err(Failure::new(format!("{} is there already; name a new one", output.display())));
    }
    if to == Layout::Gguf {
        model::check_gguf_name(&output)?;
    }
    let device = machine::device(common.threads);
    let mut loaded = model::load(&path, adapter.as_deref(), Purpose::Training(DType::F32), &device)?;
    loaded.transformer.params_mut().merge();
    let name = path.file_stem().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
    let note = match to {
        Layout::Hf => {
            let facts = CardFacts { name, steps: loaded.step, ..CardFacts::default() };
            let ids = loaded.exported_ids();
            let exported = export_hf(&loaded.transformer, &output, &ids, &loaded.published, &facts)?;
            loaded.export_tokenizer(&output)?;
            exported.note
        }
        Layout::Gguf => export_gguf(&loaded.transformer, &output, Format::F32, &loaded.gguf_facts(&name))?,
    };
    if common.json {
        println!("{}", serde_json::json!({ "output": output, "note": note }));
    } else {
        note.iter().for_each(|note| println!("{note}"));
        println!("wrote {}", output.display());
    }
    Ok(ExitCode::SUCCESS)
}
