//! `POST /v1/completions`: a text that goes on with the prompt.

use super::aside;
use super::chat::stream_of;
use crate::answer::{Piece, Pieces};
use crate::convert::{Prompt, Wishes, form_of};
use crate::http::{Body, Ended, Events, Room, json, read_json, stream};
use crate::limits::{N_ANSWERS, at_most, whole_in_range};
use crate::model::Served;
use crate::problem::Problem;
use crate::prompt;
use crate::state::{State, unless_closing};
use crate::wire::completions::{self, Choice, Logprobs, WITHOUT_EFFECT};
use crate::wire::output::{Head, Usage};
use crate::wire::{Prompts, parse};
use crate::worker::Answers;
use genera_engine::generate;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::Value;
use std::sync::Arc;

/// Tokens of an answer where none are asked for, as in the published interface.
const MAX_TOKENS: u64 = 16;
/// Alternatives to a token at most.
const N_TOP: u64 = 5;

pub async fn create(request: Request<Incoming>, state: &Arc<State>, room: &Room) -> Result<Response<Body>, Problem> {
    let input = read_json(request, room).await?;
    let of_task = state.clone();
    let (job, requests) = aside(move || prepare(parse(&input.bytes, WITHOUT_EFFECT)?, &of_task)).await?;
    let answers = job.model.worker.submit(requests)?;
    let head = Head::new("cmpl-", &job.model);
    if !job.is_stream {
        return Ok(json(&unless_closing(&state.stage, whole(&job, answers, &head)).await?));
    }
    let make = |events| async move { write(&job, answers, &head, events).await };
    Ok(stream(state.stage.clone(), make, |problem| format!("data: {}\n\ndata: [DONE]\n\n", problem.body())))
}

struct Job {
    model: Arc<Served>,
    stops: Vec<String>,
    /// What each answer begins with: the prompt where it is to be repeated.
    echoes: Vec<String>,
    n_prompt: usize,
    n_top: Option<usize>,
    is_stream: bool,
    shows_usage: bool,
}

fn prepare(asked: completions::Request, state: &State) -> Result<(Job, Vec<generate::Request>), Problem> {
    let model = state.model(asked.model.as_deref())?.clone();
    let (is_stream, shows_usage) = stream_of(asked.stream, asked.stream_options)?;
    let form = form_of(asked.response_format, asked.structured_outputs)?;
    let form = form.map(|(form, param)| model.grammars()?.compile(&form, param)).transpose()?;
    let n_top = asked.logprobs.map(|n| whole_in_range("logprobs", n, 0, N_TOP)).transpose()?;
    let echo = asked.echo.unwrap_or(false);
    if echo && n_top.is_some() {
        let message = "`logprobs` of a prompt that is repeated are not computed here; leave `echo` or `logprobs` out";
        return Err(Problem::invalid("echo", message));
    }
    let wishes = Wishes {
        temperature: asked.temperature,
        top_p: asked.top_p,
        top_k: asked.top_k,
        min_p: asked.min_p,
        presence_penalty: asked.presence_penalty,
        frequency_penalty: asked.frequency_penalty,
        repetition_penalty: asked.repetition_penalty,
        logit_bias: asked.logit_bias.unwrap_or_default(),
        seed: asked.seed,
        n: asked.n,
        max_tokens: Some(("max_tokens", asked.max_tokens.unwrap_or(MAX_TOKENS))),
        min_tokens: asked.min_tokens,
        stop: asked.stop.unwrap_or_default().0,
        top_logprobs: n_top.unwrap_or(0) as u64,
    };
    let plan = wishes.plan(&model)?;
    let prompts = prompt::prompts(&model, &asked.prompt)?;
    at_most("n", prompts.len() * plan.n, N_ANSWERS, "answers to all prompts together")?;
    let mut requests = Vec::new();
    for prompt in &prompts {
        requests.extend(plan.requests(&model, prompt, form.as_ref(), "prompt")?);
    }
    let texts = if echo { shown(&model, &asked.prompt) } else { vec![String::new(); prompts.len()] };
    let echoes = texts.into_iter().flat_map(|text| std::iter::repeat_n(text, plan.n)).collect();
    let n_prompt = prompts.iter().map(Prompt::n_tokens).sum();
    Ok((Job { model, stops: plan.stops, echoes, n_prompt, n_top, is_stream, shows_usage }, requests))
}

fn shown(model: &Served, prompts: &Prompts) -> Vec<String> {
    match prompts {
        Prompts::Texts(texts) => texts.clone(),
        Prompts::Tokens(lists) => lists.iter().map(|tokens| model.codebook.decode(tokens)).collect(),
    }
}

impl Job {
    fn pieces(&self, answers: Answers) -> Pieces<'_> {
        Pieces::new(&self.model, answers, &self.stops, self.n_top.is_some())
    }

    /// Adds a piece to a choice; `offset` is the choice's place in its text.
    fn add(&self, piece: &Piece, choice: &mut Choice, offset: &mut usize) {
        choice.text += &piece.text;
        choice.finish_reason = piece.end.as_ref().map(|end| end.name());
        if let Some(n_top) = self.n_top {
            let logprobs = choice.logprobs.get_or_insert_with(Logprobs::default);
            logprobs.add(&self.model.codebook, &piece.tokens, n_top, offset);
        }
    }

    fn usage(&self, pieces: &Pieces<'_>) -> Value {
        Usage { n_prompt: self.n_prompt, n_completion: pieces.n_tokens() }.openai()
    }
}

async fn whole(job: &Job, answers: Answers, head: &Head) -> Result<Value, Problem> {
    let begun = |text: &String| Choice { text: text.clone(), ..Choice::default() };
    let mut choices: Vec<(usize, Choice)> = job.echoes.iter().map(begun).enumerate().collect();
    let mut offsets = vec![0; choices.len()];
    let mut pieces = job.pieces(answers);
    while let Some(piece) = pieces.next().await? {
        job.add(&piece, &mut choices[piece.choice].1, &mut offsets[piece.choice]);
    }
    Ok(completions::completion(head, &choices, Some(job.usage(&pieces))))
}

async fn write(job: &Job, answers: Answers, head: &Head, mut events: Events) -> Result<(), Ended> {
    let announced = job.shows_usage.then_some(Value::Null);
    for (index, text) in job.echoes.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        let echo = Choice { text: text.clone(), ..Choice::default() };
        events.send(&completions::completion(head, &[(index, echo)], announced.clone())).await?;
    }
    let mut offsets = vec![0; answers.len()];
    let mut pieces = job.pieces(answers);
    while let Some(piece) = events.wait(pieces.next()).await?? {
        let mut choice = Choice::default();
        job.add(&piece, &mut choice, &mut offsets[piece.choice]);
        events.send(&completions::completion(head, &[(piece.choice, choice)], announced.clone())).await?;
    }
    if job.shows_usage {
        events.send(&completions::completion(head, &[], Some(job.usage(&pieces)))).await?;
    }
    events.send_done().await
}
