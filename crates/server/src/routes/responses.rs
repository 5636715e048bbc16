//! `POST /v1/responses`: an answer in a conversation, as items.

mod events;

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
use crate::wire::responses::{self, OutputItem, Status, WITHOUT_EFFECT};
use crate::worker::Answers;
use events::Out;
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
        let mut out = Out::new(events, head, &self.echo);
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
        if out.is_empty() {
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
