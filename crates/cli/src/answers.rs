//! Answers to prompts, written as they are made.

use crate::failure::{Failure, Outcome, While};
use crate::model::{LoadedModel, SpeakingModel};
use crate::prompts::{Group, Prompts};
use genera_engine::generate::{
    Allowed, BeamInput, BeamSettings, Constraint, Ending, Event, Fault, Finish, Hypothesis, Limits, Request, RequestId,
    Rules, Sampling, WhenFull, beam_search,
};
use genera_engine::model::Transformer;
use genera_engine::recipe::GenerateRecipe;
use genera_engine::weights::PublishedGeneration;
use genera_modality::AnswerStream;
use serde::Serialize;
use std::collections::HashMap;
use std::io::Write;

/// How answers are made.
pub struct Settings {
    /// Answers for each prompt.
    pub n: u32,
    /// Tokens of an answer at most.
    pub max_tokens: usize,
    /// What happens to a text that fills the context before.
    pub when_full: WhenFull,
    /// Whether prompts may be longer than the model was made for.
    pub reads_on: bool,
    /// Temperature and the like.
    pub sampling: Sampling,
    /// What is asked of the tokens of every answer beside that.
    pub rules: Rules,
    /// Beam search with so many beams instead of sampling.
    pub beam: Option<usize>,
    /// Power of the length that a beam's score is divided by.
    pub length_penalty: f32,
    /// When beam search is over.
    pub ending: Ending,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Alternatives reported for each token.
    pub top_logprobs: usize,
    /// Tokens that are guessed ahead at most where the text repeats itself.
    pub n_guesses: usize,
}

impl Settings {
    /// One answer to each prompt, made as the recipe of its model wants it.
    pub fn of_recipe(recipe: &GenerateRecipe) -> Self {
        Self {
            n: 1,
            max_tokens: recipe.max_tokens,
            when_full: WhenFull::Stop,
            reads_on: false,
            sampling: sampling_of(recipe),
            rules: Rules::default(),
            beam: (recipe.beam > 1).then_some(recipe.beam),
            length_penalty: recipe.length_penalty as f32,
            ending: Ending::default(),
            stop: recipe.stop.clone(),
            top_logprobs: 0,
            n_guesses: 0,
        }
    }

    /// The same as a model that was loaded wants it, with what its authors ask of every answer.
    pub fn of_model(model: &LoadedModel) -> Self {
        let PublishedGeneration { rules, ending, .. } = &model.published;
        Self { rules: rules.clone(), ending: ending.unwrap_or_default(), ..Self::of_recipe(&model.defaults) }
    }

    /// What happens when the context is full behind a prompt of so many tokens.
    fn when_full(&self, model: &SpeakingModel<'_>, n_prompt: usize) -> WhenFull {
        // Of a text the answer needs one more.
        let n_least = n_prompt + usize::from(!model.modality.is_paired());
        let is_beyond = n_least > model.transformer.config().context_len;
        if self.reads_on && is_beyond { WhenFull::GoOn } else { self.when_full }
    }

    /// Says what became of a text of so many tokens where it was longer than the model's context, and whether it was.
    fn note_of_length(&self, model: &SpeakingModel<'_>, n_tokens: usize) -> bool {
        let context_len = model.transformer.config().context_len;
        if self.when_full != WhenFull::Slide {
            note_of_length(model.transformer, n_tokens);
        } else if n_tokens > context_len {
            eprintln!(
                "genera: the model reads {context_len} tokens: where the text became longer, its older half was forgotten and it \
                 went on from the rest"
            );
        }
        n_tokens > context_len
    }

    /// The settings that matter, on one line for a person.
    pub fn line(&self) -> String {
        let Sampling { temperature, top_k, top_p, min_p, repetition_penalty, .. } = self.sampling;
        let mut parts = match (self.beam, temperature) {
            (Some(beam), _) => vec![format!("{beam} beams")],
            (None, 0.0) => vec!["the most probable token each time".to_owned()],
            (None, _) => vec![format!("temperature {temperature}")],
        };
        let is_sampled = self.beam.is_none() && temperature > 0.0;
        let mut add = |holds: bool, part: String| parts.extend(holds.then_some(part));
        add(is_sampled && top_k > 0, format!("top-k {top_k}"));
        add(is_sampled && top_p < 1.0, format!("top-p {top_p}"));
        add(is_sampled && min_p > 0.0, format!("min-p {min_p}"));
        add(self.beam.is_none() && repetition_penalty != 1.0, format!("repetition penalty {repetition_penalty}"));
        let Rules { no_repeat_ngram, min_tokens, min_len, .. } = self.rules;
        add(no_repeat_ngram > 0, format!("no run of {no_repeat_ngram} tokens twice"));
        add(min_tokens > 0, format!("at least {min_tokens} tokens"));
        add(min_len > 0, format!("at least {min_len} tokens with the prompt"));
        add(self.max_tokens < usize::MAX, format!("at most {} tokens", self.max_tokens));
        parts.join(", ")
    }

    /// The most probable token each time.
    pub fn greedy() -> Self {
        let sampling = Sampling::greedy();
        Self { sampling, beam: None, ..Self::of_recipe(&GenerateRecipe::default()) }
    }
}

/// The settings of a recipe's `[generate]` table.
pub fn sampling_of(generate: &GenerateRecipe) -> Sampling {
    Sampling {
        temperature: generate.temperature as f32,
        top_k: generate.top_k,
        top_p: generate.top_p as f32,
        min_p: generate.min_p as f32,
        repetition_penalty: generate.repetition_penalty as f32,
        presence_penalty: generate.presence_penalty as f32,
        frequency_penalty: generate.frequency_penalty as f32,
        ..Sampling::default()
    }
}

/// In which form answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The prompt, where the answer goes on with it, and what follows; several answers are set apart by a line.
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
    model: &SpeakingModel<'_>,
    prompts: &mut Prompts,
    settings: &Settings,
    shape: Shape,
    out: &mut dyn Write,
) -> Outcome<()> {
    let (mut is_first, mut is_noted) = (true, false);
    while let Some(group) = prompts.next_group()? {
        let ids = encode(model, &group, settings)?;
        if shape == Shape::Text && settings.beam.is_none() && settings.n == 1 {
            let shown = if model.modality.goes_on() { group.prompts[0].as_str() } else { "" };
            return stream(model, shown, ids.concat(), settings, out);
        }
        let lens: Vec<usize> = ids.iter().map(Vec::len).collect();
        let answers = answer(model, ids, settings)?;
        let longest = lens.iter().zip(&answers).map(|(&n, answers)| {
            let n_answer = answers.iter().map(|answer| answer.tokens.len()).max().unwrap_or(0);
            if model.modality.is_paired() { n.max(n_answer) } else { n + n_answer }
        });
        let longest = longest.max().unwrap_or(0);
        if !is_noted {
            is_noted = settings.note_of_length(model, longest);
        }
        for (prompt, answers) in group.prompts.iter().zip(answers) {
            for answer in answers {
                let is_hidden = shape == Shape::Text && !model.modality.goes_on();
                let prompt = if is_hidden { "" } else { prompt };
                write_one(prompt, answer, shape, std::mem::take(&mut is_first), out)
                    .during("cannot write the output")?;
            }
        }
        out.flush().during("cannot write the output")?;
    }
    Ok(())
}

/// The tokens of prompts.
///
/// # Errors
/// When one cannot be encoded, or the encoder cannot read so much: its line is named.
pub fn encode(model: &SpeakingModel<'_>, group: &Group, settings: &Settings) -> Outcome<Vec<Vec<u32>>> {
    let longest = model.transformer.config().longest(settings.reads_on);
    let one = |(i, prompt): (usize, &String)| -> Outcome<Vec<u32>> {
        let place = if group.name.is_empty() {
            "the prompt".to_owned()
        } else {
            format!("{}, line {}", group.name, group.n_before + i + 1)
        };
        let ids = model.encode(prompt).during(place.clone())?;
        warn_of_unknown(&place, model.n_unknown(&ids), ids.len());
        if model.modality.is_paired() && ids.len() > longest {
            let n = ids.len();
            return Err(Failure::new(format!(
                "{place}: {n} tokens are more than the {longest} that the model reads; shorten it or split it"
            )));
        }
        Ok(ids)
    };
    group.prompts.iter().enumerate().map(one).collect()
}

/// Says that a sequence of so many tokens is longer than the model was made for, where it is and its positions go on.
pub fn note_of_length(transformer: &Transformer, n_tokens: usize) {
    let config = transformer.config();
    let context_len = config.context_len;
    if (context_len + 1..=config.longest(true)).contains(&n_tokens) {
        eprintln!(
            "genera: {n_tokens} tokens are more than the {context_len} that the model was made for; it goes on beyond them, and \
             may become worse"
        );
    }
}

/// Says that so many of the tokens read at `place` stand for something that the vocabulary lacks, where there are any.
pub fn warn_of_unknown(place: &str, n_unknown: usize, n_tokens: usize) {
    if n_unknown > 0 {
        eprintln!(
            "genera: {place}: {n_unknown} of {n_tokens} tokens are unknown to the model, which learned from no such characters"
        );
    }
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
fn stream(
    model: &SpeakingModel<'_>,
    prompt: &str,
    ids: Vec<u32>,
    settings: &Settings,
    out: &mut dyn Write,
) -> Outcome<()> {
    let mut generator = model.generator(Limits::default())?;
    let mut n_tokens = ids.len();
    generator.submit(request(model, ids, settings, 0)?)?;
    let mut text = AnswerStream::new(model.codebook.as_ref(), &settings.stop);
    write!(out, "{prompt}").and_then(|()| out.flush()).during("cannot write the output")?;
    while !generator.is_idle() && !text.is_stopped() {
        for event in generator.step() {
            if let Event::Token { token, .. } = event {
                n_tokens += usize::from(!model.modality.is_paired());
                write!(out, "{}", text.push(token)).and_then(|()| out.flush()).during("cannot write the output")?;
            }
        }
    }
    writeln!(out, "{}", text.finish()).during("cannot write the output")?;
    settings.note_of_length(model, n_tokens);
    Ok(())
}

/// All answers to each prompt, given in tokens.
///
/// # Errors
/// When a prompt is longer than the context.
pub fn answer(model: &SpeakingModel<'_>, prompts: Vec<Vec<u32>>, settings: &Settings) -> Outcome<Vec<Vec<Answer>>> {
    match settings.beam {
        Some(n_beams) => by_beam(model, prompts, settings, n_beams),
        None => by_sampling(model, prompts, settings),
    }
}

fn by_sampling(model: &SpeakingModel<'_>, prompts: Vec<Vec<u32>>, settings: &Settings) -> Outcome<Vec<Vec<Answer>>> {
    let mut generator = model.generator(Limits::default())?;
    let mut growing: HashMap<RequestId, (AnswerStream<'_>, Answer)> = HashMap::new();
    let mut ids = Vec::new();
    let n_prompts = prompts.len();
    for prompt in prompts {
        for sample in 0..u64::from(settings.n) {
            let id = generator.submit(request(model, prompt.clone(), settings, sample)?)?;
            growing.insert(id, (AnswerStream::new(model.codebook.as_ref(), &settings.stop), Answer::default()));
            ids.push(id);
        }
    }
    while !generator.is_idle() {
        for event in generator.step() {
            let Some((text, answer)) = growing.get_mut(&event.id()) else { continue };
            match event {
                Event::Begun { .. } => {}
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
    Ok((0..n_prompts).map(|_| done.by_ref().take(settings.n as usize).collect()).collect())
}

/// Why an answer ended, as it is written for machines.
pub fn finish_name(reason: &Finish) -> &'static str {
    match reason {
        Finish::Stop(_) => "stop",
        Finish::MaxTokens => "max_tokens",
        Finish::ContextFull => "context_full",
        Finish::NothingAllowed => "nothing_allowed",
        Finish::Faulty(Fault::Failed) => "constraint_failed",
        Finish::Faulty(Fault::TooComplex) => "too_complex",
        Finish::NotFinite => "not_finite",
        Finish::Cancelled => "cancelled",
    }
}

/// A request for one answer to a prompt, the `sample`-th of several.
///
/// # Errors
/// When the model cannot begin by itself and the prompt is empty.
pub fn request(model: &SpeakingModel<'_>, prompt: Vec<u32>, settings: &Settings, sample: u64) -> Outcome<Request> {
    let when_full = settings.when_full(model, prompt.len());
    let mut request = if model.modality.is_paired() {
        Request::with_source(prompt, vec![model.decoder_start()?])
    } else {
        Request::new(opening(model, prompt)?)
    };
    request.max_tokens = settings.max_tokens;
    request.stop = model.stop_ids();
    request.sampling = settings.sampling.clone();
    request.rules = settings.rules.clone();
    request.sample = sample;
    request.top_logprobs = settings.top_logprobs;
    request.n_guesses = settings.n_guesses;
    request.when_full = when_full;
    let forbidden = model.modality.grammar(model.codebook).forbidden;
    let allowed = Box::new(Allowed::except(&forbidden, model.transformer.config().vocab_size));
    request.constraint = Some(match model.modality.constraint(model.codebook) {
        Some(grammar) => Box::new(vec![allowed as Box<dyn Constraint>, grammar]),
        None => allowed,
    });
    Ok(request)
}

/// A model without an opening token needs something to go on from: a line break, as between two documents.
fn opening(model: &SpeakingModel<'_>, ids: Vec<u32>) -> Outcome<Vec<u32>> {
    if !ids.is_empty() {
        return Ok(ids);
    }
    let ids = genera_modality::opening(model.codebook)?;
    if ids.is_empty() { Err(Failure::new("this model cannot begin by itself; give it a --prompt")) } else { Ok(ids) }
}

fn by_beam(
    model: &SpeakingModel<'_>,
    prompts: Vec<Vec<u32>>,
    settings: &Settings,
    n_beams: usize,
) -> Outcome<Vec<Vec<Answer>>> {
    let goes_on = |prompt: &Vec<u32>| settings.when_full(model, prompt.len()) == WhenFull::GoOn;
    let is_long: Vec<bool> = prompts.iter().map(goes_on).collect();
    let input = |prompt: Vec<u32>| {
        Ok(if model.modality.is_paired() {
            BeamInput { source: Some(prompt), prompt: vec![model.decoder_start()?] }
        } else {
            BeamInput { source: None, prompt: opening(model, prompt)? }
        })
    };
    let inputs = prompts.into_iter().map(input).collect::<Outcome<Vec<BeamInput>>>()?;
    let mut answers = vec![Vec::new(); inputs.len()];
    for goes_on in [false, true] {
        let chosen: Vec<usize> = (0..inputs.len()).filter(|&i| is_long[i] == goes_on).collect();
        let chosen_inputs: Vec<BeamInput> = chosen.iter().map(|&i| inputs[i].clone()).collect();
        let found = beam_search(model.transformer, &chosen_inputs, &beams(model, settings, n_beams, goes_on))?;
        for (i, best) in chosen.into_iter().zip(found) {
            answers[i] = best.into_iter().map(|hypothesis| answer_of(model, settings, hypothesis)).collect();
        }
    }
    Ok(answers)
}

fn beams(model: &SpeakingModel<'_>, settings: &Settings, n_beams: usize, goes_on: bool) -> BeamSettings {
    BeamSettings {
        n_beams,
        n_best: settings.n as usize,
        length_penalty: settings.length_penalty,
        ending: settings.ending,
        rules: settings.rules.clone(),
        max_tokens: settings.max_tokens.min(model.transformer.config().longest(goes_on) - 1),
        stop: model.stop_ids(),
        forbidden: model.modality.grammar(model.codebook).forbidden,
        goes_on,
        ..BeamSettings::default()
    }
}

fn answer_of(model: &SpeakingModel<'_>, settings: &Settings, hypothesis: Hypothesis) -> Answer {
    Answer {
        text: cut(model.codebook.decode(&hypothesis.tokens), &settings.stop),
        score: Some(hypothesis.score),
        finish: if hypothesis.is_complete { "stop" } else { "max_tokens" },
        tokens: hypothesis.tokens,
        ..Answer::default()
    }
}

fn cut(mut text: String, stops: &[String]) -> String {
    let at = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min();
    text.truncate(at.unwrap_or(text.len()));
    text
}
