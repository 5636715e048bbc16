//! Preferences: a prompt, the answer that people chose and the one they rejected.
//!
//! A document holds the prompt, its target the chosen answer, and its field "rejected" the other one. It becomes one
//! sequence of four stretches: prompt, chosen, prompt, rejected. Where the tokenizer has a chat template the prompt is a
//! conversation, as in `chat.rs`; else it is a text that the answers go on with.

use crate::chat::{Chat, of_document, text_of};
use crate::demo::Dice;
use crate::text::continued;
use crate::{Artifact, Codebook, Demo, Grammar, Modality, Preview, Text, frame_tokens};
use genera_data::chat::{encode_answer, first_messages, messages_from_json};
use genera_data::curate::{Step, Verdict};
use genera_data::prepare::StepOf;
use genera_data::{ChatMessage, Document, Error, Origin, Result};
use genera_tokens::{Role, TokenId, TokenSeq};
use std::sync::Arc;

/// Pairs of answers, of which one is better.
#[derive(Clone, Copy, Debug)]
pub struct Preference;

/// The field with the answer that was rejected.
pub const REJECTED: &str = "rejected";

const DEMOS: &[Demo] = &[Demo {
    name: "better-sums",
    about: "two numbers, with their sum as the better answer and another number as the worse one",
    make: |seed, index| {
        let mut dice = Dice::new(seed, index);
        let (a, b, off) = (dice.below(100), dice.below(100), dice.below(100));
        let pair = Document::pair(Origin::new("better-sums", index), format!("{a} + {b}"), (a + b).to_string());
        Document { fields: vec![(REJECTED.to_owned(), (a + b + off + 1).to_string())], ..pair }
    },
}];

impl Modality for Preference {
    fn name(&self) -> &'static str {
        "preference"
    }

    fn about(&self) -> &'static str {
        "prompts with a chosen and a rejected answer, for direct preference optimisation of a base"
    }

    fn media_types(&self) -> &'static [&'static str] {
        &["application/jsonl", "application/json", "text/csv", "application/vnd.apache.parquet"]
    }

    fn is_paired(&self) -> bool {
        false
    }

    fn demos(&self) -> &'static [Demo] {
        DEMOS
    }

    fn sieve(&self) -> Option<StepOf> {
        Some(Arc::new(|| Box::new(DropEqual)))
    }

    fn encode(&self, codebook: &Codebook, document: &Document) -> Result<TokenSeq> {
        let prompt = text_of(document)?;
        let missing =
            |what: &str| Error::Settings { problem: format!("{} has no {what} answer", document.origin.place()) };
        let chosen = document.target.as_deref().ok_or_else(|| missing("chosen"))?;
        let rejected = document.field(REJECTED).ok_or_else(|| missing(REJECTED))?;
        let mut sequence = TokenSeq::default();
        for answer in [chosen, rejected] {
            let one = answered(codebook, prompt, answer).map_err(|error| of_document(error, document))?;
            let spans = one.spans();
            let ends_well =
                matches!(spans, [given, made, ..] if given.role == Role::Condition && made.role == Role::Target);
            if !ends_well {
                let problem = format!("{}: an empty prompt or answer; both must have a token", document.origin.place());
                return Err(Error::Settings { problem });
            }
            sequence.push(Role::Condition, &one.ids()[spans[0].range.clone()]);
            sequence.push(Role::Target, &one.ids()[spans[1].range.clone()]);
        }
        Ok(sequence)
    }

    fn encode_prompt(&self, codebook: &Codebook, prompt: &str) -> Result<Vec<TokenId>> {
        if codebook.chat_template().is_some() {
            return Chat.encode_prompt(codebook, prompt);
        }
        Text.encode_prompt(codebook, prompt)
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
        &["nats_per_token"]
    }
}

/// Drops pairs of two equal answers, which say nothing of what is better.
struct DropEqual;

impl Step for DropEqual {
    fn apply(&mut self, document: Document) -> Verdict {
        let is_equal = document.target.as_deref().is_some_and(|chosen| document.field(REJECTED) == Some(chosen));
        if is_equal {
            Verdict::Drop("the chosen and the rejected answer are the same")
        } else {
            Verdict::Keep(document)
        }
    }
}

/// A prompt with one of its answers.
fn answered(codebook: &Codebook, prompt: &str, answer: &str) -> Result<TokenSeq> {
    let said = last_said(answer)?;
    if codebook.chat_template().is_none() {
        return continued(codebook, prompt, &said);
    }
    let mut messages = first_messages(prompt)?;
    messages.push(ChatMessage::new(ChatMessage::ASSISTANT, said));
    encode_answer(&**codebook, &messages)
}

/// An answer: a text, or a list of messages whose last one it is.
fn last_said(answer: &str) -> Result<String> {
    let is_list = first_messages(answer)?.iter().any(|message| message.content != answer);
    if !is_list {
        return Ok(answer.to_owned());
    }
    let last = messages_from_json(answer)?.pop().filter(ChatMessage::is_of_assistant);
    let problem = "an answer that is a list of messages must end with one of the assistant".to_owned();
    last.map(|message| message.content).ok_or(Error::Settings { problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_are_dropped() {
        let pair = |chosen: &str, rejected: &str| {
            let pair = Document::pair(Origin::new("a.jsonl", 4), "x", chosen);
            Document { fields: vec![(REJECTED.to_owned(), rejected.to_owned())], ..pair }
        };
        let mut sieve = (Preference.sieve().unwrap())();
        assert_eq!(sieve.apply(pair("y", "y")), Verdict::Drop("the chosen and the rejected answer are the same"));
        assert_eq!(sieve.apply(pair("y", "z")), Verdict::Keep(pair("y", "z")));
    }
}
