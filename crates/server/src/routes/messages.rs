//! `POST /v1/messages`: an answer in a conversation, by Anthropic's interface.

use super::job::Job;
use crate::answer::{Pieces, Speech};
use crate::constraint::Compiled;
use crate::convert::{Wishes, wishes};
use crate::http::{Ended, Events};
use crate::model::Served;
use crate::problem::Problem;
use crate::prompt;
use crate::state::State;
use crate::tools::{Part, Toolbox};
use crate::wire::messages::{self, WITHOUT_EFFECT};
use crate::wire::output::{Head, Usage};
use crate::worker::Answers;
use genera_engine::generate;
use serde_json::{Value, json as value};
use std::sync::Arc;

/// A conversation to be answered.
pub struct Messages {
    model: Arc<Served>,
    stops: Vec<String>,
    tools: Option<Toolbox>,
    n_prompt: usize,
    is_stream: bool,
}

impl Messages {
    fn speech(&self, answers: Answers) -> Speech<'_> {
        Speech::new(Pieces::new(&self.model, answers, &self.stops, false), 1, self.tools.as_ref())
    }
}

impl Job for Messages {
    type Asked = messages::Request;
    const WITHOUT_EFFECT: &'static [&'static str] = WITHOUT_EFFECT;
    const PREFIX: &'static str = "msg_";

    fn prepare(asked: messages::Request, state: &State) -> Result<(Self, Vec<generate::Request>), Problem> {
        let model = state.model(asked.model.as_deref())?.clone();
        let (choice, is_parallel) = asked.tool_choice.map(messages::Choice::split).unzip();
        let tools = asked.tools.map(|tools| tools.into_iter().map(Into::into).collect());
        let tools = Toolbox::new(tools, choice, is_parallel.flatten(), prompt::format_of(&model)?)?;
        let form = tools.as_ref().map(|tools| model.grammars()?.compile(&tools.form(), "tools")).transpose()?;
        let wishes = Wishes {
            max_tokens: Some(("max_tokens", asked.max_tokens)),
            stop: asked.stop_sequences,
            ..wishes!(asked: temperature, top_p, top_k)
        };
        let plan = wishes.plan(&model)?;
        let conversation = messages::conversation(asked.system, asked.messages);
        let prompt = prompt::conversation(&model, &conversation, tools.as_ref())?;
        let requests = plan.requests(&model, &prompt, &|| form.as_ref().map(Compiled::constraint), "messages")?;
        let is_stream = asked.stream.unwrap_or(false);
        Ok((Self { model, stops: plan.stops, tools, n_prompt: prompt.n_tokens(), is_stream }, requests))
    }

    fn model(&self) -> &Arc<Served> {
        &self.model
    }

    fn is_stream(&self) -> bool {
        self.is_stream
    }

    async fn whole(&self, answers: Answers, head: &Head) -> Result<Value, Problem> {
        let mut speech = self.speech(answers);
        let (mut text, mut calls, mut end) = (String::new(), Vec::new(), None);
        while let Some(saying) = speech.next().await? {
            for part in saying.parts {
                match part {
                    Part::Text(more) => text += &more,
                    Part::Call(call) => {
                        let input = serde_json::from_str(&call.arguments).unwrap_or_default();
                        calls.push(messages::call_block(&call, &input));
                    }
                }
            }
            end = saying.end.or(end);
        }
        let mut content = if text.is_empty() { Vec::new() } else { vec![messages::text_block(&text)] };
        content.extend(calls);
        Ok(messages::message(head, &content, end.as_ref(), &speech.usage(self.n_prompt)))
    }

    async fn write(&self, answers: Answers, head: &Head, events: Events) -> Result<(), Ended> {
        let mut blocks = Blocks { events, n: 0, is_in_text: false };
        let usage = Usage { n_prompt: self.n_prompt, ..Usage::default() };
        let message = messages::message(head, &[], None, &usage);
        blocks.send("message_start", value!({ "message": message })).await?;
        let mut speech = self.speech(answers);
        let mut end = None;
        while let Some(saying) = blocks.events.wait(speech.next()).await?? {
            for part in saying.parts {
                blocks.part(part).await?;
            }
            end = saying.end.or(end);
        }
        blocks.close_text().await?;
        let usage = messages::usage_value(&speech.usage(self.n_prompt));
        let (reason, text) = end.as_ref().map(messages::stop).unzip();
        let delta = value!({ "stop_reason": reason, "stop_sequence": text.flatten() });
        blocks.send("message_delta", value!({ "delta": delta, "usage": usage })).await?;
        blocks.send("message_stop", value!({})).await
    }

    fn last_word(problem: &Problem) -> String {
        format!("event: error\ndata: {}\n\n", problem.anthropic_body())
    }
}

/// The blocks of a streamed message: each is opened, filled and closed.
struct Blocks {
    events: Events,
    n: usize,
    is_in_text: bool,
}

impl Blocks {
    async fn send(&mut self, name: &str, mut data: Value) -> Result<(), Ended> {
        data["type"] = value!(name);
        self.events.send_named(name, &data).await
    }

    async fn part(&mut self, part: Part) -> Result<(), Ended> {
        match part {
            Part::Text(text) => {
                if !self.is_in_text {
                    self.open(messages::text_block("")).await?;
                    self.is_in_text = true;
                }
                self.fill(value!({ "type": "text_delta", "text": text })).await
            }
            Part::Call(call) => {
                self.close_text().await?;
                self.open(messages::call_block(&call, &value!({}))).await?;
                self.fill(value!({ "type": "input_json_delta", "partial_json": call.arguments })).await?;
                self.close().await
            }
        }
    }

    async fn open(&mut self, block: Value) -> Result<(), Ended> {
        self.send("content_block_start", value!({ "index": self.n, "content_block": block })).await
    }

    async fn fill(&mut self, delta: Value) -> Result<(), Ended> {
        self.send("content_block_delta", value!({ "index": self.n, "delta": delta })).await
    }

    async fn close(&mut self) -> Result<(), Ended> {
        self.send("content_block_stop", value!({ "index": self.n })).await?;
        self.n += 1;
        Ok(())
    }

    async fn close_text(&mut self) -> Result<(), Ended> {
        if std::mem::take(&mut self.is_in_text) { self.close().await } else { Ok(()) }
    }
}
