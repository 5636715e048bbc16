//! Which token ids exist, and which of them belong to which kind of data.

use crate::TokenId;
use std::ops::Range;

/// Most tokens of a vocabulary that are cut out of texts before all others; those of models that speak have up to 66,000.
pub const MAX_ADDED_TOKENS: usize = 1 << 17;

/// The ids with a fixed meaning. All are optional: a character model of one long text needs none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Special {
    /// Fills rows up to a common length; never predicted, never attended to.
    pub padding: Option<TokenId>,
    /// Opens a document (or a decoder's output).
    pub begin: Option<TokenId>,
    /// Closes a document; generation stops at it.
    pub end: Option<TokenId>,
    /// Stands for input that the vocabulary cannot express.
    pub unknown: Option<TokenId>,
}

/// A named range of ids owned by one kind of data (for example `"molecule"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VocabSpan {
    /// Name of the kind of data, as in `Modality::name`.
    pub name: String,
    /// The ids it owns.
    pub ids: Range<TokenId>,
}

/// The set of token ids of a model: `0..size`, the special ones, and the ranges of each kind of data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocab {
    /// Number of ids; valid ids are `0..size`.
    pub size: usize,
    /// Ids with a fixed meaning.
    pub special: Special,
    /// Ranges owned by the kinds of data, in ascending order, not overlapping.
    pub spans: Vec<VocabSpan>,
}

impl Vocab {
    /// A vocabulary of `size` ids that one kind of data owns whole.
    pub fn single(name: &str, size: usize, special: Special) -> Self {
        let ids = 0..TokenId::try_from(size).expect("a vocabulary has fewer than 2^32 ids");
        Self { size, special, spans: vec![VocabSpan { name: name.to_owned(), ids }] }
    }

    /// Whether `id` exists.
    pub fn contains(&self, id: TokenId) -> bool {
        (id as usize) < self.size
    }

    /// The range that the kind of data `name` owns, if it has one.
    pub fn span(&self, name: &str) -> Option<Range<TokenId>> {
        self.spans.iter().find(|span| span.name == name).map(|span| span.ids.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_owns_every_id() {
        let vocab = Vocab::single("text", 65, Special::default());
        assert_eq!(vocab.span("text"), Some(0..65));
        assert_eq!(vocab.span("music"), None);
        assert!(vocab.contains(64) && !vocab.contains(65));
    }
}
