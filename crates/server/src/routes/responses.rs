//! `POST /v1/responses`: an answer in a conversation, as items.

use super::job::Job;
use crate::answer::{End, Finished, Pieces, Saying, Speech};
use crate::constraint::Compiled;
use crate::convert::{Wishes, form_of, wishes};
use crate::http::{Ended, Events};
use crate::limits::{N_NOTES, NOTE_BYTES, at_most};
use crate::model::Served;
use crate::problem::Problem;
use crate::prompt;
use crate::state::State;
use crate::tools::{Part, Toolbox};
use crate::wire::output::{Head, token_logprob};
use crate::wire::responses::{self, OutputItem, Status, WITHOUT_EFFECT, part};
use crate::worker::Answers;
use genera_engine::generate::Request;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A conversation to be answered.
pub struct Responses {
    model: Arc<Served>,
    tools: Option<Toolbox>,
    n_prompt: usize,
    /// Alternatives shown of each token; `None` where no logprobs are.
    n_top: Option<usize>,
    is_stream: bool,
    echo: Map<String, Value>,
    stops: Vec<String>,
}

impl Responses {
    fn speech(&self, answers: Answers) -> Speech<'_> {
        Speech::new(Pieces::new(&self.model, answers, &self.stops, self.n_top.is_some()), 1, self.tools.as_ref())
    }

    fn logprobs(&self, saying: &Saying) -> Vec<Value> {
        let Some(n_top) = self.n_top else { return Vec::new() };
        saying.tokens.iter().map(|token| token_logprob(&self.model.codebook, token, n_top)).collect()
    }
}

impl Job for Responses {
    type Asked = responses::Request;
    const WITHOUT_EFFECT: &'static [&'static str] = WITHOUT_EFFECT;
    const PREFIX: &'static str = "resp_";

    fn prepare(asked: responses::Request, state: &State) -> Result<(Self, Vec<Request>), Problem> {
        let model = state.model(asked.model.as_deref())?.clone();
        check(&asked)?;
        let echo = responses::echo(&asked);
        let tools = asked.tools.map(|tools| tools.iter().map(|tool| tool.to_tool()).collect());
        let choice = asked.tool_choice.map(|choice| choice.0);
        let tools = Toolbox::new(tools, choice, asked.parallel_tool_calls, prompt::format_of(&model)?)?;
        let format = asked.text.and_then(|text| text.format).map(|format| format.to_response_format());
        let form = tools.as_ref().map(|tools| (tools.form(), "tools"));
        let form = match (form, form_of(format, None)?) {
            (Some(_), Some(_)) => {
                let message = "`text.format` and `tools` ask for two forms of one answer; ask for one alone";
                return Err(Problem::invalid("text.format", message));
            }
            (of_tools, of_text) => of_tools.or(of_text.map(|(form, _)| (form, "text.format"))),
        };
        let form = form.map(|(form, param)| model.grammars()?.compile(&form, param)).transpose()?;
        let n_top = asked.include.is_some_and(|include| !include.is_empty());
        let n_top = n_top.then(|| asked.top_logprobs.unwrap_or(0));
        let wishes = Wishes {
            max_tokens: asked.max_output_tokens.map(|n| ("max_output_tokens", n)),
            top_logprobs: n_top.unwrap_or(0),
            ..wishes!(asked: temperature, top_p, top_k, min_p, seed)
        };
        let plan = wishes.plan(&model)?;
        let conversation = responses::conversation(asked.instructions.as_deref(), asked.input)?;
        let prompt = prompt::conversation(&model, &conversation, tools.as_ref()).map_err(of_input)?;
        let requests = plan.requests(&model, &prompt, &|| form.as_ref().map(Compiled::constraint), "input")?;
        let (n_prompt, is_stream) = (prompt.n_tokens(), asked.stream.unwrap_or(false));
        let n_top = n_top.map(|n| n as usize);
        Ok((Self { model, tools, n_prompt, n_top, is_stream, echo, stops: plan.stops }, requests))
    }

    fn model(&self) -> &Arc<Served> {
        &self.model
    }

    fn is_stream(&self) -> bool {
        self.is_stream
    }

    async fn whole(&self, answers: Answers, head: &Head) -> Result<Value, Problem> {
        let mut speech = self.speech(answers);
        let (mut output, mut status) = (Vec::new(), Status::Completed);
        while let Some(saying) = speech.next().await? {
            let logprobs = self.logprobs(&saying);
            for part in saying.parts {
                add(&mut output, part);
            }
            add_logprobs(&mut output, logprobs);
            status = saying.end.as_ref().map_or(status, status_of);
        }
        if output.is_empty() {
            output.push(OutputItem::message());
        }
        Ok(responses::response(head, &self.echo, &output, &status, Some(speech.usage(self.n_prompt))))
    }

    async fn write(&self, answers: Answers, head: &Head, events: Events) -> Result<(), Ended> {
        let mut out = Out { events, head, echo: &self.echo, n_sent: 0, items: Vec::new(), is_open: false };
        out.send_response("response.created", &Status::InProgress, None).await?;
        out.send_response("response.in_progress", &Status::InProgress, None).await?;
        let mut speech = self.speech(answers);
        let mut status = Status::Completed;
        loop {
            // A client that is gone needs no last word; everybody else learns what failed.
            let saying = match out.events.wait(speech.next()).await {
                Ok(Ok(Some(saying))) => saying,
                Ok(Ok(None)) => break,
                Ok(Err(problem)) | Err(Ended::Problem(problem)) => {
                    return out.send_response("response.failed", &Status::Failed(problem), None).await;
                }
                Err(Ended::Gone) => return Err(Ended::Gone),
            };
            let mut logprobs = self.logprobs(&saying);
            for part in saying.parts {
                out.part(part, std::mem::take(&mut logprobs)).await?;
            }
            status = saying.end.as_ref().map_or(status, status_of);
        }
        if out.items.is_empty() {
            out.part(Part::Text(String::new()), Vec::new()).await?;
        }
        out.close(&status).await?;
        let name = format!("response.{}", status.name());
        out.send_response(&name, &status, Some(speech.usage(self.n_prompt))).await
    }

    fn last_word(problem: &Problem) -> String {
        let error = json!({
            "type": "error", "code": problem.code, "message": problem.message, "param": problem.param,
            "sequence_number": 0,
        });
        format!("event: error\ndata: {error}\n\n")
    }
}

/// What no type says.
fn check(asked: &responses::Request) -> Result<(), Problem> {
    let of_stream = asked.stream_options.and_then(|options| options.include_obfuscation);
    let wants =
        [("store", asked.store), ("background", asked.background), ("stream_options.include_obfuscation", of_stream)];
    if let Some((name, _)) = wants.iter().find(|(_, wanted)| *wanted == Some(true)) {
        let message =
            format!("`{name}` cannot be true on this server: answers are neither kept nor made later, nor padded");
        return Err(Problem { code: Some("unsupported_parameter"), ..Problem::invalid(*name, message) });
    }
    if asked.stream_options.is_some() && asked.stream != Some(true) {
        let message = "`stream_options` means nothing without `stream`: true; add it";
        return Err(Problem::invalid("stream_options", message));
    }
    if asked.top_logprobs.is_some() && asked.include.as_ref().is_none_or(Vec::is_empty) {
        let message = "`top_logprobs` means nothing without `include`: [\"message.output_text.logprobs\"]; add it";
        return Err(Problem::invalid("top_logprobs", message));
    }
    let notes = asked.metadata.iter().flatten();
    at_most("metadata", notes.clone().count(), N_NOTES, "notes")?;
    let longest = notes.map(|(name, text)| name.len().max(text.len())).max().unwrap_or(0);
    at_most("metadata", longest, NOTE_BYTES, "bytes in one note")
}

/// A problem with a message, as this interface calls messages.
fn of_input(problem: Problem) -> Problem {
    let rename = |text: String| text.replace("messages", "input");
    Problem { param: problem.param.map(rename), message: problem.message.replace("`messages", "`input"), ..problem }
}

fn status_of(end: &Finished) -> Status {
    if *end == Finished::Ended(End::Length) { Status::Incomplete } else { Status::Completed }
}

/// Adds to the message under way, or begins an item.
fn add(output: &mut Vec<OutputItem>, part: Part) {
    match part {
        Part::Text(more) => match output.last_mut() {
            Some(OutputItem::Message { text, .. }) => *text += &more,
            _ => {
                let OutputItem::Message { id, logprobs, .. } = OutputItem::message() else { return };
                output.push(OutputItem::Message { id, text: more, logprobs });
            }
        },
        Part::Call(call) => output.push(OutputItem::call(call)),
    }
}

fn add_logprobs(output: &mut [OutputItem], more: Vec<Value>) {
    if let Some(OutputItem::Message { logprobs, .. }) = output.last_mut() {
        logprobs.extend(more);
    }
}

/// The events of a streamed answer.
struct Out<'r> {
    events: Events,
    head: &'r Head,
    echo: &'r Map<String, Value>,
    n_sent: u64,
    items: Vec<OutputItem>,
    /// Whether the last item is a message that goes on.
    is_open: bool,
}

impl Out<'_> {
    async fn send(&mut self, name: &str, mut data: Value) -> Result<(), Ended> {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.n_sent);
        self.n_sent += 1;
        self.events.send_named(name, &data).await
    }

    async fn send_response(
        &mut self,
        name: &str,
        status: &Status,
        usage: Option<crate::wire::output::Usage>,
    ) -> Result<(), Ended> {
        let response = responses::response(self.head, self.echo, &self.items, status, usage);
        self.send(name, json!({ "response": response })).await
    }

    /// Sends an event about the last item.
    async fn of_item(&mut self, name: &str, mut data: Value) -> Result<(), Ended> {
        data["item_id"] = json!(self.items.last().map(OutputItem::id));
        data["output_index"] = json!(self.items.len().saturating_sub(1));
        self.send(name, data).await
    }

    async fn part(&mut self, said: Part, logprobs: Vec<Value>) -> Result<(), Ended> {
        match said {
            Part::Text(text) => {
                if !self.is_open {
                    self.open(OutputItem::message()).await?;
                    self.is_open = true;
                    self.of_item("response.content_part.added", json!({ "content_index": 0, "part": part("", &[]) }))
                        .await?;
                }
                let delta = json!({ "content_index": 0, "delta": text, "logprobs": logprobs });
                add(&mut self.items, Part::Text(text));
                add_logprobs(&mut self.items, logprobs);
                self.of_item("response.output_text.delta", delta).await
            }
            Part::Call(call) => {
                self.close(&Status::Completed).await?;
                let (name, arguments) = (call.name.clone(), call.arguments.clone());
                self.open(OutputItem::call(call)).await?;
                self.of_item("response.function_call_arguments.delta", json!({ "delta": arguments })).await?;
                let done = json!({ "name": name, "arguments": arguments });
                self.of_item("response.function_call_arguments.done", done).await?;
                self.end_item("completed").await
            }
        }
    }

    async fn open(&mut self, item: OutputItem) -> Result<(), Ended> {
        let mut value = item.to_value("in_progress");
        match &item {
            OutputItem::Message { .. } => value["content"] = json!([]),
            OutputItem::Call { .. } => value["arguments"] = json!(""),
        }
        self.items.push(item);
        let index = self.items.len() - 1;
        self.send("response.output_item.added", json!({ "output_index": index, "item": value })).await
    }

    async fn end_item(&mut self, status: &str) -> Result<(), Ended> {
        let item = self.items.last().map(|item| item.to_value(status));
        let index = self.items.len().saturating_sub(1);
        self.send("response.output_item.done", json!({ "output_index": index, "item": item })).await
    }

    /// Ends the message under way.
    async fn close(&mut self, status: &Status) -> Result<(), Ended> {
        if !std::mem::take(&mut self.is_open) {
            return Ok(());
        }
        let part = self.items.last().and_then(OutputItem::part).unwrap_or_default();
        let done = json!({ "content_index": 0, "text": part["text"], "logprobs": part["logprobs"] });
        self.of_item("response.output_text.done", done).await?;
        self.of_item("response.content_part.done", json!({ "content_index": 0, "part": part })).await?;
        self.end_item(status.name()).await
    }
}
