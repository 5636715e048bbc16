//! `genera score`: how probable a model finds a file.

use super::Common;
use crate::answers::warn_of_unknown;
use crate::failure::{Failure, Outcome, While};
use crate::machine;
use crate::model::ModelArguments;
use crate::scoring::{self, Intervals, Tally, in_words, tally};
use crate::show::number;
use crate::show::status_line::StatusLine;
use genera_data::{Aligned, ByteCounter, Corpus};
use genera_eval::Interval;
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
    /// A text, or JSON lines in any layout that fine-tuning reads, or a directory of such files: of conversations the assistant's turns are scored, of prompts with
    /// their completions the completions, of preferences the chosen answers; for sequence-to-sequence models the source lines.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The column or field of tables and JSON lines that holds the text.
    #[arg(long, value_name = "NAME", conflicts_with = "target")]
    column: Option<String>,
    /// The column or field that is scored behind that text, written by the chat template where the model has one.
    #[arg(long, value_name = "NAME", conflicts_with = "target")]
    target_column: Option<String>,
    /// The target lines of a sequence-to-sequence model.
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Scores {
    n_tokens: u64,
    nats_per_token: f64,
    perplexity: f64,
    bits_per_byte: f64,
    accuracy: f64,
    n_bytes: u64,
    #[serde(flatten)]
    intervals: Intervals,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let model = arguments.model.load(&device)?;
    let is_paired = model.transformer.config().is_encoder_decoder();
    let (documents, kind) = match (&arguments.target, is_paired) {
        (Some(target), true) => {
            (Aligned::open(&arguments.file, target)?.documents(&ByteCounter::default())?, model.modality)
        }
        (None, _) => {
            let has_template = model.codebook.as_ref().is_some_and(|codebook| codebook.chat_template().is_some());
            let given = (arguments.column.as_deref(), arguments.target_column.as_deref());
            scoring::documents(&arguments.file, given, model.modality, has_template)?
        }
        (Some(_), false) => {
            return Err(Failure::new("--target is for sequence-to-sequence models; this one reads a single text"));
        }
    };
    let mut speaking = model.speaking()?;
    speaking.modality = kind;
    let mut status = StatusLine::new();
    let progress = |n| status.show(|| format!("scored {} tokens", number::count(n as f64)));
    let tally = tally(&speaking, documents, progress)?;
    drop(status);
    warn_of_unknown(&arguments.file.display().to_string(), tally.n_unknown, tally.score.n_tokens as usize);
    let code = print(&tally, common.json).during("printing the scores")?;
    scoring::warn_of_few(tally.score.n_tokens, "--file");
    Ok(code)
}

fn print(tally: &Tally, json: bool) -> Outcome {
    let Tally { score: total, n_bytes, .. } = tally;
    if total.n_tokens == 0 {
        return Err(Failure::new("the file has no token to predict; it needs at least two"));
    }
    let bits_per_byte = total.nats / std::f64::consts::LN_2 / (*n_bytes).max(1) as f64;
    let accuracy = total.n_hits as f64 / total.n_tokens as f64;
    let (n_tokens, nats_per_token) = (total.n_tokens, total.nats_per_token());
    let (perplexity, intervals, n_bytes) = (nats_per_token.exp(), tally.intervals(), *n_bytes);
    let scores = Scores { n_tokens, nats_per_token, perplexity, bits_per_byte, accuracy, n_bytes, intervals };
    if json {
        println!("{}", serde_json::to_string(&scores)?);
    } else {
        println!("{} tokens, {n_bytes} bytes", scores.n_tokens);
        let behind = |interval, before: &str| match in_words(interval, 3) {
            words if words.is_empty() => words,
            words => format!("{before}{words}"),
        };
        let bracketed = |interval| behind(interval, " (") + if interval.is_some() { ")" } else { "" };
        let Intervals { perplexity, bits_per_byte, accuracy, .. } = intervals;
        println!(
            "{nats_per_token:.4} nats per token (perplexity {:.3}{})",
            scores.perplexity,
            behind(perplexity, "; ")
        );
        println!("{:.4} bits per byte{}", scores.bits_per_byte, bracketed(bits_per_byte));
        let percent = accuracy.map(|i| Interval { low: 100.0 * i.low, high: 100.0 * i.high, ..i });
        println!("{:.2} % of tokens predicted right{}", 100.0 * scores.accuracy, bracketed(percent));
    }
    Ok(ExitCode::SUCCESS)
}
