//! Finds the derivations of a text.

use std::fmt;

use super::grammar::{Bindings, Grammar, Piece};

/// Where a text stops being a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Byte offset of the first character that no story has after what stands before it.
    pub offset: usize,
    /// What stands there: the rest of the word, or `None` when the text ends too early.
    pub found: Option<String>,
    /// What a story may have in this place, whole words from the place where the choice began; empty when the story
    /// should have ended.
    pub expected: Vec<String>,
    /// The words before the mistake.
    pub before: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, before, .. } = self;
        match &self.found {
            Some(found) => write!(f, "at byte {offset}, after `{before}`: found `{found}`, ")?,
            None => write!(f, "at byte {offset}, after `{before}`: the text ends, ")?,
        }
        match &self.expected[..] {
            [] => f.write_str("expected the end of the story"),
            [one] => write!(f, "expected `{one}`"),
            many => write!(f, "expected one of `{}`", many.join("`, `")),
        }
    }
}

/// A way to read the text up to an offset.
#[derive(Clone, Copy)]
struct Reading {
    offset: usize,
    bindings: Bindings,
    log_probability: f64,
}

/// The derivations of a text.
pub(super) struct Derivations {
    /// The logarithm of the probability of each.
    pub(super) log_probabilities: Vec<f64>,
    /// Where the text stops being a story, when there is no derivation.
    pub(super) mistake: Option<Mistake>,
}

struct Reader<'a> {
    grammar: &'a Grammar,
    text: &'a str,
    /// The furthest offset at which something did not fit, and what did not.
    furthest: usize,
    expected: Vec<String>,
}

impl Grammar {
    /// Every derivation of the text.
    ///
    /// # Cost
    /// Linear in the length of the stories, however long the text: what cannot be a story is given up at the first
    /// mistake.
    pub(super) fn derivations(&self, text: &str) -> Derivations {
        let mut reader = Reader { grammar: self, text, furthest: 0, expected: Vec::new() };
        let start = Reading { offset: 0, bindings: Bindings::default(), log_probability: 0.0 };
        let readings = reader.read_rule(0, vec![start]);
        let whole: Vec<f64> =
            readings.iter().filter(|r| r.offset == text.len()).map(|reading| reading.log_probability).collect();
        if let Some(reading) = readings.iter().max_by_key(|reading| reading.offset) {
            reader.note(reading.offset, None);
        }
        let mistake = whole.is_empty().then(|| reader.mistake());
        Derivations { log_probabilities: whole, mistake }
    }
}

impl Reader<'_> {
    /// The readings that follow from `readings` when an alternative of the rule comes next.
    fn read_rule(&mut self, rule: usize, readings: Vec<Reading>) -> Vec<Reading> {
        let rule = &self.grammar.rules[rule];
        let total = f64::from(rule.total_weight());
        let mut after = Vec::new();
        for option in &rule.alternatives {
            let log_share = (f64::from(option.weight) / total).ln();
            let mut readings = readings.clone();
            readings.iter_mut().for_each(|reading| reading.log_probability += log_share);
            for piece in &option.pieces {
                readings = self.read(piece, readings);
            }
            after.extend(readings);
        }
        after
    }

    fn read(&mut self, piece: &Piece, readings: Vec<Reading>) -> Vec<Reading> {
        if let Piece::Expand(rule) = piece {
            return if readings.is_empty() { readings } else { self.read_rule(*rule, readings) };
        }
        readings.into_iter().flat_map(|reading| self.read_one(piece, reading)).collect()
    }

    fn read_one(&mut self, piece: &Piece, reading: Reading) -> Vec<Reading> {
        let grammar = self.grammar;
        match piece {
            Piece::Text(text) => self.matching(reading, text).into_iter().collect(),
            Piece::Say { variable, form } => {
                let word = grammar.said(&reading.bindings, *variable, *form);
                self.matching(reading, word).into_iter().collect()
            }
            Piece::Draw { variable, list, form, except } => {
                let words = || grammar.drawable(*list, except, &reading.bindings);
                let total = f64::from(words().map(|(_, weight)| weight).sum::<u32>());
                let fits = words().filter_map(|(word, weight)| {
                    let next = self.matching(reading, grammar.form(word, *form))?;
                    let log_probability = reading.log_probability + (f64::from(weight) / total).ln();
                    Some(Reading { bindings: next.bindings.with(*variable, word), log_probability, ..next })
                });
                fits.collect()
            }
            Piece::Expand(_) => unreachable!("rules are read by `read`"),
        }
    }

    /// The reading after these words, if they stand there.
    fn matching(&mut self, reading: Reading, words: &str) -> Option<Reading> {
        let rest = &self.text[reading.offset..];
        if rest.starts_with(words) {
            return Some(Reading { offset: reading.offset + words.len(), ..reading });
        }
        let same = rest.char_indices().zip(words.chars()).find(|((_, a), b)| a != b).map(|((i, _), _)| i);
        self.note(reading.offset + same.unwrap_or(rest.len()), Some(words));
        None
    }

    /// Remembers that the text could not go on at the offset; `None` expects the end.
    fn note(&mut self, offset: usize, expected: Option<&str>) {
        if offset > self.furthest {
            self.furthest = offset;
            self.expected.clear();
        }
        if offset == self.furthest {
            self.expected.extend(expected.map(|words| words.trim().to_owned()));
        }
    }

    fn mistake(self) -> Mistake {
        let (before, rest) = self.text.split_at(self.furthest);
        let word = rest.split_inclusive(' ').next().map(|word| word.trim_end());
        let start = before.char_indices().rev().filter(|(_, c)| *c == ' ').nth(4).map_or(0, |(i, _)| i + 1);
        Mistake {
            offset: self.furthest,
            found: word.map(|word| word.chars().take(20).collect()),
            expected: self.expected,
            before: before[start..].to_owned(),
        }
    }
}
