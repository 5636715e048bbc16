//! Answers to prompts, written as they are made.

use crate::failure::{Failure, Outcome, While};
use crate::model::LoadedModel;
use crate::run::samples::sampling_of;
use genera_engine::generate::{
    Allowed, BeamInput, BeamSettings, Event, Finish, Generator, Limits, Request, RequestId, Sampling, WhenFull,
    beam_search,
};
use genera_engine::recipe::GenerateRecipe;
use genera_modality::AnswerStream;
use serde::Serialize;
use std::collections::HashMap;
use std::io::Write;

/// Prompts answered together.
pub const GROUP: usize = 64;

/// How answers are made.
pub struct Settings {
    /// Answers for each prompt.
    pub n: u32,
    /// Tokens of an answer at most, even beyond the context; when absent what the recipe says, within the context.
    pub max_tokens: Option<usize>,
    /// Temperature and the like.
    pub sampling: Sampling,
    /// Beam search with so many beams instead of sampling.
    pub beam: Option<usize>,
    /// Power of the length that a beam's score is divided by.
    pub length_penalty: f32,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Alternatives reported for each token.
    pub top_logprobs: usize,
}

impl Settings {
    /// One answer to each prompt, made as the recipe of its model wants it.
    pub fn of_recipe(recipe: &GenerateRecipe) -> Self {
        Self {
            n: 1,
            max_tokens: None,
            sampling: sampling_of(recipe),
            beam: (recipe.beam > 1).then_some(recipe.beam),
            length_penalty: recipe.length_penalty as f32,
            stop: recipe.stop.clone(),
            top_logprobs: 0,
        }
    }
}

/// In which form answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The prompt and what follows it; several answers are set apart by a line.
    Text,
    /// One line an answer.
    Lines,
    /// One JSON object an answer, one a line.
    Json,
}

/// An answer as JSON.
#[derive(Debug, Serialize)]
struct JsonAnswer<'a> {
    prompt: &'a str,
    #[serde(flatten)]
    answer: Answer,
}

/// One answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// Its tokens, without the one that ended it.
    pub tokens: Vec<u32>,
    /// Log-probability of each token; empty for beam search.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<f32>,
    /// The most probable alternatives to each token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top_logprobs: Vec<Vec<(u32, f32)>>,
    /// Why it ended.
    pub finish: &'static str,
    /// Beam search's score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// Answers every prompt and writes the answers in order.
///
/// # Errors
/// When a prompt cannot be encoded or is longer than the context, or the output cannot be written.
pub fn write(
    model: &LoadedModel,
    prompts: impl Iterator<Item = Outcome<String>>,
    settings: &Settings,
    shape: Shape,
    out: &mut dyn Write,
) -> Outcome<()> {
    let mut prompts = prompts.peekable();
    let mut is_first = true;
    while prompts.peek().is_some() {
        let group = prompts.by_ref().take(GROUP).collect::<Outcome<Vec<String>>>()?;
        if shape == Shape::Text && settings.beam.is_none() && group.len() == 1 && settings.n == 1 {
            return stream(model, &group[0], settings, out);
        }
        let answers = answer(model, &group, settings)?;
        for (prompt, answers) in group.iter().zip(answers) {
            for answer in answers {
                write_one(prompt, answer, shape, std::mem::take(&mut is_first), out)
                    .during("cannot write the output")?;
            }
        }
        out.flush().during("cannot write the output")?;
    }
    Ok(())
}

fn write_one(prompt: &str, answer: Answer, shape: Shape, is_first: bool, out: &mut dyn Write) -> Outcome<()> {
    match shape {
        Shape::Lines => writeln!(out, "{}", answer.text.replace('\n', " "))?,
        Shape::Text => {
            if !is_first {
                writeln!(out, "----------")?;
            }
            writeln!(out, "{prompt}{}", answer.text.trim_end_matches('\n'))?;
        }
        Shape::Json => {
            writeln!(out, "{}", serde_json::to_string(&JsonAnswer { prompt, answer })?)?;
        }
    }
    Ok(())
}

/// Writes one answer token by token.
fn stream(model: &LoadedModel, prompt: &str, settings: &Settings, out: &mut dyn Write) -> Outcome<()> {
    let codebook = model.codebook()?;
    let mut generator = Generator::new(&model.transformer, Limits::default());
    generator.submit(request(model, prompt, settings, 0)?)?;
    let mut text = AnswerStream::new(codebook.as_ref(), &settings.stop);
    write!(out, "{prompt}").and_then(|()| out.flush()).during("cannot write the output")?;
    while !generator.is_idle() && !text.is_stopped() {
        for event in generator.step() {
            if let Event::Token { token, .. } = event {
                write!(out, "{}", text.push(token)).and_then(|()| out.flush()).during("cannot write the output")?;
            }
        }
    }
    writeln!(out, "{}", text.finish()).during("cannot write the output")
}

/// All answers to each prompt.
///
/// # Errors
/// When a prompt cannot be encoded or is longer than the context.
pub fn answer(model: &LoadedModel, prompts: &[String], settings: &Settings) -> Outcome<Vec<Vec<Answer>>> {
    match settings.beam {
        Some(n_beams) => by_beam(model, prompts, settings, n_beams),
        None => by_sampling(model, prompts, settings),
    }
}

fn by_sampling(model: &LoadedModel, prompts: &[String], settings: &Settings) -> Outcome<Vec<Vec<Answer>>> {
    let codebook = model.codebook()?;
    let mut generator = Generator::new(&model.transformer, Limits::default());
    let mut growing: HashMap<RequestId, (AnswerStream<'_>, Answer)> = HashMap::new();
    let mut ids = Vec::new();
    for prompt in prompts {
        for sample in 0..u64::from(settings.n) {
            let id = generator.submit(request(model, prompt, settings, sample)?)?;
            growing.insert(id, (AnswerStream::new(codebook.as_ref(), &settings.stop), Answer::default()));
            ids.push(id);
        }
    }
    while !generator.is_idle() {
        for event in generator.step() {
            let Some((text, answer)) = growing.get_mut(&event.id()) else { continue };
            match event {
                // Further tokens of an answer that a stop string ended in this very step.
                Event::Token { .. } if text.is_stopped() => {}
                Event::Token { id, token, logprob, top_logprobs } => {
                    answer.tokens.push(token);
                    answer.logprobs.push(logprob);
                    answer.text += &text.push(token);
                    if settings.top_logprobs > 0 {
                        answer.top_logprobs.push(top_logprobs);
                    }
                    if text.is_stopped() {
                        answer.finish = "stop";
                        generator.cancel(id);
                    }
                }
                Event::Finished(finished) => answer.finish = finish_name(&finished.reason),
            }
        }
    }
    let mut done = ids.iter().map(|id| {
        let (mut text, mut answer) = growing.remove(id).expect("every request was given a place");
        answer.text += &text.finish();
        answer
    });
    Ok(prompts.iter().map(|_| done.by_ref().take(settings.n as usize).collect()).collect())
}

fn finish_name(reason: &Finish) -> &'static str {
    match reason {
        Finish::Stop(_) => "stop",
        Finish::MaxTokens => "max_tokens",
        Finish::ContextFull => "context_full",
        Finish::NothingAllowed => "nothing_allowed",
        Finish::NotFinite => "not_finite",
        Finish::Cancelled => "cancelled",
    }
}

/// A request for one answer.
fn request(model: &LoadedModel, prompt: &str, settings: &Settings, sample: u64) -> Outcome<Request> {
    let codebook = model.codebook()?;
    let ids = model.modality.encode_prompt(codebook, prompt)?;
    let mut request = if model.modality.is_paired() {
        Request::with_source(ids, vec![model.decoder_start()?])
    } else {
        Request::new(opening(model, ids)?)
    };
    request.max_tokens = settings.max_tokens.unwrap_or(model.defaults.max_tokens);
    request.stop = model.stop_ids();
    request.sampling = settings.sampling.clone();
    request.sample = sample;
    request.top_logprobs = settings.top_logprobs;
    if !model.modality.is_paired() && settings.max_tokens.is_some() {
        request.when_full = WhenFull::Slide;
    }
    let forbidden = model.modality.grammar(codebook).forbidden;
    request.constraint = Some(Box::new(Allowed::except(&forbidden, model.transformer.config().vocab_size)));
    Ok(request)
}

/// A model without an opening token needs something to go on from: a line break, as between two documents.
fn opening(model: &LoadedModel, ids: Vec<u32>) -> Outcome<Vec<u32>> {
    if !ids.is_empty() {
        return Ok(ids);
    }
    let codebook = model.codebook()?;
    let ids = codebook.encode("\n").or_else(|_| codebook.encode(" "))?;
    if ids.is_empty() { Err(Failure::new("this model cannot begin by itself; give it a --prompt")) } else { Ok(ids) }
}

fn by_beam(model: &LoadedModel, prompts: &[String], settings: &Settings, n_beams: usize) -> Outcome<Vec<Vec<Answer>>> {
    let codebook = model.codebook()?;
    let input = |prompt: &String| {
        let ids = model.modality.encode_prompt(codebook, prompt)?;
        Ok(if model.modality.is_paired() {
            BeamInput { source: Some(ids), prompt: vec![model.decoder_start()?] }
        } else {
            BeamInput { source: None, prompt: opening(model, ids)? }
        })
    };
    let inputs = prompts.iter().map(input).collect::<Outcome<Vec<BeamInput>>>()?;
    let context = model.transformer.config().context_len;
    let beam = BeamSettings {
        n_beams,
        n_best: settings.n as usize,
        length_penalty: settings.length_penalty,
        max_tokens: settings.max_tokens.unwrap_or(model.defaults.max_tokens).min(context - 1),
        stop: model.stop_ids(),
        forbidden: model.modality.grammar(codebook).forbidden,
        ..BeamSettings::default()
    };
    let hypotheses = beam_search(&model.transformer, &inputs, &beam)?;
    let answer = |hypothesis: genera_engine::generate::Hypothesis| Answer {
        text: cut(codebook.decode(&hypothesis.tokens), &settings.stop),
        score: Some(hypothesis.score),
        finish: if hypothesis.is_complete { "stop" } else { "max_tokens" },
        tokens: hypothesis.tokens,
        ..Answer::default()
    };
    Ok(hypotheses.into_iter().map(|best| best.into_iter().map(answer).collect()).collect())
}

fn cut(mut text: String, stops: &[String]) -> String {
    let at = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min();
    text.truncate(at.unwrap_or(text.len()));
    text
}
