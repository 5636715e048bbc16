//! `POST /v1/completions`: a text that goes on with the prompt.

use super::chat::stream_of;
use super::job::Job;
use crate::answer::{Piece, Pieces};
use crate::constraint::Compiled;
use crate::convert::{Prompt, Wishes, form_of, wishes};
use crate::http::{Ended, Events};
use crate::limits::{N_ANSWERS, at_most, whole_in_range};
use crate::model::Served;
use crate::problem::Problem;
use crate::prompt;
use crate::state::State;
use crate::wire::Prompts;
use crate::wire::completions::{self, Choice, Logprobs, WITHOUT_EFFECT};
use crate::wire::output::Head;
use crate::worker::Answers;
use genera_engine::generate;
use serde_json::Value;
use std::sync::Arc;

/// Tokens of an answer where none are asked for, as in the published interface.
const MAX_TOKENS: u64 = 16;
/// Alternatives to a token at most.
const N_TOP: u64 = 5;

/// Texts to be gone on with.
pub struct Completions {
    model: Arc<Served>,
    stops: Vec<String>,
    /// What each answer begins with: the prompt where it is to be repeated.
    echoes: Vec<String>,
    n_prompt: usize,
    /// Answers to each prompt.
    n_each: usize,
    n_top: Option<usize>,
    is_stream: bool,
    shows_usage: bool,
}

fn shown(model: &Served, prompts: &Prompts) -> Vec<String> {
    match prompts {
        Prompts::Texts(texts) => texts.clone(),
        Prompts::Tokens(lists) => lists.iter().map(|tokens| model.codebook.decode(tokens)).collect(),
    }
}

impl Completions {
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
        pieces.usage(self.n_prompt, self.n_each).openai()
    }
}

impl Job for Completions {
    type Asked = completions::Request;
    const WITHOUT_EFFECT: &'static [&'static str] = WITHOUT_EFFECT;
    const PREFIX: &'static str = "cmpl-";

    fn prepare(asked: completions::Request, state: &State) -> Result<(Self, Vec<generate::Request>), Problem> {
        let model = state.model(asked.model.as_deref())?.clone();
        let (is_stream, shows_usage) = stream_of(asked.stream, asked.stream_options)?;
        let form = form_of(asked.response_format, asked.structured_outputs)?;
        let form = form.map(|(form, param)| model.grammars()?.compile(&form, param)).transpose()?;
        let n_top = asked.logprobs.map(|n| whole_in_range("logprobs", n, 0, N_TOP)).transpose()?;
        let echo = asked.echo.unwrap_or(false);
        if echo && n_top.is_some() {
            let message =
                "`logprobs` of a prompt that is repeated are not computed here; leave `echo` or `logprobs` out";
            return Err(Problem::invalid("echo", message));
        }
        let wishes = wishes!(asked: temperature, top_p, top_k, min_p, presence_penalty, frequency_penalty, repetition_penalty,
            logit_bias, seed, n, min_tokens, no_repeat_ngram_size, stop);
        let max_tokens = Some(("max_tokens", asked.max_tokens.unwrap_or(MAX_TOKENS)));
        let wishes = Wishes { max_tokens, top_logprobs: n_top.unwrap_or(0) as u64, ..wishes };
        let plan = wishes.plan(&model)?;
        let prompts = prompt::prompts(&model, &asked.prompt)?;
        at_most("n", prompts.len() * plan.n, N_ANSWERS, "answers to all prompts together")?;
        let mut requests = Vec::new();
        for prompt in &prompts {
            requests.extend(plan.requests(&model, prompt, &|| form.as_ref().map(Compiled::constraint), "prompt")?);
        }
        let texts = if echo { shown(&model, &asked.prompt) } else { vec![String::new(); prompts.len()] };
        let echoes = texts.into_iter().flat_map(|text| std::iter::repeat_n(text, plan.n)).collect();
        let n_prompt = prompts.iter().map(Prompt::n_tokens).sum();
        Ok((
            Self { model, n_each: plan.n, stops: plan.stops, echoes, n_prompt, n_top, is_stream, shows_usage },
            requests,
        ))
    }

    fn model(&self) -> &Arc<Served> {
        &self.model
    }

    fn is_stream(&self) -> bool {
        self.is_stream
    }

    async fn whole(&self, answers: Answers, head: &Head) -> Result<Value, Problem> {
        let begun = |text: &String| Choice { text: text.clone(), ..Choice::default() };
        let mut choices: Vec<(usize, Choice)> = self.echoes.iter().map(begun).enumerate().collect();
        let mut offsets = vec![0; choices.len()];
        let mut pieces = self.pieces(answers);
        while let Some(piece) = pieces.next().await? {
            self.add(&piece, &mut choices[piece.choice].1, &mut offsets[piece.choice]);
        }
        Ok(completions::completion(head, &choices, Some(self.usage(&pieces))))
    }

    async fn write(&self, answers: Answers, head: &Head, mut events: Events) -> Result<(), Ended> {
        let announced = self.shows_usage.then_some(Value::Null);
        for (index, text) in self.echoes.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            let echo = Choice { text: text.clone(), ..Choice::default() };
            events.send(&completions::completion(head, &[(index, echo)], announced.clone())).await?;
        }
        let mut offsets = vec![0; answers.len()];
        let mut pieces = self.pieces(answers);
        while let Some(piece) = events.wait(pieces.next()).await?? {
            let mut choice = Choice::default();
            self.add(&piece, &mut choice, &mut offsets[piece.choice]);
            events.send(&completions::completion(head, &[(piece.choice, choice)], announced.clone())).await?;
        }
        if self.shows_usage {
            events.send(&completions::completion(head, &[], Some(self.usage(&pieces)))).await?;
        }
        events.send_done().await
    }
}
