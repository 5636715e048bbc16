//! What was said so far.

use crate::failure::{Failure, Outcome, While};
use genera_data::ChatMessage;
use std::path::Path;

const SYSTEM: &str = "system";
const USER: &str = "user";

/// The turns of a conversation: the user speaks first, then by turns.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    system: Option<String>,
    turns: Vec<ChatMessage>,
}

impl Conversation {
    /// Nothing was said; `system` tells the model how to answer.
    pub fn new(system: Option<String>) -> Self {
        Self { system, turns: Vec::new() }
    }

    /// What tells the model how to answer.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// Tells the model from now on how to answer; nothing when empty.
    pub fn set_system(&mut self, text: &str) {
        self.system = Some(text.to_owned()).filter(|text| !text.is_empty());
    }

    /// Turns of both sides.
    pub fn n_turns(&self) -> usize {
        self.turns.len()
    }

    /// Turns of the user.
    pub fn n_questions(&self) -> usize {
        self.turns.iter().filter(|turn| !turn.is_of_assistant()).count()
    }

    /// The user says something.
    pub fn ask(&mut self, text: impl Into<String>) {
        self.turns.push(ChatMessage::new(USER, text));
    }

    /// The model says something.
    pub fn answer(&mut self, text: impl Into<String>) {
        self.turns.push(ChatMessage::new(ChatMessage::ASSISTANT, text));
    }

    /// Forgets the newest answer; false when there was nothing to answer.
    pub fn take_answer_back(&mut self) -> bool {
        self.turns.pop_if(|turn| turn.is_of_assistant());
        !self.turns.is_empty()
    }

    /// Forgets the newest question with its answer, and gives the question.
    pub fn undo(&mut self) -> Option<String> {
        self.take_answer_back();
        self.turns.pop().map(|turn| turn.content)
    }

    /// The newest question.
    pub fn last_question(&self) -> Option<&str> {
        self.turns.iter().rev().find(|turn| !turn.is_of_assistant()).map(|turn| turn.content.as_str())
    }

    /// Forgets all turns.
    pub fn reset(&mut self) {
        self.turns.clear();
    }

    /// The messages of a template, without the first `n_dropped` turns.
    pub fn messages(&self, n_dropped: usize) -> Vec<ChatMessage> {
        let system = self.system.iter().map(|text| ChatMessage::new(SYSTEM, text));
        system.chain(self.turns.iter().skip(n_dropped).cloned()).collect()
    }

    /// Writes the conversation: as a chat file, a line or an array of one, where the name ends in .jsonl or .json, else as plain
    /// text.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub fn save(&self, path: &Path) -> Outcome<()> {
        if path.exists() {
            return Err(Failure::new(format!("{} is there already; name another file", path.display())));
        }
        let text = match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl") => format!("{}\n", self.to_json()),
            Some("json") => format!("[{}]\n", self.to_json()),
            _ => self.to_text(),
        };
        std::fs::write(path, text).during(format!("cannot write {}", path.display()))
    }

    fn to_json(&self) -> serde_json::Value {
        let message = |message: &ChatMessage| serde_json::json!({ "role": message.role, "content": message.content });
        let messages: Vec<serde_json::Value> = self.messages(0).iter().map(message).collect();
        serde_json::json!({ "messages": messages })
    }

    fn to_text(&self) -> String {
        self.messages(0).iter().map(|message| format!("{}: {}\n\n", message.role, message.content)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talked() -> Conversation {
        let mut conversation = Conversation::new(Some("Be brief.".to_owned()));
        for (question, answer) in [("a?", "A."), ("b?", "B.")] {
            conversation.ask(question);
            conversation.answer(answer);
        }
        conversation
    }

    fn said(conversation: &Conversation, n_dropped: usize) -> String {
        conversation
            .messages(n_dropped)
            .iter()
            .map(|message| format!("{}:{} ", message.role, message.content))
            .collect()
    }

    #[test]
    fn turns_come_and_go() {
        let mut conversation = talked();
        assert_eq!(said(&conversation, 2), "system:Be brief. user:b? assistant:B. ");
        assert!(conversation.take_answer_back());
        assert_eq!((conversation.last_question(), conversation.n_turns()), (Some("b?"), 3));
        assert_eq!(conversation.n_questions(), 2);
        assert_eq!(conversation.undo().as_deref(), Some("b?"));
        assert_eq!(conversation.undo().as_deref(), Some("a?"));
        assert_eq!(conversation.undo(), None);
        assert!(!conversation.take_answer_back());
        conversation.set_system("");
        assert_eq!(said(&conversation, 0), "");
    }

    #[test]
    fn what_is_saved_is_a_chat_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("talk.jsonl");
        talked().save(&path).unwrap();
        let saved: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let messages = genera_data::chat::messages_from_json(&saved["messages"].to_string()).unwrap();
        assert_eq!(messages, talked().messages(0));
        assert!(talked().save(&path).is_err(), "nothing is written over");
        let array = directory.path().join("talk.json");
        talked().save(&array).unwrap();
        assert_eq!(genera_data::source::first_object(&array).unwrap(), *saved.as_object().unwrap());
        let path = directory.path().join("talk.txt");
        talked().save(&path).unwrap();
        assert!(
            std::fs::read_to_string(&path).unwrap().starts_with("system: Be brief.\n\nuser: a?\n\nassistant: A.\n")
        );
    }
}
