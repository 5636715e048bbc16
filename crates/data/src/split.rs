//! Which part of the data is kept for validation.

use crate::order::random_below;
use crate::{Error, Result};

/// How the validation data is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// None is.
    None,
    /// The last share of all characters, in the order of the corpus: for one long text.
    EndOfText {
        /// The share, such as 0.1.
        fraction: f64,
    },
    /// One document of every few, chosen by hash.
    Documents {
        /// The share, such as 0.1.
        fraction: f64,
    },
    /// The end of the text when there are few documents; single documents when there are many.
    Auto {
        /// The share, such as 0.1.
        fraction: f64,
    },
}

/// A [`Split`] applied to a corpus whose size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// All is for training.
    AllTraining,
    /// The first so many characters are for training.
    Cut { n_characters: u64 },
    /// One document of every `n`, as they come, is for validation.
    OneOf { n: u64 },
}

/// With fewer blocks of documents than this, [`Split::Auto`] cuts the text.
const FEW_BLOCKS: u64 = 10;
/// Which document of a block is chosen does not depend on the seed of a run, so that runs can be compared.
const SEED: u64 = 0x67656e65_72610001;

impl Split {
    /// The rule for a corpus of `n_documents` and `n_characters`, which may have pairs.
    ///
    /// # Errors
    /// When the share is not at least 0 and less than 1, or the end of a text is to be cut off pairs.
    pub(crate) fn rule(self, n_documents: u64, n_characters: u64, has_pairs: bool) -> Result<Rule> {
        let (Self::EndOfText { fraction } | Self::Documents { fraction } | Self::Auto { fraction }) = self else {
            return Ok(Rule::AllTraining);
        };
        if fraction == 0.0 {
            return Ok(Rule::AllTraining);
        }
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(Error::settings(format!(
                "data.validation_fraction is {fraction}; expected at least 0, which keeps nothing aside, and less than 1"
            )));
        }
        let n = ((1.0 / fraction).round() as u64).max(2);
        // As nanoGPT does it: the product in floating point, rounded down.
        let cut = Rule::Cut { n_characters: ((1.0 - fraction) * n_characters as f64) as u64 };
        match self {
            Self::EndOfText { .. } if has_pairs => Err(Error::settings(
                "pairs are split by document, not at the end of the text; choose the split `documents`",
            )),
            Self::EndOfText { .. } => Ok(cut),
            Self::Auto { .. } if !has_pairs && n_documents < FEW_BLOCKS * n => Ok(cut),
            _ => Ok(Rule::OneOf { n: n.min(n_documents.max(2)) }),
        }
    }
}

impl Rule {
    /// Whether document number `document` is for validation, when whole documents are.
    pub(crate) fn takes(self, document: u64) -> bool {
        match self {
            Self::OneOf { n } => document % n == random_below(SEED, document / n, n),
            Self::AllTraining | Self::Cut { .. } => false,
        }
    }

    /// In words.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::AllTraining => "no validation data is taken from the training data".to_owned(),
            Self::Cut { n_characters } => format!("validation is the text after the first {n_characters} characters"),
            Self::OneOf { n } => format!("validation is one document of every {n}, chosen by hash"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_text_is_cut_where_nanogpt_cuts_it() {
        let rule = Split::Auto { fraction: 0.1 }.rule(1, 1_115_394, false).unwrap();
        assert_eq!(rule, Rule::Cut { n_characters: 1_003_854 });
    }

    #[test]
    fn one_document_of_each_block_is_taken() {
        let rule = Split::Documents { fraction: 0.1 }.rule(1000, 0, false).unwrap();
        for block in 0..100 {
            assert_eq!((block * 10..block * 10 + 10).filter(|&document| rule.takes(document)).count(), 1);
        }
        let places: std::collections::HashSet<u64> = (0..1000).filter(|&d| rule.takes(d)).map(|d| d % 10).collect();
        assert!(places.len() > 5, "the choice within a block varies");
        let few = Split::Documents { fraction: 0.1 }.rule(4, 0, false).unwrap();
        assert_eq!((0..4).filter(|&document| few.takes(document)).count(), 1);
    }

    #[test]
    fn impossible_splits_are_errors() {
        for fraction in [1.0, -0.1, f64::NAN] {
            let error = Split::Documents { fraction }.rule(10, 10, false).unwrap_err().to_string();
            assert!(error.contains(&format!("data.validation_fraction is {fraction}; expected at least 0")), "{error}");
        }
        assert_eq!(Split::Documents { fraction: 0.0 }.rule(10, 10, false).unwrap(), Rule::AllTraining);
        assert!(Split::EndOfText { fraction: 0.1 }.rule(10, 10, true).is_err());
        assert!(matches!(Split::Auto { fraction: 0.1 }.rule(5, 10, true), Ok(Rule::OneOf { .. })));
    }
}
