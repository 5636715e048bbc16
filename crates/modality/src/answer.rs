//! An answer as it grows: tokens in, text out, cut where a stop string appears.

use genera_data::{TextStream, Tokenizer};
use genera_tokens::TokenId;

/// Turns tokens into text as they come and watches for stop strings.
///
/// Text that could be the beginning of a stop string is held back until it is known not to be one, so that what was
/// given out never has to be taken back.
pub struct AnswerStream<'t> {
    stream: Box<dyn TextStream + 't>,
    stops: Vec<String>,
    held: String,
    /// Which of `stops` has appeared.
    stopped_by: Option<usize>,
}

impl<'t> AnswerStream<'t> {
    /// A stream that ends before the first of `stops` to appear; empty strings are left out.
    pub fn new(tokenizer: &'t dyn Tokenizer, stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stream: tokenizer.stream(), stops, held: String::new(), stopped_by: None }
    }

    /// The text that is certain after one more token.
    pub fn push(&mut self, token: TokenId) -> String {
        let text = self.stream.push(token);
        self.take(&text)
    }

    /// What was held back, when no more tokens come.
    pub fn finish(&mut self) -> String {
        let rest = self.stream.finish();
        let text = self.take(&rest);
        if self.is_stopped() { text } else { text + &std::mem::take(&mut self.held) }
    }

    /// Whether a stop string has appeared.
    pub fn is_stopped(&self) -> bool {
        self.stopped_by.is_some()
    }

    /// The stop string that has appeared.
    pub fn stop(&self) -> Option<&str> {
        self.stopped_by.map(|i| self.stops[i].as_str())
    }

    fn take(&mut self, text: &str) -> String {
        if self.is_stopped() {
            return String::new();
        }
        self.held += text;
        let found = self.stops.iter().enumerate().filter_map(|(i, stop)| Some((self.held.find(stop.as_str())?, i)));
        if let Some((at, i)) = found.min() {
            self.stopped_by = Some(i);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let n_held = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - n_held);
        std::mem::replace(&mut self.held, rest)
    }
}

/// Length of the longest end of `text` that is a beginning of `stop`, in bytes.
fn overlap(text: &str, stop: &str) -> usize {
    let starts = stop.char_indices().map(|(at, _)| at).filter(|&at| at > 0);
    starts.filter(|&n| text.ends_with(&stop[..n])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_data::SpecialTokens;
    use genera_data::tokenize::Bytes;

    fn check(text: &str, stops: &[&str], expected: &str) {
        let tokenizer = Bytes::new(&SpecialTokens::none());
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stream = AnswerStream::new(&tokenizer, &stops);
        let mut out = String::new();
        for id in tokenizer.encode(text).unwrap() {
            out += &stream.push(id);
            assert!(text.starts_with(&out), "'{out}' had to be taken back");
        }
        out += &stream.finish();
        assert_eq!(out, expected, "{text:?} with stops {stops:?}");
        let next = |stop: &str| text[out.len()..].starts_with(stop);
        assert_eq!(stream.stop().is_some_and(next), out != text, "{text:?} with stops {stops:?}");
    }

    #[test]
    fn cuts_at_the_first_stop_string() {
        check("hello world", &[], "hello world");
        check("hello world", &["wor"], "hello ");
        check("hello world", &["xyz", ""], "hello world");
        check("a\n\nb", &["\n\n"], "a");
        check("a\nb", &["\n\n"], "a\nb");
        check("aab", &["ab"], "a");
        check("naïve Ünder", &["Ün"], "naïve ");
        check("ends with wo", &["world"], "ends with wo");
        check("one two", &["two", "one"], "");
    }
}
