//! What is printed, and what becomes of it where nobody can read it.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// As the standard library's, but that it does not panic: see [`crate::output::print`].
macro_rules! print {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*)) };
}

/// As the standard library's, but that it does not panic: see [`crate::output::print`].
macro_rules! println {
    () => { $crate::output::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// As the standard library's, but that it does not panic: see [`crate::output::print_error`].
macro_rules! eprint {
    ($($text:tt)*) => { $crate::output::print_error(format_args!($($text)*)) };
}

/// As the standard library's, but that it does not panic: see [`crate::output::print_error`].
macro_rules! eprintln {
    () => { $crate::output::print_error(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::print_error(format_args!("{}\n", format_args!($($text)*))) };
}

static IS_DISPENSABLE: AtomicBool = AtomicBool::new(false);

/// The first failure to write what is dispensable.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Long work begins, which goes on where its output can no longer be written: what is printed is lost then.
pub fn make_dispensable() {
    IS_DISPENSABLE.store(true, Ordering::Relaxed);
}

/// The exit code of a process: 1 where output was lost for another reason than that its reader has gone.
pub fn code(code: ExitCode) -> ExitCode {
    let is_failure = LOST.get().is_some_and(|error| error.kind() != ErrorKind::BrokenPipe);
    if is_failure { ExitCode::FAILURE } else { code }
}

/// Prints to the standard output. Where that cannot be written, the process ends, unless it is [dispensable](make_dispensable):
/// quietly, as other tools do, when its reader (`head`, `less`) has gone, with a message otherwise (a full disk).
pub fn print(text: Arguments<'_>) {
    let Err(error) = io::stdout().write_all(text.to_string().as_bytes()) else { return };
    let is_dispensable = IS_DISPENSABLE.load(Ordering::Relaxed);
    if !is_dispensable && error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    let problem = format!("genera: cannot write to the standard output: {error}");
    if !is_dispensable {
        eprintln!("{problem}");
        std::process::exit(1);
    }
    if LOST.set(error).is_ok() {
        eprintln!("{problem}; what is printed is lost, the run is not");
    }
}

/// Prints to the standard error output. What cannot be written there is lost: it is no reason to stop.
pub fn print_error(text: Arguments<'_>) {
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}
