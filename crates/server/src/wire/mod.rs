//! What clients write and read, interface by interface. Only here does anything know JSON by its fields.

pub mod attention;
pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod generate;
pub mod message;
pub mod messages;
pub mod output;
pub mod responses;
pub mod schema;

use crate::problem::Problem;
use hyper::StatusCode;
use schema::schema;
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Reads a request. `without_effect` are fields of the published interface that mean nothing here.
///
/// # Errors
/// 400: where the JSON breaks off, or which field is wrong and what was expected.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], without_effect: &[&str]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed: T = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| explain(&error.path().to_string(), error.inner(), without_effect))?;
    reader.end().map_err(|error| not_json(&error))?;
    Ok(parsed)
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not JSON: {error}"))
}

fn explain(path: &str, error: &serde_json::Error, without_effect: &[&str]) -> Problem {
    if error.is_syntax() || error.is_eof() {
        return not_json(error);
    }
    let text = error.to_string();
    // Where in the bytes it stands helps nobody who made them with a program.
    let text: String =
        text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text).chars().take(400).collect();
    if let Some((field, _)) = text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        return unknown_field(path, field, &text, without_effect);
    }
    let param = Some(path.to_owned()).filter(|path| path != ".");
    let place = param.as_ref().map_or_else(|| "the body".to_owned(), |param| format!("`{param}`"));
    Problem { param, ..Problem::invalid("", format!("{place}: {text}")) }
}

fn unknown_field(path: &str, field: &str, text: &str, without_effect: &[&str]) -> Problem {
    let parent = path.strip_suffix(field).unwrap_or(path).trim_end_matches('.');
    let is_root = parent.is_empty() || parent == "?";
    let param = if is_root { field.to_owned() } else { format!("{parent}.{field}") };
    if without_effect.contains(&field) {
        return Problem::without_effect(&param);
    }
    let message = format!("there is no field `{param}`: {text}");
    Problem { code: Some("unknown_parameter"), ..Problem::invalid(param, message) }
}

/// A field that clients send back as they got it, and that says nothing: null or an empty list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nothing;

schema!(Nothing, { "enum": [null, []] });

const NOTHING: &str = "nothing: this field has no effect on this server, so only null may stand in it";

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Empty;

        impl<'de> Visitor<'de> for Empty {
            type Value = Nothing;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(NOTHING)
            }

            fn visit_unit<E: Error>(self) -> Result<Nothing, E> {
                Ok(Nothing)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Nothing, A::Error> {
                match items.next_element::<IgnoredAny>()? {
                    None => Ok(Nothing),
                    Some(_) => Err(A::Error::custom(format!("expected {NOTHING}"))),
                }
            }
        }
        deserializer.deserialize_any(Empty)
    }
}

/// Reads a text, or a list. What is wrong within an item is said with its place, which an untagged enum would not do.
///
/// # Errors
/// When it is neither, naming what is `expecting`ed, or an item is wrong.
pub(crate) fn text_or_list<'de, D: Deserializer<'de>, I: Deserialize<'de>, T>(
    deserializer: D,
    expecting: &'static str,
    of_text: impl FnOnce(String) -> T,
    of_list: impl FnOnce(Vec<I>) -> T,
) -> Result<T, D::Error> {
    struct TextOrList<I, A, B>(&'static str, A, B, PhantomData<I>);

    impl<'de, I: Deserialize<'de>, T, A: FnOnce(String) -> T, B: FnOnce(Vec<I>) -> T> Visitor<'de> for TextOrList<I, A, B> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            Ok((self.1)(text.to_owned()))
        }

        fn visit_seq<S: SeqAccess<'de>>(self, items: S) -> Result<T, S::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(items)).map(self.2)
        }
    }
    deserializer.deserialize_any(TextOrList(expecting, of_text, of_list, PhantomData))
}

/// One text, or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(pub Vec<String>);

schema!(Texts, { "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_list(deserializer, "a text or a list of texts", |text| Texts(vec![text]), Texts)
    }
}

/// Texts, or texts as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompts {
    /// As people write them.
    Texts(Vec<String>),
    /// As models read them.
    Tokens(Vec<Vec<u32>>),
}

schema!(Prompts, { "anyOf": [
    { "type": "string" }, { "type": "array", "items": { "type": "string" } },
    { "type": "array", "items": { "type": "integer", "minimum": 0 } },
    { "type": "array", "items": { "type": "array", "items": { "type": "integer", "minimum": 0 } } },
] });

impl Prompts {
    /// Number of texts.
    pub fn len(&self) -> usize {
        match self {
            Prompts::Texts(texts) => texts.len(),
            Prompts::Tokens(lists) => lists.len(),
        }
    }
}

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Text(String),
            Texts(Vec<String>),
            Tokens(Vec<u32>),
            TokenLists(Vec<Vec<u32>>),
        }
        let any = Any::deserialize(deserializer).map_err(|_| {
            D::Error::custom("expected a text, a list of texts, a list of tokens, or a list of lists of tokens")
        })?;
        Ok(match any {
            Any::Text(text) => Prompts::Texts(vec![text]),
            Any::Texts(texts) => Prompts::Texts(texts),
            Any::Tokens(tokens) => Prompts::Tokens(vec![tokens]),
            Any::TokenLists(lists) => Prompts::Tokens(lists),
        })
    }
}

#[cfg(test)]
mod tests;
