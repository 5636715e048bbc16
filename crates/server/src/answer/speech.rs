//! Answers in a conversation: text, and calls of tools where there are any.

use super::{End, Pieces, Token};
use crate::problem::Problem;
use crate::tools::{CallParser, Part, Toolbox};
use crate::wire::output::Usage;

/// The answers in a conversation.
pub struct Speech<'m> {
    pieces: Pieces<'m>,
    /// One for each answer where there are tools.
    parsers: Vec<CallParser>,
    n: usize,
}

/// A part of one of the answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Saying {
    /// Which of the answers.
    pub choice: usize,
    /// Text and calls.
    pub parts: Vec<Part>,
    /// The tokens that they are made of, where they are asked for.
    pub tokens: Vec<Token>,
    /// Why the answer ends with this.
    pub end: Option<Finished>,
}

/// Why an answer in a conversation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It called tools and waits for what they give.
    Called,
    /// As any other answer.
    Ended(End),
}

impl Finished {
    /// Its name in the OpenAI interface.
    pub fn name(&self) -> &'static str {
        match self {
            Finished::Called => "tool_calls",
            Finished::Ended(end) => end.name(),
        }
    }
}

impl<'m> Speech<'m> {
    /// Finds the calls of `tools` in `n` answers.
    pub fn new(pieces: Pieces<'m>, n: usize, tools: Option<&Toolbox>) -> Self {
        let parsers = tools.map_or_else(Vec::new, |tools| (0..n).map(|_| tools.parser()).collect());
        Self { pieces, parsers, n }
    }

    /// The next part of any of the answers; `None` when all are complete.
    ///
    /// # Errors
    /// As [`Pieces::next`].
    pub async fn next(&mut self) -> Result<Option<Saying>, Problem> {
        let Some(piece) = self.pieces.next().await? else { return Ok(None) };
        let Some(parser) = self.parsers.get_mut(piece.choice) else {
            let parts = if piece.text.is_empty() { Vec::new() } else { vec![Part::Text(piece.text)] };
            let end = piece.end.map(Finished::Ended);
            return Ok(Some(Saying { choice: piece.choice, parts, tokens: piece.tokens, end }));
        };
        let mut parts = parser.push(&piece.text);
        let end = piece.end.map(|end| {
            parts.extend(parser.finish());
            if parser.has_called() && end != End::Length { Finished::Called } else { Finished::Ended(end) }
        });
        Ok(Some(Saying { choice: piece.choice, parts, tokens: piece.tokens, end }))
    }

    /// Tokens so far, of one prompt with `n_prompt` of them.
    pub fn usage(&self, n_prompt: usize) -> Usage {
        self.pieces.usage(n_prompt, self.n)
    }
}
