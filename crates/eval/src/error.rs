//! What can be wrong with the material to be scored.

use std::fmt;

/// Why something cannot be scored.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// There is nothing to score.
    EmptyCorpus,
    /// A segment stands without any reference.
    NoReference {
        /// Position of the segment, from 0.
        segment: usize,
    },
    /// Hypotheses and references are not aligned.
    LengthMismatch {
        /// Number of hypotheses.
        n_hypotheses: usize,
        /// Number of references.
        n_references: usize,
        /// Which set of references, from 0.
        reference_set: usize,
    },
    /// No metric has this name.
    UnknownMetric(String),
    /// No tokenizer of BLEU has this name.
    UnknownTokenizer(String),
    /// A likelihood is negative, infinite or not a number.
    NotALikelihood {
        /// Position of the document, from 0.
        document: usize,
        /// What was found.
        nats: f64,
    },
    /// The documents hold no token.
    NoTokens,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyCorpus => {
                f.write_str("there is nothing to score: give at least one hypothesis with its reference")
            }
            Self::NoReference { segment } => {
                write!(f, "segment {} has no reference: every hypothesis needs at least one", segment + 1)
            }
            Self::LengthMismatch { n_hypotheses, n_references, reference_set } => write!(
                f,
                "{n_hypotheses} hypotheses but {n_references} references in set {}: line i of one must belong to line i of \
                 the other, so both need the same number of lines",
                reference_set + 1
            ),
            Self::UnknownMetric(name) => {
                write!(
                    f,
                    "no metric is called {name:?}; there are: {}",
                    join(crate::metric::ALL.iter().map(|m| m.name()))
                )
            }
            Self::UnknownTokenizer(name) => write!(
                f,
                "BLEU knows no tokenizer {name:?}; there are: {}",
                join(crate::metric::Tokenizer::ALL.iter().map(|t| t.name()))
            ),
            Self::NotALikelihood { document, nats } => write!(
                f,
                "document {} scored {nats} nats; a negative log-likelihood is a finite number ≥ 0: the model's output is \
                 not a probability (did training diverge?)",
                document + 1
            ),
            Self::NoTokens => f.write_str("the documents hold no token to predict: each needs at least one"),
        }
    }
}

impl std::error::Error for Error {}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
