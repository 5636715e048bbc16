//! `genera logits`: raw logits of given token ids, for comparison with other programs.

use super::Common;
use crate::answers::note_of_length;
use crate::failure::{Failure, Outcome};
use crate::machine;
use crate::model::ModelArguments;
use genera_engine::config::Head;
use genera_engine::generate::logits_of;
use serde::Serialize;
use std::process::ExitCode;

/// Print the logits that a model gives for token ids; of an encoder without an output layer its hidden states.
///
/// Example: genera logits --model runs/stories --tokens 5,9,2 --json
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Token ids, separated by commas: what the decoder reads, or the encoder of an encoder-decoder.
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true, value_parser = token_id)]
    tokens: Vec<u32>,
    /// What the decoder of an encoder-decoder reads.
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = token_id)]
    decoder_tokens: Option<Vec<u32>>,
}

/// An id of a list, perhaps with spaces around it.
fn token_id(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| format!("'{}' is no token id; expected numbers such as 5,9,2", text.trim()))
}

/// Logits, or hidden states under the same name.
#[derive(Serialize)]
struct Logits {
    shape: Vec<usize>,
    logits: Vec<f32>,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let model = arguments.model.load(&device)?;
    let decoder_tokens = arguments.decoder_tokens.map(|tokens| vec![tokens]);
    if model.transformer.config().is_encoder_decoder() && decoder_tokens.is_none() {
        return Err(Failure::new("an encoder-decoder also needs --decoder-tokens: the ids that its decoder reads"));
    }
    let n_decoder = decoder_tokens.as_ref().map_or(0, |rows| rows[0].len());
    note_of_length(&model.transformer, arguments.tokens.len().max(n_decoder));
    let logits = logits_of(&model.transformer, &[arguments.tokens], decoder_tokens.as_deref())?;
    let shape = logits.shape().sizes().to_vec();
    if common.json {
        println!("{}", serde_json::to_string(&Logits { shape, logits: logits.to_vec() })?);
        return Ok(ExitCode::SUCCESS);
    }
    let (width, values) = (logits.shape().last(), logits.to_vec());
    let what = if model.transformer.config().head == Head::None { "hidden states" } else { "logits" };
    println!("{what} of shape {shape:?}; the five largest at each position:");
    for (position, row) in values.chunks(width).enumerate() {
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        let best: Vec<String> = order.iter().take(5).map(|&id| format!("{id}: {:.4}", row[id])).collect();
        println!("{position:>5}  {}", best.join("   "));
    }
    Ok(ExitCode::SUCCESS)
}
