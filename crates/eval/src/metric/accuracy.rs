//! Shares of what is exactly right.

use super::{Metric, TextMetric, python_text};
use crate::{Better, Corpus, Statistics, Unit};

/// Share of texts that equal one of their references, character for character; in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExactMatch;

/// Share of positions that hold the right token; in percent.
///
/// Tokens are what stands between white space, compared position by position; a text that is too short or too long is
/// wrong in every position that only one side has. Of several references the one with the largest share counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenAccuracy;

/// The statistics of [`TokenAccuracy`] for one pair of sequences: positions that agree, positions of the longer one.
pub fn count_matches<T: PartialEq>(hypothesis: &[T], reference: &[T]) -> [f64; 2] {
    let n_matches = hypothesis.iter().zip(reference).filter(|(h, r)| h == r).count();
    [n_matches as f64, hypothesis.len().max(reference.len()) as f64]
}

fn tokens(text: &str) -> Vec<&str> {
    python_text::split(text).collect()
}

/// Share of the first number in the second, in percent; two empty sequences agree.
fn percent(sums: &[f64]) -> f64 {
    let &[n_right, n] = sums else { panic!("sums of an accuracy have 2 columns, not {}", sums.len()) };
    if n == 0.0 { 100.0 } else { 100.0 * n_right / n }
}

impl Metric for ExactMatch {
    fn name(&self) -> &'static str {
        "exact_match"
    }

    fn summary(&self) -> &'static str {
        "share of texts that equal a reference exactly"
    }

    fn unit(&self) -> Unit {
        Unit::Percent
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn score(&self, sums: &[f64]) -> f64 {
        percent(sums)
    }
}

impl TextMetric for ExactMatch {
    fn statistics(&self, corpus: &Corpus) -> Statistics {
        let is_right = |(hypothesis, references): (&str, &[&str])| f64::from(references.contains(&hypothesis));
        Statistics::new(corpus.segments().map(|segment| [is_right(segment), 1.0]), corpus.signature())
    }
}

impl Metric for TokenAccuracy {
    fn name(&self) -> &'static str {
        "token_accuracy"
    }

    fn summary(&self) -> &'static str {
        "share of positions that hold the right token"
    }

    fn unit(&self) -> Unit {
        Unit::Percent
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn score(&self, sums: &[f64]) -> f64 {
        percent(sums)
    }
}

impl TextMetric for TokenAccuracy {
    fn statistics(&self, corpus: &Corpus) -> Statistics {
        let best = |(hypothesis, references): (&str, &[&str])| {
            let hypothesis = tokens(hypothesis);
            let counts = references.iter().map(|reference| count_matches(&hypothesis, &tokens(reference)));
            counts.max_by(|a, b| percent(a).total_cmp(&percent(b))).expect("a segment has a reference")
        };
        Statistics::new(corpus.segments().map(best), corpus.signature())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(metric: &dyn TextMetric, hypotheses: &[&str], references: &[&[&str]], expect: f64) {
        let corpus = Corpus::new(hypotheses, references).unwrap();
        let score = metric.score(&metric.statistics(&corpus).sum());
        assert!((score - expect).abs() < 1e-12, "{}: {score}, not {expect}", metric.name());
    }

    #[test]
    fn exact_match_counts_whole_texts() {
        check(&ExactMatch, &["a b", "a b ", "A b", ""], &[&["a b", "a b", "a b", ""]], 50.0);
        check(&ExactMatch, &["x", "y"], &[&["a", "y"], &["x", "b"]], 100.0);
    }

    #[test]
    fn token_accuracy_counts_positions_and_charges_wrong_lengths() {
        check(&TokenAccuracy, &["a b c d"], &[&["a x c d"]], 75.0);
        check(&TokenAccuracy, &["a b"], &[&["a b c d"]], 50.0);
        check(&TokenAccuracy, &["a b c d", ""], &[&["a b", ""]], 50.0);
        check(&TokenAccuracy, &["a b"], &[&["x y"], &["a y"]], 50.0);
        check(&TokenAccuracy, &[""], &[&[""]], 100.0);
    }
}
