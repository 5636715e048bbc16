//! What is asked: a text, or the items of a conversation.

use crate::problem::Problem;
use crate::wire::message::{CalledFunction, FunctionKind, Message, Role, ToolCall};
use crate::wire::schema::schema;
use crate::wire::{Nothing, text_or_list};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::Value;

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
        text_or_list(deserializer, "a text, or a list of items", Input::Text, Input::Items)
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
        let text_of = |part| match part {
            Part::InputText { text } | Part::OutputText { text, .. } => text,
        };
        let of_parts = |parts: Vec<Part>| Parts(parts.into_iter().map(text_of).collect());
        text_or_list(
            deserializer,
            "a text, or a list of parts of the types input_text and output_text",
            Parts,
            of_parts,
        )
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
