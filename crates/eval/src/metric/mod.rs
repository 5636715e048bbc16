//! The metrics, one file each, and their list.
//!
//! To add one: a file with a type that is a [`Metric`], and a line in [`ALL`]. How sure a score is comes by itself from
//! [`Bootstrap`](crate::Bootstrap), since a metric is a function of sums.

mod accuracy;
mod bleu;
mod chrf;
mod likelihood;
mod ngram;
mod python_text;

pub use accuracy::{ExactMatch, TokenAccuracy, count_matches};
pub use bleu::{Bleu, BleuScore, Smoothing, Tokenizer};
pub use chrf::Chrf;
pub use likelihood::{BitsPerByte, Likelihood, NatsPerToken, Perplexity};

use crate::{Better, Corpus, Error, Statistics, Unit};

/// Every metric with its usual settings: add a file and a line here.
pub const ALL: &[Entry] = &[
    Entry::Text(&Bleu::DEFAULT),
    Entry::Text(&Chrf::CHRF),
    Entry::Text(&Chrf::CHRF_PLUS_PLUS),
    Entry::Text(&ExactMatch),
    Entry::Text(&TokenAccuracy),
    Entry::Likelihood(&NatsPerToken),
    Entry::Likelihood(&BitsPerByte),
    Entry::Likelihood(&Perplexity),
];

/// A metric in the list, by what it looks at.
#[derive(Clone, Copy)]
pub enum Entry {
    /// Looks at texts beside their references: [`TextMetric::statistics`].
    Text(&'static dyn TextMetric),
    /// Looks at the probability that a model gave to documents: [`Likelihood::statistics`].
    Likelihood(&'static dyn Metric),
}

impl Entry {
    /// The metric, whatever it looks at.
    pub fn metric(self) -> &'static dyn Metric {
        match self {
            Self::Text(metric) => metric,
            Self::Likelihood(metric) => metric,
        }
    }

    /// The name of the metric.
    pub fn name(self) -> &'static str {
        self.metric().name()
    }
}

/// The metric of this name.
///
/// # Errors
/// When there is none; the error lists those that there are.
pub fn by_name(name: &str) -> Result<Entry, Error> {
    ALL.iter().copied().find(|entry| entry.name() == name).ok_or_else(|| Error::UnknownMetric(name.to_owned()))
}

/// A score that is a function of sums over examples.
pub trait Metric: Sync {
    /// The name that users write, such as `bits_per_byte`.
    fn name(&self) -> &'static str;

    /// One line for a list of metrics.
    fn summary(&self) -> &'static str;

    /// What the score is counted in.
    fn unit(&self) -> Unit;

    /// Which direction is the good one.
    fn better(&self) -> Better;

    /// Settings that change the score, as `key:value` separated by `|`; empty when there are none.
    fn settings(&self) -> String {
        String::new()
    }

    /// The score, from the sum of the statistics of the examples; NaN where it is 0 / 0.
    fn score(&self, sums: &[f64]) -> f64;
}

/// A metric that compares texts with references.
pub trait TextMetric: Metric {
    /// What the metric remembers of each segment.
    fn statistics(&self, corpus: &Corpus) -> Statistics;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_found_by_its_own_name() {
        for entry in ALL {
            assert_eq!(by_name(entry.name()).unwrap().name(), entry.name());
        }
        let error = by_name("blue").err().unwrap().to_string();
        assert!(error.contains("bleu, chrf, chrf++, exact_match"), "{error}");
    }

    #[test]
    fn a_perfect_text_has_the_best_score_in_every_text_metric() {
        let perfect = ["The cat sat on the mat.", "A second, longer sentence follows it."];
        let (wrong, references) = (["Dogs bark at night, loudly.", "No."], [perfect]);
        let [best, worst] = [&perfect, &wrong].map(|texts| Corpus::new(texts, &references).unwrap());
        let texts = ALL.iter().filter_map(|entry| if let Entry::Text(metric) = entry { Some(*metric) } else { None });
        for metric in texts {
            let [high, low] = [&best, &worst].map(|corpus| metric.score(&metric.statistics(corpus).sum()));
            assert!((high - 100.0).abs() < 1e-9 && low < 30.0, "{}: {high}, {low}", metric.name());
        }
    }
}
