//! An answer in the making: what the model sees of it, and when it ends.

use super::constraint::Constraint;
use super::request::{Answer, Finish, Guidance, Request, RequestId, WhenFull};
use super::sampler::{Choice, Logits, Sampler, Scratch};
use crate::model::{Switch, Transformer};
use genera_tokens::TokenId;

/// A request in progress. Knows no batch and no cache, so that [`super::Generator`] and the naive reference share it.
pub(super) struct Progress {
    /// What the encoder reads.
    pub(super) source: Option<Vec<TokenId>>,
    /// What the decoder sees: the prompt and the answer so far, or the newest half of them.
    pub(super) context: Vec<TokenId>,
    answer: Answer,
    max_tokens: usize,
    /// Tokens that the context may have.
    longest: usize,
    switch: Option<Switch>,
    stop: Vec<TokenId>,
    top_logprobs: usize,
    when_full: WhenFull,
    constraint: Option<Box<dyn Constraint>>,
    sampler: Sampler,
    guidance: Option<Guidance>,
    n_guesses: usize,
}

/// How an answer went on.
pub(super) enum Next {
    /// With a token, and whether that was its last.
    Token(Choice, bool),
    /// With a token after which the context is to be read again: it was full, and its older half is now forgotten, or the
    /// model makes all of a longer one otherwise.
    ReadAgain(Choice),
    /// Not at all: it is complete.
    End,
}

impl Progress {
    /// Starts a request that has been validated.
    pub(super) fn new(id: RequestId, request: Request, model: &Transformer) -> Self {
        let longest = model.config().longest(request.when_full == WhenFull::GoOn);
        let room = match request.when_full {
            WhenFull::Stop | WhenFull::GoOn => request.max_tokens.min(longest - request.prompt.len()),
            WhenFull::Slide => request.max_tokens,
        };
        let sampler = Sampler::new(&request.sampling, request.sample, &request.prompt);
        Self {
            sampler: sampler.with_rules(request.rules, &request.prompt, room, &request.stop),
            answer: Answer { id, tokens: Vec::new(), logprobs: Vec::new(), reason: Finish::Cancelled },
            source: request.source,
            context: request.prompt,
            max_tokens: request.max_tokens,
            longest,
            switch: model.switch(),
            stop: request.stop,
            top_logprobs: request.top_logprobs,
            when_full: request.when_full,
            constraint: request.constraint,
            guidance: request.guidance.filter(|guidance| guidance.scale != 1.0),
            n_guesses: request.n_guesses,
        }
    }

    /// How many tokens may be guessed ahead. One token more can always be taken after them.
    pub(super) fn n_guesses(&self) -> usize {
        let to_come = self.max_tokens - self.answer.tokens.len() - 1;
        let n = self.context.len();
        let to_switch = match self.switch {
            Some(switch) if n <= switch.len => switch.len - n,
            Some(Switch { is_gradual: true, .. }) => 0,
            _ => usize::MAX,
        };
        self.n_guesses.min(self.longest - n).min(to_come).min(to_switch)
    }

    /// Where the answer is guided: how far, and the other context, which it is led away from.
    pub(super) fn guided(&self) -> Option<(f32, Vec<TokenId>)> {
        self.guidance.as_ref().map(|Guidance { scale, prompt }| (*scale, [&prompt[..], &self.answer.tokens].concat()))
    }

    /// What chooses its tokens.
    pub(super) fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// Chooses the next token from the logits behind the context.
    pub(super) fn advance(&mut self, logits: Logits<'_>, scratch: &mut Scratch) -> Next {
        // A forced beginning stands before what the constraint knows of.
        let mut constraint = self.constraint.as_deref_mut().filter(|_| !self.sampler.is_at_opening());
        let choice = match self.sampler.choose(logits, constraint.as_deref_mut(), self.top_logprobs, scratch) {
            Ok(choice) => choice,
            Err(reason) => return self.end(reason),
        };
        if self.stop.contains(&choice.token) {
            return self.end(Finish::Stop(choice.token));
        }
        if let Some(constraint) = constraint {
            constraint.advance(choice.token);
        }
        self.context.push(choice.token);
        self.answer.tokens.push(choice.token);
        self.answer.logprobs.push(choice.logprob);
        self.after(choice)
    }

    fn after(&mut self, choice: Choice) -> Next {
        let n = self.context.len();
        let is_full = n >= self.longest;
        let finish = match self.when_full {
            _ if self.answer.tokens.len() >= self.max_tokens => Some(Finish::MaxTokens),
            WhenFull::Stop | WhenFull::GoOn if is_full => Some(Finish::ContextFull),
            WhenFull::Slide if is_full => {
                self.context.drain(..self.longest.div_ceil(2));
                return Next::ReadAgain(choice);
            }
            _ => None,
        };
        if finish.is_none() && self.switch.is_some_and(|switch| !switch.keeps(n - 1, n)) {
            return Next::ReadAgain(choice);
        }
        self.answer.reason = finish.unwrap_or(Finish::Cancelled);
        Next::Token(choice, finish.is_some())
    }

    fn end(&mut self, reason: Finish) -> Next {
        self.answer.reason = reason;
        Next::End
    }

    /// The answer as far as it has come; cancelled when it has not ended by itself.
    pub(super) fn into_answer(self) -> Answer {
        self.answer
    }
}
