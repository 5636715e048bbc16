//! `genera score`: how probable a model finds a file.

use super::Common;
use crate::answers::warn_of_unknown;
use crate::failure::{Failure, Outcome, While};
use crate::model::SpeakingModel;
use crate::{machine, model};
use genera_data::{Aligned, ByteCounter, Corpus, Document, Files, ReadOptions};
use genera_engine::generate::{Score, ScoreSettings, Scored, score};
use genera_tensor::DType;
use genera_tokens::Role;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Score a file under a model: nats per token and bits per byte.
///
/// Example: genera score --model runs/stories --file my.txt --json
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A run directory, one of its checkpoints, a directory in the Hugging Face layout, a GGUF file, or a pulled hf:ORG/NAME.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// An adapter in PEFT's layout for it (LoRA).
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// The text; for sequence-to-sequence models the source lines.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
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
    let mut model = model::load(&arguments.model, arguments.adapter.as_deref(), DType::F32, &device)?;
    model.transformer.params_mut().pack();
    let is_paired = model.transformer.config().is_encoder_decoder();
    let corpus: Box<dyn Corpus> = match (&arguments.target, is_paired) {
        (Some(target), true) => Box::new(Aligned::open(&arguments.file, target)?),
        (None, false) => Box::new(Files::open(std::slice::from_ref(&arguments.file), ReadOptions::default())?),
        (None, true) => {
            return Err(Failure::new(
                "a sequence-to-sequence model also needs --target FILE: the lines it should produce",
            ));
        }
        (Some(_), false) => {
            return Err(Failure::new("--target is for sequence-to-sequence models; this one reads a single text"));
        }
    };
    let mut total = Score::default();
    let mut n_bytes = 0;
    let speaking = model.speaking()?;
    let mut n_unknown = 0;
    // Documents are scored in groups, so that a file larger than memory can be scored too.
    let mut group = Vec::new();
    let mut documents = corpus.documents(&ByteCounter::default())?.peekable();
    while let Some(document) = documents.next() {
        let document = document?;
        n_bytes += document.target.as_ref().map_or_else(|| document.n_bytes(), String::len) as u64;
        let sequence = scored(&speaking, &document)?;
        n_unknown += speaking.n_unknown(&sequence.tokens);
        group.push(sequence);
        let n_tokens: usize = group.iter().map(|sequence: &Scored| sequence.tokens.len()).sum();
        if n_tokens > 1 << 16 || documents.peek().is_none() {
            let scores = score(&model.transformer, &std::mem::take(&mut group), &ScoreSettings::default())?;
            scores.into_iter().for_each(|part| total += part);
        }
    }
    warn_of_unknown(&arguments.file.display().to_string(), n_unknown, total.n_tokens as usize);
    print(&total, n_bytes, common.json).during("printing the scores")
}

fn scored(model: &SpeakingModel<'_>, document: &Document) -> Outcome<Scored> {
    let sequence = model.modality.encode(model.codebook, document)?;
    let target = sequence.ids_of(Role::Target);
    if !model.modality.is_paired() {
        // Without an opening token nothing predicts the first one.
        return Ok(Scored { source: None, tokens: target, n_given: 1 });
    }
    let tokens = [vec![model.decoder_start()?], target].concat();
    Ok(Scored { source: Some(sequence.ids_of(Role::Condition)), tokens, n_given: 1 })
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
