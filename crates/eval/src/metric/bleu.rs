//! BLEU of a corpus, equal to that of sacrebleu.

mod tokenizer;

pub use tokenizer::Tokenizer;

use super::ngram::{Ngrams, n_shared, number_words};
use super::{Metric, TextMetric, python_text};
use crate::{Better, Corpus, Statistics, Unit};
use std::fmt;

/// The longest n-grams that count.
const ORDER: usize = 4;

/// Statistics of a segment: length of the hypothesis, of the closest reference, n-grams that match, n-grams that stand
/// in the hypothesis (each for orders 1 to 4).
const N_COLUMNS: usize = 2 + 2 * ORDER;

/// Below any logarithm of a precision: what sacrebleu takes for the logarithm of 0.
const LOG_ZERO: f64 = -9_999_999_999.0;

/// Geometric mean of n-gram precisions, times a penalty for texts that are too short; from 0 to 100.
///
/// # Source
/// Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation", ACL; Post 2018, "A call for
/// clarity in reporting BLEU scores", arXiv 1804.08771, whose program sacrebleu (2.6) this equals.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bleu {
    /// How texts are cut into words.
    pub tokenizer: Tokenizer,
    /// What becomes of orders without a match.
    pub smoothing: Smoothing,
    /// Leaves out orders longer than any n-gram of the hypotheses: for scores of single sentences.
    pub effective_order: bool,
    /// Takes upper and lower case for the same.
    pub lowercase: bool,
}

/// What precision an order gets in which nothing matches.
///
/// # Source
/// Chen and Cherry 2014, "A systematic comparison of smoothing techniques for sentence-level BLEU", WMT.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Smoothing {
    /// 1/2 of a match in the first such order, 1/4 in the second, and so on.
    #[default]
    Exp,
    /// This part of a match; sacrebleu's usual one is 0.1.
    Floor(f64),
    /// As much added to the matches and n-grams of every order but the first; sacrebleu's usual one is 1.
    AddK(f64),
    /// None at all: the score becomes 0.
    None,
}

impl fmt::Display for Smoothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exp => f.write_str("exp"),
            Self::Floor(floor) => write!(f, "floor[{floor:.2}]"),
            Self::AddK(k) => write!(f, "add-k[{k:.2}]"),
            Self::None => f.write_str("none"),
        }
    }
}

/// BLEU and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BleuScore {
    /// From 0 to 100.
    pub score: f64,
    /// In percent, smoothed, for orders 1 to 4.
    pub precisions: [f64; ORDER],
    /// From 0 to 1.
    pub brevity_penalty: f64,
    /// Words in the hypotheses.
    pub hypothesis_len: f64,
    /// Words in the references, of each segment the one closest in length.
    pub reference_len: f64,
}

impl fmt::Display for BleuScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { score, precisions: [p1, p2, p3, p4], brevity_penalty, hypothesis_len, reference_len } = self;
        let ratio = if *reference_len > 0.0 { hypothesis_len / reference_len } else { 0.0 };
        write!(f, "BLEU = {score:.2} {p1:.1}/{p2:.1}/{p3:.1}/{p4:.1} (BP = {brevity_penalty:.3} ")?;
        write!(f, "ratio = {ratio:.3} hyp_len = {hypothesis_len} ref_len = {reference_len})")
    }
}

impl Bleu {
    /// As sacrebleu without options: 13a, exponential smoothing, upper and lower case apart.
    pub const DEFAULT: Self =
        Self { tokenizer: Tokenizer::V13a, smoothing: Smoothing::Exp, effective_order: false, lowercase: false };

    /// BLEU with its parts, from the sum of the statistics of segments.
    ///
    /// # Panics
    /// When the sums are not those of this metric.
    pub fn details(&self, sums: &[f64]) -> BleuScore {
        assert_eq!(sums.len(), N_COLUMNS, "sums of BLEU have {N_COLUMNS} columns");
        let (hypothesis_len, reference_len) = (sums[0], sums[1]);
        let brevity_penalty = brevity_penalty(hypothesis_len, reference_len);
        let (matches, totals) = sums[2..].split_at(ORDER);
        let mut precisions = [0.0; ORDER];
        let mut score = 0.0;
        if matches.iter().any(|&n| n > 0.0) {
            let n_orders = self.fill_precisions(matches, totals, &mut precisions);
            let log = |&p: &f64| if p == 0.0 { LOG_ZERO } else { p.ln() };
            score = brevity_penalty * (precisions[..n_orders].iter().map(log).sum::<f64>() / n_orders as f64).exp();
        }
        BleuScore { score, precisions, brevity_penalty, hypothesis_len, reference_len }
    }

    /// Fills in smoothed precisions, in percent, and returns over how many orders to average.
    fn fill_precisions(&self, matches: &[f64], totals: &[f64], precisions: &mut [f64; ORDER]) -> usize {
        let mut n_orders = ORDER;
        let mut halving = 1.0;
        for order in 1..=ORDER {
            let added = match self.smoothing {
                Smoothing::AddK(k) if order > 1 => k,
                _ => 0.0,
            };
            let (n_matches, total) = (matches[order - 1] + added, totals[order - 1] + added);
            if total == 0.0 {
                break;
            }
            if self.effective_order {
                n_orders = order;
            }
            precisions[order - 1] = match self.smoothing {
                _ if n_matches > 0.0 => 100.0 * n_matches / total,
                Smoothing::Exp => {
                    halving *= 2.0;
                    100.0 / (halving * total)
                }
                Smoothing::Floor(floor) => 100.0 * floor / total,
                Smoothing::AddK(_) | Smoothing::None => 0.0,
            };
        }
        n_orders
    }

    fn segment_statistics(&self, hypothesis: &str, references: &[&str]) -> [f64; N_COLUMNS] {
        let texts: Vec<String> =
            std::iter::once(&hypothesis).chain(references).map(|text| self.prepare(text)).collect();
        let mut ngrams = Ngrams::new(number_words(texts.iter().map(|text| python_text::split(text))));
        let mut row = [0.0; N_COLUMNS];
        for order in 1..=ORDER {
            ngrams.lengthen();
            let n_hypothesis = ngrams.n(0);
            if order == 1 {
                row[0] = n_hypothesis as f64;
                row[1] = closest_len(n_hypothesis, (1..texts.len()).map(|reference| ngrams.n(reference))) as f64;
            }
            row[1 + order] = f64::from(n_shared(&ngrams.counts(0), &most_in_any(&ngrams, 1..texts.len())));
            row[1 + ORDER + order] = n_hypothesis as f64;
        }
        row
    }

    /// The text with its words set apart by white space.
    fn prepare(&self, text: &str) -> String {
        let trimmed = |text: &str| self.tokenizer.separate(text.trim_end_matches(python_text::is_space));
        if self.lowercase { trimmed(&text.to_lowercase()) } else { trimmed(text) }
    }
}

fn brevity_penalty(hypothesis_len: f64, reference_len: f64) -> f64 {
    if hypothesis_len >= reference_len {
        1.0
    } else if hypothesis_len > 0.0 {
        (1.0 - reference_len / hypothesis_len).exp()
    } else {
        0.0
    }
}

/// The length closest to that of the hypothesis; of two as close, the shorter.
fn closest_len(n_hypothesis: usize, lens: impl Iterator<Item = usize>) -> usize {
    lens.min_by_key(|&len| (len.abs_diff(n_hypothesis), len)).expect("a segment has a reference")
}

/// For each n-gram the most times that it stands in any one of the sequences.
fn most_in_any(ngrams: &Ngrams, mut sequences: std::ops::Range<usize>) -> Vec<u32> {
    let mut most = ngrams.counts(sequences.next().expect("a segment has a reference"));
    for sequence in sequences {
        most.iter_mut().zip(ngrams.counts(sequence)).for_each(|(most, n)| *most = n.max(*most));
    }
    most
}

impl Metric for Bleu {
    fn name(&self) -> &'static str {
        "bleu"
    }

    fn summary(&self) -> &'static str {
        "n-gram precision of translations, equal to sacrebleu"
    }

    fn unit(&self) -> Unit {
        Unit::Points
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn settings(&self) -> String {
        let case = if self.lowercase { "lc" } else { "mixed" };
        let effective = if self.effective_order { "yes" } else { "no" };
        format!("case:{case}|eff:{effective}|tok:{}|smooth:{}", self.tokenizer.name(), self.smoothing)
    }

    fn score(&self, sums: &[f64]) -> f64 {
        self.details(sums).score
    }
}

impl TextMetric for Bleu {
    fn statistics(&self, corpus: &Corpus) -> Statistics {
        let rows = corpus.segments().map(|(hypothesis, references)| self.segment_statistics(hypothesis, references));
        Statistics::new(rows, corpus.signature())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_read_like_sacrebleu() {
        let corpus = Corpus::new(&["the cat is on the mat", "no"], &[["the cat sat on the mat", "yes it is"]]).unwrap();
        let bleu = Bleu::default();
        // python3 -c 'import sacrebleu; print(sacrebleu.corpus_bleu(["the cat is on the mat", "no"],
        //     [["the cat sat on the mat", "yes it is"]]))'
        let expect = "BLEU = 27.47 71.4/60.0/25.0/16.7 (BP = 0.751 ratio = 0.778 hyp_len = 7 ref_len = 9)";
        assert_eq!(bleu.details(&bleu.statistics(&corpus).sum()).to_string(), expect);
    }

    #[test]
    fn of_two_references_as_close_the_shorter_counts() {
        for (n, lens, expect) in [(5, vec![4, 6], 4), (5, vec![6, 4], 4), (5, vec![9, 6], 6), (0, vec![3], 3)] {
            assert_eq!(closest_len(n, lens.into_iter()), expect);
        }
    }
}
