//! The model's side of a conversation.

use super::conversation::Conversation;
use crate::answers::{self, Settings};
use crate::failure::{Failure, Outcome, While};
use crate::model::SpeakingModel;
use crate::run::interrupt::Interrupt;
use crate::show::number;
use crate::show::status_line::StatusLine;
use genera_data::encode_chat;
use genera_engine::generate::{Dialogue, Event, Finish, Limits};
use genera_modality::AnswerStream;
use std::io::Write;
use std::time::{Duration, Instant};

/// A message to try a template with.
const PROBE: &str = "Hello!";

/// Lets a model answer, turn by turn; what it has read stays read.
pub struct Speaker<'m> {
    model: &'m SpeakingModel<'m>,
    settings: &'m Settings,
    dialogue: Dialogue<'m>,
    /// Turns that are no longer said to the model, for want of room.
    n_dropped: usize,
    n_answers: u64,
    /// What all answers together took.
    pub total: Spent,
}

/// An answer that was given.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// Its text.
    pub text: String,
    /// Why it ended; cancelled when somebody stopped it.
    pub finish: Finish,
    /// Whether a stop string ended it.
    pub is_at_stop: bool,
    /// Turns that were dropped before it.
    pub n_dropped: usize,
    /// What it took.
    pub spent: Spent,
}

impl Spoken {
    /// Whether somebody stopped it before it began.
    pub fn is_unsaid(&self) -> bool {
        self.finish == Finish::Cancelled && self.spent.n_tokens == 0
    }

    /// Why it ended, as it is written for machines.
    pub fn finish_name(&self) -> &'static str {
        if self.is_at_stop { "stop" } else { answers::finish_name(&self.finish) }
    }
}

/// Tokens and time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Tokens of the conversation before the answer; where it was stopped before, those that were read.
    pub n_prompt: usize,
    /// Of these, those that had been read before.
    pub n_kept: usize,
    /// Tokens of the answer.
    pub n_tokens: usize,
    /// Of these, those after the first, which comes with the reading.
    pub n_timed: usize,
    /// Time until the first token.
    pub reading: Duration,
    /// Time for the tokens after the first.
    pub writing: Duration,
}

impl Spent {
    /// Tokens read a second.
    pub fn reading_rate(&self) -> f64 {
        (self.n_prompt - self.n_kept) as f64 / self.reading.as_secs_f64().max(1e-9)
    }

    /// Tokens written a second.
    pub fn writing_rate(&self) -> f64 {
        self.n_timed as f64 / self.writing.as_secs_f64().max(1e-9)
    }

    fn add(&mut self, other: Self) {
        self.n_prompt += other.n_prompt;
        self.n_kept += other.n_kept;
        self.n_tokens += other.n_tokens;
        self.n_timed += other.n_timed;
        self.reading += other.reading;
        self.writing += other.writing;
    }
}

impl<'m> Speaker<'m> {
    /// A model that has heard nothing yet.
    pub fn new(model: &'m SpeakingModel<'m>, settings: &'m Settings) -> Self {
        let dialogue = Dialogue::new(model.transformer);
        Self { model, settings, dialogue, n_dropped: 0, n_answers: 0, total: Spent::default() }
    }

    /// The conversation begins anew, or has become shorter: what was dropped may fit again.
    pub fn forget(&mut self) {
        self.n_dropped = 0;
    }

    /// Refuses settings and a template with which no message could be answered.
    ///
    /// # Errors
    /// When a setting is out of its range, or the template cannot write a first message.
    pub fn check(&self, conversation: &Conversation) -> Outcome<()> {
        self.settings.sampling.validate(self.model.transformer.config().vocab_size)?;
        self.rendered(conversation.clone()).map(drop)
    }

    /// What the template writes before the first message where nothing tells the model how to answer.
    ///
    /// # Errors
    /// As the template.
    pub fn opening(&self) -> Outcome<String> {
        let text = self.rendered(Conversation::default())?;
        Ok(text.split(PROBE).next().unwrap_or_default().to_owned())
    }

    /// A conversation and [`PROBE`], as the template writes them.
    fn rendered(&self, mut conversation: Conversation) -> Outcome<String> {
        conversation.ask(PROBE);
        let template = self.model.codebook.chat_template();
        Ok(template.map_or(Ok(String::new()), |template| template.render(&conversation.messages(0), true))?)
    }

    /// Tokens that the model can read and write at once.
    pub fn context_len(&self) -> usize {
        self.model.transformer.config().context_len
    }

    /// Answers the newest question, writing the text as it comes, until the answer ends or somebody interrupts. Whoever can do that
    /// is also told how far a long text is read.
    ///
    /// # Errors
    /// When the template cannot write the conversation, the newest question alone is too long, or `out` fails.
    pub fn answer(
        &mut self,
        conversation: &Conversation,
        interrupt: Option<&Interrupt>,
        out: &mut dyn Write,
    ) -> Outcome<Spoken> {
        let (prompt, n_dropped) = self.fitting_prompt(conversation)?;
        let n_newly_dropped = n_dropped.saturating_sub(self.n_dropped);
        self.n_dropped = n_dropped;
        let n_prompt = prompt.len();
        let request = answers::request(self.model, prompt, self.settings, self.n_answers)?;
        self.n_answers += 1;
        let start = Instant::now();
        let n_kept = self.dialogue.begin(request)?;
        let mut spent = Spent { n_prompt, n_kept, ..Spent::default() };
        let status = self.read(&mut spent, interrupt);
        let is_asked_to_stop = || interrupt.is_some_and(Interrupt::is_asked);
        let (text, finish, is_at_stop) = self.speak(start, &mut spent, status, &is_asked_to_stop, out)?;
        self.total.add(spent);
        Ok(Spoken { text: text.trim().to_owned(), finish, is_at_stop, n_dropped: n_newly_dropped, spent })
    }

    /// Reads a long text up to its last part, which the first token comes with, or until somebody interrupts; gives the line that
    /// says how far it is.
    fn read(&mut self, spent: &mut Spent, interrupt: Option<&Interrupt>) -> Option<StatusLine> {
        let n_new = spent.n_prompt - spent.n_kept;
        let interrupt = interrupt.filter(|_| n_new > Limits::default().n_prefill_tokens)?;
        let (mut status, mut n_left) = (StatusLine::at_once(), n_new);
        while !interrupt.is_asked() {
            let (n_read, n_new) = (number::whole(n_new - n_left), number::whole(n_new));
            status.show(|| format!("reading {n_read} of {n_new} tokens; Ctrl-C stops"));
            match self.dialogue.read_ahead() {
                Some(n) => n_left = n,
                None => return Some(status),
            }
        }
        spent.n_prompt -= n_left;
        Some(status)
    }

    /// Writes the answer that was begun at `start`, and counts; gives its text, why it ended, and whether at a stop string.
    fn speak(
        &mut self,
        start: Instant,
        spent: &mut Spent,
        mut status: Option<StatusLine>,
        is_asked_to_stop: &dyn Fn() -> bool,
        out: &mut dyn Write,
    ) -> Outcome<(String, Finish, bool)> {
        let mut stream = AnswerStream::new(self.model.codebook.as_ref(), &self.settings.stop);
        let mut text = String::new();
        let finish = loop {
            let event = if stream.is_stopped() || is_asked_to_stop() {
                self.dialogue.end().map(Event::Finished)
            } else {
                self.dialogue.step()
            };
            drop(status.take());
            if spent.n_tokens == 0 {
                spent.reading = start.elapsed();
            }
            if let Err(failure) = event.iter().try_for_each(answers::check_finite) {
                if !text.is_empty() {
                    writeln!(out).during("cannot write the answer")?;
                }
                return Err(failure);
            }
            match event {
                // Stopped while the last of the text was read.
                Some(Event::Token { .. }) if spent.n_tokens == 0 && is_asked_to_stop() => {}
                Some(Event::Token { token, .. }) => {
                    spent.n_timed = spent.n_tokens;
                    spent.n_tokens += 1;
                    say(&mut text, &stream.push(token), out)?;
                }
                Some(Event::Begun { .. }) => {}
                Some(Event::Finished(answer)) => break answer.reason,
                None => break Finish::Cancelled,
            }
        };
        spent.writing = start.elapsed() - spent.reading;
        say(&mut text, &stream.finish(), out)?;
        Ok((text, finish, stream.is_stopped()))
    }

    /// The tokens of the conversation, and how many turns are left out. Where they leave no room for an answer, the oldest turns
    /// are dropped until half of the context is free, so that not every turn after that has to be read anew.
    fn fitting_prompt(&self, conversation: &Conversation) -> Outcome<(Vec<u32>, usize)> {
        let context_len = self.context_len();
        let last = conversation.n_turns().saturating_sub(1);
        let mut n_dropped = self.n_dropped.min(last);
        let mut prompt = self.encode(conversation, n_dropped)?;
        let room = self.settings.max_tokens.min(context_len / 4);
        if prompt.len() + room > context_len {
            while prompt.len() > context_len / 2 && n_dropped + 2 <= last {
                n_dropped += 2;
                prompt = self.encode(conversation, n_dropped)?;
            }
        }
        if prompt.len() >= context_len {
            return Err(Failure::new(format!(
                "this message alone takes {} tokens with what is around it, but the model reads {context_len}; say less",
                prompt.len()
            )));
        }
        Ok((prompt, n_dropped))
    }

    fn encode(&self, conversation: &Conversation, n_dropped: usize) -> Outcome<Vec<u32>> {
        Ok(encode_chat(self.model.codebook.as_ref(), &conversation.messages(n_dropped), true)?)
    }
}

fn say(text: &mut String, more: &str, out: &mut dyn Write) -> Outcome<()> {
    // Models often begin with a blank.
    let more = if text.is_empty() { more.trim_start() } else { more };
    text.push_str(more);
    out.write_all(more.as_bytes()).and_then(|()| out.flush()).during("cannot write the answer")
}
