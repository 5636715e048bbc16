//! Calls in what a model writes, found while it is being written.

use super::{BEGIN, Call, END, Format, LIST};
use serde_json::Value;

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Said to the user.
    Text(String),
    /// A call, complete.
    Call(Call),
}

/// Splits an answer into text and calls. Text that could begin a call is held back until it is known not to.
#[derive(Clone, Debug)]
pub struct CallParser {
    format: Format,
    names: Vec<String>,
    held: String,
    is_in_call: bool,
    has_called: bool,
    is_text: bool,
}

impl CallParser {
    /// A parser for calls of functions of these names.
    pub fn new(format: Format, names: Vec<String>) -> Self {
        Self { format, names, held: String::new(), is_in_call: false, has_called: false, is_text: false }
    }

    /// What is certain after more text.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.held += text;
        match self.format {
            Format::Bare => self.push_whole('{'),
            Format::Listed(_) => self.push_whole('['),
            Format::Tagged | Format::Told => self.push_tagged(),
        }
    }

    /// What is left when no more text comes. A call that lacks its end alone is one; another that was cut off is text, and nothing
    /// behind calls that were whole.
    pub fn finish(&mut self) -> Vec<Part> {
        let rest = std::mem::take(&mut self.held);
        if matches!(self.format, Format::Listed(_)) && !self.is_text {
            return self.calls_of(&rest).unwrap_or_else(|| self.text(rest).into_iter().collect());
        }
        if self.is_in_call {
            let (has_called, whole) = (self.has_called, rest.rfind('}').map_or("", |end| &rest[..=end]));
            let call = self.call_of(whole).map(Part::Call);
            let text = || if has_called { None } else { self.text(format!("{BEGIN}{rest}")) };
            return call.or_else(text).into_iter().collect();
        }
        if self.has_called && BEGIN.starts_with(rest.trim_start()) {
            return Vec::new();
        }
        let call = if self.format == Format::Bare && !self.is_text { self.call_of(&rest) } else { None };
        call.map(Part::Call).or_else(|| self.text(rest)).into_iter().collect()
    }

    /// Whether a call was found.
    pub fn has_called(&self) -> bool {
        self.has_called
    }

    /// An answer that is all text or all calls, as its first character says.
    fn push_whole(&mut self, first_of_calls: char) -> Vec<Part> {
        self.is_text |= self.held.trim_start().chars().next().is_some_and(|first| first != first_of_calls);
        if !self.is_text {
            return Vec::new();
        }
        let text = std::mem::take(&mut self.held);
        self.text(text).into_iter().collect()
    }

    fn push_tagged(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        loop {
            let mark = if self.is_in_call { END } else { BEGIN };
            let Some(at) = self.held.find(mark) else { break };
            let rest = self.held.split_off(at + mark.len());
            let mut before = std::mem::replace(&mut self.held, rest);
            before.truncate(at);
            if self.is_in_call {
                let part = self.call_of(&before).map(Part::Call);
                parts.extend(part.or_else(|| self.text(format!("{BEGIN}{before}{END}"))));
            } else {
                parts.extend(self.text(before));
            }
            self.is_in_call = !self.is_in_call;
        }
        if !self.is_in_call {
            let rest = self.held.split_off(self.held.len() - n_possible(&self.held));
            let text = std::mem::replace(&mut self.held, rest);
            parts.extend(self.text(text));
        }
        parts
    }

    /// What the user is to see; white space between calls is none of it.
    fn text(&self, text: String) -> Option<Part> {
        let is_gap = self.has_called && text.trim().is_empty();
        (!text.is_empty() && !is_gap).then_some(Part::Text(text))
    }

    /// The calls of a list, if it is one and all of it calls.
    fn calls_of(&mut self, text: &str) -> Option<Vec<Part>> {
        let list = text.trim_start();
        let list: Vec<Value> = serde_json::from_str(list.strip_prefix(LIST).unwrap_or(list).trim()).ok()?;
        let calls = list.iter().map(|value| self.call(value).map(Part::Call)).collect::<Option<Vec<Part>>>();
        let calls = calls.filter(|calls| !calls.is_empty());
        self.has_called = calls.is_some();
        calls
    }

    fn call_of(&mut self, json: &str) -> Option<Call> {
        self.call(&serde_json::from_str(json.trim()).ok()?)
    }

    fn call(&mut self, value: &Value) -> Option<Call> {
        let name = value["name"].as_str().filter(|name| self.names.iter().any(|known| known == name))?;
        let arguments = value.get(self.format.arguments_key())?;
        self.has_called = true;
        Some(Call::new(self.format, name.to_owned(), arguments))
    }
}

/// Length of the longest end of `text` that a call could begin with, in bytes.
fn n_possible(text: &str) -> usize {
    (1..BEGIN.len()).rev().find(|&n| text.ends_with(&BEGIN[..n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a text that comes in portions of `n` characters, text joined and calls as `name(arguments)`.
    fn parts(format: Format, text: &str, n: usize) -> String {
        let mut parser = CallParser::new(format, vec!["f".to_owned(), "g".to_owned()]);
        let characters: Vec<char> = text.chars().collect();
        let mut parts: Vec<Part> =
            characters.chunks(n).flat_map(|chunk| parser.push(&chunk.iter().collect::<String>())).collect();
        parts.extend(parser.finish());
        let shown = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Call(call) => format!("[{}({})]", call.name, call.arguments),
        };
        parts.iter().map(shown).collect()
    }

    fn check(format: Format, text: &str, expect: &str) {
        for n in [1, 3, 7, 1000] {
            assert_eq!(parts(format, text, n), expect, "{text} in portions of {n}");
        }
    }

    #[test]
    fn calls_are_found_between_tags() {
        let f = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, \"ü\"]}}\n</tool_call>";
        check(Format::Tagged, "hello", "hello");
        check(Format::Tagged, "a < b <tool", "a < b <tool");
        check(Format::Tagged, f, "[f({\"a\":[1,\"ü\"]})]");
        check(Format::Told, &format!("Well: {f}\n{f}\n"), "Well: [f({\"a\":[1,\"ü\"]})][f({\"a\":[1,\"ü\"]})]");
        check(Format::Tagged, "<tool_call>{\"name\": \"f\"", "<tool_call>{\"name\": \"f\"");
        check(Format::Tagged, f.trim_end_matches("</tool_call>"), "[f({\"a\":[1,\"ü\"]})]");
        for cut in ["<tool_", "<tool_call>\n{\"name\": \"f\"", "\n<tool_call>{\"name\": \"g\", \"arguments\": {}"] {
            check(Format::Told, &format!("{f}{cut}"), "[f({\"a\":[1,\"ü\"]})]");
        }
        check(Format::Tagged, "<tool_call>nonsense</tool_call>", "<tool_call>nonsense</tool_call>");
        let unknown = "<tool_call>{\"name\": \"h\", \"arguments\": {}}</tool_call>";
        check(Format::Tagged, unknown, unknown);
    }

    #[test]
    fn a_list_of_calls_is_all_of_an_answer() {
        let f = "{\"name\": \"f\", \"arguments\": {\"a\": 1}}";
        let listed = Format::Listed(None);
        check(listed, &format!("[TOOL_CALLS] [{f}, {f}]"), "[f({\"a\":1})][f({\"a\":1})]");
        check(Format::Listed(Some(5)), &format!("[{f}]"), "[f({\"a\":1})]");
        check(listed, "Sure: [1, 2]", "Sure: [1, 2]");
        check(listed, "[1, 2]", "[1, 2]");
        check(listed, "[TOOL_CALLS] []", "[TOOL_CALLS] []");
        check(
            listed,
            "[TOOL_CALLS] [{\"name\": \"h\", \"arguments\": {}}]",
            "[TOOL_CALLS] [{\"name\": \"h\", \"arguments\": {}}]",
        );
        let call = Call::new(listed, "f".to_owned(), &Value::Null);
        assert!(call.id.len() == 9 && call.id.chars().all(|c| c.is_ascii_alphanumeric()), "{}", call.id);
    }

    #[test]
    fn a_bare_call_is_all_of_an_answer() {
        check(Format::Bare, "{\"name\": \"g\", \"parameters\": {}}", "[g({})]");
        check(Format::Bare, "{\"name\": \"h\", \"parameters\": {}}", "{\"name\": \"h\", \"parameters\": {}}");
        check(Format::Bare, "so {\"name\": 1}", "so {\"name\": 1}");
        check(Format::Bare, "", "");
    }
}
