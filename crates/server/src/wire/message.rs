//! Messages of a conversation, tools and forms of answers, as the OpenAI interface writes them.

use super::schema::schema;
use super::{Nothing, text_or_list};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Value, json};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// As `System`, under its newer name.
    Developer,
    /// Tells the model how to answer.
    System,
    /// Asks.
    User,
    /// Answers.
    Assistant,
    /// What a call gave.
    Tool,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Option<Content>,
    /// The name of who speaks, where the template writes names.
    pub name: Option<String>,
    /// Calls that the assistant made.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool answers.
    pub tool_call_id: Option<String>,
    // What clients send back of an answer.
    #[serde(default, rename = "refusal")]
    _refusal: Nothing,
    #[serde(default, rename = "annotations")]
    _annotations: Nothing,
    #[serde(default, rename = "audio")]
    _audio: Nothing,
    #[serde(default, rename = "function_call")]
    _function_call: Nothing,
}

impl Message {
    /// A message that says something.
    pub fn new(role: Role, content: String) -> Self {
        Self {
            role,
            content: Some(Content(content)),
            name: None,
            tool_calls: None,
            tool_call_id: None,
            _refusal: Nothing,
            _annotations: Nothing,
            _audio: Nothing,
            _function_call: Nothing,
        }
    }
}

/// What is said: a text, perhaps in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content(pub String);

schema!(Content, generator => { "anyOf": [
    { "type": "string" }, { "type": "array", "items": generator.subschema_for::<Part>() },
] });

/// A part of what is said.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "TextPart")]
enum Part {
    /// A text.
    Text {
        /// The text.
        text: String,
    },
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let of_parts = |parts: Vec<Part>| Content(parts.into_iter().map(|Part::Text { text }| text).collect());
        text_or_list(deserializer, "a text, or a list of parts of the type \"text\"", Content, of_parts)
    }
}

/// A call that the assistant made.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Its name.
    pub id: String,
    #[serde(rename = "type")]
    pub _kind: FunctionKind,
    /// What was called.
    pub function: CalledFunction,
    /// Where it stands among the calls, which their order says already.
    #[serde(rename = "index")]
    pub _index: Option<u32>,
}

/// The only kind of tool there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FunctionKind {
    /// A function of the client.
    Function,
}

/// What was called with what.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalledFunction {
    /// Its name.
    pub name: String,
    /// JSON as a text.
    pub arguments: String,
}

/// A tool that may be called.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    #[serde(rename = "type")]
    pub _kind: FunctionKind,
    /// The function.
    pub function: Function,
}

/// A function with the schema of its parameters.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON Schema of its parameters.
    pub parameters: Option<Value>,
    /// Calls keep to the schema in any case.
    #[serde(rename = "strict")]
    pub _strict: Option<bool>,
}

/// Which tool is to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// Whichever the model wants, or none.
    #[default]
    Auto,
    /// None.
    None,
    /// One at least.
    Required,
    /// This one.
    Named(String),
}

schema!(ToolChoice, generator => { "anyOf": [
    { "enum": ["none", "auto", "required"] },
    {
        "type": "object", "required": ["type", "function"],
        "properties": {
            "type": generator.subschema_for::<FunctionKind>(),
            "function": { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] },
        },
    },
] });

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let name = value["function"]["name"].as_str();
        match (value.as_str(), name) {
            (Some("auto"), _) => Ok(ToolChoice::Auto),
            (Some("none"), _) => Ok(ToolChoice::None),
            (Some("required"), _) => Ok(ToolChoice::Required),
            (None, Some(name)) if value == json!({ "type": "function", "function": { "name": name } }) => {
                Ok(ToolChoice::Named(name.to_owned()))
            }
            _ => Err(D::Error::custom(
                "expected \"none\", \"auto\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": \"…\"}}",
            )),
        }
    }
}

/// What an answer must be.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ResponseFormat {
    /// Any text.
    Text {},
    /// Any JSON object.
    JsonObject {},
    /// JSON of a schema.
    JsonSchema {
        /// The schema.
        json_schema: NamedSchema,
    },
}

/// A schema with its name.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedSchema {
    #[serde(rename = "name")]
    pub _name: String,
    #[serde(default, rename = "description")]
    pub _description: Nothing,
    /// The schema; any object where there is none.
    pub schema: Option<Value>,
    /// Answers keep to the schema in any case.
    #[serde(rename = "strict")]
    pub _strict: Option<bool>,
}

/// What else an answer must be, as vLLM writes it: one of these.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StructuredOutputs {
    /// JSON of this schema.
    pub json: Option<Value>,
    /// A text that this regular expression matches whole.
    pub regex: Option<String>,
    /// One of these texts.
    pub choice: Option<Vec<String>>,
    /// A text of this grammar, in llguidance's variant of Lark.
    pub grammar: Option<String>,
}

/// How a stream is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamOptions {
    /// Whether the last chunk tells the numbers of tokens.
    pub include_usage: Option<bool>,
}
