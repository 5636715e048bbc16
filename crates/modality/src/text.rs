//! Text: documents that a model learns to write and to go on with; or prompts that are given, with the completions to learn.

use crate::demo::StoryGrammar;
use crate::{Artifact, Codebook, Demo, Grammar, Modality, Preview, frame_tokens};
use genera_data::{Document, Encode, Origin, Result, TextEncoder};
use genera_tokens::{TokenId, TokenSeq};
use std::sync::LazyLock;

/// Text of any kind: prose, code, verse.
#[derive(Clone, Copy, Debug)]
pub struct Text;

const DEMOS: &[Demo] = &[Demo {
    name: "stories",
    about: "little stories from a grammar whose entropy is known exactly",
    make: |seed, index| Document::text(Origin::new("stories", index), STORIES.sample(seed, index)),
}];

static STORIES: LazyLock<StoryGrammar> = LazyLock::new(StoryGrammar::new);

impl Modality for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn about(&self) -> &'static str {
        "text of any kind, to be written anew or gone on with"
    }

    fn media_types(&self) -> &'static [&'static str] {
        &[
            "text/plain",
            "text/markdown",
            "application/jsonl",
            "application/json",
            "text/csv",
            "application/vnd.apache.parquet",
        ]
    }

    fn is_paired(&self) -> bool {
        false
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn demos(&self) -> &'static [Demo] {
        DEMOS
    }

    /// Where a document has a target, that goes on with its text and is learned alone.
    fn encode(&self, codebook: &Codebook, document: &Document) -> Result<TokenSeq> {
        match (document.as_text(), &document.target) {
            (Some(prompt), Some(completion)) => continued(codebook, prompt, completion),
            _ => TextEncoder::new(codebook.clone()).encode(document),
        }
    }

    fn encode_prompt(&self, codebook: &Codebook, prompt: &str) -> Result<Vec<TokenId>> {
        let mut ids: Vec<TokenId> = codebook.vocab().special.begin.into_iter().collect();
        ids.extend(codebook.encode(prompt)?);
        Ok(ids)
    }

    fn decode(&self, codebook: &Codebook, target: &[TokenId]) -> Artifact {
        Artifact::text(codebook.decode(target))
    }

    fn grammar(&self, codebook: &Codebook) -> Grammar {
        Grammar { forbidden: frame_tokens(codebook) }
    }

    fn preview(&self, artifact: &Artifact) -> Preview {
        Preview::Text(artifact.as_text())
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["nats_per_token", "bits_per_byte", "token_accuracy"]
    }
}

/// A text that is given, and what goes on with it up to the end of the whole.
pub(crate) fn continued(codebook: &Codebook, prompt: &str, completion: &str) -> Result<TokenSeq> {
    let mut target = codebook.encode(completion)?;
    target.extend(codebook.vocab().special.end);
    Ok(TokenSeq::conditioned(&Text.encode_prompt(codebook, prompt)?, &target))
}
