//! `POST /v1/messages`: Anthropic's interface.

use super::message::{CalledFunction, Content, Function, FunctionKind, Message, Role, Tool, ToolCall, ToolChoice};
use super::output::{Head, Usage};
use super::{Texts, text_or_list};
use crate::answer::{End, Finished};
use crate::tools::Call;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::{Value, json};

/// Fields of the published interface that mean nothing here.
pub const WITHOUT_EFFECT: &[&str] = &[
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "metadata",
    "output_config",
    "service_tier",
    "thinking",
];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MessagesRequest")]
pub struct Request {
    /// Which model; the first where none is named.
    pub model: Option<String>,
    /// The conversation so far.
    pub messages: Vec<Turn>,
    /// What the system says first.
    pub system: Option<Content>,
    /// Tokens of an answer at most.
    pub max_tokens: u64,
    /// How far to stray from the most probable token, 0 to 2; 0 always takes it.
    pub temperature: Option<f64>,
    /// Choose among the most probable tokens that together have this probability, 0 to 1.
    pub top_p: Option<f64>,
    /// Choose among so many of the most probable tokens; 0 for all. Beyond the published interface.
    pub top_k: Option<i64>,
    /// Texts that end an answer, at most 16.
    pub stop_sequences: Option<Texts>,
    /// Whether the answer is sent while it is made.
    pub stream: Option<bool>,
    /// Functions that may be called.
    pub tools: Option<Vec<Described>>,
    /// Whether a function is to be called, and which.
    pub tool_choice: Option<Choice>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MessagesTurn")]
pub struct Turn {
    role: Speaker,
    content: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    User,
    Assistant,
}

#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(untagged, rename = "MessagesContent")]
enum Said {
    Text(String),
    Blocks(Vec<Block>),
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a text, or a list of blocks of the types text, tool_use and tool_result";
        text_or_list(deserializer, expecting, Said::Text, Said::Blocks)
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "MessagesBlock")]
enum Block {
    Text {
        text: String,
        #[serde(default, rename = "citations")]
        _citations: super::Nothing,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
        #[serde(default, rename = "caller")]
        _caller: super::Nothing,
    },
    ToolResult {
        tool_use_id: String,
        content: Option<Content>,
        #[serde(default)]
        is_error: bool,
    },
}

/// A tool.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MessagesTool")]
pub struct Described {
    name: String,
    description: Option<String>,
    input_schema: Value,
}

/// Which tool is to be called.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
#[schemars(rename = "MessagesToolChoice")]
pub enum Choice {
    Auto { disable_parallel_tool_use: Option<bool> },
    Any { disable_parallel_tool_use: Option<bool> },
    Tool { name: String, disable_parallel_tool_use: Option<bool> },
    None {},
}

impl Choice {
    /// The same as the OpenAI interface has it, and whether several calls may come at once.
    pub fn split(self) -> (ToolChoice, Option<bool>) {
        let (choice, is_single) = match self {
            Choice::Auto { disable_parallel_tool_use } => (ToolChoice::Auto, disable_parallel_tool_use),
            Choice::Any { disable_parallel_tool_use } => (ToolChoice::Required, disable_parallel_tool_use),
            Choice::Tool { name, disable_parallel_tool_use } => (ToolChoice::Named(name), disable_parallel_tool_use),
            Choice::None {} => (ToolChoice::None, None),
        };
        (choice, is_single.map(|is_single| !is_single))
    }
}

impl From<Described> for Tool {
    fn from(tool: Described) -> Self {
        let Described { name, description, input_schema } = tool;
        let function = Function { name, description, parameters: Some(input_schema), _strict: None };
        Tool { _kind: FunctionKind::Function, function }
    }
}

/// The messages as the OpenAI interface has them: what a tool gave is a message of its own there.
pub fn conversation(system: Option<Content>, turns: Vec<Turn>) -> Vec<Message> {
    let mut messages: Vec<Message> = system.map(|text| Message::new(Role::System, text.0)).into_iter().collect();
    for Turn { role, content } in turns {
        let role = if role == Speaker::User { Role::User } else { Role::Assistant };
        let blocks = match content {
            Said::Text(text) => {
                messages.push(Message::new(role, text));
                continue;
            }
            Said::Blocks(blocks) => blocks,
        };
        let (mut text, mut calls) = (String::new(), Vec::new());
        let mut is_empty = true;
        for block in blocks {
            match block {
                Block::Text { text: more, .. } => (text, is_empty) = (text + &more, false),
                Block::ToolUse { id, name, input, .. } => {
                    let function = CalledFunction { name, arguments: input.to_string() };
                    calls.push(ToolCall { id, _kind: FunctionKind::Function, function, _index: None });
                }
                Block::ToolResult { tool_use_id, content, is_error } => {
                    let text = content.unwrap_or_default().0;
                    let text = if is_error { format!("Error: {text}") } else { text };
                    let mut message = Message::new(Role::Tool, text);
                    message.tool_call_id = Some(tool_use_id);
                    messages.push(message);
                }
            }
        }
        if !is_empty || !calls.is_empty() {
            let mut message = Message::new(role, text);
            message.tool_calls = Some(calls).filter(|calls| !calls.is_empty());
            messages.push(message);
        }
    }
    messages
}

/// Why an answer ended, and at which text.
pub fn stop(finished: &Finished) -> (&'static str, Option<&str>) {
    match finished {
        Finished::Called => ("tool_use", None),
        Finished::Ended(End::Stop) => ("end_turn", None),
        Finished::Ended(End::StopString(text)) => ("stop_sequence", Some(text)),
        Finished::Ended(End::Length) => ("max_tokens", None),
    }
}

/// The whole answer.
pub fn message(head: &Head, content: &[Value], end: Option<&Finished>, usage: &Usage) -> Value {
    let (reason, text) = end.map(stop).unzip();
    json!({
        "id": head.id, "type": "message", "role": "assistant", "model": head.model, "content": content,
        "stop_reason": reason, "stop_sequence": text.flatten(), "usage": usage_value(usage),
    })
}

/// Tokens, as this interface has them.
pub fn usage_value(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.n_prompt - usage.n_cached, "output_tokens": usage.n_completion,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": usage.n_cached,
    })
}

/// A text as a block.
pub fn text_block(text: &str) -> Value {
    json!({ "type": "text", "text": text, "citations": null })
}

/// A call as a block.
pub fn call_block(call: &Call, input: &Value) -> Value {
    json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input })
}
