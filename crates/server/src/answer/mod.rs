//! Answers as text: tokens come in, pieces of text go out, each cut where a stop string appears.

mod speech;

pub use speech::{Finished, Saying, Speech};

use crate::model::Served;
use crate::problem::Problem;
use crate::wire::output::Usage;
use crate::worker::{Answers, Said};
use genera_engine::generate::{Fault, Finish};
use genera_modality::AnswerStream;
use genera_tokens::TokenId;
use hyper::StatusCode;

/// A part of one of the answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Which of the answers.
    pub choice: usize,
    /// The text that is certain by now.
    pub text: String,
    /// The tokens that the text is made of, where they are asked for.
    pub tokens: Vec<Token>,
    /// Why the answer ends with this piece.
    pub end: Option<End>,
}

/// A token of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// ln p of it.
    pub logprob: f32,
    /// The most probable tokens in its place.
    pub top: Vec<(TokenId, f32)>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, at a token that ends answers.
    Stop,
    /// At one of the stop strings.
    StopString(String),
    /// It has as many tokens as were asked for, or as fit.
    Length,
}

impl End {
    /// Its name in the OpenAI interface.
    pub fn name(&self) -> &'static str {
        match self {
            End::Stop | End::StopString(_) => "stop",
            End::Length => "length",
        }
    }
}

/// The answers to one request, as text.
pub struct Pieces<'m> {
    answers: Answers,
    choices: Vec<Choice<'m>>,
}

struct Choice<'m> {
    stream: AnswerStream<'m>,
    wants_tokens: bool,
    /// Tokens whose text is held back.
    held: Vec<Token>,
    n_tokens: usize,
}

impl<'m> Pieces<'m> {
    /// Turns `answers` into text, each up to the first of `stops`.
    pub fn new(model: &'m Served, answers: Answers, stops: &[String], wants_tokens: bool) -> Self {
        let choice = || Choice {
            stream: AnswerStream::new(model.codebook.as_ref(), stops),
            wants_tokens,
            held: Vec::new(),
            n_tokens: 0,
        };
        let choices = (0..answers.len()).map(|_| choice()).collect();
        Self { answers, choices }
    }

    /// The next part of any of the answers; `None` when all are complete.
    ///
    /// # Errors
    /// When the engine cannot go on with one of them.
    pub async fn next(&mut self) -> Result<Option<Piece>, Problem> {
        while let Some(said) = self.answers.next().await? {
            let (choice, part) = match said {
                Said::Token { choice, token: id, logprob, top_logprobs: top } => {
                    (choice, self.choices[choice].push(Token { id, logprob, top }))
                }
                Said::Finished { choice, finish } => (choice, self.choices[choice].finish(finish)?),
                // The worker's handle has made problems of these.
                Said::Begun { .. } | Said::Refused(_) | Said::Failed => continue,
            };
            if matches!(part.end, Some(End::StopString(_))) {
                self.answers.end(choice);
            }
            if part.end.is_some() || !part.text.is_empty() {
                return Ok(Some(Piece { choice, ..part }));
            }
        }
        Ok(None)
    }

    /// Tokens so far, of prompts with `n_prompt` tokens together and `n_each` answers to each.
    pub fn usage(&self, n_prompt: usize, n_each: usize) -> Usage {
        let n_completion = self.choices.iter().map(|choice| choice.n_tokens).sum();
        Usage { n_prompt, n_cached: self.answers.n_cached(n_each), n_completion }
    }
}

impl Choice<'_> {
    fn push(&mut self, token: Token) -> Piece {
        self.n_tokens += 1;
        let id = token.id;
        if self.wants_tokens {
            self.held.push(token);
        }
        let text = self.stream.push(id);
        self.piece(text, None)
    }

    fn finish(&mut self, finish: Finish) -> Result<Piece, Problem> {
        let end = match finish {
            Finish::Stop(_) => End::Stop,
            Finish::MaxTokens | Finish::ContextFull => End::Length,
            Finish::NothingAllowed => {
                return Err(Problem::invalid(
                    "logit_bias",
                    "the biases, the grammar and the tokens that end an answer leave no token to go on with",
                ));
            }
            Finish::Faulty(Fault::Failed) => {
                return Err(Problem::internal("what holds the answer to its form failed; the server's log says where"));
            }
            Finish::Faulty(Fault::TooComplex) => {
                let message =
                    "the answer has become too complex for the schema or grammar that was asked for; make it simpler";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "form_too_complex", message));
            }
            Finish::NotFinite => {
                return Err(Problem::internal("the model's logits are not numbers: its weights are damaged"));
            }
            Finish::Cancelled => return Err(Problem::internal("the answer was ended")),
        };
        let text = self.stream.finish();
        Ok(self.piece(text, Some(end)))
    }

    /// `text` with the tokens that it is made of; a stop string that has appeared is the end.
    fn piece(&mut self, text: String, end: Option<End>) -> Piece {
        let stop = self.stream.stop().map(|stop| End::StopString(stop.to_owned()));
        let tokens = if text.is_empty() && end.is_none() { Vec::new() } else { std::mem::take(&mut self.held) };
        Piece { choice: 0, text, tokens, end: stop.or(end) }
    }
}
