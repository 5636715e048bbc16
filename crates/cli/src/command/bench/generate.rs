//! `genera bench generate`: how fast a model reads and writes.

use super::operations::{self, Operation};
use super::origin::Origin;
use crate::answers;
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
    /// Tokens of each prompt, at random; of an encoder-decoder, those that the encoder reads. [default: 512, or what the model's
    /// context leaves beside --tokens]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: Option<u32>,
    /// Tokens that each prompt is continued by; 1 measures reading alone. [default: 128, or what the context leaves]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: Option<u32>,
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
    /// Bytes of weights that a step reads, at the rate of the steps, to the read bandwidth measured here; `null` where there are no steps, and
    /// where the weights fit into the cache.
    share_of_bandwidth: Option<f64>,
    /// Whether the last-level caches hold all weights, which are then not read from memory: there is no share.
    weights_fit_in_cache: bool,
    weight_bytes: usize,
    peak_memory_bytes: Option<usize>,
    batch: u32,
    prompt_tokens: u32,
    tokens: u32,
    /// Where the time of a decoding step goes, and of reading where nothing is decoded; the parts sum to the mean step.
    operations: Vec<Operation>,
    #[serde(flatten)]
    origin: Origin,
}

/// How much is read and written of each sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lens {
    prompt: u32,
    tokens: u32,
}

impl Lens {
    /// What was asked for, or else 512 and 128, as far as a context holds them; where an encoder reads the prompt, it has a context
    /// for itself.
    fn choose(prompt: Option<u32>, tokens: Option<u32>, context_len: u32, has_encoder: bool) -> Self {
        let beside = if has_encoder { 1 } else { prompt.unwrap_or(context_len / 2) };
        let tokens = tokens.unwrap_or_else(|| 128.min(context_len.saturating_sub(beside)).max(1));
        let room = if has_encoder { context_len } else { context_len.saturating_sub(tokens) };
        Self { prompt: prompt.unwrap_or_else(|| 512.min(room).max(1)), tokens }
    }

    /// Why fewer were taken than where there is room, if so.
    fn note(self, arguments: &Arguments, context_len: u32) -> Option<String> {
        let Self { prompt, tokens } = self;
        let is_less =
            (arguments.prompt_tokens.is_none() && prompt < 512) || (arguments.tokens.is_none() && tokens < 128);
        is_less.then(|| {
            format!(
                "prompts of {prompt} tokens, continued by {tokens}: the model's context holds {context_len} \
                 (--prompt-tokens N, --tokens N)"
            )
        })
    }
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
    let context_len = u32::try_from(model.config().context_len).unwrap_or(u32::MAX);
    let has_encoder = model.config().is_encoder_decoder();
    let lens = Lens::choose(arguments.prompt_tokens, arguments.tokens, context_len, has_encoder);
    if lens.prompt > context_len {
        let n = lens.prompt;
        return Err(Failure::new(format!(
            "the model's context holds {context_len} tokens, {n} were asked for; ask for fewer"
        )));
    }
    if let Some(note) = lens.note(arguments, context_len) {
        eprintln!("genera: {note}");
    }
    let weight_bytes = model.params().decode_bytes(model.config(), arguments.batch as usize);
    let rounds =
        (0..arguments.rounds).map(|i| round(&model, lens, arguments.batch, i.into())).collect::<Outcome<Vec<_>>>()?;
    let profile = device.profile().expect("the device was made to note its time");
    let n_parts = lens.tokens.saturating_sub(1).max(1);
    // The profile is that of the last round.
    let last =
        rounds.last().map_or(0.0, |round| (if lens.tokens > 1 { round.decode } else { round.prefill }).as_secs_f64());
    let operations = operations::of(profile, n_parts, last / f64::from(n_parts));
    let peak_memory_bytes = machine::peak_resident_bytes();
    let n = f64::from(arguments.batch);
    let prefill = rates::median(rounds.iter().map(|round| round.prefill.as_secs_f64()));
    let n_steps = f64::from(lens.tokens - 1);
    let per_step =
        (n_steps > 0.0).then(|| rates::median(rounds.iter().map(|round| round.decode.as_secs_f64())) / n_steps);
    let weights_fit_in_cache = machine::last_level_cache_bytes().is_some_and(|n_bytes| weight_bytes < n_bytes);
    let share = |per_step: f64| {
        weight_bytes as f64 / per_step / rates::bandwidth(device.kernels().n_threads()).read_bytes_per_s
    };
    let measured = Measured {
        device: device.kernels().name(),
        load_seconds,
        prefill_tokens_per_s: n * f64::from(lens.prompt) / prefill,
        decode_tokens_per_s: per_step.map(|per_step| n / per_step),
        share_of_bandwidth: per_step.filter(|_| !weights_fit_in_cache).map(share),
        weights_fit_in_cache,
        weight_bytes,
        peak_memory_bytes,
        batch: arguments.batch,
        prompt_tokens: lens.prompt,
        tokens: lens.tokens,
        operations,
        origin: Origin::here(),
    };
    if common.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        print(&measured);
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads all prompts, then goes on with them, always by the most probable token.
fn round(model: &Transformer, lens: Lens, batch: u32, seed: u64) -> Outcome<Round> {
    let (n, n_tokens) = (batch as usize, lens.prompt as usize);
    // All prompts in one step, where they are several: else some would go on while others are read.
    let n_prefill_tokens = if n == 1 { Limits::default().n_prefill_tokens } else { n * n_tokens };
    let limits = Limits { n_running: n, n_prefill_tokens, ..Limits::default() };
    let mut generator = Generator::new(model, limits);
    let vocab = model.config().vocab_size as u64;
    for row in 0..u64::from(batch) {
        let key = Key::new(seed).fold(row);
        let tokens: Vec<u32> = (0..n_tokens as u64).map(|i| key.below(i, vocab) as u32).collect();
        let request = if model.config().is_encoder_decoder() {
            Request::with_source(tokens, vec![0])
        } else {
            Request::new(tokens)
        };
        let sampling = Sampling { temperature: 0.0, ..request.sampling.clone() };
        generator.submit(Request { max_tokens: lens.tokens as usize, sampling, ..request })?;
    }
    if let Some(profile) = model.device().profile() {
        profile.restart();
    }
    let start = Instant::now();
    let step = |generator: &mut Generator<'_>| -> Outcome<usize> {
        let events = generator.step();
        if let Some(profile) = model.device().profile() {
            // What no operation covers, such as choosing the tokens.
            profile.mark(operations::OTHER, Pass::Outside);
        }
        events.iter().try_for_each(answers::check_finite)?;
        Ok(events.iter().filter(|event| matches!(event, Event::Token { .. })).count())
    };
    // Prompts are read in parts, the last of which gives the first token.
    let mut n_generated = 0;
    while n_generated < n && !generator.is_idle() {
        n_generated += step(&mut generator)?;
    }
    let prefill = start.elapsed();
    if let Some(profile) = model.device().profile().filter(|_| lens.tokens > 1) {
        profile.restart();
    }
    while !generator.is_idle() {
        n_generated += step(&mut generator)?;
    }
    if n_generated != n * lens.tokens as usize {
        return Err(Failure::new(format!(
            "{n_tokens} + {} tokens do not fit into the model's context of {}; ask for fewer",
            lens.tokens,
            model.config().context_len
        )));
    }
    Ok(Round { prefill, decode: start.elapsed() - prefill })
}

fn print(measured: &Measured) {
    println!("{}\n{}", measured.device, measured.origin);
    println!("loaded in      {:.2} s", measured.load_seconds);
    let (batch, prompt) = (measured.batch, measured.prompt_tokens);
    println!("prefill        {} tokens/s ({batch} x {prompt})", number::count(measured.prefill_tokens_per_s));
    if let Some(rate) = measured.decode_tokens_per_s {
        let tokens = measured.tokens - 1;
        println!("decode         {} tokens/s ({batch} x {tokens})", number::count(rate));
        let share = |share: f64| format!("{:.0} % of the read bandwidth", 100.0 * share);
        let read = measured.share_of_bandwidth.map_or_else(|| "in the cache".to_owned(), share);
        println!("weights        {} a step, {read}", number::bytes(measured.weight_bytes));
    }
    if let Some(bytes) = measured.peak_memory_bytes {
        println!("peak memory    {}", number::bytes(bytes));
    }
    operations::print(&measured.operations);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_and_written_fits_into_the_context() {
        let of = |prompt, tokens, context_len, has_encoder| {
            let Lens { prompt, tokens } = Lens::choose(prompt, tokens, context_len, has_encoder);
            (prompt, tokens)
        };
        assert_eq!(of(None, None, 4096, false), (512, 128));
        assert_eq!(of(None, None, 256, false), (128, 128));
        assert_eq!(of(None, None, 33, false), (16, 17));
        assert_eq!(of(Some(24), None, 33, false), (24, 9));
        assert_eq!(of(None, Some(30), 33, false), (3, 30));
        assert_eq!(of(Some(512), None, 64, false), (512, 1));
        assert_eq!(of(None, None, 256, true), (256, 128));
        assert_eq!(of(None, None, 64, true), (64, 63));
        assert_eq!(of(None, None, 1, false), (1, 1));
    }
}
