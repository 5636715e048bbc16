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
    add(document.target.as_deref().unwrap_or_default().as_bytes());
    document.fields.iter().for_each(|(_, value)| add(value.as_bytes()));
    u64::from_le_bytes(digest.finalize()[..8].try_into().expect("a SHA-256 digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    #[test]
    fn what_differs_in_a_kept_column_is_no_repetition() {
        let mut step = Deduplicate::default();
        let mut keeps = |target: &str, field: &str| {
            let fields = vec![("rejected".to_owned(), field.to_owned())];
            let document = Document { fields, ..Document::pair(Origin::new("a.jsonl", 0), "x", target) };
            matches!(step.apply(document), Verdict::Keep(_))
        };
        assert_eq!([keeps("y", "z"), keeps("y", "w"), keeps("y", "z"), keeps("yz", "")], [true, true, false, true]);
    }
}
