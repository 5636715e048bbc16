//! JSON from anywhere, of no more values than there may be: in memory one takes up to some hundred times its bytes.

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::fmt;
use std::marker::PhantomData;

/// The object of up to `most` values that a JSON text is, without its entries of the names in `passed_over`.
pub(super) fn object(json: &str, most: usize, passed_over: &[&str]) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let mut n_left = most;
    let object = deserializer.deserialize_map(Values { n_left: &mut n_left, most, passed_over })?;
    deserializer.end()?;
    Ok(object)
}

/// Reads values until there are too many.
struct Values<'v> {
    n_left: &'v mut usize,
    most: usize,
    passed_over: &'v [&'v str],
}

impl Values<'_> {
    /// Reads the values inside of one.
    fn inside(&mut self) -> Values<'_> {
        Values { n_left: self.n_left, most: self.most, passed_over: &[] }
    }
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(n_left) = self.n_left.checked_sub(1) else {
            return Err(D::Error::custom(format!("more than {} values, the most that are read", self.most)));
        };
        *self.n_left = n_left;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::from(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self.inside())? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if self.passed_over.contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else {
                object.insert(key, map.next_value_seed(self.inside())?);
            }
        }
        Ok(Value::Object(object))
    }
}

/// A list of up to `MOST`; none where there is null.
pub(super) fn list<'de, const MOST: usize, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Elements<const MOST: usize, T>(PhantomData<T>);

    impl<'de, const MOST: usize, T: Deserialize<'de>> Visitor<'de> for Elements<MOST, T> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = list.next_element()? {
                check_count::<A::Error>(elements.len(), MOST)?;
                elements.push(element);
            }
            Ok(Some(elements))
        }
    }

    deserializer.deserialize_any(Elements::<MOST, T>(PhantomData))
}

/// Refuses one more where there are `n`.
pub(super) fn check_count<E: Error>(n: usize, most: usize) -> Result<(), E> {
    if n < most { Ok(()) } else { Err(E::custom(format!("more than {most} in a list, the most that are read"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_counted_and_read_as_they_are() {
        let json = r#"{"a": [1, -2, 0.5, null, true, "é\n", {"b": {}}], "c": [[[9]]], "a": {"c": "d"}}"#;
        let expected: Value = serde_json::from_str(json).unwrap();
        let refusal = |json: &str, most: usize| object(json, most, &[]).unwrap_err().to_string();
        assert_eq!(object(json, 15, &[]).unwrap(), expected);
        assert!(refusal(json, 14).contains("more than 14 values"));
        assert_eq!(object(json, 11, &["c"]).unwrap(), json!({ "a": { "c": "d" } }));
        assert!(refusal("[]", 9).contains("expected an object"));
        assert!(refusal("{} {}", 9).contains("trailing characters"));
        assert!(refusal(&format!(r#"{{"a":{}"#, "[".repeat(1 << 16)), 1 << 17).contains("recursion limit"));
    }

    #[test]
    fn lists_are_counted() {
        let read = |json: &str| list::<3, u8, _>(&mut serde_json::Deserializer::from_str(json));
        assert_eq!(read("[1, 2, 3]").unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(read("null").unwrap(), None);
        assert!(read("[1, 2, 3, 4]").unwrap_err().to_string().contains("more than 3 in a list"));
        assert!(read("{}").unwrap_err().to_string().contains("expected a list"));
    }
}
