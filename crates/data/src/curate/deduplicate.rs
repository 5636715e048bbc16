//! Documents that occur more than once.

use super::{Step, Verdict};
use crate::{Content, Document, Piece};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// Drops documents that repeat an earlier one exactly.
///
/// # Cost
/// Keeps 8 bytes of a hash for each document, so that among a hundred million documents the chance that any one is
/// dropped wrongly is about 1 in 4,000.
#[derive(Clone, Debug, Default)]
pub struct Deduplicate {
    seen: HashSet<u64>,
}

impl Step for Deduplicate {
    fn apply(&mut self, document: Document) -> Verdict {
        if document.piece == Piece::Whole && !self.seen.insert(hash(&document)) {
            return Verdict::Drop("repeats an earlier document");
        }
        Verdict::Keep(document)
    }
}

fn hash(document: &Document) -> u64 {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    match &document.content {
        Content::Text(text) | Content::Block { text, .. } => add(text.as_bytes()),
        Content::Row(values) => values.iter().for_each(|value| add(value.as_bytes())),
        Content::Bytes { data, .. } => add(data),
    }
    digest.update(document.target.as_deref().unwrap_or_default());
    u64::from_le_bytes(digest.finalize()[..8].try_into().expect("a SHA-256 digest has 32 bytes"))
}
