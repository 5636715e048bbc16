//! What a value in a recipe may be: numbers, texts, lists, and choices by name.

use toml::Value;

/// A type that can stand in a recipe.
pub trait Setting: Sized {
    /// What is expected, for messages: "a whole number".
    fn expects() -> String;

    /// The value, if it is one of this type.
    fn read(value: &Value) -> Option<Self>;

    /// The value as it is written; `None` when it is not set.
    fn write(&self) -> Option<Value>;
}

/// One of a few names.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every name with what it stands for.
    const NAMES: &'static [(&'static str, Self)];

    /// The name of this one.
    fn name(self) -> &'static str;
}

/// Makes a type of names a [`Setting`]; a blanket implementation would exclude all others. It does not compile while one of
/// the type has no name.
macro_rules! choice {
    ($type:ty { $($name:literal => $choice:path),* $(,)? }) => {
        impl $crate::recipe::Choice for $type {
            const NAMES: &'static [(&'static str, Self)] = &[$(($name, $choice)),*];

            fn name(self) -> &'static str {
                match self {
                    $($choice => $name),*
                }
            }
        }

        impl $crate::recipe::setting::Setting for $type {
            fn expects() -> String {
                let names: Vec<String> = [$($name),*].iter().map(|name| format!("\"{name}\"")).collect();
                format!("one of {}", names.join(", "))
            }

            fn read(value: &toml::Value) -> Option<Self> {
                let text = value.as_str()?;
                <Self as $crate::recipe::Choice>::NAMES.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice)
            }

            fn write(&self) -> Option<toml::Value> {
                Some(toml::Value::String($crate::recipe::Choice::name(*self).to_owned()))
            }
        }
    };
}
pub(crate) use choice;

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn expects() -> String {
                "a whole number of at least 0".to_owned()
            }

            fn read(value: &Value) -> Option<Self> {
                value.as_integer()?.try_into().ok()
            }

            /// A number beyond those of TOML is written as the largest of them.
            fn write(&self) -> Option<Value> {
                Some(Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX)))
            }
        }
    )*};
}
whole_number!(u64, usize);

impl Setting for f64 {
    fn expects() -> String {
        "a number".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        let number = value.as_float().or_else(|| value.as_integer().map(|integer| integer as f64))?;
        number.is_finite().then_some(number)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Float(*self))
    }
}

impl Setting for bool {
    fn expects() -> String {
        "true or false".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

impl Setting for String {
    fn expects() -> String {
        "a text in quotes".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }
}

/// A list, or a single text.
impl Setting for Vec<String> {
    fn expects() -> String {
        "a list of texts, as in [\"a.txt\", \"b.txt\"]".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(values) => values.iter().map(String::read).collect(),
            _ => None,
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Array(self.iter().cloned().map(Value::String).collect()))
    }
}

/// A value that may be left to be derived.
impl<T: Setting> Setting for Option<T> {
    fn expects() -> String {
        T::expects()
    }

    fn read(value: &Value) -> Option<Self> {
        T::read(value).map(Some)
    }

    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(T::write)
    }
}

/// A value as a person would name it: `the text "many"`, `the number 3`.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text \"{text}\""),
        Value::Float(number) if !number.is_finite() => format!("{value}, which is not finite"),
        Value::Integer(_) | Value::Float(_) => format!("the number {value}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(date) => format!("the date {date}"),
        Value::Array(_) => format!("the list {value}"),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// The name that a mistyped one most likely meant, if any is near.
pub(super) fn nearest<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let distances = names.into_iter().map(|name| (edit_distance(typed, name), name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + name.len() / 3).then_some(name)
}

/// Insertions, deletions and substitutions between two texts (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expect) in [("", "abc", 3), ("kitten", "sitting", 3), ("steps", "stesp", 2), ("same", "same", 0)] {
            assert_eq!(edit_distance(a, b), expect, "{a} {b}");
        }
        assert_eq!(nearest("stesp", ["steps", "seed"]), Some("steps"));
        assert_eq!(nearest("colour", ["steps", "seed"]), None);
    }
}
