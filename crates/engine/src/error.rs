//! What can go wrong in the world around the engine.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of an engine function.
pub type Result<T> = std::result::Result<T, Error>;

/// What happened, what was expected, and how to fix it.
#[derive(Debug)]
pub enum Error {
    /// Sizes or settings that do not fit together.
    Config(String),
    /// A recipe that cannot be used.
    Recipe(String),
    /// A file that cannot be read or written.
    Io {
        /// What was being done, as in "cannot write".
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    File {
        /// Where.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// Training that cannot go on.
    Training(String),
    /// A request for generation that cannot be met.
    Request(String),
    /// More memory needed than there is.
    Memory(String),
}

impl Error {
    /// Names the file in an input/output error.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::Io { action, path: path.to_owned(), source }
    }

    /// Names the file whose content is wrong.
    pub fn file(path: &Path, message: impl Into<String>) -> Self {
        Error::File { path: path.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(message)
            | Error::Recipe(message)
            | Error::Training(message)
            | Error::Request(message)
            | Error::Memory(message) => f.write_str(message),
            Error::Io { action, path, source } => write!(f, "{action} {}: {source}", path.display()),
            Error::File { path, message } => write!(f, "{}: {message}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
