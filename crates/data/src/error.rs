//! What can go wrong with files, settings and tokenizers, in words a person can act on.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Path, PathBuf};

/// Result of anything in this crate that touches the world.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What happened, what was expected, and how to fix it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done, as in "cannot {action}".
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// There is nothing at this path.
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// The file or directory holds no data.
    Empty {
        /// The path as given.
        path: PathBuf,
        /// What was looked for.
        expected: String,
    },
    /// The file is not text.
    Binary {
        /// The file.
        path: PathBuf,
        /// Position of the first byte that text does not have, after decompression.
        offset: u64,
        /// What the file seems to be.
        looks_like: &'static str,
    },
    /// The file is text in another encoding, or damaged.
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Position of the first invalid byte, after decompression.
        offset: u64,
    },
    /// One line or record of a file cannot be read.
    BadRecord {
        /// The file.
        path: PathBuf,
        /// Which one, such as "line 17".
        place: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A file as a whole cannot be read: damaged, cut short, or of an unsupported kind.
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A table or JSON file has no column or field of the wanted name.
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The wanted name.
        column: String,
        /// The names that exist.
        available: Vec<String>,
    },
    /// Two files that belong together line by line differ in length.
    LengthMismatch {
        /// The file to read from.
        source: PathBuf,
        /// Its number of lines.
        n_source: u64,
        /// The file to produce.
        target: PathBuf,
        /// Its number of lines.
        n_target: u64,
    },
    /// A token shard is cut short, altered, or not a shard.
    BadShard {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A tokenizer cannot be trained, loaded or saved.
    Tokenizer {
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A chat template that cannot be read, does not end, or refuses the messages.
    Template {
        /// Its file, where one was named in place of the model's own.
        file: Option<PathBuf>,
        /// What is wrong.
        problem: String,
    },
    /// A text holds a character that the tokenizer does not know, and there is no unknown token.
    UnknownCharacter {
        /// The character.
        character: char,
        /// Its byte offset in the text.
        offset: usize,
    },
    /// Settings that contradict each other or the data.
    Settings {
        /// What is wrong and what was expected.
        problem: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }

    pub(crate) fn bad_file(path: &Path, problem: impl Into<String>) -> Self {
        Self::BadFile { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn bad_record(path: &Path, place: String, problem: impl Into<String>) -> Self {
        Self::BadRecord { path: path.to_owned(), place, problem: problem.into() }
    }

    pub(crate) fn bad_shard(path: &Path, problem: impl Into<String>) -> Self {
        Self::BadShard { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn tokenizer(problem: impl Into<String>) -> Self {
        Self::Tokenizer { problem: problem.into() }
    }

    pub(crate) fn settings(problem: impl Into<String>) -> Self {
        Self::Settings { problem: problem.into() }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, action, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Self::Missing { path } => {
                write!(f, "{} does not exist; check the spelling and the current directory", path.display())
            }
            Self::Empty { path, expected } => write!(f, "{} holds no data; expected {expected}", path.display()),
            Self::Binary { path, offset, looks_like } => write!(
                f,
                "{} is not text: byte {offset} shows it to be {looks_like}; give a UTF-8 text, JSON lines or an \
                 array, CSV or Parquet (plain, .gz or .zst)",
                path.display()
            ),
            Self::NotUtf8 { path, offset } => write!(
                f,
                "{} is not valid UTF-8: the byte at offset {offset} is wrong; convert it first, for example with \
                 `iconv -f latin1 -t utf-8`",
                path.display()
            ),
            Self::BadRecord { path, place, problem } => write!(f, "{}, {place}: {problem}", path.display()),
            Self::BadFile { path, problem } => write!(f, "{}: {problem}", path.display()),
            Self::MissingColumn { path, column, available } => {
                write!(f, "{} has no column {column:?}; it has {}; choose one of them", path.display(), list(available))
            }
            Self::LengthMismatch { source, n_source, target, n_target } => write!(
                f,
                "{} has {n_source} lines but {} has {n_target}; aligned files must have one line for each line of the other",
                source.display(),
                target.display()
            ),
            Self::BadShard { path, problem } => {
                write!(f, "token shard {}: {problem}; prepare the data again", path.display())
            }
            Self::Tokenizer { problem } => write!(f, "tokenizer: {problem}"),
            Self::Template { file: None, problem } => write!(f, "the model's chat template: {problem}"),
            Self::Template { file: Some(file), problem } => {
                write!(f, "the chat template {}: {problem}", file.display())
            }
            Self::UnknownCharacter { character, offset } => write!(
                f,
                "the tokenizer does not know the character {character:?} (U+{:04X}) at byte {offset}; it knows only the \
                 characters of the text it was made from, and has no unknown token",
                *character as u32
            ),
            Self::Settings { problem } => f.write_str(problem),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The first names of a list, quoted, so that a table of a thousand columns stays readable.
pub(crate) fn list(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n > SHOWN => format!("{} and {} more", shown.join(", "), n - SHOWN),
        _ => shown.join(", "),
    }
}
