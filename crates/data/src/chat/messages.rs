//! Conversations as chat files write them: `[{"role": "user", "content": "…"}, …]`, or ShareGPT's `from` and `value`.

use super::ChatMessage;
use crate::{Error, Result};
use serde_json::Value;

/// The messages of a JSON list.
///
/// # Errors
/// When the text is no such list: which message is wrong, and what was expected.
pub fn messages_from_json(json: &str) -> Result<Vec<ChatMessage>> {
    let value: Value = serde_json::from_str(json)
        .map_err(|error| Error::settings(format!("is not a conversation in JSON ({error}); {EXPECTED}")))?;
    let list = value.as_array().ok_or_else(|| Error::settings(format!("is not a list of messages; {EXPECTED}")))?;
    list.iter().zip(1..).map(|(message, number)| of_value(message, number)).collect()
}

/// The messages with which something begins that is either a JSON list of them or the plain text of a user.
///
/// # Errors
/// As [`messages_from_json`], for a list of objects that all have a speaker, and for what begins as one, JSON or not.
pub fn first_messages(text: &str) -> Result<Vec<ChatMessage>> {
    if begins_as_list(text) || is_list(text) {
        return messages_from_json(text);
    }
    Ok(vec![ChatMessage::new("user", text)])
}

/// The keys of a speaker.
const SPEAKERS: [&str; 2] = ["role", "from"];

/// Whether something is meant as a message, be it a good one.
fn has_speaker(message: &Value) -> bool {
    SPEAKERS.iter().any(|key| message[*key].is_string())
}

/// Whether a text is a list of what is meant as messages.
fn is_list(text: &str) -> bool {
    // Most texts are seen to be none without being read as JSON.
    text.trim_start().starts_with('[')
        && serde_json::from_str::<Vec<Value>>(text).is_ok_and(|list| !list.is_empty() && list.iter().all(has_speaker))
}

/// Whether a text is meant as a list of messages, be it JSON or not.
fn begins_as_list(text: &str) -> bool {
    let list = text.trim_start().strip_prefix('[').and_then(|rest| rest.trim_start().strip_prefix('{'));
    let key = list.and_then(|rest| rest.trim_start().strip_prefix('"')).unwrap_or_default();
    SPEAKERS.iter().any(|speaker| key.strip_prefix(speaker).is_some_and(|rest| rest.starts_with('"')))
}

/// Who may speak: what else templates write they pass over, or write as nobody has learned it.
const ROLES: [&str; 4] = ["system", "user", ChatMessage::ASSISTANT, "tool"];

const EXPECTED: &str =
    "expected [{\"role\": \"user\", \"content\": \"…\"}, {\"role\": \"assistant\", \"content\": \"…\"}]";

fn of_value(message: &Value, number: usize) -> Result<ChatMessage> {
    let bad = |problem: &str| Error::settings(format!("message {number} {problem}; {EXPECTED}"));
    let (role, content) = match (&message["role"], &message["from"]) {
        (Value::String(role), _) => (if role == "developer" { "system" } else { role }, &message["content"]),
        (_, Value::String(from)) => (role_of(from), &message["value"]),
        _ => return Err(bad("has no role")),
    };
    if ["tool_calls", "function_call"].iter().any(|key| is_something(&message[*key])) {
        return Err(Error::settings(format!(
            "message {number} calls tools, and what stands in \"tool_calls\" or \"function_call\" is not learned; write the \
             call into its \"content\", as the model is to say it, or leave the conversation out"
        )));
    }
    let content = match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().map(text_of).collect::<Option<_>>().ok_or_else(|| bad("is not all text"))?
        }
        _ => return Err(bad("has no content")),
    };
    if !ROLES.contains(&role) {
        return Err(bad(&format!("has the unknown role \"{role}\" (known are {})", ROLES.join(", "))));
    }
    let mut turn = ChatMessage::new(role, content);
    if turn.is_of_assistant() {
        turn.is_learned = is_learned(&message["weight"]).ok_or_else(|| {
            Error::settings(format!(
                "message {number} has a \"weight\" that is neither 0 nor 1; with 0 an answer is read and not learned, and with 1 or \
                 without one it is learned"
            ))
        })?;
    }
    Ok(turn)
}

/// What OpenAI's `"weight"` says of a message, 0 or 1; `None` for anything else.
fn is_learned(weight: &Value) -> Option<bool> {
    if weight.is_null() {
        return Some(true);
    }
    [(0.0, false), (1.0, true)].into_iter().find(|(known, _)| weight.as_f64() == Some(*known)).map(|(_, is)| is)
}

/// Whether a field is there and not empty: neither are `false`, 0, nor a text with what is empty in JSON.
pub(crate) fn is_something(value: &Value) -> bool {
    let Value::String(text) = value else { return !is_empty(value) };
    match serde_json::from_str::<Value>(text) {
        // A number in quotes is a text.
        Ok(value) => value.is_number() || !is_empty(&value),
        Err(_) => !text.trim().is_empty(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_set) => !is_set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// The text of a part of a message, as in `{"type": "text", "text": "…"}`.
fn text_of(part: &Value) -> Option<String> {
    part.as_str().or_else(|| part["text"].as_str().filter(|_| part["type"] == "text")).map(str::to_owned)
}

/// What ShareGPT's speakers are called elsewhere.
fn role_of(from: &str) -> &str {
    match from {
        "human" => "user",
        "gpt" | "chatgpt" | "bing" | "bard" | "model" => ChatMessage::ASSISTANT,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        let expected = vec![ChatMessage::new("user", "a"), ChatMessage::new("assistant", "bc")];
        for json in [
            r#"[{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}, "c"]}]"#,
            r#"[{"from": "human", "value": "a"}, {"from": "gpt", "value": "bc"}]"#,
        ] {
            assert_eq!(messages_from_json(json).unwrap(), expected);
            assert_eq!(first_messages(json).unwrap(), expected);
        }
        let weighed = |weight: &str| {
            let json = format!(r#"[{{"role": "assistant", "content": "a", "weight": {weight}}}]"#);
            messages_from_json(&json).unwrap()[0].is_learned
        };
        assert_eq!(["null", "1", "1.0", "0", "0.0"].map(weighed), [true, true, true, false, false]);
        for text in [
            "[a]",
            "[]",
            "[1, 2]",
            r#"[{"a": 1}, {"a": 2}] sort this list"#,
            r#"[{"a": 1}, {"a": 2}]"#,
            r#"[{"roles": ["user"], "content": "a"},]"#,
            r#"[{"content": "a", "role": 1}]"#,
        ] {
            assert_eq!(first_messages(text).unwrap(), [ChatMessage::new("user", text)]);
        }
    }

    #[test]
    fn a_conversation_with_a_slip_is_no_text_of_a_user() {
        let check = |json: &str, expect: &str| {
            let error = first_messages(json).unwrap_err().to_string();
            assert!(error.contains(expect), "{json}: {error}");
        };
        check(r#"[{"role": "pirate", "content": "a"}]"#, "unknown role \"pirate\"");
        check(r#"[{"role": "user", "content": "a"},]"#, "is not a conversation in JSON (trailing comma");
        check(" [\n{ \"from\": \"human\", \"value\": \"a\"", "is not a conversation in JSON (EOF");
        check(r#"[{"role": "user", "content": "a"}, {"role": "user"}]"#, "message 2 has no content");
        check(r#"[{"role": "user", "content": "a"}, {"content": "b"}]"#, "message 2 has no role");
        check(r#"[{"content": null, "role": "assistant", "tool_calls": []}]"#, "message 1 has no content");
    }

    #[test]
    fn the_bad_message_is_named() {
        let check = |json: &str, expect: &str| {
            let error = messages_from_json(json).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("[", "not a conversation in JSON");
        check("{}", "not a list of messages");
        check(r#"[{"role": "user", "content": "a"}, {"content": "b"}]"#, "message 2 has no role");
        check(
            r#"[{"role": "bot", "content": "a"}]"#,
            "message 1 has the unknown role \"bot\" (known are system, user, ",
        );
        check(r#"[{"role": "user", "content": null}]"#, "message 1 has no content");
        check(r#"[{"role": "user", "content": [{"type": "image"}]}]"#, "message 1 is not all text");
        for call in [r#""tool_calls": [{"type": "function"}]"#, r#""function_call": {"name": "f"}"#] {
            for content in ["null", "\"\""] {
                check(&format!(r#"[{{"role": "assistant", "content": {content}, {call}}}]"#), "message 1 calls tools");
            }
        }
        check("[1]", "message 1 has no role");
        for weight in ["0.5", "2", "-1", "true", "\"0\"", "[]"] {
            let turn = format!(r#"{{"role": "assistant", "content": "a", "weight": {weight}}}"#);
            check(&format!(r#"[{{"role": "user", "content": "a"}}, {turn}]"#), "message 2 has a \"weight\"");
        }
    }

    #[test]
    fn empty_fields_call_no_tools() {
        let read = |calls: &str| {
            messages_from_json(&format!(r#"[{{"role": "assistant", "content": "a", "tool_calls": {calls}}}]"#))
        };
        for calls in ["null", "false", "0", "0.0", "[]", "{}", "\"\""] {
            assert!(read(calls).is_ok(), "{calls}");
        }
        // As texts.
        for calls in [" ", "[]", "{}", "[ ]", "null", " false\n", "\"\""] {
            assert!(read(&Value::from(calls).to_string()).is_ok(), "{calls}");
        }
        for calls in ["true", "1", "[{}]", r#"{"name": "f"}"#, r#""[{}]""#, r#""f()""#, r#""0""#, r#""[""#] {
            assert!(read(calls).is_err_and(|error| error.to_string().contains("calls tools")), "{calls}");
        }
    }
}
