//! Chat: conversations, of which a model learns the assistant's turns.
//!
//! A document holds its messages as a JSON list; a plain text is what a user says. Where it has a target, that is the
//! answer to the conversation. The model's own template writes all of it.

use crate::demo::Dice;
use crate::{Artifact, Codebook, Demo, Grammar, Modality, Preview, frame_tokens};
use genera_data::chat::{encode_answer, encode_turns, first_messages, messages_from_json};
use genera_data::{ChatMessage, Document, Error, Origin, Result, encode_chat};
use genera_tokens::{TokenId, TokenSeq};

/// Conversations.
#[derive(Clone, Copy, Debug)]
pub struct Chat;

const DEMOS: &[Demo] = &[Demo {
    name: "sums",
    about: "two numbers, whose sum the assistant is asked for (needs the chat template of a base)",
    make: |seed, index| {
        let mut dice = Dice::new(seed, index);
        let (a, b) = (dice.below(100), dice.below(100));
        Document::pair(Origin::new("sums", index), format!("{a} + {b}"), (a + b).to_string())
    },
}];

impl Modality for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn about(&self) -> &'static str {
        "conversations, of which the assistant's turns are learned"
    }

    fn media_types(&self) -> &'static [&'static str] {
        &["application/jsonl", "application/json"]
    }

    fn is_paired(&self) -> bool {
        false
    }

    fn demos(&self) -> &'static [Demo] {
        DEMOS
    }

    fn encode(&self, codebook: &Codebook, document: &Document) -> Result<TokenSeq> {
        let in_document = |error| of_document(error, document);
        let text = text_of(document)?;
        match &document.target {
            Some(answer) => {
                let mut messages = first_messages(text).map_err(in_document)?;
                messages.push(ChatMessage::new(ChatMessage::ASSISTANT, answer.as_str()));
                encode_answer(&**codebook, &messages).map_err(in_document)
            }
            None => {
                let messages = messages_from_json(text).map_err(in_document)?;
                encode_turns(&**codebook, &messages).map_err(in_document)
            }
        }
    }

    /// What a user says, or a conversation as a JSON list, up to where the answer begins.
    fn encode_prompt(&self, codebook: &Codebook, prompt: &str) -> Result<Vec<TokenId>> {
        encode_chat(&**codebook, &first_messages(prompt)?, true)
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
        &["nats_per_token", "token_accuracy"]
    }
}

/// The text of a document.
pub(crate) fn text_of(document: &Document) -> Result<&str> {
    let not_text =
        || Error::Settings { problem: format!("{} is not text, and so no conversation", document.origin.place()) };
    document.as_text().ok_or_else(not_text)
}

/// Says in which document something is wrong.
pub(crate) fn of_document(error: Error, document: &Document) -> Error {
    match error {
        Error::Settings { problem } => Error::Settings { problem: format!("{}: {problem}", document.origin.place()) },
        Error::Template { file, problem } => {
            // Behind it, so that its line is not taken for one of the template.
            Error::Template { file, problem: format!("{problem} (with {})", document.origin.place()) }
        }
        other => other,
    }
}
