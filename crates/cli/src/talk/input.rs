//! What a person types, or a pipe brings.

use super::instruction::completions;
use crate::failure::{Failure, Outcome, While, unreadable};
use genera_data::source::without_byte_order_mark;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper};
use std::io::{BufRead, IsTerminal, Read, StdinLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

const PROMPT: &str = "> ";
/// What stands around a message of several lines.
const BLOCK: &str = "\"\"\"";
/// Longest line of a pipe.
const MAX_LINE_BYTES: u64 = 1 << 24;
/// Time for the lines to be counted that nobody answers: more may never come, where their sender waits for an answer.
const COUNTING: Duration = Duration::from_millis(300);

/// Where messages come from.
pub enum Input {
    /// A person, who edits lines and looks earlier ones up.
    Terminal(Box<Editor<Typing, MemHistory>>),
    /// A file or another program, one message a line.
    Pipe {
        /// Its lines.
        lines: StdinLock<'static>,
        /// How many were read, blank ones too.
        n_read: u64,
    },
}

impl Input {
    /// The standard input, whichever it is.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub fn open() -> Outcome<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Pipe { lines: std::io::stdin().lock(), n_read: 0 });
        }
        let config = Config::builder().auto_add_history(true).build();
        let mut editor = Editor::with_history(config, MemHistory::new()).during("cannot use the terminal")?;
        editor.set_helper(Some(Typing));
        Ok(Self::Terminal(Box::new(editor)))
    }

    /// Whether a person types.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next message; none at the end. Empty ones are passed over.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn next(&mut self) -> Outcome<Option<String>> {
        loop {
            let message = match self {
                Self::Terminal(editor) => typed(editor, "")?,
                Self::Pipe { lines, n_read } => {
                    *n_read += 1;
                    piped(lines, *n_read)?
                }
            };
            if message.as_ref().is_none_or(|message| !message.is_empty()) {
                return Ok(message);
            }
        }
    }

    /// A text as a person changes it; none when it is left.
    ///
    /// # Errors
    /// When there is nobody who could, or it cannot be read.
    pub fn edited(&mut self, text: &str) -> Outcome<Option<String>> {
        match self {
            Self::Terminal(editor) => typed(editor, text),
            Self::Pipe { .. } => Err(Failure::new("/edit needs a terminal; use /undo and say it anew")),
        }
    }

    /// What ends the conversation, with the line that led to it and how many behind it are not answered.
    pub fn ended_by(self, failure: &Failure) -> Failure {
        let Self::Pipe { lines, n_read } = self else { return Failure::new(failure.message()) };
        drop(lines);
        let left = match n_left() {
            (0, _) => String::new(),
            (1, true) => "; the line behind it was not answered".to_owned(),
            (n, true) => format!("; the {n} lines behind it were not answered"),
            (n, false) => format!("; the lines behind it, at least {n}, were not answered"),
        };
        Failure::new(format!("line {n_read} of the standard input: {}{left}", failure.message()))
    }
}

/// How many lines of the standard input are left that are not blank, and whether those are all.
fn n_left() -> (u64, bool) {
    let n = Arc::new(AtomicU64::new(0));
    let (counter, (done, is_done)) = (n.clone(), mpsc::channel());
    // It may wait for ever; the program ends all the same.
    std::thread::spawn(move || {
        count_lines(std::io::stdin().lock(), &counter);
        let _ = done.send(());
    });
    let is_all = is_done.recv_timeout(COUNTING).is_ok();
    (n.load(Ordering::Relaxed), is_all)
}

/// Counts lines that are not blank, up to the end or to what cannot be read.
fn count_lines(mut input: impl BufRead, counter: &AtomicU64) {
    let mut is_blank = true;
    loop {
        let n = match input.fill_buf() {
            Ok(bytes) if !bytes.is_empty() => {
                for &byte in bytes {
                    let is_end = byte == b'\n';
                    counter.fetch_add(u64::from(is_end && !is_blank), Ordering::Relaxed);
                    is_blank = is_end || is_blank && byte.is_ascii_whitespace();
                }
                bytes.len()
            }
            _ => break,
        };
        input.consume(n);
    }
    counter.fetch_add(u64::from(!is_blank), Ordering::Relaxed);
}

fn typed(editor: &mut Editor<Typing, MemHistory>, text: &str) -> Outcome<Option<String>> {
    match editor.readline_with_initial(PROMPT, (text, "")) {
        Ok(message) => Ok(Some(joined(&message))),
        // As in a shell, the line is thrown away.
        Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
        Err(ReadlineError::Eof) => Ok(None),
        Err(error) => Err(error).during("cannot read from the terminal"),
    }
}

/// The line of this number.
fn piped(lines: &mut StdinLock<'static>, number: u64) -> Outcome<Option<String>> {
    let mut line = String::new();
    let unreadable = |error| unreadable(&format!("line {number} of the standard input"), &error);
    let n_bytes = lines.take(MAX_LINE_BYTES).read_line(&mut line).map_err(unreadable)?;
    if n_bytes as u64 == MAX_LINE_BYTES {
        return Err(Failure::new(format!("line {number} of the standard input is longer than {MAX_LINE_BYTES} bytes")));
    }
    let line = if number == 1 { without_byte_order_mark(&line) } else { &line };
    Ok((n_bytes > 0).then(|| line.trim().to_owned()))
}

/// Whether more is to come: a block is open, or the line goes on.
fn is_open(text: &str) -> bool {
    text.matches(BLOCK).count() % 2 == 1 || text.ends_with('\\')
}

/// The message without what marks that it goes on.
fn joined(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix(BLOCK).and_then(|text| text.strip_suffix(BLOCK)) {
        Some(block) => block.trim_matches('\n').to_owned(),
        None => text.replace("\\\n", "\n"),
    }
}

/// What the editor asks of us.
pub struct Typing;

impl Validator for Typing {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_open(context.input()) { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Completer for Typing {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let start = line.get(..at).filter(|start| start.starts_with('/'));
        Ok((0, start.map(completions).unwrap_or_default()))
    }
}

impl Hinter for Typing {
    type Hint = String;
}

impl Highlighter for Typing {}
impl Helper for Typing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_say_something_are_counted() {
        for (text, expect) in [("", 0), ("\n \r\n\t\n", 0), ("a", 1), ("a\n", 1), ("a b\n\n c\n/d", 3)] {
            let counter = AtomicU64::new(0);
            count_lines(std::io::BufReader::with_capacity(2, text.as_bytes()), &counter);
            assert_eq!(counter.into_inner(), expect, "{text:?}");
        }
    }

    #[test]
    fn messages_of_several_lines() {
        assert!(is_open("a\\") && is_open("\"\"\"a\nb") && is_open("\"\"\""));
        assert!(!is_open("a") && !is_open("\"\"\"a\nb\"\"\"") && !is_open("a\\\nb"));
        assert_eq!(joined("a\\\nb"), "a\nb");
        assert_eq!(joined("\"\"\"\na\n  b\n\"\"\""), "a\n  b");
        assert_eq!(joined(" a "), "a");
    }
}
