//! Documents in which there is nothing to see.

use super::{Step, Verdict};
use crate::{Content, Document, Piece};

/// Drops documents without a visible character, and pairs with such a side.
#[derive(Clone, Copy, Debug)]
pub struct DropEmpty;

impl Step for DropEmpty {
    fn apply(&mut self, document: Document) -> Verdict {
        let is_empty = match &document.content {
            Content::Text(text) | Content::Block { text, .. } => text.trim().is_empty(),
            Content::Row(values) => values.iter().all(|value| value.trim().is_empty()),
            Content::Bytes { data, .. } => data.is_empty(),
        };
        let has_empty_target = document.target.as_ref().is_some_and(|target| target.trim().is_empty());
        if document.piece == Piece::Whole && (is_empty || has_empty_target) {
            return Verdict::Drop("empty");
        }
        Verdict::Keep(document)
    }
}
