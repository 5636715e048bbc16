//! Translation: one text in, another out. Any sequence-to-sequence task is one: copying, reversing and sorting too.

use crate::demo::{SequenceTask, SequenceTaskKind};
use crate::{Artifact, Codebook, Demo, Grammar, Modality, Preview, frame_tokens};
use genera_data::{Document, Encode, Error, Origin, Result, TextEncoder};
use genera_tokens::{TokenId, TokenSeq};

/// Aligned texts.
#[derive(Clone, Copy, Debug)]
pub struct Translation;

const DEMOS: &[Demo] = &[
    Demo {
        name: "copy",
        about: "random symbols, to be repeated as they are",
        make: |seed, index| pair(SequenceTaskKind::Copy, seed, index),
    },
    Demo {
        name: "reverse",
        about: "random symbols, to be written backwards",
        make: |seed, index| pair(SequenceTaskKind::Reverse, seed, index),
    },
    Demo {
        name: "sort",
        about: "random symbols, to be put in order",
        make: |seed, index| pair(SequenceTaskKind::Sort, seed, index),
    },
];

fn pair(kind: SequenceTaskKind, seed: u64, index: u64) -> Document {
    let (source, target) = SequenceTask::new(kind).practice(seed, index);
    Document::pair(Origin::new(kind.name(), index), source, target)
}

impl Modality for Translation {
    fn name(&self) -> &'static str {
        "translation"
    }

    fn about(&self) -> &'static str {
        "pairs of texts, the second to be produced from the first"
    }

    fn media_types(&self) -> &'static [&'static str] {
        &["text/plain", "application/jsonl", "application/json", "text/csv", "application/vnd.apache.parquet"]
    }

    fn is_paired(&self) -> bool {
        true
    }

    fn demos(&self) -> &'static [Demo] {
        DEMOS
    }

    fn encode(&self, codebook: &Codebook, document: &Document) -> Result<TokenSeq> {
        if document.target.is_none() {
            let message = format!("{} has no target; translation learns from pairs of texts", document.origin);
            return Err(Error::Settings { problem: message });
        }
        TextEncoder::new(codebook.clone()).encode(document)
    }

    /// The source sentence as the encoder reads it.
    fn encode_prompt(&self, codebook: &Codebook, prompt: &str) -> Result<Vec<TokenId>> {
        codebook.encode_framed(prompt)
    }

    fn decode(&self, codebook: &Codebook, target: &[TokenId]) -> Artifact {
        Artifact::text(codebook.decode(target))
    }

    fn grammar(&self, codebook: &Codebook) -> Grammar {
        let mut forbidden = frame_tokens(codebook);
        // What stands around every text stands around answers too: BART's begin with a token of their own.
        let around = codebook.encode_framed("").unwrap_or_default();
        forbidden.retain(|id| !around.contains(id));
        Grammar { forbidden }
    }

    fn preview(&self, artifact: &Artifact) -> Preview {
        Preview::Text(artifact.as_text())
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["bleu", "chrf", "exact_match", "nats_per_token"]
    }
}
