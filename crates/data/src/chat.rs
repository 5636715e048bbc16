//! Conversations: who said what, and the template that writes them the way a model has learned to read them.

mod borders;
mod cost;
mod encode;
mod functions;
mod messages;
mod program;
mod renderers;
mod template;
mod turns;

pub use encode::{encode_chat, encode_chat_with_tools};
pub(crate) use messages::is_something;
pub use messages::{first_messages, messages_from_json};
pub use template::ChatTemplate;
pub use turns::{encode_answer, encode_turns};

use serde_json::{Map, Value};

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks: "system", "user", "assistant", "tool".
    pub role: String,
    /// What is said.
    pub content: String,
    /// What else templates look at, such as `tool_calls`, `tool_call_id` and `name`.
    pub fields: Map<String, Value>,
    /// Whether it is learned where it is the assistant's.
    pub is_learned: bool,
}

impl ChatMessage {
    /// The role of the turns that a model produces.
    pub const ASSISTANT: &str = "assistant";

    /// A turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), fields: Map::new(), is_learned: true }
    }

    /// Whether it is the model's.
    pub fn is_of_assistant(&self) -> bool {
        self.role == Self::ASSISTANT
    }
}
