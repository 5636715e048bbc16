//! The metadata of a GGUF file by key and type.

use super::header::{Sound, Texts, Value};
use std::collections::BTreeMap;

/// Looks keys up. A key that is not there is `None`; one of another type is an error that names it.
pub(super) struct Metadata<'a>(pub(super) &'a BTreeMap<String, Value>);

/// A method for values of one variant.
macro_rules! getter {
    ($(#[doc = $doc:literal])* $name:ident, $variant:ident($value:ident) => $result:expr, $type:ty) => {
        $(#[doc = $doc])*
        pub(super) fn $name(&self, key: &str) -> Sound<Option<$type>> {
            match self.0.get(key) {
                None => Ok(None),
                Some(Value::$variant($value)) => Ok(Some($result)),
                Some(other) => Err(format!("'{key}' is {}, expected {}", other.kind(), stringify!($name))),
            }
        }
    };
}

impl<'a> Metadata<'a> {
    getter!(
        /// A text.
        text, Text(value) => value.as_str(), &'a str);
    getter!(
        /// True or false.
        flag, Flag(value) => *value, bool);
    getter!(
        /// Texts.
        texts, Texts(value) => value, &'a Texts);
    getter!(
        /// Whole numbers.
        integers, Integers(value) => value.as_slice(), &'a [i64]);
    getter!(
        /// Numbers.
        floats, Floats(value) => value.as_slice(), &'a [f32]);

    /// A whole number of at least 0.
    pub(super) fn whole(&self, key: &str) -> Sound<Option<u64>> {
        match self.0.get(key) {
            None => Ok(None),
            Some(&Value::Integer(value)) => u64::try_from(value)
                .map(Some)
                .map_err(|_| format!("'{key}' is {value}, expected a number of at least 0")),
            Some(other) => Err(format!("'{key}' is {}, expected a whole number", other.kind())),
        }
    }

    /// A number, be it whole.
    pub(super) fn number(&self, key: &str) -> Sound<Option<f64>> {
        match self.0.get(key) {
            None => Ok(None),
            Some(&Value::Float(value)) => Ok(Some(value)),
            Some(&Value::Integer(value)) => Ok(Some(value as f64)),
            Some(other) => Err(format!("'{key}' is {}, expected a number", other.kind())),
        }
    }

    /// The id of a token.
    pub(super) fn id(&self, key: &str) -> Sound<Option<u32>> {
        let id = self.whole(key)?;
        id.map(|id| u32::try_from(id).map_err(|_| format!("'{key}' is {id}, which is no id of a token"))).transpose()
    }

    /// The token that an id stands for; none for an id beyond the tokens, which llama.cpp passes over too: files write 2³² − 1 for
    /// what they lack.
    pub(super) fn token(&self, key: &str, tokens: &'a Texts) -> Sound<Option<&'a str>> {
        Ok(self.id(key)?.and_then(|id| tokens.get(id as usize)))
    }
}
