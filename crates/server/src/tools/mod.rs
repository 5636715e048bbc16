//! Tools: how a model is told of them, how it is held to the form of a call, and how its calls are found in what it writes.

mod parser;

pub use parser::{CallParser, Part};

use crate::constraint::Form;
use crate::identifier;
use crate::limits::{N_TOOLS, at_most};
use crate::problem::Problem;
use crate::wire::message::{Tool, ToolChoice};
use genera_data::ChatTemplate;
use genera_tokens::TokenId;
use serde_json::{Map, Value, json};

/// A call that a model made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub id: String,
    pub name: String,
    /// JSON as a text.
    pub arguments: String,
}

impl Call {
    fn new(format: Format, name: String, arguments: &Value) -> Self {
        let id = match format {
            // Templates of Mistral refuse other names than of nine letters and digits.
            Format::Listed(_) => format!("{:09x}", identifier::random() >> 28),
            Format::Tagged | Format::Told | Format::Bare => identifier::new("call_"),
        };
        Self { id, name, arguments: arguments.to_string() }
    }
}

/// How a model writes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`, as Hermes and Qwen do.
    Tagged,
    /// The same, by a model whose template writes no tools: it is told of them in a system message.
    Told,
    /// `{"name": …, "parameters": …}` and nothing else, as Llama 3 does.
    Bare,
    /// `[TOOL_CALLS]` and a list of `{"name": …, "arguments": …}`, as Mistral does; with the id of the mark where it is a token
    /// of its own, which no text shows.
    Listed(Option<TokenId>),
}

pub const BEGIN: &str = "<tool_call>";
pub const END: &str = "</tool_call>";
/// What a list of calls begins with.
const LIST: &str = "[TOOL_CALLS]";

impl Format {
    /// The format that a template is written for. `special_names` are the special tokens of its tokenizer.
    pub fn of(template: &ChatTemplate, special_names: &[(TokenId, String)]) -> Self {
        let source = template.source();
        // Later templates of Mistral write `name[ARGS]{…}`; their models are told of tools as others are.
        if template.knows_tools() && source.contains(LIST) && !source.contains("[ARGS]") {
            Format::Listed(special_names.iter().find(|(_, name)| name == LIST).map(|(id, _)| *id))
        } else if template.knows_tools() && source.contains(BEGIN) {
            Format::Tagged
        } else if template.knows_tools() && source.contains("\"parameters\"") {
            Format::Bare
        } else {
            Format::Told
        }
    }

    fn arguments_key(self) -> &'static str {
        match self {
            Format::Tagged | Format::Told | Format::Listed(_) => "arguments",
            Format::Bare => "parameters",
        }
    }
}

/// The tools of a request, checked.
#[derive(Clone, Debug)]
pub struct Toolbox {
    tools: Vec<Tool>,
    choice: ToolChoice,
    is_parallel: bool,
    format: Format,
}

impl Toolbox {
    /// The tools that the model is to know of; `None` where it is to call none.
    ///
    /// # Errors
    /// 400 for a choice without tools, names that are none, and unknown ones.
    pub fn new(
        tools: Option<Vec<Tool>>,
        choice: Option<ToolChoice>,
        is_parallel: Option<bool>,
        format: Format,
    ) -> Result<Option<Self>, Problem> {
        let tools = tools.unwrap_or_default();
        if tools.is_empty() {
            let stray = [("tool_choice", choice.is_some_and(|choice| choice != ToolChoice::None))];
            let stray = stray.into_iter().chain([("parallel_tool_calls", is_parallel.is_some())]);
            return match stray.filter(|(_, is_there)| *is_there).map(|(name, _)| name).next() {
                Some(name) => Err(Problem::invalid(name, format!("`{name}` means nothing without `tools`; add them"))),
                None => Ok(None),
            };
        }
        at_most("tools", tools.len(), N_TOOLS, "tools")?;
        let choice = choice.unwrap_or_default();
        check_names(&tools, &choice)?;
        if choice == ToolChoice::None {
            return Ok(None);
        }
        Ok(Some(Self { tools, choice, is_parallel: is_parallel.unwrap_or(true), format }))
    }

    /// How the model writes calls.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The tools as templates read them.
    pub fn for_template(&self) -> Vec<Value> {
        self.tools.iter().map(|tool| json!({ "type": "function", "function": described(tool) })).collect()
    }

    /// What a model is told whose template writes no tools.
    pub fn instruction(&self) -> String {
        let tools: Vec<String> = self.tools.iter().map(|tool| described(tool).to_string()).collect();
        format!(
            "You can call these functions, each given with the JSON schema of its parameters:\n{}\n\nTo call one, write \
             {BEGIN}\n{{\"name\": \"the function\", \"arguments\": {{…}}}}\n{END}\nand nothing after it. What it gives \
             follows between <tool_response> and </tool_response>.",
            tools.join("\n")
        )
    }

    /// What holds the answer to the form of calls.
    pub fn form(&self) -> Form {
        let named = |tool: &&Tool| !matches!(&self.choice, ToolChoice::Named(name) if *name != tool.function.name);
        let schemas: Vec<Value> = self.tools.iter().filter(named).map(|tool| self.schema(tool)).collect();
        let definitions: Map<String, Value> =
            self.tools.iter().filter(named).map(|tool| (tool.function.name.clone(), parameters_of(tool))).collect();
        let call = json!({ "anyOf": schemas, "$defs": definitions, "x-guidance": { "whitespace_pattern": " " } });
        let is_forced = matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_));
        Form::Lark(match (self.format, is_forced) {
            (Format::Bare, true) => format!("start: %json {call}"),
            (Format::Bare, false) => format!("start: TEXT | call |\ncall: %json {call}\nTEXT: /[^{{](.|\\n)*/"),
            (Format::Tagged | Format::Told, _) => self.tagged(&call, is_forced),
            (Format::Listed(mark), _) => self.listed(mark, &call, is_forced),
        })
    }

    fn tagged(&self, call: &Value, is_forced: bool) -> String {
        let more = if self.is_one() { String::new() } else { format!(" (\"\\n\"? \"{BEGIN}\" call)*") };
        let start = if is_forced {
            format!("start: \"{BEGIN}\" call{more}")
        } else {
            format!("start: TEXT | lead call{more}\nlead[lazy]: /(.|\\n)*{BEGIN}/\nTEXT: /(.|\\n)*/")
        };
        format!("{start}\ncall: \"\\n\"? body \"\\n\"? \"{END}\"\nbody: %json {call}")
    }

    /// A list of calls behind its mark, or a text that cannot be taken for one.
    fn listed(&self, mark: Option<TokenId>, call: &Value, is_forced: bool) -> String {
        let mut list = json!({
            "type": "array", "items": { "anyOf": call["anyOf"] }, "minItems": 1, "$defs": call["$defs"],
            "x-guidance": call["x-guidance"],
        });
        if self.is_one() {
            list["maxItems"] = json!(1);
        }
        let mark = mark.map_or_else(|| format!("\"{LIST}\""), |id| format!("<[{id}]>"));
        let start = if is_forced { "calls" } else { "TEXT | calls |" };
        format!("start: {start}\ncalls: {mark} \" \"? body\nbody: %json {list}\nTEXT: /[^\\[](.|\\n)*/")
    }

    /// Whether at most one call may come.
    fn is_one(&self) -> bool {
        !self.is_parallel || matches!(self.choice, ToolChoice::Named(_))
    }

    fn schema(&self, tool: &Tool) -> Value {
        let (key, name) = (self.format.arguments_key(), &tool.function.name);
        json!({
            "type": "object", "properties": { "name": { "const": name }, key: { "$ref": place_of(name) } },
            "required": ["name", key], "additionalProperties": false,
        })
    }

    /// What finds the calls in an answer.
    pub fn parser(&self) -> CallParser {
        let names = self.tools.iter().map(|tool| tool.function.name.clone()).collect();
        CallParser::new(self.format, names)
    }
}

/// Where the schema of a function's parameters stands among the definitions; names have no characters that need escaping.
fn place_of(name: &str) -> String {
    format!("#/$defs/{name}")
}

/// The schema of a function's parameters as one of the definitions: what it refers to in itself is found there.
fn parameters_of(tool: &Tool) -> Value {
    let mut schema = tool.function.parameters.clone().unwrap_or_else(|| json!({ "type": "object" }));
    move_references(&mut schema, &place_of(&tool.function.name));
    schema
}

/// Puts `place` in front of every reference to the schema itself. Its depth has been bounded by its parser.
fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, place)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), &mut *value) {
                    ("$ref", Value::String(reference)) => {
                        if let Some(within) = reference.strip_prefix('#') {
                            *reference = format!("{place}{within}");
                        }
                    }
                    // What stands there is no schema.
                    ("const" | "enum" | "default" | "examples", _) => {}
                    _ => move_references(value, place),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn described(tool: &Tool) -> Value {
    let mut value = json!({ "name": tool.function.name });
    if let Some(description) = &tool.function.description {
        value["description"] = json!(description);
    }
    value["parameters"] =
        tool.function.parameters.clone().unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    value
}

fn check_names(tools: &[Tool], choice: &ToolChoice) -> Result<(), Problem> {
    for (i, Tool { function, .. }) in tools.iter().enumerate() {
        let is_plain = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
        if function.name.is_empty() || function.name.len() > 64 || !function.name.chars().all(is_plain) {
            let param = format!("tools[{i}].function.name");
            let message = format!("`{param}` must have 1 to 64 letters, digits, underscores or hyphens");
            return Err(Problem::invalid(param, message));
        }
        if tools[..i].iter().any(|other| other.function.name == function.name) {
            let message = format!("`tools` holds `{}` twice; give each function a name of its own", function.name);
            return Err(Problem::invalid(format!("tools[{i}].function.name"), message));
        }
        if function.parameters.as_ref().is_some_and(|schema| !schema.is_object()) {
            let param = format!("tools[{i}].function.parameters");
            let message = format!("`{param}` must be a JSON schema of an object");
            return Err(Problem::invalid(param, message));
        }
    }
    match choice {
        ToolChoice::Named(name) if !tools.iter().any(|tool| tool.function.name == *name) => {
            Err(Problem::invalid("tool_choice", "`tool_choice` names a function that is not among `tools`"))
        }
        _ => Ok(()),
    }
}
