//! The terminal of a conversation: how wide it is, and that it is left as it was found.

use unicode_width::UnicodeWidthStr;

/// Columns where the terminal does not say.
const WIDTH: usize = 80;

/// A text whose lines are broken between words, so that the terminal breaks none within; what follows a break is indented as
/// `indent` says.
pub fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| wrapped_line(line, width, indent)).collect();
    lines.join("\n")
}

fn wrapped_line(line: &str, width: usize, indent: usize) -> String {
    let (mut out, mut n_columns) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let n = word.trim_end().width();
        if n_columns > indent && n_columns + n > width {
            out.truncate(out.trim_end().len());
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            n_columns = indent;
        }
        out.push_str(word);
        n_columns += word.width();
    }
    out
}

/// Columns of the terminal.
pub fn width() -> usize {
    let size = ratatui::crossterm::terminal::size();
    size.ok().map(|(columns, _)| usize::from(columns)).filter(|&columns| columns > 0).unwrap_or(WIDTH)
}

pub use modes::{Quiet, remember, restore};

#[cfg(unix)]
mod modes {
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
    use std::sync::OnceLock;

    static FOUND: OnceLock<Termios> = OnceLock::new();

    /// What ends the marks around what is pasted, which the editor of lines asks for, and begins a line.
    const PARTING: &[u8] = b"\x1b[?2004l\r\n";

    /// Notes how the terminal is.
    pub fn remember() {
        if let Ok(modes) = tcgetattr(std::io::stdin()) {
            let _ = FOUND.set(modes);
        }
    }

    /// Leaves the terminal as it was found, whatever another thread does with it; called before the process is ended.
    pub fn restore() {
        set(|_| {});
        // Not through the standard output's lock, which another thread may hold for ever. There is nothing left to do about errors.
        let _ = rustix::io::write(std::io::stdout(), PARTING);
    }

    fn set(change: impl FnOnce(&mut Termios)) {
        let Some(mut modes) = FOUND.get().cloned() else { return };
        change(&mut modes);
        // A terminal that has gone needs no modes.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &modes);
    }

    /// While it lives, what is typed is kept for the next message and not shown.
    pub struct Quiet;

    impl Quiet {
        /// Begins.
        pub fn begin() -> Self {
            set(|modes| {
                modes.local_modes.remove(LocalModes::ECHO);
                // Ctrl-C stops the answer, and what was typed stays.
                modes.local_modes.insert(LocalModes::NOFLSH);
            });
            Self
        }
    }

    impl Drop for Quiet {
        fn drop(&mut self) {
            set(|_| {});
        }
    }
}

/// Elsewhere the system looks after its terminals.
#[cfg(not(unix))]
mod modes {
    pub fn remember() {}

    pub fn restore() {}

    pub struct Quiet;

    impl Quiet {
        pub fn begin() -> Self {
            Self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 8, 2), "one two\n  three");
        assert_eq!(wrapped("  /a    b c\nd", 9, 8), "  /a    b\n        c\nd");
        assert_eq!(wrapped("unbreakable", 4, 2), "unbreakable");
        assert_eq!(wrapped("äöü äöü", 7, 0), "äöü äöü");
        assert_eq!(wrapped("猫が 好き", 8, 0), "猫が\n好き");
    }
}
