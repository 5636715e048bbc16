//! Answers to prompts, written as they are made.

use crate::answer_writer::{AnswerWriter, Shape};
use crate::failure::{Failure, Outcome, While};
use crate::model::{LoadedModel, SpeakingModel};
use crate::prompts::{Group, Prompts};
use crate::run::interrupt::Interrupt;
use crate::show::status_line::StatusLine;
use genera_data::chat::first_messages;
use genera_data::{ChatMessage, encode_chat};
use genera_engine::generate::{
    Allowed, BeamInput, BeamSettings, Constraint, Ending, Event, Fault, Finish, Hypothesis, Limits, Request, RequestId,
    Rules, Sampling, WhenFull, beam_search_by_group,
};
use genera_engine::model::Transformer;
use genera_engine::recipe::{GenerateRecipe, MAX_TOKENS};
use genera_engine::weights::PublishedGeneration;
use genera_modality::{AnswerStream, Chat, Modality};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

/// Temperature of the answer to a message where neither the model's recipe nor its authors say how tokens are chosen: answers,
/// not poems.
const TEMPERATURE: f32 = 0.7;
/// The same for the share of probability that is chosen among.
const TOP_P: f32 = 0.9;

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
    /// What tells a model that is talked to how to answer.
    pub system: Option<String>,
    /// Whether the names of special tokens in prompts stand for these.
    pub reads_special: bool,
}

impl Settings {
    /// One answer to each prompt, made as the recipe of its model wants it.
    pub fn of_recipe(recipe: &GenerateRecipe) -> Self {
        Self {
            n: 1,
            max_tokens: recipe.max_tokens(),
            when_full: WhenFull::Stop,
            reads_on: false,
            sampling: recipe.sampling(),
            rules: Rules::default(),
            beam: Some(recipe.beam()).filter(|&n_beams| n_beams > 1),
            length_penalty: recipe.length_penalty() as f32,
            ending: Ending::default(),
            stop: recipe.stop(),
            top_logprobs: 0,
            n_guesses: 0,
            system: None,
            reads_special: false,
        }
    }

    /// The same as a model that was loaded wants it, with what its authors ask of every answer.
    pub fn of_model(model: &LoadedModel) -> Self {
        let PublishedGeneration { rules, ending, .. } = &model.published;
        Self { rules: rules.clone(), ending: ending.unwrap_or_default(), ..Self::of_recipe(&model.defaults) }
    }

    /// The same of a message, in `chat` and elsewhere. What nobody chose is other than for a text: a soberer choice of tokens, and
    /// the whole context for the answer.
    pub fn of_message(model: &LoadedModel) -> Self {
        let defaults = Self::of_model(model);
        let sampling = match model.defaults.is_of_sampling() {
            true => defaults.sampling,
            false => Sampling { temperature: TEMPERATURE, top_p: TOP_P, ..defaults.sampling },
        };
        Self { sampling, max_tokens: model.defaults.max_tokens.unwrap_or(usize::MAX), ..defaults }
    }

    /// Tokens of an answer at most. One that may have the whole context still ends where there is no context to be full.
    fn most_tokens(&self, when_full: WhenFull) -> usize {
        let is_endless = self.max_tokens == usize::MAX && when_full != WhenFull::Stop;
        if is_endless { MAX_TOKENS } else { self.max_tokens }
    }

    /// What happens when the context is full behind a prompt of so many tokens.
    fn when_full(&self, model: &SpeakingModel<'_>, n_prompt: usize) -> WhenFull {
        // Of a text the answer needs one more.
        let n_least = n_prompt + usize::from(!model.modality.is_paired());
        let is_beyond = n_least > model.transformer.config().context_len;
        if self.reads_on && is_beyond { WhenFull::GoOn } else { self.when_full }
    }

    /// Says of prompts that are longer than the model was made for that they are, before they are read; whether there are any.
    fn note_of_prompts(&self, model: &SpeakingModel<'_>, prompts: &[Vec<u32>]) -> bool {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let is_beyond = self.reads_on && longest > model.transformer.config().context_len;
        if is_beyond {
            note_of_length(model.transformer, longest);
        }
        is_beyond
    }

    /// Says what became of a text of so many tokens where it was longer than the model's context.
    fn note_of_length(&self, model: &SpeakingModel<'_>, n_tokens: usize) {
        let context_len = model.transformer.config().context_len;
        if self.when_full != WhenFull::Slide {
            note_of_length(model.transformer, n_tokens);
        } else if n_tokens > context_len {
            eprintln!(
                "genera: the model reads {context_len} tokens: where the text became longer, its older half was forgotten and it \
                 went on from the rest"
            );
        }
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
        add(repetition_penalty != 1.0, format!("repetition penalty {repetition_penalty}"));
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

/// Answers every prompt and writes the answers in order, each as soon as it and those before it are finished; whether all
/// were written before somebody interrupted.
///
/// # Errors
/// When a prompt cannot be encoded or is longer than the context, or the output cannot be written.
pub fn write(
    model: &SpeakingModel<'_>,
    prompts: &mut Prompts,
    settings: &Settings,
    out: &mut AnswerWriter,
    interrupt: &Interrupt,
) -> Outcome<bool> {
    let n_all = matches!(prompts, Prompts::One(_)).then_some(settings.n);
    let mut progress = Progress { status: StatusLine::new(), start: Instant::now(), n_tokens: 0, n_all };
    let (mut longest, mut is_whole, mut is_noted) = (0, false, false);
    while let Some(group) = interrupt.while_idle(|| prompts.next_group()) {
        let Some(group) = group? else {
            is_whole = true;
            break;
        };
        let ids = encode(model, &group, settings)?;
        is_noted = is_noted || settings.note_of_prompts(model, &ids);
        if out.shape() == Shape::Text && settings.beam.is_none() && settings.n == 1 {
            let shown = if model.modality.goes_on() { group.prompts[0].as_str() } else { "" };
            (is_whole, longest) = stream(model, shown, ids.concat(), settings, out, interrupt)?;
            break;
        }
        let (hides_prompts, n) = (out.shape() != Shape::Json && !model.modality.goes_on(), settings.n as usize);
        let (lens, is_paired) = (ids.iter().map(Vec::len).collect(), model.modality.is_paired());
        let (prompts, progress, longest) = (group.prompts, &mut progress, &mut longest);
        let mut writing =
            Writing { prompts, lens, is_paired, hides_prompts, n, n_passed: 0, longest, out, progress, interrupt };
        each(model, ids, settings, &mut writing)?;
    }
    if !is_noted {
        settings.note_of_length(model, longest);
    }
    Ok(is_whole)
}

/// Who gets answers while they are made.
trait Audience {
    /// Told after each step how many tokens were made in it; whether to go on.
    fn goes_on(&mut self, n_tokens: usize) -> bool;

    /// Gets an answer that is finished. They come in the order in which they were asked for and are counted like that, over
    /// all prompts; after a stop some may be missing.
    fn take(&mut self, index: usize, answer: Answer) -> Outcome<()>;
}

/// Keeps all answers, those to each prompt together.
struct Collection {
    n: usize,
    answers: Vec<Vec<Answer>>,
}

impl Audience for Collection {
    fn goes_on(&mut self, _: usize) -> bool {
        true
    }

    fn take(&mut self, index: usize, answer: Answer) -> Outcome<()> {
        self.answers[index / self.n].push(answer);
        Ok(())
    }
}

/// How far all answers are.
struct Progress {
    status: StatusLine,
    start: Instant,
    n_tokens: usize,
    /// Answers in all, where that is known.
    n_all: Option<u32>,
}

/// Writes the answers to a group of prompts, and says how far they are.
struct Writing<'w> {
    prompts: Vec<String>,
    /// Tokens of each.
    lens: Vec<usize>,
    /// Whether the prompt is read apart from the answer.
    is_paired: bool,
    hides_prompts: bool,
    /// Answers to each prompt.
    n: usize,
    /// Answers that came.
    n_passed: usize,
    /// Tokens of the longest sequence that was read.
    longest: &'w mut usize,
    out: &'w mut AnswerWriter,
    progress: &'w mut Progress,
    interrupt: &'w Interrupt,
}

impl Audience for Writing<'_> {
    fn goes_on(&mut self, n_tokens: usize) -> bool {
        let Progress { status, start, n_tokens: n_made, n_all } = &mut *self.progress;
        *n_made += n_tokens;
        status.show(|| {
            let of = n_all.map_or_else(String::new, |n| format!(" of {n}"));
            let rate = *n_made as f64 / start.elapsed().as_secs_f64();
            format!("{}{of} answers, {rate:.0} tokens/s", self.out.n_written)
        });
        !self.interrupt.is_asked()
    }

    fn take(&mut self, index: usize, answer: Answer) -> Outcome<()> {
        // Where one is missing, the lines behind it would no longer be those of their prompts.
        if self.out.shape() == Shape::Lines && index > self.n_passed {
            return Ok(());
        }
        self.n_passed += 1;
        let (n_prompt, n_answer) = (self.lens[index / self.n], answer.tokens.len());
        let n_tokens = if self.is_paired { n_prompt.max(n_answer) } else { n_prompt + n_answer };
        *self.longest = n_tokens.max(*self.longest);
        self.progress.status.hide();
        let prompt = if self.hides_prompts { "" } else { &self.prompts[index / self.n] };
        self.out.write(prompt, answer)
    }
}

/// The tokens of prompts, before each of which [`Settings::system`] tells the model how to answer.
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
        let is_message = model.modality.name() == Chat.name();
        let ids = match &settings.system {
            None if settings.reads_special => model.encode_with_special(prompt),
            None if !is_message || !group.is_by_line => model.encode(prompt),
            system => encode_told(model, system.as_deref(), prompt, group.is_by_line),
        };
        let ids = ids.during(place.clone())?;
        model.check_tokens(&ids, prompt).during(place.clone())?;
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

/// The tokens of a message to a model, which may be told how to answer.
fn encode_told(model: &SpeakingModel<'_>, system: Option<&str>, prompt: &str, is_text: bool) -> Outcome<Vec<u32>> {
    let mut messages: Vec<ChatMessage> = system.map(|text| ChatMessage::new("system", text)).into_iter().collect();
    // Lines come from others: none of them may speak for the system.
    let said = if is_text { vec![ChatMessage::new("user", prompt)] } else { first_messages(prompt)? };
    if system.is_some() && said.iter().any(|message| message.role == "system") {
        return Err(Failure::new(
            "the conversation has a system message of its own, and --system would be a second one; leave one of both out",
        ));
    }
    messages.extend(said);
    Ok(encode_chat(model.codebook.as_ref(), &messages, true)?)
}

/// Says that so many of the tokens read at `place` stand for something that the vocabulary lacks, where there are any.
pub fn warn_of_unknown(place: &str, n_unknown: usize, n_tokens: usize) {
    if n_unknown > 0 {
        eprintln!(
            "genera: {place}: {n_unknown} of {n_tokens} tokens are unknown to the model, which learned from no such characters"
        );
    }
}

/// Writes one answer, token by token where a person sees it; whether it came to its end, and how many tokens were read.
fn stream(
    model: &SpeakingModel<'_>,
    prompt: &str,
    ids: Vec<u32>,
    settings: &Settings,
    out: &mut AnswerWriter,
    interrupt: &Interrupt,
) -> Outcome<(bool, usize)> {
    let mut generator = model.generator(Limits::default())?;
    let mut n_tokens = ids.len();
    generator.submit(request(model, ids, settings, 0)?)?;
    let mut text = AnswerStream::new(model.codebook.as_ref(), &settings.stop);
    // A person sees at once what is gone on with; what lies in a file stays until there is an answer.
    let (mut unwritten, is_seen) = (prompt.to_owned(), out.path().is_none());
    if is_seen {
        out.write_part(&std::mem::take(&mut unwritten))?;
    }
    while !generator.is_idle() && !text.is_stopped() && !interrupt.is_asked() {
        for event in generator.step() {
            if let Err(failure) = check_finite(&event) {
                // What is said of it begins a line of its own.
                if is_seen {
                    out.write_part("\n")?;
                }
                return Err(failure);
            }
            if let Event::Token { token, .. } = event {
                n_tokens += usize::from(!model.modality.is_paired());
                unwritten += &text.push(token);
                if is_seen {
                    out.write_part(&std::mem::take(&mut unwritten))?;
                }
            }
        }
    }
    let is_whole = generator.is_idle() || text.is_stopped();
    if is_whole || is_seen {
        out.write_part(&format!("{unwritten}{}\n", text.finish()))?;
    }
    out.n_written += u64::from(is_whole);
    Ok((is_whole, n_tokens))
}

/// All answers to each prompt, given in tokens.
///
/// # Errors
/// When a prompt is longer than the context.
pub fn answer(model: &SpeakingModel<'_>, prompts: Vec<Vec<u32>>, settings: &Settings) -> Outcome<Vec<Vec<Answer>>> {
    let mut all = Collection { n: settings.n as usize, answers: vec![Vec::new(); prompts.len()] };
    each(model, prompts, settings, &mut all)?;
    Ok(all.answers)
}

/// Makes all answers to each prompt.
fn each(
    model: &SpeakingModel<'_>,
    prompts: Vec<Vec<u32>>,
    settings: &Settings,
    audience: &mut dyn Audience,
) -> Outcome<()> {
    match settings.beam {
        Some(n_beams) => by_beam(model, prompts, settings, n_beams, audience),
        None => by_sampling(model, prompts, settings, audience),
    }
}

/// Answers that are begun before others are finished, at most: more than run at once, so that none is waited for.
const MOST_BEGUN: usize = 128;

/// An answer that is being made.
struct Growing<'g> {
    index: usize,
    text: AnswerStream<'g>,
    answer: Answer,
    is_finished: bool,
}

impl Growing<'_> {
    /// Takes what happened; true where a stop string has just ended it.
    fn hear(&mut self, event: Event, has_alternatives: bool) -> bool {
        match event {
            // What else happened in the step in which a stop string ended it.
            _ if self.is_finished => {}
            Event::Begun { .. } => {}
            Event::Token { token, logprob, top_logprobs, .. } => {
                self.answer.tokens.push(token);
                self.answer.logprobs.push(logprob);
                self.answer.text += &self.text.push(token);
                if has_alternatives {
                    self.answer.top_logprobs.push(top_logprobs);
                }
                if self.text.is_stopped() {
                    self.finish("stop");
                    return true;
                }
            }
            Event::Finished(finished) => self.finish(finish_name(&finished.reason)),
        }
        false
    }

    fn finish(&mut self, reason: &'static str) {
        self.answer.text += &self.text.finish();
        self.answer.finish = reason;
        self.is_finished = true;
    }
}

fn by_sampling(
    model: &SpeakingModel<'_>,
    prompts: Vec<Vec<u32>>,
    settings: &Settings,
    audience: &mut dyn Audience,
) -> Outcome<()> {
    // What is wrong with a prompt is found before time is spent on those before it.
    for prompt in &prompts {
        request(model, prompt.clone(), settings, 0)?.validate(model.transformer.config())?;
    }
    let samples = 0..u64::from(settings.n);
    let mut waiting = prompts.iter().flat_map(|prompt| samples.clone().map(move |sample| (prompt, sample))).enumerate();
    let mut generator = model.generator(Limits::default())?;
    let mut growing: BTreeMap<RequestId, Growing<'_>> = BTreeMap::new();
    loop {
        while generator.n_running() + generator.n_waiting() < MOST_BEGUN
            && let Some((index, (prompt, sample))) = waiting.next()
        {
            let id = generator.submit(request(model, prompt.clone(), settings, sample)?)?;
            let text = AnswerStream::new(model.codebook.as_ref(), &settings.stop);
            growing.insert(id, Growing { index, text, answer: Answer::default(), is_finished: false });
        }
        if generator.is_idle() {
            break;
        }
        let mut n_tokens = 0;
        for event in generator.step() {
            check_finite(&event)?;
            let id = event.id();
            n_tokens += usize::from(matches!(event, Event::Token { .. }));
            if growing.get_mut(&id).is_some_and(|growing| growing.hear(event, settings.top_logprobs > 0)) {
                generator.cancel(id);
            }
        }
        while let Some(first) = growing.first_entry().filter(|first| first.get().is_finished) {
            let Growing { index, answer, .. } = first.remove();
            audience.take(index, answer)?;
        }
        if !audience.goes_on(n_tokens) {
            break;
        }
    }
    let finished = growing.into_values().filter(|growing| growing.is_finished);
    finished.into_iter().try_for_each(|Growing { index, answer, .. }| audience.take(index, answer))
}

/// Refuses to go on with a model whose logits are not finite.
///
/// # Errors
/// When that is why an answer ended.
pub fn check_finite(event: &Event) -> Outcome<()> {
    match event {
        Event::Finished(answer) if answer.reason == Finish::NotFinite => Err(Failure::new(
            "the model's logits are not finite numbers: its training diverged, or its weights are damaged".to_owned(),
        )),
        _ => Ok(()),
    }
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
    request.max_tokens = settings.most_tokens(when_full);
    request.stop = model.stop_ids();
    request.sampling = settings.sampling.clone();
    request.rules = settings.rules.clone();
    request.sample = sample;
    request.top_logprobs = settings.top_logprobs;
    request.n_guesses = settings.n_guesses;
    request.when_full = when_full;
    let allowed = Box::new(Allowed::except(&model.forbidden(), model.transformer.config().vocab_size));
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
    audience: &mut dyn Audience,
) -> Outcome<()> {
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
    let mut waiting = Waiting { n: settings.n as usize, n_passed: 0, answers: BTreeMap::new() };
    let (mut passed, mut is_stopped) = (Ok(()), false);
    for goes_on in [false, true] {
        let chosen: Vec<usize> = (0..inputs.len()).filter(|&i| is_long[i] == goes_on && !is_stopped).collect();
        let chosen_inputs: Vec<BeamInput> = chosen.iter().map(|&i| inputs[i].clone()).collect();
        let take = |found: Vec<(usize, Vec<Hypothesis>)>| {
            let n_tokens = found.iter().flat_map(|(_, best)| best).map(|hypothesis| hypothesis.tokens.len()).sum();
            for (i, best) in found {
                let best = best.into_iter().map(|hypothesis| answer_of(model, settings, hypothesis));
                waiting.answers.insert(chosen[i], best.collect());
            }
            passed = waiting.pass_on(audience);
            is_stopped = !audience.goes_on(n_tokens) || passed.is_err();
            if is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        beam_search_by_group(model.transformer, &chosen_inputs, &beams(model, settings, n_beams, goes_on), take)?;
    }
    passed?;
    waiting.pass_on_rest(audience)
}

/// Answers to whole prompts, found in any order.
struct Waiting {
    /// Answers to each prompt.
    n: usize,
    /// Prompts whose answers were passed on.
    n_passed: usize,
    answers: BTreeMap<usize, Vec<Answer>>,
}

impl Waiting {
    /// Passes on what no earlier prompt is missing for.
    fn pass_on(&mut self, audience: &mut dyn Audience) -> Outcome<()> {
        while let Some(answers) = self.answers.remove(&self.n_passed) {
            self.give(self.n_passed, answers, audience)?;
            self.n_passed += 1;
        }
        Ok(())
    }

    /// Passes on the rest after a stop.
    fn pass_on_rest(mut self, audience: &mut dyn Audience) -> Outcome<()> {
        let rest = std::mem::take(&mut self.answers);
        rest.into_iter().try_for_each(|(prompt, answers)| self.give(prompt, answers, audience))
    }

    fn give(&self, prompt: usize, mut answers: Vec<Answer>, audience: &mut dyn Audience) -> Outcome<()> {
        // Rules may leave fewer than are asked for, and those to the next prompt keep their places.
        answers.resize_with(self.n, || Answer { finish: finish_name(&Finish::NothingAllowed), ..Answer::default() });
        answers.into_iter().enumerate().try_for_each(|(i, answer)| audience.take(prompt * self.n + i, answer))
    }
}

fn beams(model: &SpeakingModel<'_>, settings: &Settings, n_beams: usize, goes_on: bool) -> BeamSettings {
    let when_full = if goes_on { WhenFull::GoOn } else { WhenFull::Stop };
    BeamSettings {
        n_beams,
        n_best: settings.n as usize,
        length_penalty: settings.length_penalty,
        ending: settings.ending,
        rules: settings.rules.clone(),
        repetition_penalty: settings.sampling.repetition_penalty,
        max_tokens: settings.most_tokens(when_full).min(model.transformer.config().longest(goes_on) - 1),
        stop: model.stop_ids(),
        forbidden: model.forbidden(),
        goes_on,
        ..BeamSettings::default()
    }
}

fn answer_of(model: &SpeakingModel<'_>, settings: &Settings, hypothesis: Hypothesis) -> Answer {
    let whole = model.codebook.decode(&hypothesis.tokens);
    let n_whole = whole.len();
    let text = cut(whole, &settings.stop);
    Answer {
        score: Some(hypothesis.score),
        finish: if hypothesis.is_complete || text.len() < n_whole { "stop" } else { "max_tokens" },
        text,
        tokens: hypothesis.tokens,
        ..Answer::default()
    }
}

fn cut(mut text: String, stops: &[String]) -> String {
    let at = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min();
    text.truncate(at.unwrap_or(text.len()));
    text
}

#[cfg(test)]
mod tests;
