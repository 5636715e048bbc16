//! Splits text into the words that byte-pair encoding works on, exactly as GPT-2's pattern does, without a regular
//! expression engine.
//!
//! The pattern is `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`: contractions, then
//! runs of letters, digits or other signs with at most one space before them, then white space (of which the last one
//! before a word stays with the word or alone).

use regex_syntax::hir::{Class, HirKind};
use std::sync::LazyLock;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Other,
    Letter,
    Digit,
    Space,
}

/// The kind of every code point.
static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let mut kinds = vec![Kind::Other; char::MAX as usize + 1];
    for (pattern, kind) in [(r"\p{L}", Kind::Letter), (r"\p{N}", Kind::Digit)] {
        let class = regex_syntax::parse(pattern).expect("the pattern is a constant");
        let HirKind::Class(Class::Unicode(class)) = class.kind() else { unreachable!("the pattern is a class") };
        for range in class.ranges() {
            kinds[range.start() as usize..=range.end() as usize].fill(kind);
        }
    }
    for code in (0..=char::MAX as u32).filter(|&code| char::from_u32(code).is_some_and(char::is_whitespace)) {
        kinds[code as usize] = Kind::Space;
    }
    kinds
});

const CONTRACTIONS: &[&str] = &["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

/// The words of `text`, which join to the whole.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let kinds = KINDS.as_slice();
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (word, after) = rest.split_at(first_word_len(rest, kinds));
        rest = after;
        Some(word)
    })
}

fn first_word_len(text: &str, kinds: &[Kind]) -> usize {
    let may_contract = text.starts_with('\'');
    if let Some(contraction) = CONTRACTIONS.iter().find(|contraction| may_contract && text.starts_with(**contraction)) {
        return contraction.len();
    }
    let n_space = usize::from(text.starts_with(' '));
    let kind = text[n_space..].chars().next().map_or(Kind::Space, |next| kinds[next as usize]);
    if kind == Kind::Space { space_len(text, kinds) } else { n_space + run_len(&text[n_space..], kind, kinds) }
}

/// Length of the run of one kind that `text` starts with.
fn run_len(text: &str, kind: Kind, kinds: &[Kind]) -> usize {
    text.char_indices().find(|(_, next)| kinds[*next as usize] != kind).map_or(text.len(), |(i, _)| i)
}

/// Length of the white space that `text` starts with, without its last character when a word follows and others remain.
fn space_len(text: &str, kinds: &[Kind]) -> usize {
    let n_run = run_len(text, Kind::Space, kinds);
    if n_run == text.len() {
        return n_run;
    }
    let n_last = text[..n_run].chars().next_back().map_or(0, char::len_utf8);
    if n_last < n_run { n_run - n_last } else { n_run }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    /// The same by the `tokenizers` crate and its regular expression.
    fn reference(text: &str) -> Vec<String> {
        let mut split = PreTokenizedString::from(text);
        ByteLevel::new(false, false, true).pre_tokenize(&mut split).unwrap();
        let splits = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, range, _)| text[range.0..range.1].to_owned()).collect()
    }

    #[test]
    fn words_equal_those_of_the_regular_expression() {
        let samples = [
            "I'll say it's 42 o'clock,  isn't it?\n\n  Yes!!  ",
            "tabs\t\tand\r\n\r\nlines \u{a0} \u{3000}x",
            "naïve łódź 日本語 ①② ½ x² ǅ ٣٤٥ ⅷ_Ⅷ",
            "🦀🦀 a🦀 '' ' 's 'S '\u{301}e e\u{301}",
            "   ",
            " ",
            "",
            "\n",
            "'d'd '",
        ];
        for sample in samples {
            assert_eq!(words(sample).collect::<Vec<_>>(), reference(sample), "{sample:?}");
        }
    }

    #[test]
    fn words_equal_those_of_the_regular_expression_on_random_text() {
        let alphabet: Vec<char> = " \n\t'sdlrevmtaB9½日é\u{301}\u{a0}\u{2028}_-!🦀Ⅷ\u{85}\u{200b}".chars().collect();
        let mut state = 1_u64;
        for _ in 0..2000 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize
            };
            let text: String = (0..next() % 24).map(|_| alphabet[next() % alphabet.len()]).collect();
            assert_eq!(words(&text).collect::<Vec<_>>(), reference(&text), "{text:?}");
        }
    }
}
