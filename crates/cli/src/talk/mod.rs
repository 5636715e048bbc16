//! A conversation with a model: what was said, how the model goes on, and what a person types.
//!
//! [`Conversation`] holds the turns, [`Speaker`] lets the model answer them, [`Input`] reads from a person or from a pipe,
//! and [`Instruction`] is what a line that begins with a slash asks for.

mod conversation;
mod input;
mod instruction;
mod speaker;

pub use conversation::Conversation;
pub use input::Input;
pub use instruction::{Instruction, help};
pub use speaker::{Speaker, Spoken};
