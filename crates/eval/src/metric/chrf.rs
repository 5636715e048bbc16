//! chrF and chrF++ of a corpus, equal to those of sacrebleu.

use super::ngram::{Ngrams, n_shared, number_words};
use super::{Metric, TextMetric, python_text};
use crate::{Better, Corpus, Statistics, Unit};

/// F-score of character n-grams (and, as chrF++, of words and pairs of words); from 0 to 100.
///
/// With several references each segment is scored against the one that suits it best.
///
/// # Source
/// Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation", WMT; Popović 2017, "chrF++: words helping
/// character n-grams", WMT. Equal to sacrebleu 2.6.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chrf {
    /// The longest character n-grams.
    pub char_order: usize,
    /// The longest word n-grams: 0 for chrF, 2 for chrF++.
    pub word_order: usize,
    /// How many times more recall weighs than precision.
    pub beta: f64,
    /// Takes upper and lower case for the same.
    pub lowercase: bool,
    /// Counts white space as characters.
    pub whitespace: bool,
    /// Averages the F-scores of all orders, an order without n-grams counting as nearly 0. Otherwise precision and
    /// recall are averaged over the orders that occur on both sides (effective order), as in sacrebleu by default.
    pub epsilon_smoothing: bool,
}

impl Default for Chrf {
    fn default() -> Self {
        Self::CHRF
    }
}

/// What an order without n-grams counts as, under epsilon smoothing.
const EPSILON: f64 = 1e-16;

/// Numbers kept for each order: n-grams of the hypothesis, of the reference, matches.
const N_PER_ORDER: usize = 3;

impl Chrf {
    /// chrF with sacrebleu's usual settings (chrF2).
    pub const CHRF: Self =
        Self { char_order: 6, word_order: 0, beta: 2.0, lowercase: false, whitespace: false, epsilon_smoothing: false };

    /// chrF++ with sacrebleu's usual settings (chrF2++).
    pub const CHRF_PLUS_PLUS: Self = Self { word_order: 2, ..Self::CHRF };

    /// The statistics against the reference that suits best; the first of those that suit as well.
    fn segment_statistics(&self, hypothesis: &str, references: &[&str]) -> Vec<f64> {
        let texts: Vec<String> =
            std::iter::once(&hypothesis).chain(references).map(|text| self.prepare(text)).collect();
        let mut rows = vec![Vec::new(); references.len()];
        let characters = Ngrams::new(texts.iter().map(|text| self.characters(text)).collect());
        append_counts(characters, self.char_order, &mut rows);
        if self.word_order > 0 {
            let words = Ngrams::new(number_words(texts.iter().map(|text| words(text))));
            append_counts(words, self.word_order, &mut rows);
        }
        let best_of = |best: (f64, Vec<f64>), row: Vec<f64>| {
            let score = self.score(&row);
            if score > best.0 { (score, row) } else { best }
        };
        rows.into_iter().fold((-1.0, Vec::new()), best_of).1
    }

    fn prepare(&self, text: &str) -> String {
        if self.lowercase { text.to_lowercase() } else { text.to_owned() }
    }

    fn characters(&self, text: &str) -> Vec<u32> {
        text.chars().filter(|&c| self.whitespace || !python_text::is_space(c)).map(u32::from).collect()
    }

    fn f_score(&self, precision: f64, recall: f64) -> f64 {
        let factor = self.beta * self.beta;
        (1.0 + factor) * precision * recall / (factor * precision + recall)
    }
}

/// Adds to the row of each reference the counts of all orders, the hypothesis being sequence 0.
fn append_counts(mut ngrams: Ngrams, order: usize, rows: &mut [Vec<f64>]) {
    for _ in 0..order {
        ngrams.lengthen();
        let hypothesis = ngrams.counts(0);
        for (i, row) in rows.iter_mut().enumerate() {
            let n_reference = ngrams.n(i + 1);
            // An order that the reference is too short for costs no precision.
            let n_hypothesis = if n_reference == 0 { 0 } else { ngrams.n(0) };
            let n_matches = n_shared(&hypothesis, &ngrams.counts(i + 1));
            row.extend([n_hypothesis as f64, n_reference as f64, f64::from(n_matches)]);
        }
    }
}

/// The words of a text, each with one mark of ASCII punctuation set apart: that at its end, else that at its start.
fn words(text: &str) -> impl Iterator<Item = &str> {
    python_text::split(text).flat_map(|word| {
        let is_mark = |c: char| c.is_ascii_punctuation();
        let (head, tail) = if word.chars().nth(1).is_none() {
            (word, "")
        } else if word.ends_with(is_mark) {
            word.split_at(word.len() - 1)
        } else if word.starts_with(is_mark) {
            word.split_at(1)
        } else {
            (word, "")
        };
        [head, tail].into_iter().filter(|part| !part.is_empty())
    })
}

impl Metric for Chrf {
    fn name(&self) -> &'static str {
        ["chrf", "chrf+", "chrf++"][self.word_order.min(2)]
    }

    fn summary(&self) -> &'static str {
        if self.word_order > 0 {
            "F-score of character and word n-grams, equal to sacrebleu"
        } else {
            "F-score of character n-grams, equal to sacrebleu"
        }
    }

    fn unit(&self) -> Unit {
        Unit::Points
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn settings(&self) -> String {
        let case = if self.lowercase { "lc" } else { "mixed" };
        let [effective, space] = [!self.epsilon_smoothing, self.whitespace].map(|on| if on { "yes" } else { "no" });
        let beta = if self.beta == 2.0 { String::new() } else { format!("|beta:{}", self.beta) };
        format!("case:{case}|eff:{effective}|nc:{}|nw:{}|space:{space}{beta}", self.char_order, self.word_order)
    }

    fn score(&self, sums: &[f64]) -> f64 {
        let (mut sum_f, mut precision, mut recall, mut n_effective) = (0.0, 0.0, 0.0, 0.0);
        for order in sums.chunks_exact(N_PER_ORDER) {
            let [n_hypothesis, n_reference, n_matches] = order else { unreachable!("chunks of three") };
            let share = |n: f64| if n > 0.0 { n_matches / n } else { EPSILON };
            let (p, r) = (share(*n_hypothesis), share(*n_reference));
            sum_f += if p + r > 0.0 { self.f_score(p, r) } else { EPSILON };
            if *n_hypothesis > 0.0 && *n_reference > 0.0 {
                precision += p;
                recall += r;
                n_effective += 1.0;
            }
        }
        if self.epsilon_smoothing {
            100.0 * sum_f / (self.char_order + self.word_order) as f64
        } else if precision + recall > 0.0 {
            100.0 * self.f_score(precision / n_effective, recall / n_effective)
        } else {
            0.0
        }
    }
}

impl TextMetric for Chrf {
    fn statistics(&self, corpus: &Corpus) -> Statistics {
        let rows = corpus.segments().map(|(hypothesis, references)| self.segment_statistics(hypothesis, references));
        Statistics::new(rows, corpus.signature())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_of_punctuation_is_set_apart() {
        let cases = [("(hi) a, ,b !", "(hi|)|a|,|,|b|!"), ("wow!! ¿qué?", "wow!|!|¿qué|?"), ("é. «x»", "é|.|«x»")];
        for (text, expect) in cases {
            assert_eq!(words(text).collect::<Vec<_>>().join("|"), expect);
        }
    }

    #[test]
    fn settings_read_like_sacrebleu() {
        assert_eq!(Chrf::CHRF_PLUS_PLUS.settings(), "case:mixed|eff:yes|nc:6|nw:2|space:no");
    }
}
