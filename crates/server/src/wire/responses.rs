//! `POST /v1/responses`: the OpenAI interface of items.

mod input;
mod output;

pub use input::{Input, conversation};
pub use output::{OutputItem, Status, part, response};

use super::Nothing;
use super::message::{Function, FunctionKind, NamedSchema, ResponseFormat, Tool, ToolChoice};
use super::schema::schema;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

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
        #[serde(default)]
        description: Nothing,
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
                    _description: *description,
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
            Format::JsonSchema { name, schema, strict, .. } => json!({
                "type": "json_schema", "name": name, "description": null, "schema": schema,
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
        match (value.as_str(), value["name"].as_str()) {
            (Some("auto"), _) => Ok(FlatChoice(ToolChoice::Auto)),
            (Some("none"), _) => Ok(FlatChoice(ToolChoice::None)),
            (Some("required"), _) => Ok(FlatChoice(ToolChoice::Required)),
            (None, Some(name)) if value == json!({ "type": "function", "name": name }) => {
                Ok(FlatChoice(ToolChoice::Named(name.to_owned())))
            }
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
