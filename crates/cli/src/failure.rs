//! How a command ends when it cannot do what was asked.

use std::any::Any;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// What a command returns: its exit code, or why it failed.
pub type Outcome<T = ExitCode> = Result<T, Failure>;

/// Longest message, in characters.
const MAX_MESSAGE: usize = 1 << 13;

/// Why a command failed: what happened, what was expected, how to fix it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    /// Whether whoever read our output has gone, as `head` does: no failure of ours.
    is_closed_pipe: bool,
}

impl Failure {
    /// A failure with its message, which may quote what comes from outside.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: printable(&message.into(), MAX_MESSAGE), is_closed_pipe: false }
    }

    /// Its message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Adds what else the user should know.
    #[must_use]
    pub fn and(self, more: impl Display) -> Self {
        let Self { message: more, .. } = Self::new(more.to_string());
        Self { message: format!("{}\n{more}", self.message), is_closed_pipe: false }
    }

    /// Whether whoever read our output has gone.
    pub fn is_closed_pipe(&self) -> bool {
        self.is_closed_pipe
    }

    /// Prints the message and gives the exit code 1. Wrong usage has ended with 2 before, by the argument parser.
    pub fn report(&self) -> ExitCode {
        if self.is_closed_pipe {
            return ExitCode::SUCCESS;
        }
        eprintln!("genera: {}", self.message);
        ExitCode::FAILURE
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let io = (&error as &dyn Any).downcast_ref::<io::Error>().map(io::Error::kind);
        Self { is_closed_pipe: io == Some(io::ErrorKind::BrokenPipe), ..Self::new(error.to_string()) }
    }
}

/// Adds to a failure what was being done.
pub trait While<T> {
    /// Puts `what` in front of the message, as in "reading the recipe".
    fn during(self, what: impl Display) -> Outcome<T>;
}

impl<T, E: Into<Failure>> While<T> for Result<T, E> {
    fn during(self, what: impl Display) -> Outcome<T> {
        self.map_err(|error| {
            let Failure { message, is_closed_pipe } = error.into();
            Failure { is_closed_pipe, ..Failure::new(format!("{what}: {message}")) }
        })
    }
}

/// A text that comes from outside with no more than `most` characters, and nothing that moves a terminal's cursor but to the next
/// line.
pub fn printable(text: &str, most: usize) -> String {
    let is_shown = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    let shown =
        text.chars().take(most).map(|letter| if is_shown(letter) { letter } else { char::REPLACEMENT_CHARACTER });
    let more = text.chars().nth(most).map(|_| '…');
    shown.chain(more).collect()
}

/// A failure to read a text, which says what to do where the text is in another encoding.
pub fn unreadable(name: &str, error: &io::Error) -> Failure {
    if error.kind() != io::ErrorKind::InvalidData {
        return Failure::new(format!("cannot read {name}: {error}"));
    }
    Failure::new(format!(
        "{name} is not UTF-8, the encoding of texts that is read here; it may be Latin-1 (Windows-1252) or UTF-16: convert it, as by \
         iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"
    ))
}

/// Ends with a message when weights that are read while they are used ([`Purpose::UseInPlace`]) can no longer be read.
///
/// [`Purpose::UseInPlace`]: genera_engine::weights::Purpose::UseInPlace
pub fn end_by_panic_hook() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(error) = panic.payload().downcast_ref::<genera_engine::Error>() {
            Failure::new(format!("{error}; the file must stay as it is while the model answers")).report();
            std::process::exit(1);
        }
        usual(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in files from anywhere do not write on the terminal.
    #[test]
    fn messages_are_short_and_leave_the_terminal_alone() {
        let message = |name: &str| Failure::new(format!("tensor '{name}'")).and("more").message().to_owned();
        assert_eq!(message("a\x1b[2J\r\u{9b}é\tb\nc"), "tensor 'a\u{fffd}[2J\u{fffd}\u{fffd}é\tb\nc'\nmore");
        let during = Err::<(), _>(io::Error::other("\x07")).during("\x08").unwrap_err();
        assert_eq!(during.message(), "\u{fffd}: \u{fffd}");
        assert_eq!((printable("abc", 3), printable("abcd", 3)), ("abc".to_owned(), "abc…".to_owned()));
        let long = message(&"x".repeat(1 << 22));
        assert!(long.len() < 10_000 && long.ends_with("…\nmore"), "{}", long.len());
    }
}
