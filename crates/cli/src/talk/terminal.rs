//! The terminal of a conversation: that it is left as it was found.

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
