//! `genera bench generate`: how fast a model reads and writes.

use super::operations::{self, Operation};
use crate::command::Common;
use crate::failure::{Failure, Outcome};
use crate::machine;
use crate::model::ModelArguments;
use crate::rates;
use crate::show::number;
use genera_engine::generate::{Event, Generator, Limits, Request, Sampling};
use genera_engine::model::Transformer;
use genera_tensor::{Key, Pass};
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Which model, and how much it reads and writes.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Tokens of each prompt, at random; of an encoder-decoder, those that the encoder reads.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens that each prompt is continued by; 1 measures reading alone.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Prompts at a time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Rounds, of which the medians count.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    device: String,
    /// Until the model could be used.
    load_seconds: f64,
    /// Of all prompts together; one token behind each is among what is measured.
    prefill_tokens_per_s: f64,
    /// Of all sequences together; `null` where one token each was asked for.
    decode_tokens_per_s: Option<f64>,
    /// Bytes of weights that a step reads, at the rate of the steps, to the read bandwidth measured here.
    share_of_bandwidth: Option<f64>,
    weight_bytes: usize,
    peak_memory_bytes: Option<usize>,
    batch: u32,
    prompt_tokens: u32,
    tokens: u32,
    /// Where the time of a decoding step goes, and of reading where nothing is decoded; the parts sum to the mean step.
    operations: Vec<Operation>,
}

/// Times of a round.
struct Round {
    prefill: Duration,
    decode: Duration,
}

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let device = machine::device(common.threads).profiled();
    let start = Instant::now();
    let model = arguments.model.load(&device)?.transformer;
    let load_seconds = start.elapsed().as_secs_f64();
    let context_len = model.config().context_len;
    if arguments.prompt_tokens as usize > context_len {
        let n = arguments.prompt_tokens;
        return Err(Failure::new(format!(
            "the model's context holds {context_len} tokens, {n} were asked for; ask for fewer"
        )));
    }
    let weight_bytes = model.params().product_bytes();
    let rounds = (0..arguments.rounds).map(|i| round(&model, arguments, i.into())).collect::<Outcome<Vec<_>>>()?;
    let profile = device.profile().expect("the device was made to note its time");
    let n_parts = arguments.tokens.saturating_sub(1).max(1);
    // The profile is that of the last round.
    let last = rounds
        .last()
        .map_or(0.0, |round| (if arguments.tokens > 1 { round.decode } else { round.prefill }).as_secs_f64());
    let operations = operations::of(profile, n_parts, last / f64::from(n_parts));
    let peak_memory_bytes = machine::peak_resident_bytes();
    let n = f64::from(arguments.batch);
    let prefill = median(rounds.iter().map(|round| round.prefill));
    let n_steps = f64::from(arguments.tokens - 1);
    let per_step = (n_steps > 0.0).then(|| median(rounds.iter().map(|round| round.decode)) / n_steps);
    let share = |per_step: f64| {
        weight_bytes as f64 / per_step / rates::read_bandwidth(device.kernels().n_threads()).read_bytes_per_s
    };
    let measured = Measured {
        device: device.kernels().name(),
        load_seconds,
        prefill_tokens_per_s: n * f64::from(arguments.prompt_tokens) / prefill,
        decode_tokens_per_s: per_step.map(|per_step| n / per_step),
        share_of_bandwidth: per_step.map(share),
        weight_bytes,
        peak_memory_bytes,
        batch: arguments.batch,
        prompt_tokens: arguments.prompt_tokens,
        tokens: arguments.tokens,
        operations,
    };
    if common.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        print(&measured);
    }
    Ok(ExitCode::SUCCESS)
}

/// # Units
/// Seconds.
fn median(times: impl Iterator<Item = Duration>) -> f64 {
    let mut times: Vec<f64> = times.map(|time| time.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Reads all prompts, then goes on with them, always by the most probable token.
fn round(model: &Transformer, arguments: &Arguments, seed: u64) -> Outcome<Round> {
    let (n, n_tokens) = (arguments.batch as usize, arguments.prompt_tokens as usize);
    // All prompts in one step, where they are several: else some would go on while others are read.
    let n_prefill_tokens = if n == 1 { Limits::default().n_prefill_tokens } else { n * n_tokens };
    let limits = Limits { n_running: n, n_prefill_tokens, ..Limits::default() };
    let mut generator = Generator::new(model, limits);
    let vocab = model.config().vocab_size as u64;
    for row in 0..u64::from(arguments.batch) {
        let key = Key::new(seed).fold(row);
        let tokens: Vec<u32> = (0..n_tokens as u64).map(|i| key.below(i, vocab) as u32).collect();
        let request = if model.config().is_encoder_decoder() {
            Request::with_source(tokens, vec![0])
        } else {
            Request::new(tokens)
        };
        let sampling = Sampling { temperature: 0.0, ..request.sampling.clone() };
        generator.submit(Request { max_tokens: arguments.tokens as usize, sampling, ..request })?;
    }
    if let Some(profile) = model.device().profile() {
        profile.restart();
    }
    let start = Instant::now();
    let step = |generator: &mut Generator<'_>| {
        let events = generator.step();
        if let Some(profile) = model.device().profile() {
            // What no operation covers, such as choosing the tokens.
            profile.mark(operations::OTHER, Pass::Outside);
        }
        events.iter().filter(|event| matches!(event, Event::Token { .. })).count()
    };
    // Prompts are read in parts, the last of which gives the first token.
    let mut n_generated = 0;
    while n_generated < n {
        n_generated += step(&mut generator);
    }
    let prefill = start.elapsed();
    if let Some(profile) = model.device().profile().filter(|_| arguments.tokens > 1) {
        profile.restart();
    }
    while !generator.is_idle() {
        n_generated += step(&mut generator);
    }
    if n_generated != n * arguments.tokens as usize {
        return Err(Failure::new(format!(
            "{n_tokens} + {} tokens do not fit into the model's context of {}; ask for fewer",
            arguments.tokens,
            model.config().context_len
        )));
    }
    Ok(Round { prefill, decode: start.elapsed() - prefill })
}

fn print(measured: &Measured) {
    println!("{}", measured.device);
    println!("loaded in      {:.2} s", measured.load_seconds);
    let (batch, prompt) = (measured.batch, measured.prompt_tokens);
    println!("prefill        {} tokens/s ({batch} x {prompt})", number::count(measured.prefill_tokens_per_s));
    if let (Some(rate), Some(share)) = (measured.decode_tokens_per_s, measured.share_of_bandwidth) {
        let tokens = measured.tokens - 1;
        println!("decode         {} tokens/s ({batch} x {tokens})", number::count(rate));
        println!(
            "weights        {} a step, {:.0} % of the read bandwidth",
            number::bytes(measured.weight_bytes),
            100.0 * share
        );
    }
    if let Some(bytes) = measured.peak_memory_bytes {
        println!("peak memory    {}", number::bytes(bytes));
    }
    operations::print(&measured.operations);
}
