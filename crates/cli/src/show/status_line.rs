//! One line on the standard error output that says how far long work is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two lines where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);

/// Time between two updates of the line on a terminal.
const REDRAW: Duration = Duration::from_millis(200);

/// The line; it goes away when dropped. Where there is no terminal, it is a new line every few seconds.
#[derive(Debug)]
pub struct StatusLine {
    is_terminal: bool,
    last: Instant,
    is_shown: bool,
}

impl StatusLine {
    /// Starts without a line.
    pub fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), last: Instant::now(), is_shown: false }
    }

    /// The same, with its first line at once where there is a terminal.
    pub fn at_once() -> Self {
        let mut line = Self::new();
        if line.is_terminal {
            line.last = line.last.checked_sub(REDRAW).unwrap_or(line.last);
        }
        line
    }

    /// Shows the line, if it is time for one.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        let interval = if self.is_terminal { REDRAW } else { INTERVAL };
        if self.last.elapsed() < interval {
            return;
        }
        self.last = Instant::now();
        self.is_shown = true;
        if self.is_terminal {
            eprint!("\r\x1b[K{}", line());
            // A line that cannot be shown is no reason to stop the work.
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{}", line());
        }
    }

    /// Makes room for other output; the line comes back when it is shown next.
    pub fn hide(&mut self) {
        if std::mem::take(&mut self.is_shown) && self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.hide();
    }
}
