//! Decoding token by token without ever showing half a character.

/// Decodes ids as they come.
pub trait TextStream: Send {
    /// The text that is certain after one more token; empty while a character is incomplete.
    fn push(&mut self, id: genera_tokens::TokenId) -> String;

    /// What is left at the end: an incomplete character shows as U+FFFD.
    fn finish(&mut self) -> String;
}

/// Bytes that arrive in any portions, given out as text as soon as they are whole characters.
#[derive(Debug, Default)]
pub(crate) struct Utf8Stream {
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// The text that is certain after `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut n_taken = 0;
        for chunk in self.pending.utf8_chunks() {
            text += chunk.valid();
            n_taken += chunk.valid().len();
            let rest = &self.pending[n_taken..];
            let is_incomplete = std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
            if chunk.invalid().len() == rest.len() && is_incomplete {
                break;
            }
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                n_taken += chunk.invalid().len();
            }
        }
        self.pending.drain(..n_taken);
        text
    }

    /// What is left: an incomplete character shows as U+FFFD.
    pub(crate) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_to_the_lossy_whole() {
        let samples: [&[u8]; 6] =
            ["naïve 日本 🦀".as_bytes(), b"a\xffb", b"\xf0\x9f", b"\xe6\x97x\xf0\x9f\xa6\x80", b"\xf0\x9f\xf0", b""];
        for sample in samples {
            for n in 1..5 {
                let mut stream = Utf8Stream::default();
                let mut text: String = sample.chunks(n).map(|part| stream.push(part)).collect();
                text += &stream.finish();
                assert_eq!(text, String::from_utf8_lossy(sample), "{sample:x?} in portions of {n}");
            }
        }
    }

    #[test]
    fn half_a_character_is_held_back() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(b"a\xe6\x97"), "a");
        assert_eq!(stream.push(b"\xa5"), "日");
        assert_eq!(stream.finish(), "");
    }
}
