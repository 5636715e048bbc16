//! Data for fine-tuning in JSON lines: one table of the layouts in which the usual tools write it.

use crate::chat::{is_something, messages_from_json};
use serde_json::{Map, Value, json};

/// A JSON object by its fields.
type Fields = Map<String, Value>;

/// What a line is as a whole, whichever its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// What was said, of which the assistant's turns are learned.
    Conversation,
    /// A prompt and its completion, both texts as they stand.
    Completion,
    /// A prompt with a chosen and a rejected answer.
    Preference,
}

/// A layout of lines.
pub struct RecordLayout {
    /// Who writes it.
    pub name: &'static str,
    /// What its lines are.
    pub record: Record,
    /// The fields that a line has, beside which others may stand.
    pub fields: &'static [&'static str],
    /// A line of it.
    pub example: &'static str,
    /// Whether a line with these fields is meant so.
    is_meant: fn(&Fields) -> bool,
    read: fn(&Fields) -> Result<Parts, String>,
}

/// What a document is made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) text: String,
    pub(super) target: Option<String>,
    pub(super) rejected: Option<String>,
}

/// The layouts that are recognised; of several that fit a line, the first counts.
pub const RECORD_LAYOUTS: &[RecordLayout] = &[
    RecordLayout {
        name: "TRL",
        record: Record::Preference,
        fields: &["prompt", "chosen", "rejected"],
        example: r#"{"prompt": "…", "chosen": "…", "rejected": "…"}"#,
        is_meant: |_| true,
        read: |fields| preference(prompted(fields), fields),
    },
    RecordLayout {
        name: "LLaMA-Factory, ShareGPT",
        record: Record::Preference,
        fields: &["conversations", "chosen", "rejected"],
        example: r#"{"conversations": [{"from": "human", "value": "…"}], "chosen": {"from": "gpt", "value": "…"}, "rejected": {"from": "gpt", "value": "…"}}"#,
        is_meant: |_| true,
        read: |fields| preference(told(fields, &fields["conversations"]), fields),
    },
    RecordLayout {
        name: "LLaMA-Factory, Alpaca",
        record: Record::Preference,
        fields: &["instruction", "chosen", "rejected"],
        example: r#"{"instruction": "…", "input": "…", "chosen": "…", "rejected": "…"}"#,
        is_meant: |_| true,
        read: |fields| preference(told(fields, &Value::Array(instructed(fields, "input")?)), fields),
    },
    RecordLayout {
        name: "TRL, the prompt is what both begin with",
        record: Record::Preference,
        fields: &["chosen", "rejected"],
        example: r#"{"chosen": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}], "rejected": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}"#,
        is_meant: |_| true,
        read: whole_preference,
    },
    RecordLayout {
        name: "OpenAI, TRL",
        record: Record::Conversation,
        fields: &["messages"],
        example: r#"{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}"#,
        is_meant: |_| true,
        read: |fields| conversation(told(fields, &fields["messages"])),
    },
    RecordLayout {
        name: "ShareGPT",
        record: Record::Conversation,
        fields: &["conversations"],
        example: r#"{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}"#,
        is_meant: |_| true,
        read: |fields| conversation(told(fields, &fields["conversations"])),
    },
    RecordLayout {
        name: "ShareGPT",
        record: Record::Conversation,
        fields: &["conversation"],
        example: r#"{"conversation": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}"#,
        is_meant: |_| true,
        read: |fields| conversation(told(fields, &fields["conversation"])),
    },
    RecordLayout {
        name: "Alpaca",
        record: Record::Conversation,
        fields: &["instruction", "output"],
        example: r#"{"instruction": "…", "input": "…", "output": "…"}"#,
        is_meant: |_| true,
        read: |fields| answered(fields, "input", "output"),
    },
    RecordLayout {
        name: "Dolly",
        record: Record::Conversation,
        fields: &["instruction", "response"],
        example: r#"{"instruction": "…", "context": "…", "response": "…"}"#,
        is_meant: |_| true,
        read: |fields| answered(fields, "context", "response"),
    },
    RecordLayout {
        name: "TRL, lists of messages",
        record: Record::Conversation,
        fields: &["prompt", "completion"],
        example: r#"{"prompt": [{"role": "user", "content": "…"}], "completion": [{"role": "assistant", "content": "…"}]}"#,
        is_meant: |fields| !fields["prompt"].is_string() || !fields["completion"].is_string() || has_label(fields),
        read: completed,
    },
    RecordLayout {
        name: "TRL, texts",
        record: Record::Completion,
        fields: &["prompt", "completion"],
        example: r#"{"prompt": "…", "completion": "…"}"#,
        is_meant: |_| true,
        read: as_they_stand,
    },
];

impl RecordLayout {
    /// Whether a line has its fields, with something in them.
    fn fits(&self, fields: &Fields) -> bool {
        self.fields.iter().all(|name| fields.get(*name).is_some_and(|value| !value.is_null()))
    }
}

impl Record {
    /// What a line with these fields is; `None` where it is in no known layout.
    pub fn of(fields: &Fields) -> Option<Self> {
        let is_meant = |layout: &&RecordLayout| layout.fits(fields) && (layout.is_meant)(fields);
        RECORD_LAYOUTS.iter().find(is_meant).map(|layout| layout.record)
    }

    /// Its layouts.
    pub fn layouts(self) -> impl Iterator<Item = &'static RecordLayout> {
        RECORD_LAYOUTS.iter().filter(move |layout| layout.record == self)
    }

    /// Reads a line that is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(self, fields: &Fields) -> Result<Parts, String> {
        // Who asks for conversations gets a prompt and its completion as one, too, though they are not meant so.
        let fitting = || self.layouts().filter(|layout| layout.fits(fields));
        let Some(layout) = fitting().find(|layout| (layout.is_meant)(fields)).or_else(|| fitting().next()) else {
            let found: Vec<String> = fields.keys().map(|name| format!("{name:?}")).collect();
            let expected: Vec<&str> = self.layouts().map(|layout| layout.example).collect();
            return Err(format!("has the fields {}; expected one of {}", found.join(", "), expected.join(" or ")));
        };
        if self != Record::Completion && fields.get("tools").is_some_and(is_something) {
            return Err(
                "has \"tools\" that may be called, which are not learned; describe them in a system message, as the \
                        model is to read of them, or leave out the field \"tools\""
                    .to_owned(),
            );
        }
        (layout.read)(fields)
    }
}

/// A text as it is, anything else as JSON.
fn text_or_json(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A text that is there and not empty.
fn filled<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

/// A list of messages behind what a field of its own tells the model, where there is one.
fn told(fields: &Fields, messages: &Value) -> String {
    match (filled(fields, "system"), messages) {
        (Some(system), Value::Array(list)) if !list.iter().any(is_of_system) => {
            let system = [message("system", system)];
            Value::from_iter(system.iter().chain(list).cloned()).to_string()
        }
        _ => text_or_json(messages),
    }
}

/// The prompt behind what a field of its own tells the model, where there is one.
fn prompted(fields: &Fields) -> String {
    match (&fields["prompt"], filled(fields, "system")) {
        (Value::String(prompt), Some(_)) => told(fields, &Value::Array(vec![message("user", prompt)])),
        (prompt, _) => told(fields, prompt),
    }
}

fn is_of_system(message: &Value) -> bool {
    message["role"] == "system" || message["from"] == "system"
}

fn conversation(messages: String) -> Result<Parts, String> {
    Ok(Parts { text: messages, target: None, rejected: None })
}

/// What is asked by an instruction with perhaps more below it, behind the pairs that came before.
fn instructed(fields: &Fields, more: &str) -> Result<Vec<Value>, String> {
    let instruction = fields["instruction"].as_str().ok_or("field \"instruction\" is not a string")?;
    let mut messages = Vec::new();
    for pair in fields.get("history").and_then(Value::as_array).into_iter().flatten() {
        let [Value::String(question), Value::String(answer)] = pair.as_array().map_or(&[][..], Vec::as_slice) else {
            return Err("field \"history\" is no list of pairs of a question and its answer".to_owned());
        };
        messages.extend([message("user", question), message("assistant", answer)]);
    }
    let question = [Some(instruction), filled(fields, more)].into_iter().flatten().collect::<Vec<&str>>().join("\n");
    messages.push(message("user", &question));
    Ok(messages)
}

/// A question by an instruction, and its answer.
fn answered(fields: &Fields, more: &str, answer: &str) -> Result<Parts, String> {
    let text = fields[answer].as_str().ok_or_else(|| format!("field {answer:?} is not a string"))?;
    let mut messages = instructed(fields, more)?;
    messages.push(message("assistant", text));
    conversation(told(fields, &Value::Array(messages)))
}

/// Whether a completion is said to be good or bad.
fn has_label(fields: &Fields) -> bool {
    fields.get("label").is_some_and(Value::is_boolean)
}

/// A prompt and its completion, each a text or a list of messages; the completion alone is learned.
fn completed(fields: &Fields) -> Result<Parts, String> {
    if has_label(fields) {
        return Err(
            "has a completion with a label, good or bad (KTO), which nothing is learned from here; write pairs \
                    with \"prompt\", \"chosen\" and \"rejected\", or leave out the bad ones and the field \"label\""
                .to_owned(),
        );
    }
    let target = match &fields["completion"] {
        Value::String(text) => text.clone(),
        list => {
            let one =
                messages_from_json(&list.to_string()).map_err(|error| format!("field \"completion\": {error}"))?;
            match <[_; 1]>::try_from(one) {
                Ok([message]) if message.is_of_assistant() => message.content,
                _ => {
                    return Err("field \"completion\" must be one message of the assistant; write a conversation of \
                                 several with \"messages\""
                        .to_owned());
                }
            }
        }
    };
    Ok(Parts { text: prompted(fields), target: Some(target), rejected: None })
}

/// A prompt and its completion, neither written by a chat template, which alone could write what else there is.
fn as_they_stand(fields: &Fields) -> Result<Parts, String> {
    if let Some(name) = ["system", "tools"].into_iter().find(|name| fields.get(*name).is_some_and(is_something)) {
        return Err(format!(
            "has a field {name:?} beside a prompt and a completion, which are texts as they stand; write it into the prompt, or \
             leave it out"
        ));
    }
    let text = |name: &str| {
        fields[name]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("field {name:?} is not a string, as those before"))
    };
    Ok(Parts { text: text("prompt")?, target: Some(text("completion")?), rejected: None })
}

/// A prompt with its two answers, each a text, a message, or a list of messages that ends with it.
fn preference(prompt: String, fields: &Fields) -> Result<Parts, String> {
    let answer = |name: &str| match &fields[name] {
        message @ Value::Object(_) => Value::Array(vec![message.clone()]).to_string(),
        other => text_or_json(other),
    };
    Ok(Parts { text: prompt, target: Some(answer("chosen")), rejected: Some(answer("rejected")) })
}

/// Two conversations that differ in their last message alone.
fn whole_preference(fields: &Fields) -> Result<Parts, String> {
    let (Value::Array(chosen), Value::Array(rejected)) = (&fields["chosen"], &fields["rejected"]) else {
        return Err(
            "has no field \"prompt\", and where the prompt ends in \"chosen\" and \"rejected\" shows in lists of \
                    messages alone; write such lists, or the prompt into a field of its own"
                .to_owned(),
        );
    };
    let n_alike = chosen.iter().zip(rejected).take_while(|(one, other)| one == other).count();
    let n_prompt = chosen.len().max(1) - 1;
    if n_prompt == 0 || rejected.len() != chosen.len() || n_alike < n_prompt {
        return Err(format!(
            "has no field \"prompt\", and \"chosen\" and \"rejected\" of {} and {} messages have the first {n_alike} in \
             common; expected two conversations that differ in their last message alone",
            chosen.len(),
            rejected.len()
        ));
    }
    preference(told(fields, &Value::Array(chosen[..n_prompt].to_vec())), fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Fields {
        serde_json::from_str(line).unwrap()
    }

    /// What a line is recognised as, and what is made of it.
    fn read(line: &str) -> (Record, Result<Parts, String>) {
        let record = Record::of(&fields(line)).unwrap_or_else(|| panic!("{line} is not recognised"));
        (record, record.read(&fields(line)))
    }

    #[test]
    fn every_example_is_recognised_as_what_it_is() {
        for layout in RECORD_LAYOUTS {
            let (record, parts) = read(layout.example);
            assert_eq!(record, layout.record, "{}", layout.example);
            let parts = parts.unwrap_or_else(|error| panic!("{}: {error}", layout.example));
            assert_eq!(parts.rejected.is_some(), record == Record::Preference, "{}", layout.example);
        }
        assert_eq!(Record::of(&fields(r#"{"question": "a", "answer": "b"}"#)), None);
        assert_eq!(Record::of(&fields(r#"{"messages": null, "text": "b"}"#)), None);
    }

    #[test]
    fn instructions_become_conversations() {
        let check = |line: &str, expect: Value| {
            let (record, parts) = read(line);
            assert_eq!(record, Record::Conversation);
            assert_eq!(parts.unwrap(), conversation(expect.to_string()).unwrap(), "{line}");
        };
        let (user, answer) = (message("user", "a"), message("assistant", "c"));
        check(r#"{"instruction": "a", "input": "", "output": "c", "text": "d"}"#, json!([user, answer]));
        check(r#"{"instruction": "a", "input": null, "output": "c"}"#, json!([user, answer]));
        check(r#"{"instruction": "a", "input": "b", "output": "c"}"#, json!([message("user", "a\nb"), answer]));
        check(r#"{"instruction": "a", "context": "b", "response": "c"}"#, json!([message("user", "a\nb"), answer]));
        let before = [message("system", "s"), message("user", "x"), message("assistant", "y")];
        check(
            r#"{"instruction": "a", "output": "c", "system": "s", "history": [["x", "y"]]}"#,
            json!([before[0], before[1], before[2], user, answer]),
        );
        check(
            r#"{"system": "s", "conversations": [{"from": "human", "value": "a"}]}"#,
            json!([before[0], { "from": "human", "value": "a" }]),
        );
    }

    #[test]
    fn completions_are_learned_alone() {
        let line =
            r#"{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}"#;
        let (record, parts) = read(line);
        let text = json!([message("user", "a")]).to_string();
        assert_eq!(record, Record::Conversation);
        assert_eq!(parts.unwrap(), Parts { text, target: Some("b".to_owned()), rejected: None });
        let texts = fields(r#"{"prompt": "a", "completion": "b"}"#);
        assert_eq!(Record::of(&texts), Some(Record::Completion));
        // Who asks for conversations gets them.
        for record in [Record::Conversation, Record::Completion] {
            let said = record.read(&texts).unwrap();
            assert_eq!(said, Parts { text: "a".to_owned(), target: Some("b".to_owned()), rejected: None });
        }
        let lists = Record::Completion.read(&fields(line)).unwrap_err();
        assert!(lists.contains("\"prompt\" is not a string"), "{lists}");
    }

    #[test]
    fn what_a_field_tells_the_model_stands_before_every_prompt() {
        let told = json!([message("system", "s"), message("user", "a")]).to_string();
        for line in [
            r#"{"system": "s", "prompt": "a", "chosen": "b", "rejected": "c"}"#,
            r#"{"system": "s", "prompt": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "c"}"#,
            r#"{"system": "s", "prompt": [{"role": "user", "content": "a"}], "completion": "b"}"#,
        ] {
            assert_eq!(read(line).1.unwrap().text, told, "{line}");
        }
    }

    #[test]
    fn the_prompt_is_what_two_conversations_have_in_common() {
        let turns = |answer: &str| json!([message("user", "a"), message("assistant", answer)]);
        let line = json!({ "chosen": turns("b"), "rejected": turns("c") }).to_string();
        let (record, parts) = read(&line);
        let (text, chosen, rejected) = (json!([message("user", "a")]), turns("b"), turns("c"));
        assert_eq!(record, Record::Preference);
        let expect =
            Parts { text: text.to_string(), target: Some(chosen.to_string()), rejected: Some(rejected.to_string()) };
        assert_eq!(parts.unwrap(), expect);
        let same = json!({ "chosen": turns("b"), "rejected": turns("b") }).to_string();
        assert_eq!(read(&same).1.unwrap().text, text.to_string());
    }

    #[test]
    fn empty_fields_tell_nothing() {
        for line in [
            r#"{"messages": [], "tools": "{}"}"#,
            r#"{"messages": [], "tools": false}"#,
            r#"{"prompt": "a", "completion": "b", "system": false, "tools": "[ ]"}"#,
        ] {
            assert!(read(line).1.is_ok(), "{line}: {:?}", read(line).1);
        }
        let told = read(r#"{"prompt": "a", "completion": "b", "system": "s"}"#).1.unwrap_err();
        assert!(told.contains("has a field \"system\""), "{told}");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let check = |line: &str, expect: &str| {
            let error = read(line).1.unwrap_err();
            assert!(error.contains(expect), "{line}: {error}");
        };
        check(r#"{"prompt": "a", "completion": "b", "label": false}"#, "KTO");
        check(r#"{"messages": [], "tools": [{"type": "function"}]}"#, "has \"tools\"");
        check(r#"{"prompt": "a", "completion": []}"#, "one message of the assistant");
        check(r#"{"prompt": "a", "completion": [{"role": "user", "content": "b"}]}"#, "one message of the assistant");
        check(r#"{"prompt": "a", "completion": [1]}"#, "message 1 has no role");
        check(r#"{"instruction": 1, "output": "b"}"#, "\"instruction\" is not a string");
        check(r#"{"instruction": "a", "output": ["b"]}"#, "\"output\" is not a string");
        check(r#"{"instruction": "a", "output": "b", "history": ["x"]}"#, "no list of pairs");
        check(r#"{"chosen": "Human: a", "rejected": "Human: b"}"#, "no field \"prompt\"");
        check(r#"{"chosen": [], "rejected": []}"#, "differ in their last message");
        check(r#"{"chosen": [1, 2, 3], "rejected": [1, 4, 5]}"#, "the first 1 in common");
        let other = Record::Conversation.read(&fields(r#"{"question": "a"}"#)).unwrap_err();
        assert!(other.contains("has the fields \"question\"") && other.contains("\"messages\""), "{other}");
    }
}
