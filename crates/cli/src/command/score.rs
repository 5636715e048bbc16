//! `genera score`: how probable a model finds a file.

use super::Common;
use crate::answers::warn_of_unknown;
use crate::failure::{Failure, Outcome, While};
use crate::machine;
use crate::model::ModelArguments;
use crate::scoring::{self, Tally, tally};
use crate::show::number;
use crate::show::status_line::StatusLine;
use genera_data::{Aligned, ByteCounter, Corpus};
use genera_engine::generate::Score;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Score a file under a model: nats per token and bits per byte.
///
/// Example: genera score --model runs/stories --file my.txt --json
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A text, or a chat file, of which the assistant's turns are scored; for sequence-to-sequence models the source lines.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The column or field of tables and JSON lines that holds the text.
    #[arg(long, value_name = "NAME", conflicts_with = "target")]
    column: Option<String>,
    /// The target lines of a sequence-to-sequence model.
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Scores {
    n_tokens: u64,
    nats_per_token: f64,
    bits_per_byte: f64,
    accuracy: f64,
    n_bytes: u64,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let model = arguments.model.load(&device)?;
    let is_paired = model.transformer.config().is_encoder_decoder();
    let (documents, kind) = match (&arguments.target, is_paired) {
        (Some(target), true) => {
            (Aligned::open(&arguments.file, target)?.documents(&ByteCounter::default())?, model.modality)
        }
        (None, false) => scoring::documents(&arguments.file, arguments.column.as_deref(), model.modality)?,
        (None, true) => {
            return Err(Failure::new(
                "a sequence-to-sequence model also needs --target FILE: the lines it should produce",
            ));
        }
        (Some(_), false) => {
            return Err(Failure::new("--target is for sequence-to-sequence models; this one reads a single text"));
        }
    };
    let mut speaking = model.speaking()?;
    speaking.modality = kind;
    let mut status = StatusLine::new();
    let progress = |n| status.show(|| format!("scored {} tokens", number::count(n as f64)));
    let Tally { score: total, n_bytes, n_unknown } = tally(&speaking, documents, progress)?;
    drop(status);
    warn_of_unknown(&arguments.file.display().to_string(), n_unknown, total.n_tokens as usize);
    print(&total, n_bytes, common.json).during("printing the scores")
}

fn print(total: &Score, n_bytes: u64, json: bool) -> Outcome {
    if total.n_tokens == 0 {
        return Err(Failure::new("the file has no token to predict; it needs at least two"));
    }
    let bits_per_byte = total.nats / std::f64::consts::LN_2 / n_bytes.max(1) as f64;
    let accuracy = total.n_hits as f64 / total.n_tokens as f64;
    let scores =
        Scores { n_tokens: total.n_tokens, nats_per_token: total.nats_per_token(), bits_per_byte, accuracy, n_bytes };
    if json {
        println!("{}", serde_json::to_string(&scores)?);
    } else {
        println!("{} tokens, {n_bytes} bytes", scores.n_tokens);
        println!("{:.4} nats per token (perplexity {:.3})", scores.nats_per_token, scores.nats_per_token.exp());
        println!("{:.4} bits per byte", scores.bits_per_byte);
        println!("{:.2} % of tokens predicted right", 100.0 * scores.accuracy);
    }
    Ok(ExitCode::SUCCESS)
}
