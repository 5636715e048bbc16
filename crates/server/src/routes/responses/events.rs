//! The events of a streamed answer: items are opened, filled and closed.

use super::{add, add_logprobs};
use crate::http::{Ended, Events};
use crate::tools::Part;
use crate::wire::output::{Head, Usage};
use crate::wire::responses::{self, OutputItem, Status, part};
use serde_json::{Map, Value, json};

/// The events of a streamed answer.
pub struct Out<'r> {
    pub events: Events,
    head: &'r Head,
    echo: &'r Map<String, Value>,
    n_sent: u64,
    items: Vec<OutputItem>,
    /// Whether the last item is a message that goes on.
    is_open: bool,
}

impl<'r> Out<'r> {
    /// Writes to `events`.
    pub fn new(events: Events, head: &'r Head, echo: &'r Map<String, Value>) -> Self {
        Self { events, head, echo, n_sent: 0, items: Vec::new(), is_open: false }
    }

    /// Whether nothing was said so far.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    async fn send(&mut self, name: &str, mut data: Value) -> Result<(), Ended> {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.n_sent);
        self.n_sent += 1;
        self.events.send_named(name, &data).await
    }

    /// Sends an event with the answer as far as it has come.
    pub async fn send_response(&mut self, name: &str, status: &Status, usage: Option<Usage>) -> Result<(), Ended> {
        let response = responses::response(self.head, self.echo, &self.items, status, usage);
        self.send(name, json!({ "response": response })).await
    }

    /// Sends an event about the last item.
    async fn of_item(&mut self, name: &str, mut data: Value) -> Result<(), Ended> {
        data["item_id"] = json!(self.items.last().map(OutputItem::id));
        data["output_index"] = json!(self.items.len().saturating_sub(1));
        self.send(name, data).await
    }

    /// Sends a part of the answer.
    pub async fn part(&mut self, said: Part, logprobs: Vec<Value>) -> Result<(), Ended> {
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
    pub async fn close(&mut self, status: &Status) -> Result<(), Ended> {
        if !std::mem::take(&mut self.is_open) {
            return Ok(());
        }
        let part = self.items.last().and_then(OutputItem::part).unwrap_or_default();
        let done = json!({ "content_index": 0, "text": part["text"], "logprobs": part["logprobs"] });
        self.of_item("response.output_text.done", done).await?;
        self.of_item("response.content_part.done", json!({ "content_index": 0, "part": part })).await?;
        self.end_item(status.of_item()).await
    }
}
