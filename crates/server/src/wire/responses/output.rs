//! What is answered: a response, as far as it has come, with its items.

use crate::identifier;
use crate::problem::Problem;
use crate::tools::Call;
use crate::wire::output::{Head, Usage};
use serde_json::{Map, Value, json};

/// How far an answer has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// It is being made.
    InProgress,
    /// It ended by itself, or called functions.
    Completed,
    /// It has as many tokens as were asked for, or as fit.
    Incomplete,
    /// It could not be made.
    Failed(Problem),
}

impl Status {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Incomplete => "incomplete",
            Status::Failed(_) => "failed",
        }
    }

    /// That of the item under way: items know no failure.
    pub fn of_item(&self) -> &'static str {
        match self {
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Incomplete | Status::Failed(_) => "incomplete",
        }
    }
}

/// The answer, as far as it has come.
pub fn response(
    head: &Head,
    echo: &Map<String, Value>,
    output: &[OutputItem],
    status: &Status,
    usage: Option<Usage>,
) -> Value {
    let last = output.len().saturating_sub(1);
    let item = |(i, item): (usize, &OutputItem)| match item {
        // Those before it are complete, and so are calls.
        OutputItem::Message { .. } if i == last => item.to_value(status.of_item()),
        _ => item.to_value(Status::Completed.of_item()),
    };
    let items: Vec<Value> = output.iter().enumerate().map(item).collect();
    let reason = (*status == Status::Incomplete).then(|| json!({ "reason": "max_output_tokens" }));
    let error = match status {
        Status::Failed(problem) => json!({ "code": "server_error", "message": problem.message }),
        _ => Value::Null,
    };
    let is_done = *status == Status::Completed;
    let mut value = json!({
        "id": head.id, "object": "response", "created_at": head.created, "model": head.model, "status": status.name(),
        "completed_at": is_done.then(identifier::now), "error": error, "incomplete_details": reason, "output": items,
    });
    if let Some(map) = value.as_object_mut() {
        // The published schema lets it be absent, but not null.
        map.extend(usage.map(|usage| ("usage".to_owned(), usage_value(&usage))));
        map.extend(echo.clone());
    }
    value
}

fn usage_value(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.n_prompt, "input_tokens_details": { "cached_tokens": usage.n_cached, "cache_write_tokens": 0 },
        "output_tokens": usage.n_completion, "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": usage.n_prompt + usage.n_completion,
    })
}

/// A part of an answer with a name of its own.
#[derive(Clone, Debug)]
pub enum OutputItem {
    /// What is said.
    Message {
        /// Its name.
        id: String,
        /// The text so far.
        text: String,
        /// ln p of its tokens, where they are asked for.
        logprobs: Vec<Value>,
    },
    /// A call of a function.
    Call {
        /// Its name.
        id: String,
        /// The call.
        call: Call,
    },
}

impl OutputItem {
    /// An empty message.
    pub fn message() -> Self {
        OutputItem::Message { id: identifier::new("msg_"), text: String::new(), logprobs: Vec::new() }
    }

    /// A call.
    pub fn call(call: Call) -> Self {
        OutputItem::Call { id: identifier::new("fc_"), call }
    }

    /// Its name.
    pub fn id(&self) -> &str {
        match self {
            OutputItem::Message { id, .. } | OutputItem::Call { id, .. } => id,
        }
    }

    /// As JSON, with how far it has come.
    pub fn to_value(&self, status: &str) -> Value {
        match self {
            OutputItem::Message { id, .. } => {
                let content: Vec<Value> = self.part().into_iter().collect();
                json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": content })
            }
            OutputItem::Call { id, call } => json!({
                "id": id, "type": "function_call", "status": status, "call_id": call.id, "name": call.name,
                "arguments": call.arguments,
            }),
        }
    }

    /// The one part of a message.
    pub fn part(&self) -> Option<Value> {
        match self {
            OutputItem::Message { text, logprobs, .. } => Some(part(text, logprobs)),
            OutputItem::Call { .. } => None,
        }
    }
}

/// A text as a part of a message.
pub fn part(text: &str, logprobs: &[Value]) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": logprobs })
}
