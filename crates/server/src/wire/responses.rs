//! `POST /v1/responses`: the OpenAI interface of items.

use super::Nothing;
use super::message::{
    CalledFunction, Function, FunctionKind, Message, NamedSchema, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
};
use super::output::{Head, Usage};
use super::schema::schema;
use crate::identifier;
use crate::problem::Problem;
use crate::tools::Call;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Fields of the published interface that mean nothing here.
pub const WITHOUT_EFFECT: &[&str] = &[
    "context_management",
    "conversation",
    "max_tool_calls",
    "moderation",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "user",
    "verbosity",
];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResponsesRequest")]
pub struct Request {
    /// Which model; the first where none is named.
    pub model: Option<String>,
    /// A text that the user says, or the items of a conversation.
    pub input: Input,
    /// What the system says first.
    pub instructions: Option<String>,
    /// Tokens of the answer at most.
    pub max_output_tokens: Option<u64>,
    /// How far to stray from the most probable token, 0 to 2; 0 always takes it.
    pub temperature: Option<f64>,
    /// Choose among the most probable tokens that together have this probability, 0 to 1.
    pub top_p: Option<f64>,
    /// Choose among so many of the most probable tokens; 0 for all. Beyond the published interface.
    pub top_k: Option<i64>,
    /// Choose among tokens at least so many times as probable as the most probable one. Beyond the published interface.
    pub min_p: Option<f64>,
    /// The same seed gives the same answer. Beyond the published interface.
    pub seed: Option<i64>,
    /// The form of the answer.
    pub text: Option<TextSettings>,
    /// Functions that may be called.
    pub tools: Option<Vec<FlatTool>>,
    /// Whether a function is to be called, and which.
    pub tool_choice: Option<FlatChoice>,
    /// Whether several functions may be called at once.
    pub parallel_tool_calls: Option<bool>,
    /// Whether the answer is sent while it is made.
    pub stream: Option<bool>,
    /// How a stream is written.
    pub stream_options: Option<StreamOptions>,
    /// What is to be told besides: only `message.output_text.logprobs`.
    pub include: Option<Vec<Include>>,
    /// Alternatives told of each token, 0 to 20; with `include`.
    pub top_logprobs: Option<u64>,
    /// Notes of the client, which stand in the answer again.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Answers are never kept here, so only false may stand here.
    pub store: Option<bool>,
    /// Answers are made while the client waits, so only false may stand here.
    pub background: Option<bool>,
    /// A conversation that is too long is refused, so only `disabled` may stand here.
    pub truncation: Option<Truncation>,
    /// Answers are never kept here, so only null may stand here; send the items again.
    #[serde(default, rename = "previous_response_id")]
    pub _previous_response_id: Nothing,
}

/// What can be told besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Include {
    /// ln p of the tokens.
    #[serde(rename = "message.output_text.logprobs")]
    Logprobs,
}

/// What happens to a conversation that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Truncation {
    /// It is refused.
    Disabled,
}

/// How a stream is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamOptions {
    /// Only false: events are not padded.
    pub include_obfuscation: Option<bool>,
}

/// The form of the answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TextSettings {
    /// Any text, or JSON.
    pub format: Option<Format>,
}

/// Any text, or JSON.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Format {
    /// Any text.
    Text {},
    /// Any JSON object.
    JsonObject {},
    /// JSON of a schema.
    JsonSchema {
        /// Its name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Answers keep to the schema in any case.
        strict: Option<bool>,
    },
}

impl Format {
    /// As chat completions have it.
    pub fn to_response_format(&self) -> ResponseFormat {
        match self {
            Format::Text {} => ResponseFormat::Text {},
            Format::JsonObject {} => ResponseFormat::JsonObject {},
            Format::JsonSchema { name, description, schema, strict } => ResponseFormat::JsonSchema {
                json_schema: NamedSchema {
                    _name: name.clone(),
                    _description: description.clone(),
                    schema: Some(schema.clone()),
                    _strict: *strict,
                },
            },
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Format::Text {} => json!({ "type": "text" }),
            Format::JsonObject {} => json!({ "type": "json_object" }),
            Format::JsonSchema { name, description, schema, strict } => json!({
                "type": "json_schema", "name": name, "description": description, "schema": schema,
                "strict": strict.unwrap_or(true),
            }),
        }
    }
}

/// A function with the schema of its parameters.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlatTool {
    #[serde(rename = "type")]
    _kind: FunctionKind,
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON Schema of its parameters.
    pub parameters: Option<Value>,
    /// Calls keep to the schema in any case.
    pub strict: Option<bool>,
}

impl FlatTool {
    /// As chat completions have it.
    pub fn to_tool(&self) -> Tool {
        let function = Function {
            name: self.name.clone(),
            description: self.description.clone(),
            parameters: self.parameters.clone(),
            _strict: self.strict,
        };
        Tool { _kind: FunctionKind::Function, function }
    }

    fn to_value(&self) -> Value {
        json!({
            "type": "function", "name": self.name, "description": self.description, "parameters": self.parameters,
            "strict": self.strict.unwrap_or(true),
        })
    }
}

/// Which function is to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlatChoice(pub ToolChoice);

schema!(FlatChoice, { "anyOf": [
    { "enum": ["none", "auto", "required"] },
    {
        "type": "object", "properties": { "type": { "const": "function" }, "name": { "type": "string" } },
        "required": ["type", "name"],
    },
] });

impl<'de> Deserialize<'de> for FlatChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match (value.as_str(), value["type"].as_str(), value["name"].as_str()) {
            (Some("auto"), ..) => Ok(FlatChoice(ToolChoice::Auto)),
            (Some("none"), ..) => Ok(FlatChoice(ToolChoice::None)),
            (Some("required"), ..) => Ok(FlatChoice(ToolChoice::Required)),
            (None, Some("function"), Some(name)) => Ok(FlatChoice(ToolChoice::Named(name.to_owned()))),
            _ => Err(D::Error::custom(
                "expected \"none\", \"auto\", \"required\" or {\"type\": \"function\", \"name\": \"…\"}",
            )),
        }
    }
}

impl FlatChoice {
    fn to_value(&self) -> Value {
        match &self.0 {
            ToolChoice::Auto => json!("auto"),
            ToolChoice::None => json!("none"),
            ToolChoice::Required => json!("required"),
            ToolChoice::Named(name) => json!({ "type": "function", "name": name }),
        }
    }
}

/// A text that the user says, or the items of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Text(String),
    Items(Vec<Item>),
}

schema!(Input, generator => { "anyOf": [
    { "type": "string" }, { "type": "array", "items": generator.subschema_for::<Item>() },
] });

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrItems;

        impl<'de> Visitor<'de> for TextOrItems {
            type Value = Input;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of items")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Input, E> {
                Ok(Input::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Input, A::Error> {
                Ok(Input::Items(Vec::deserialize(SeqAccessDeserializer::new(items))?))
            }
        }
        deserializer.deserialize_any(TextOrItems)
    }
}

/// An item of a conversation: a message, a call of a function, or what it gave.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResponsesItem")]
pub struct Item {
    /// What it is; a message where nothing is said.
    #[serde(default, rename = "type")]
    kind: ItemKind,
    /// Who speaks in a message.
    role: Option<Speaker>,
    /// What is said in a message.
    content: Option<Parts>,
    /// The call that a function was asked with, or answers.
    call_id: Option<String>,
    /// The function that was called.
    name: Option<String>,
    /// What it was called with: JSON as a text.
    arguments: Option<String>,
    /// What it gave.
    output: Option<Parts>,
    // What clients send back of an answer.
    #[serde(rename = "id")]
    _id: Option<String>,
    #[serde(rename = "status")]
    _status: Option<String>,
    #[serde(default, rename = "phase")]
    _phase: Nothing,
    #[serde(default, rename = "namespace")]
    _namespace: Nothing,
    #[serde(default, rename = "caller")]
    _caller: Nothing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ItemKind {
    #[default]
    Message,
    FunctionCall,
    FunctionCallOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    User,
    Assistant,
    System,
    Developer,
}

/// What is said: a text, perhaps in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts(String);

schema!(Parts, generator => { "anyOf": [
    { "type": "string" }, { "type": "array", "items": generator.subschema_for::<Part>() },
] });

/// A part of what is said.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "ResponsesPart")]
enum Part {
    /// Said to the model.
    InputText {
        /// The text.
        text: String,
    },
    /// Said by the model, as it came in an answer.
    OutputText {
        /// The text.
        text: String,
        #[serde(default, rename = "annotations")]
        _annotations: Nothing,
        #[serde(rename = "logprobs")]
        #[schemars(with = "Option<Vec<Value>>")]
        _logprobs: Option<Vec<IgnoredAny>>,
    },
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrParts;

        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Parts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of parts of the types input_text and output_text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Parts, E> {
                Ok(Parts(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Parts, A::Error> {
                let parts = Vec::<Part>::deserialize(SeqAccessDeserializer::new(items))?;
                let text = |part| match part {
                    Part::InputText { text } | Part::OutputText { text, .. } => text,
                };
                Ok(Parts(parts.into_iter().map(text).collect()))
            }
        }
        deserializer.deserialize_any(TextOrParts)
    }
}

/// The items as messages of chat completions: calls belong to the assistant's message before them.
///
/// # Errors
/// 400 for an item that lacks a part.
pub fn conversation(instructions: Option<&str>, input: Input) -> Result<Vec<Message>, Problem> {
    let system = instructions.map(|text| Message::new(Role::System, text.to_owned()));
    let mut messages: Vec<Message> = system.into_iter().collect();
    match input {
        Input::Text(text) => messages.push(Message::new(Role::User, text)),
        Input::Items(items) => {
            for (i, item) in items.into_iter().enumerate() {
                add(&mut messages, item).map_err(|field| {
                    let param = format!("input[{i}].{field}");
                    let message = format!("`{param}` is missing or does not belong to an item of this type");
                    Problem::invalid(param, message)
                })?;
            }
        }
    }
    Ok(messages)
}

/// Adds an item; the field that is wrong where it cannot be.
fn add(messages: &mut Vec<Message>, item: Item) -> Result<(), &'static str> {
    let Item { kind, role, content, call_id, name, arguments, output, .. } = item;
    let stray = |fields: &[(&'static str, bool)]| fields.iter().find(|(_, is_there)| *is_there).map(|(name, _)| *name);
    let of_call = [("name", name.is_some()), ("arguments", arguments.is_some())];
    let of_message = [("role", role.is_some()), ("content", content.is_some())];
    match kind {
        ItemKind::Message => {
            let others = [("call_id", call_id.is_some()), ("output", output.is_some())];
            stray(&[others, of_call].concat()).map_or(Ok(()), Err)?;
            let role = match role.ok_or("role")? {
                Speaker::User => Role::User,
                Speaker::Assistant => Role::Assistant,
                Speaker::System | Speaker::Developer => Role::System,
            };
            messages.push(Message::new(role, content.ok_or("content")?.0));
        }
        ItemKind::FunctionCall => {
            stray(&[&of_message[..], &[("output", output.is_some())]].concat()).map_or(Ok(()), Err)?;
            let function = CalledFunction { name: name.ok_or("name")?, arguments: arguments.ok_or("arguments")? };
            let id = call_id.ok_or("call_id")?;
            let call = ToolCall { id, _kind: FunctionKind::Function, function, _index: None };
            if messages.last().is_none_or(|last| last.role != Role::Assistant) {
                messages.push(Message::new(Role::Assistant, String::new()));
            }
            messages.iter_mut().next_back().ok_or("type")?.tool_calls.get_or_insert_default().push(call);
        }
        ItemKind::FunctionCallOutput => {
            stray(&[of_message, of_call].concat()).map_or(Ok(()), Err)?;
            let mut message = Message::new(Role::Tool, output.ok_or("output")?.0);
            message.tool_call_id = Some(call_id.ok_or("call_id")?);
            messages.push(message);
        }
    }
    Ok(())
}

/// What of the request stands in the answer again.
pub fn echo(asked: &Request) -> Map<String, Value> {
    let format = asked.text.as_ref().and_then(|text| text.format.as_ref());
    let format = format.map_or_else(|| json!({ "type": "text" }), Format::to_value);
    let tools: Vec<Value> = asked.tools.iter().flatten().map(FlatTool::to_value).collect();
    let echo = json!({
        "background": false, "conversation": null, "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens, "max_tool_calls": null, "metadata": asked.metadata.clone().unwrap_or_default(),
        "parallel_tool_calls": asked.parallel_tool_calls.unwrap_or(true), "previous_response_id": null, "prompt": null,
        "reasoning": { "effort": null, "summary": null }, "service_tier": "default", "store": false,
        "temperature": asked.temperature, "text": { "format": format },
        "tool_choice": asked.tool_choice.as_ref().map_or_else(|| json!("auto"), FlatChoice::to_value), "tools": tools,
        "top_logprobs": asked.top_logprobs.unwrap_or(0), "top_p": asked.top_p, "truncation": "disabled",
    });
    echo.as_object().cloned().unwrap_or_default()
}

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
}

/// The answer, as far as it has come.
pub fn response(
    head: &Head,
    echo: &Map<String, Value>,
    output: &[OutputItem],
    status: &Status,
    usage: Option<Usage>,
) -> Value {
    let items: Vec<Value> = output.iter().map(|item| item.to_value(status.name())).collect();
    let reason = (*status == Status::Incomplete).then(|| json!({ "reason": "max_output_tokens" }));
    let error = match status {
        Status::Failed(problem) => json!({ "code": "server_error", "message": problem.message }),
        _ => Value::Null,
    };
    let is_done = *status == Status::Completed;
    let mut value = json!({
        "id": head.id, "object": "response", "created_at": head.created, "model": head.model, "status": status.name(),
        "completed_at": is_done.then(identifier::now), "error": error, "incomplete_details": reason, "output": items,
        "usage": usage.map(|usage| usage_value(&usage)),
    });
    if let Some(map) = value.as_object_mut() {
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
