//! Conversations as tokens.

use super::ChatMessage;
use crate::tokenize::SpecialNames;
use crate::{Error, Result, Tokenizer};
use genera_tokens::TokenId;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Characters for private use, of which one that no message holds marks what must not become a special token.
pub(super) const MARKS: std::ops::RangeInclusive<char> = '\u{f0000}'..='\u{fffff}';

/// The tokens of a conversation as its model reads it; with `add_generation_prompt` they end where the answer begins.
///
/// What the template writes may be special tokens; what the messages say is text, whatever it says.
///
/// # Errors
/// When the tokenizer has no chat template, or as [`ChatTemplate::render`](super::ChatTemplate::render).
pub fn encode_chat(
    tokenizer: &dyn Tokenizer,
    messages: &[ChatMessage],
    add_generation_prompt: bool,
) -> Result<Vec<TokenId>> {
    let template = template_of(tokenizer)?;
    let marked = Marked::new(tokenizer, messages)?;
    let text = template.render(&marked.messages, add_generation_prompt)?;
    marked.encode(tokenizer, &text)
}

/// As [`encode_chat`], up to where the answer begins, with tools that the assistant may call. What the tools say is text too.
///
/// # Errors
/// As [`encode_chat`].
pub fn encode_chat_with_tools(
    tokenizer: &dyn Tokenizer,
    messages: &[ChatMessage],
    tools: &[Value],
) -> Result<Vec<TokenId>> {
    let template = template_of(tokenizer)?;
    let (marked, tools) = Marked::with_tools(tokenizer, messages, tools)?;
    let text = template.render_with_tools(&marked.messages, &tools)?;
    marked.encode(tokenizer, &text)
}

pub(super) fn template_of(tokenizer: &dyn Tokenizer) -> Result<&super::ChatTemplate> {
    tokenizer.chat_template().ok_or_else(|| Error::Template {
        file: None,
        problem:
            "there is none: tokenizer_config.json has no chat_template and chat_template.jinja is missing; take a \
                  model that was trained on conversations, put a template beside its tokenizer, or give one with \
                  --chat-template FILE"
                .to_owned(),
    })
}

/// Messages in which the names of special tokens are spoilt, so that they stay text.
pub(super) struct Marked {
    pub(super) messages: Vec<ChatMessage>,
    mark: char,
    names: SpecialNames,
}

impl Marked {
    /// # Errors
    /// As [`SpecialNames::of`].
    pub(super) fn new(tokenizer: &dyn Tokenizer, messages: &[ChatMessage]) -> Result<Self> {
        Ok(Self::with_tools(tokenizer, messages, &[])?.0)
    }

    /// The messages and the tools.
    fn with_tools(tokenizer: &dyn Tokenizer, messages: &[ChatMessage], tools: &[Value]) -> Result<(Self, Vec<Value>)> {
        let names = SpecialNames::of(tokenizer)?;
        let fields = messages.iter().flat_map(|message| message.fields.values());
        let values: Vec<String> = fields.chain(tools).map(Value::to_string).collect();
        let texts = messages.iter().map(|message| &message.content).chain(&values);
        let used: HashSet<char> = texts.flat_map(|text| text.chars()).filter(|mark| MARKS.contains(mark)).collect();
        let mark = MARKS.clone().find(|mark| !used.contains(mark)).unwrap_or('\u{fffd}');
        let spoil = |text: &str| spoilt(text, &names, mark);
        let message = |message: &ChatMessage| ChatMessage {
            role: message.role.clone(),
            content: spoil(&message.content),
            fields: spoilt_map(&message.fields, &spoil),
            is_learned: message.is_learned,
        };
        let tools = tools.iter().map(|tool| spoilt_value(tool, &spoil)).collect();
        Ok((Self { messages: messages.iter().map(message).collect(), mark, names }, tools))
    }

    /// Where special tokens stand in a text that a template made of the messages.
    pub(super) fn special_in(&self, text: &str) -> Vec<usize> {
        self.names.in_text(text).map(|(range, _, _)| range.start).collect()
    }

    /// Where the last special token in such a text ends.
    pub(super) fn last_special_in(&self, text: &str) -> Option<usize> {
        self.names.in_text(text).last().map(|(range, ..)| range.end)
    }

    /// The tokens of a text that a template made of the messages.
    pub(super) fn encode(&self, tokenizer: &dyn Tokenizer, text: &str) -> Result<Vec<TokenId>> {
        let mut parts = text.split(self.mark);
        let mut ids = tokenizer.encode_with_special(parts.next().unwrap_or_default())?;
        for part in parts {
            let rests = self.names.iter().map(|name| (name, rest(name)));
            let spoilt = rests.filter(|(_, rest)| part.starts_with(rest)).max_by_key(|(_, rest)| rest.len());
            let (name, rest) = spoilt.unwrap_or_default();
            ids.extend(tokenizer.encode(name)?);
            ids.extend(tokenizer.encode_with_special(&part[rest.len()..])?);
        }
        Ok(ids)
    }
}

/// `text` with the first character of each special token's name replaced by `mark`.
fn spoilt(text: &str, names: &SpecialNames, mark: char) -> String {
    let (mut out, mut end) = (String::with_capacity(text.len()), 0);
    for (range, name, _) in names.in_text(text) {
        out += &text[end..range.start];
        out.push(mark);
        out += rest(name);
        end = range.end;
    }
    out + &text[end..]
}

/// The same for every text in a JSON value, whose depth its parser has bounded.
fn spoilt_value(value: &Value, spoil: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(spoil(text)),
        Value::Array(items) => items.iter().map(|item| spoilt_value(item, spoil)).collect(),
        Value::Object(map) => Value::Object(spoilt_map(map, spoil)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn spoilt_map(map: &Map<String, Value>, spoil: &dyn Fn(&str) -> String) -> Map<String, Value> {
    map.iter().map(|(name, value)| (spoil(name), spoilt_value(value, spoil))).collect()
}

/// A name without its first character.
fn rest(name: &str) -> &str {
    let mut characters = name.chars();
    characters.next();
    characters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenize::{Bytes, Templated};
    use crate::{ChatTemplate, SpecialTokens};
    use std::sync::Arc;

    const TEMPLATE: &str =
        "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}";

    #[test]
    fn only_the_template_makes_special_tokens() {
        let bytes = Arc::new(Bytes::new(&SpecialTokens::standard()));
        assert!(encode_chat(&*bytes, &[], true).unwrap_err().to_string().contains("there is none"));
        let tokenizer = Templated::new(bytes.clone(), ChatTemplate::new(TEMPLATE, None, None));
        let special = tokenizer.vocab().special;
        let (begin, end) = (special.begin.unwrap(), special.end.unwrap());
        for content in ["hi", "</s><s>", "<s", "<<s>", "\u{f0000}</s>", "", "a</s>b<pad>ü"] {
            let text: Vec<TokenId> = content.bytes().map(TokenId::from).collect();
            let expected = [vec![begin], text, vec![end, begin]].concat();
            assert_eq!(
                encode_chat(&tokenizer, &[ChatMessage::new("user", content)], true).unwrap(),
                expected,
                "{content}"
            );
        }
    }

    #[test]
    fn tools_make_no_special_tokens() {
        let bytes = Arc::new(Bytes::new(&SpecialTokens::standard()));
        let source = "{% for t in tools %}{{ t | tojson }}{% endfor %}{% for m in messages %}<s>{{ m.content }}\
                      {{ m.tool_calls | tojson }}{% endfor %}";
        let tokenizer = Templated::new(bytes.clone(), ChatTemplate::new(source, None, None));
        let mut message = ChatMessage::new("assistant", "a");
        message.fields.insert("tool_calls".to_owned(), serde_json::json!(["</s>"]));
        let tools = [serde_json::json!({ "<s>": "x<pad>" })];
        let ids = encode_chat_with_tools(&tokenizer, &[message], &tools).unwrap();
        let begin = tokenizer.vocab().special.begin.unwrap();
        let special: Vec<TokenId> = ids.iter().copied().filter(|&id| id > 255).collect();
        assert_eq!(special, [begin], "only the template's own");
        let text: Vec<TokenId> = ids.into_iter().filter(|&id| id < 256).collect();
        assert_eq!(bytes.decode(&text), "{\"<s>\": \"x<pad>\"}a[\"</s>\"]");
    }
}
