//! What clients say, as the tokens that the model reads.

use crate::convert::Prompt;
use crate::limits::{N_MESSAGES, N_PROMPTS, at_most};
use crate::model::Served;
use crate::problem::Problem;
use crate::tools::{BEGIN, END, Format, Toolbox};
use crate::wire::Prompts;
use crate::wire::message::{Message, Role, ToolCall};
use genera_data::{ChatMessage, ChatTemplate, encode_chat_with_tools};
use genera_engine::config::Shape;
use serde_json::{Value, json};

/// How the model writes calls.
///
/// # Errors
/// 400 when the model cannot hold conversations.
pub fn format_of(model: &Served) -> Result<Format, Problem> {
    Ok(Format::of(template_of(model)?, &model.codebook.special_names()))
}

fn template_of(model: &Served) -> Result<&ChatTemplate, Problem> {
    check_generates(model)?;
    let template = model.codebook.chat_template().filter(|_| !model.modality.is_paired());
    template.ok_or_else(|| {
        let message = format!(
            "the model `{}` has no chat template, so nothing says how it was told who speaks; use /v1/completions, or a \
             model that was trained on conversations",
            model.name
        );
        Problem { code: Some("no_chat_template"), ..Problem::invalid("model", message) }
    })
}

/// Refuses a model that makes nothing.
///
/// # Errors
/// 400.
pub fn check_generates(model: &Served) -> Result<(), Problem> {
    if matches!(model.config.shape, Shape::EncoderOnly(_)) {
        let message = format!("the model `{}` is encoder-only and generates nothing; ask /v1/embeddings", model.name);
        return Err(Problem::invalid("model", message));
    }
    Ok(())
}

/// A conversation up to where the answer begins.
///
/// # Errors
/// 400: a message that is wrong, or one that the model's template refuses.
pub fn conversation(model: &Served, messages: &[Message], tools: Option<&Toolbox>) -> Result<Prompt, Problem> {
    let template = template_of(model)?;
    at_most("messages", messages.len(), N_MESSAGES, "messages")?;
    if messages.is_empty() {
        return Err(Problem::invalid("messages", "`messages` is empty; there must be at least one"));
    }
    messages.iter().enumerate().try_for_each(|(i, message)| check(message, i))?;
    let of_message = |message: &Message| message.content.as_ref().map_or(0, |content| content.0.len());
    model.check_bytes(messages.iter().map(of_message).sum(), "messages")?;
    let is_native = template.knows_tools() && tools.is_none_or(|tools| tools.format() != Format::Told);
    let mut told: Vec<ChatMessage> = messages.iter().map(|message| turn(message, is_native)).collect();
    let for_template = match tools {
        Some(tools) if !is_native => {
            tell_of_tools(&mut told, &tools.instruction());
            Vec::new()
        }
        Some(tools) => tools.for_template(),
        None => Vec::new(),
    };
    let encode = |told: &[ChatMessage]| {
        let encoded = encode_chat_with_tools(&*model.codebook, told, &for_template);
        encoded.map_err(|error| Problem::invalid("messages", error.to_string()))
    };
    let tokens = encode(&told)?;
    if let Some(i) = messages.iter().position(|message| message.name.is_some()) {
        told.iter_mut().for_each(|message| drop(message.fields.remove("name")));
        if encode(&told)? == tokens {
            let param = format!("messages[{i}].name");
            let message =
                format!("`{param}` has no effect: the model's chat template does not write names; leave it out");
            return Err(Problem::invalid(param, message));
        }
    }
    Ok(Prompt { source: None, tokens })
}

fn check(message: &Message, i: usize) -> Result<(), Problem> {
    let wrong = |field: &str, what: &str| {
        let param = format!("messages[{i}].{field}");
        Err(Problem::invalid(param.as_str(), format!("`{param}` {what}")))
    };
    let has_calls = message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
    if message.content.is_none() && !(message.role == Role::Assistant && has_calls) {
        return wrong("content", "is missing; give a text");
    }
    if has_calls && message.role != Role::Assistant {
        return wrong("tool_calls", "belongs to messages of the role \"assistant\" only");
    }
    if message.tool_call_id.is_some() != (message.role == Role::Tool) {
        return wrong("tool_call_id", "belongs to messages of the role \"tool\", and must be there");
    }
    Ok(())
}

/// A message as templates read it; `is_native` is whether they know calls.
fn turn(message: &Message, is_native: bool) -> ChatMessage {
    let content = message.content.as_ref().map_or("", |content| content.0.as_str());
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    if !is_native {
        return match message.role {
            Role::Tool => ChatMessage::new("user", format!("<tool_response>\n{content}\n</tool_response>")),
            role => {
                ChatMessage::new(name_of(role), calls.iter().fold(content.to_owned(), |text, call| text + &told(call)))
            }
        };
    }
    let mut turn = ChatMessage::new(name_of(message.role), content);
    let mut add = |name: &str, value: Value| drop(turn.fields.insert(name.to_owned(), value));
    if !calls.is_empty() {
        add("tool_calls", calls.iter().map(call_for_template).collect());
    }
    message.tool_call_id.iter().for_each(|id| add("tool_call_id", json!(id)));
    message.name.iter().for_each(|name| add("name", json!(name)));
    turn
}

fn name_of(role: Role) -> &'static str {
    match role {
        Role::Developer | Role::System => "system",
        Role::User => "user",
        Role::Assistant => ChatMessage::ASSISTANT,
        Role::Tool => "tool",
    }
}

fn arguments_of(call: &ToolCall) -> Value {
    serde_json::from_str(&call.function.arguments).unwrap_or_else(|_| json!(call.function.arguments))
}

/// Templates write arguments as JSON themselves.
fn call_for_template(call: &ToolCall) -> Value {
    let function = json!({ "name": call.function.name, "arguments": arguments_of(call) });
    json!({ "id": call.id, "type": "function", "function": function })
}

fn told(call: &ToolCall) -> String {
    let call = json!({ "name": call.function.name, "arguments": arguments_of(call) });
    format!("{BEGIN}\n{call}\n{END}")
}

/// Puts an instruction behind what the system says, or says it first.
fn tell_of_tools(messages: &mut Vec<ChatMessage>, instruction: &str) {
    match messages.first_mut() {
        Some(first) if first.role == "system" => first.content += &format!("\n\n{instruction}"),
        _ => messages.insert(0, ChatMessage::new("system", instruction)),
    }
}

/// Prompts as people or programs write them.
///
/// # Errors
/// 400: none, too many, or one that the model cannot read.
pub fn prompts(model: &Served, prompts: &Prompts) -> Result<Vec<Prompt>, Problem> {
    check_generates(model)?;
    if model.modality.constraint(&model.codebook).is_some() {
        let message =
            format!("the model `{}` makes no texts but {}; ask /v1/generate", model.name, model.modality.about());
        return Err(Problem::invalid("model", message));
    }
    at_most("prompt", prompts.len(), N_PROMPTS, "prompts")?;
    if prompts.len() == 0 {
        return Err(Problem::invalid("prompt", "`prompt` is empty; there must be at least one"));
    }
    match prompts {
        Prompts::Texts(texts) => texts.iter().map(|text| of_text(model, text)).collect(),
        Prompts::Tokens(lists) => lists.iter().map(|tokens| of_tokens(model, tokens.clone())).collect(),
    }
}

/// A prompt of one text, as the kind of data reads it.
///
/// # Errors
/// 400 when the vocabulary lacks a character.
pub fn of_text(model: &Served, text: &str) -> Result<Prompt, Problem> {
    model.check_bytes(text.len(), "prompt")?;
    let tokens = model.modality.encode_prompt(&model.codebook, text);
    of_tokens(model, tokens.map_err(|error| Problem::invalid("prompt", error.to_string()))?)
}

/// A prompt of tokens, as the model reads it; where there are none, what it begins with by itself.
///
/// # Errors
/// 400 when it cannot begin.
pub fn of_tokens(model: &Served, tokens: Vec<u32>) -> Result<Prompt, Problem> {
    if model.modality.is_paired() {
        let start = model.special.decoder_opening(model.config.vocab_size);
        let start = start.map_err(|error| Problem::invalid("model", error.to_string()))?;
        return Ok(Prompt { source: Some(tokens), tokens: vec![start] });
    }
    if !tokens.is_empty() {
        return Ok(Prompt { source: None, tokens });
    }
    let opening = genera_modality::opening(&model.codebook).unwrap_or_default();
    if opening.is_empty() {
        return Err(Problem::invalid("prompt", "this model cannot begin by itself; give it a prompt"));
    }
    Ok(Prompt { source: None, tokens: opening })
}
