//! Curation: each step keeps a document, edits it, or drops it with a reason, and the reasons are counted.

mod deduplicate;
mod empty;
mod length;
mod newlines;
mod normalise;

pub use deduplicate::Deduplicate;
pub use empty::DropEmpty;
pub use length::LimitLength;
pub use newlines::UnifyNewlines;
pub use normalise::NormaliseUnicode;

use crate::{Content, Document};
use std::collections::BTreeMap;

/// What a step makes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, perhaps edited.
    Keep(Document),
    /// It goes, for this reason.
    Drop(&'static str),
    /// It goes, for this reason, of which more is known: the line that is wrong.
    DropFor {
        /// The reason, by which dropped documents are counted.
        reason: &'static str,
        /// What is known of this one.
        detail: String,
    },
}

/// One step of curation.
pub trait Step: Send {
    /// Looks at one document; documents come in the order of the corpus. A piece of a big document may be edited, but
    /// is never dropped.
    fn apply(&mut self, document: Document) -> Verdict;
}

/// Which steps are taken, in the order given here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurationSettings {
    /// Write every line end as `\n`.
    pub unify_newlines: bool,
    /// Bring composed characters to one form (Unicode NFC).
    pub normalise_unicode: bool,
    /// Drop documents without a visible character, and pairs with such a side.
    pub drop_empty: bool,
    /// Drop documents with fewer characters.
    pub min_characters: Option<usize>,
    /// Drop documents with more characters.
    pub max_characters: Option<usize>,
    /// Drop documents that repeat an earlier one exactly.
    pub deduplicate: bool,
}

impl Default for CurationSettings {
    /// Drops empty documents and leaves all others as they are.
    fn default() -> Self {
        Self {
            unify_newlines: false,
            normalise_unicode: false,
            drop_empty: true,
            min_characters: None,
            max_characters: None,
            deduplicate: false,
        }
    }
}

impl CurationSettings {
    /// The steps, new, as for one pass over a corpus.
    pub fn steps(&self) -> Vec<Box<dyn Step>> {
        let mut steps: Vec<Box<dyn Step>> = Vec::new();
        if self.unify_newlines {
            steps.push(Box::new(UnifyNewlines));
        }
        if self.normalise_unicode {
            steps.push(Box::new(NormaliseUnicode));
        }
        if self.drop_empty {
            steps.push(Box::new(DropEmpty));
        }
        if self.min_characters.is_some() || self.max_characters.is_some() {
            let range = self.min_characters.unwrap_or(0)..=self.max_characters.unwrap_or(usize::MAX);
            steps.push(Box::new(LimitLength { n_characters: range }));
        }
        if self.deduplicate {
            steps.push(Box::new(Deduplicate::default()));
        }
        steps
    }
}

/// Takes documents through steps, and counts what is dropped.
pub struct Curation {
    steps: Vec<Box<dyn Step>>,
    dropped: BTreeMap<&'static str, u64>,
    examples: Vec<String>,
}

/// Documents that were dropped and are named, at most.
const MAX_EXAMPLES: usize = 5;

impl Curation {
    /// One pass through `steps`.
    pub fn new(steps: Vec<Box<dyn Step>>) -> Self {
        Self { steps, dropped: BTreeMap::new(), examples: Vec::new() }
    }

    /// The document after all steps, unless one drops it.
    pub fn apply(&mut self, mut document: Document) -> Option<Document> {
        for step in &mut self.steps {
            let origin = document.origin.clone();
            let (reason, detail) = match step.apply(document) {
                Verdict::Keep(kept) => {
                    document = kept;
                    continue;
                }
                Verdict::Drop(reason) => (reason, String::new()),
                Verdict::DropFor { reason, detail } => (reason, format!(": {detail}")),
            };
            *self.dropped.entry(reason).or_default() += 1;
            if self.examples.len() < MAX_EXAMPLES {
                self.examples.push(format!("{}: {reason}{detail}", origin.place()));
            }
            return None;
        }
        Some(document)
    }

    /// How many documents were dropped for each reason.
    pub fn dropped(&self) -> &BTreeMap<&'static str, u64> {
        &self.dropped
    }

    /// The first documents that were dropped: where they stand, and why.
    pub fn examples(&self) -> &[String] {
        &self.examples
    }
}

/// Edits the text and the target of a document.
fn edit(mut document: Document, edit: impl Fn(String) -> String) -> Document {
    document.content = match document.content {
        Content::Text(text) => Content::Text(edit(text)),
        Content::Block { text, line } => Content::Block { text: edit(text), line },
        Content::Row(values) => Content::Row(values.into_iter().map(&edit).collect()),
        bytes @ Content::Bytes { .. } => bytes,
    };
    document.target = document.target.map(edit);
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Origin, Piece};

    fn document(text: &str) -> Document {
        Document::text(Origin::new("a", 0), text)
    }

    /// The texts that are left of `texts`, and what was dropped.
    fn curate(settings: &CurationSettings, texts: &[&str]) -> (Vec<String>, Vec<(&'static str, u64)>) {
        let mut curation = Curation::new(settings.steps());
        let kept = texts.iter().filter_map(|text| curation.apply(document(text)));
        let kept = kept.map(|document| document.as_text().unwrap().to_owned()).collect();
        (kept, curation.dropped().iter().map(|(reason, n)| (*reason, *n)).collect())
    }

    #[test]
    fn steps_edit_and_drop_with_a_reason() {
        let settings = CurationSettings {
            unify_newlines: true,
            normalise_unicode: true,
            min_characters: Some(2),
            max_characters: Some(4),
            deduplicate: true,
            ..CurationSettings::default()
        };
        let (kept, dropped) = curate(&settings, &["a\r\nb\rc", "a\r\nb", "e\u{301}e", " \n", "x", "a\nb", "12345"]);
        assert_eq!(kept, ["a\nb", "ée"]);
        assert_eq!(dropped, [("empty", 1), ("repeats an earlier document", 1), ("too long", 2), ("too short", 1)]);
    }

    #[test]
    fn a_pair_with_an_empty_side_is_dropped() {
        let mut curation = Curation::new(CurationSettings::default().steps());
        assert!(curation.apply(Document::pair(Origin::new("a", 0), "yes", " ")).is_none());
        assert!(curation.apply(Document::pair(Origin::new("a", 1), "", "ja")).is_none());
        assert!(curation.apply(Document::pair(Origin::new("a", 2), "yes", "ja")).is_some());
    }

    #[test]
    fn pieces_are_never_dropped() {
        let all = CurationSettings { max_characters: Some(1), deduplicate: true, ..CurationSettings::default() };
        let mut curation = Curation::new(all.steps());
        for piece in [Piece::First, Piece::Middle, Piece::Middle, Piece::Last] {
            assert!(curation.apply(Document { piece, ..document("   ") }).is_some());
        }
    }
}
