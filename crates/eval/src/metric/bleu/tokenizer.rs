//! How BLEU cuts texts into words, character for character as sacrebleu does.

use crate::Error;
use crate::metric::python_text;
use regex::Regex;
use std::borrow::Cow;
use std::sync::LazyLock;

/// A rule for where words begin and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tokenizer {
    /// The rules of NIST's `mteval-v13a.pl`, for languages written in the Latin alphabet: what papers report.
    #[default]
    V13a,
    /// The rules of `mteval-v14.pl`: Unicode's punctuation and symbols.
    Intl,
    /// Every Chinese character is a word; the rest as 13a.
    Zh,
    /// Every character is a word.
    Char,
    /// What stands between white space is a word.
    None,
}

impl Tokenizer {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::V13a, Self::Intl, Self::Zh, Self::Char, Self::None];

    /// The name in signatures and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::Intl => "intl",
            Self::Zh => "zh",
            Self::Char => "char",
            Self::None => "none",
        }
    }

    /// The tokenizer of this name.
    ///
    /// # Errors
    /// When there is none; the error lists those that there are.
    pub fn by_name(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|tokenizer| tokenizer.name() == name);
        found.ok_or_else(|| Error::UnknownTokenizer(name.to_owned()))
    }

    /// The words of a text.
    pub fn words(self, text: &str) -> Vec<String> {
        python_text::split(&self.separate(text)).map(str::to_owned).collect()
    }

    /// The text with white space wherever a word ends.
    pub(super) fn separate(self, text: &str) -> String {
        match self {
            Self::V13a => separate_13a(text),
            Self::Intl => separate_intl(text),
            Self::Zh => separate_zh(text),
            Self::Char => text.chars().flat_map(|c| [c, ' ']).collect(),
            Self::None => text.to_owned(),
        }
    }
}

fn separate_13a(text: &str) -> String {
    let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    // One after the other, so that "&amp;lt;" becomes "<".
    for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        if text.contains('&') {
            text = text.replace(entity, character);
        }
    }
    separate_western(&format!(" {text} "))
}

/// The rules that 13a and zh share.
fn separate_western(text: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit();
    let is_stop = |c: char| c == '.' || c == ',';
    let text = isolate(text, is_western_symbol);
    let text = part(&text, |c| !is_digit(c), is_stop, Isolate::Second);
    let text = part(&text, is_stop, |c| !is_digit(c), Isolate::First);
    part(&text, is_digit, |c| c == '-', Isolate::Second)
}

/// ASCII's punctuation but for the apostrophe, comma, hyphen and full stop; and the space, as in the script.
fn is_western_symbol(c: char) -> bool {
    matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/')
}

/// Sets every character of a class apart.
fn isolate(text: &str, is_apart: impl Fn(char) -> bool) -> String {
    let mut separated = String::with_capacity(2 * text.len());
    for c in text.chars() {
        if is_apart(c) {
            separated.extend([' ', c, ' ']);
        } else {
            separated.push(c);
        }
    }
    separated
}

/// Which of two characters becomes a word of its own.
#[derive(Clone, Copy)]
enum Isolate {
    First,
    Second,
}

/// Parts every two neighbours of which the first is of one class and the second of another.
///
/// Pairs do not overlap, the leftmost is taken: what the second of a pair begins is not looked at. So it is with the
/// substitutions of the scripts, where it shows: "a..b" is parted once by a rule, not twice.
fn part(text: &str, first: impl Fn(char) -> bool, second: impl Fn(char) -> bool, isolate: Isolate) -> String {
    let mut parted = String::with_capacity(2 * text.len());
    let mut chars = text.chars().peekable();
    while let Some(a) = chars.next() {
        match (chars.next_if(|&b| first(a) && second(b)), isolate) {
            (Some(b), Isolate::First) => parted.extend([' ', a, ' ', b]),
            (Some(b), Isolate::Second) => parted.extend([a, ' ', b, ' ']),
            (None, _) => parted.push(a),
        }
    }
    parted
}

/// Punctuation is parted from what is not a number, symbols from everything.
fn separate_intl(text: &str) -> String {
    static RULES: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
        [(r"(\P{N})(\p{P})", "$1 $2 "), (r"(\p{P})(\P{N})", " $1 $2"), (r"(\p{S})", " $1 ")]
            .map(|(rule, becomes)| (Regex::new(rule).expect("a rule is a valid expression"), becomes))
    });
    let apply =
        |text: Cow<'_, str>, (rule, becomes): &(Regex, &str)| rule.replace_all(&text, *becomes).into_owned().into();
    RULES.iter().fold(Cow::Borrowed(text), apply).into_owned()
}

fn separate_zh(text: &str) -> String {
    separate_western(&isolate(text.trim_matches(python_text::is_space), is_chinese))
}

/// The characters that sacrebleu takes for Chinese.
///
/// Two of its ranges, meant for planes 2 (U+20000 and U+2F800), are written with four digits and a stray one. Compared as
/// strings they hold U+2001 to U+2A6D and U+2F81 to U+2FA1: general punctuation, arrows and mathematics are set apart,
/// ideographs of plane 2 are not. To give the same scores, so it is here.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{2001}'..='\u{2a6d}' // meant: extension B
        | '\u{2e80}'..='\u{2fdf}' // radicals
        | '\u{2ff0}'..='\u{303f}' // ideographic description, punctuation
        | '\u{3100}'..='\u{312f}' // Bopomofo
        | '\u{31a0}'..='\u{31bf}' // Bopomofo extended
        | '\u{31c0}'..='\u{31ef}' // strokes
        | '\u{3200}'..='\u{33ff}' // enclosed, compatibility
        | '\u{3400}'..='\u{4db5}' // extension A
        | '\u{4e00}'..='\u{9fbb}' // unified ideographs
        | '\u{f900}'..='\u{fa2d}' | '\u{fa30}'..='\u{fa6a}' | '\u{fa70}'..='\u{fad9}' // compatibility ideographs
        | '\u{fe10}'..='\u{fe1f}' | '\u{fe30}'..='\u{fe4f}' // vertical and compatibility forms
        | '\u{ff00}'..='\u{ffef}' // half and full width
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_where_sacrebleu_ends_them() {
        use Tokenizer::{Char, Intl, None, V13a, Zh};
        let cases = [
            (V13a, "Hello, world!", "Hello|,|world|!"),
            (V13a, "It's 3.14, not 1,000.5.", "It's|3.14|,|not|1,000.5|."),
            (V13a, "a..b ...", "a|.|.|b|.|.|."),
            (V13a, "1990-2000 well-known", "1990|-|2000|well-known"),
            (V13a, "&quot;Tom &amp;lt; Jerry&quot;", "\"|Tom|<|Jerry|\""),
            (V13a, "hy-\nphen\nnext <skipped>", "hyphen|next"),
            (V13a, "„Zitat“ – 5 €", "„Zitat“|–|5|€"),
            (Intl, "„Zitat“ – 5€ 1.5", "„|Zitat|“|–|5|€|1.5"),
            (Zh, "我爱北京。OK.", "我|爱|北|京|。|OK|."),
            (Zh, "5“x” 𠀀𠀁", "5|“|x|”|𠀀𠀁"),
            (Char, "a b\u{1c}é", "a|b|é"),
            (None, "one\u{1c}two\u{a0}three,", "one|two|three,"),
        ];
        for (tokenizer, text, expect) in cases {
            assert_eq!(tokenizer.words(text).join("|"), expect, "{tokenizer:?} {text:?}");
        }
    }

    #[test]
    fn names_lead_back() {
        for tokenizer in Tokenizer::ALL {
            assert_eq!(Tokenizer::by_name(tokenizer.name()), Ok(tokenizer));
        }
        assert!(Tokenizer::by_name("moses").unwrap_err().to_string().contains("13a, intl, zh, char, none"));
    }
}
