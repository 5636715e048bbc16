//! `POST /v1/chat/completions`: an answer in a conversation.

use super::job::Job;
use crate::answer::{Pieces, Saying, Speech};
use crate::constraint::Compiled;
use crate::convert::{Wishes, form_of, wishes};
use crate::http::{Ended, Events};
use crate::model::Served;
use crate::problem::Problem;
use crate::prompt;
use crate::state::State;
use crate::tools::{Part, Toolbox};
use crate::wire::chat::{self, Choice, Delta, WITHOUT_EFFECT};
use crate::wire::output::{Head, token_logprob};
use crate::worker::Answers;
use genera_engine::generate;
use serde_json::Value;
use std::sync::Arc;

/// A conversation to be answered.
pub struct Chat {
    model: Arc<Served>,
    stops: Vec<String>,
    tools: Option<Toolbox>,
    n_prompt: usize,
    /// Alternatives shown of each token; `None` where no logprobs are.
    n_top: Option<usize>,
    is_stream: bool,
    shows_usage: bool,
}

impl Chat {
    fn speech(&self, answers: Answers) -> Speech<'_> {
        let n = answers.len();
        Speech::new(Pieces::new(&self.model, answers, &self.stops, self.n_top.is_some()), n, self.tools.as_ref())
    }

    fn logprobs(&self, saying: &Saying) -> Option<Vec<Value>> {
        let n_top = self.n_top?;
        Some(saying.tokens.iter().map(|token| token_logprob(&self.model.codebook, token, n_top)).collect())
    }
}

impl Job for Chat {
    type Asked = chat::Request;
    const WITHOUT_EFFECT: &'static [&'static str] = WITHOUT_EFFECT;
    const PREFIX: &'static str = "chatcmpl-";

    fn prepare(asked: chat::Request, state: &State) -> Result<(Self, Vec<generate::Request>), Problem> {
        let model = state.model(asked.model.as_deref())?.clone();
        let n_top = n_top_logprobs(asked.logprobs, asked.top_logprobs)?;
        let (is_stream, shows_usage) = stream_of(asked.stream, asked.stream_options)?;
        let tools =
            Toolbox::new(asked.tools, asked.tool_choice, asked.parallel_tool_calls, prompt::format_of(&model)?)?;
        let mut form = form_of(asked.response_format, asked.structured_outputs)?;
        if let Some(tools) = &tools {
            if let Some((_, param)) = form {
                let message = format!("`{param}` and `tools` ask for two forms of one answer; ask for one alone");
                return Err(Problem::invalid(param, message));
            }
            form = Some((tools.form(), "tools"));
        }
        let form = form.map(|(form, param)| model.grammars()?.compile(&form, param)).transpose()?;
        let max_tokens = max_tokens_of(asked.max_tokens, asked.max_completion_tokens)?;
        let wishes = wishes!(asked: temperature, top_p, top_k, min_p, presence_penalty, frequency_penalty, repetition_penalty,
            logit_bias, seed, n, min_tokens, no_repeat_ngram_size, stop);
        let wishes = Wishes { max_tokens, top_logprobs: n_top.unwrap_or(0) as u64, ..wishes };
        let plan = wishes.plan(&model)?;
        let prompt = prompt::conversation(&model, &asked.messages, tools.as_ref())?;
        let requests = plan.requests(&model, &prompt, &|| form.as_ref().map(Compiled::constraint), "messages")?;
        let n_prompt = prompt.n_tokens();
        Ok((Self { model, stops: plan.stops, tools, n_prompt, n_top, is_stream, shows_usage }, requests))
    }

    fn model(&self) -> &Arc<Served> {
        &self.model
    }

    fn is_stream(&self) -> bool {
        self.is_stream
    }

    async fn whole(&self, answers: Answers, head: &Head) -> Result<Value, Problem> {
        let logprobs = self.n_top.map(|_| Vec::new());
        let mut choices = vec![Choice { logprobs, ..Choice::default() }; answers.len()];
        let mut speech = self.speech(answers);
        while let Some(saying) = speech.next().await? {
            let choice = &mut choices[saying.choice];
            if let (Some(known), Some(more)) = (&mut choice.logprobs, self.logprobs(&saying)) {
                known.extend(more);
            }
            if let Some(end) = &saying.end {
                choice.finish_reason = end.name();
            }
            for part in saying.parts {
                match part {
                    Part::Text(text) => choice.text += &text,
                    Part::Call(call) => choice.calls.push(call),
                }
            }
        }
        Ok(chat::completion(head, &choices, &speech.usage(self.n_prompt)))
    }

    async fn write(&self, answers: Answers, head: &Head, mut events: Events) -> Result<(), Ended> {
        let mut n_calls = vec![0; answers.len()];
        for index in 0..n_calls.len() {
            let first = Delta { is_first: true, ..Delta::default() };
            events.send(&chat::chunk(head, index, &first, self.shows_usage)).await?;
        }
        let mut speech = self.speech(answers);
        while let Some(saying) = events.wait(speech.next()).await?? {
            let mut delta = Delta { logprobs: self.logprobs(&saying), ..Delta::default() };
            for part in saying.parts {
                match part {
                    Part::Text(text) => delta.text += &text,
                    Part::Call(call) => {
                        delta.calls.push((n_calls[saying.choice], call));
                        n_calls[saying.choice] += 1;
                    }
                }
            }
            let has_tokens = delta.logprobs.as_ref().is_some_and(|tokens| !tokens.is_empty());
            if !delta.text.is_empty() || !delta.calls.is_empty() || has_tokens {
                events.send(&chat::chunk(head, saying.choice, &delta, self.shows_usage)).await?;
            }
            if let Some(end) = saying.end {
                let last = Delta { finish_reason: Some(end.name()), ..Delta::default() };
                events.send(&chat::chunk(head, saying.choice, &last, self.shows_usage)).await?;
            }
        }
        if self.shows_usage {
            events.send(&chat::usage_chunk(head, &speech.usage(self.n_prompt))).await?;
        }
        events.send_done().await
    }
}

fn n_top_logprobs(is_asked: Option<bool>, n: Option<u64>) -> Result<Option<usize>, Problem> {
    match (is_asked.unwrap_or(false), n) {
        (true, n) => Ok(Some(n.unwrap_or(0).min(u32::MAX.into()) as usize)),
        (false, None) => Ok(None),
        (false, Some(_)) => {
            Err(Problem::invalid("top_logprobs", "`top_logprobs` means nothing without `logprobs`: true; add it"))
        }
    }
}

/// Whether the answer is streamed, and with its usage.
///
/// # Errors
/// 400 for options without a stream.
pub fn stream_of(
    stream: Option<bool>,
    options: Option<crate::wire::message::StreamOptions>,
) -> Result<(bool, bool), Problem> {
    let is_stream = stream.unwrap_or(false);
    if options.is_some() && !is_stream {
        return Err(Problem::invalid(
            "stream_options",
            "`stream_options` means nothing without `stream`: true; add it",
        ));
    }
    Ok((is_stream, options.and_then(|options| options.include_usage).unwrap_or(false)))
}

fn max_tokens_of(old: Option<u64>, new: Option<u64>) -> Result<Option<(&'static str, u64)>, Problem> {
    match (old, new) {
        (Some(_), Some(_)) => {
            let message = "`max_tokens` and `max_completion_tokens` are two names of one thing; give one of them";
            Err(Problem::invalid("max_tokens", message))
        }
        (old, new) => Ok(old.map(|n| ("max_tokens", n)).or(new.map(|n| ("max_completion_tokens", n)))),
    }
}
