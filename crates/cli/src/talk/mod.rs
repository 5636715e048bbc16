//! A conversation with a model: what was said, how the model goes on, and what a person types.
//!
//! [`Conversation`] holds the turns, [`Speaker`] lets the model answer them, [`Input`] reads from a person or from a pipe,
//! and [`Instruction`] is what a line that begins with a slash asks for. [`Quiet`] keeps what is typed out of an answer,
//! and [`Flow`] breaks its lines between words.

mod conversation;
mod flow;
mod input;
mod instruction;
mod speaker;
mod terminal;

pub use conversation::Conversation;
pub use flow::Flow;
pub use input::Input;
pub use instruction::{Instruction, help};
pub use speaker::{Speaker, Spoken};
pub use terminal::{Quiet, remember, restore};
