//! Documents that are too short to teach anything, or too long to be what they claim.

use super::{Step, Verdict};
use crate::{Document, Piece};
use std::ops::RangeInclusive;

/// Drops documents with fewer or more characters than allowed; for pairs, either side counts.
#[derive(Clone, Debug)]
pub struct LimitLength {
    /// The allowed numbers.
    pub n_characters: RangeInclusive<usize>,
}

impl Step for LimitLength {
    fn apply(&mut self, document: Document) -> Verdict {
        let texts = document.as_text().into_iter().chain(document.target.as_deref());
        let lens: Vec<usize> = texts.map(|text| text.chars().count()).collect();
        if document.piece != Piece::Whole {
            return Verdict::Keep(document);
        }
        if lens.iter().any(|len| len < self.n_characters.start()) {
            return Verdict::Drop("too short");
        }
        if lens.iter().any(|len| len > self.n_characters.end()) {
            return Verdict::Drop("too long");
        }
        Verdict::Keep(document)
    }
}
