//! Where documents come from: one file for each container, and the [`Corpus`] trait that they all serve.
//!
//! Everything is streamed: no source holds more than a bounded piece of its data in memory.

mod aligned;
mod array;
mod csv;
mod directory;
mod generated;
mod input;
mod jsonl;
mod parquet;
mod record;
mod schema;
mod sdf;
mod spelling;
mod text;

pub use aligned::Aligned;
pub use generated::Generated;
pub(crate) use input::open_file;
pub use input::{ByteCounter, decompressed};
pub use jsonl::{first_fields, first_object};
pub use record::{RECORD_LAYOUTS, Record, RecordLayout};
pub use schema::{column_names, nested_column_names};
pub use text::without_byte_order_mark;

use crate::{Document, Error, Result};
use std::fmt::Write;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// A stream of documents, of which each may fail; it ends after the first failure.
pub type Documents = Box<dyn Iterator<Item = Result<Document>> + Send>;

/// A body of documents that can be read from the start as often as needed, always in the same order.
pub trait Corpus: Send + Sync {
    /// Starts to read; `counter` is told of the bytes taken from disk.
    ///
    /// # Errors
    /// When the first file cannot be opened.
    fn documents(&self, counter: &ByteCounter) -> Result<Documents>;

    /// Number of bytes on disk, when it is known.
    fn n_bytes(&self) -> Option<u64>;

    /// Changes whenever the documents may have changed: names, sizes and times of the files, and how they are read.
    fn fingerprint(&self) -> String;

    /// What to call it in a message.
    fn name(&self) -> String;
}

/// Which columns of a table (or fields of a JSON object) are what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// The text; by default "text", or the only column.
    pub text: Option<String>,
    /// What is to be produced from the text; by default nothing.
    pub target: Option<String>,
    /// Columns to keep beside them.
    pub fields: Vec<String>,
    /// Whether a field of a JSON object may hold a list or an object, which is then taken as JSON text: conversations.
    pub structured: bool,
    /// What each JSON object is as a whole, in any of its layouts ([`RECORD_LAYOUTS`]); tables go by the columns alone.
    pub record: Option<Record>,
    /// Whether the kept columns make a row of their own ([`Content::Row`](crate::Content::Row)), without a text.
    pub whole_rows: bool,
}

impl Columns {
    /// Whole rows of these columns.
    pub fn rows(names: Vec<String>) -> Self {
        Self { fields: names, whole_rows: true, ..Self::default() }
    }

    /// The column that holds the text when nothing is said.
    pub const DEFAULT_TEXT: &str = "text";
}

/// How files are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whether each line of a plain text file is a document of its own.
    pub lines: bool,
    /// Which columns of tables are what.
    pub columns: Columns,
}

/// The containers that documents come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Plain text, one document.
    Text,
    /// Plain text, one document a line.
    Lines,
    /// One JSON object a line.
    JsonLines,
    /// One JSON array of objects.
    JsonArray,
    /// A table with a header line.
    Csv {
        /// What stands between two columns.
        delimiter: u8,
    },
    /// A Parquet table.
    Parquet,
    /// Blocks of molecules with their structures.
    Structures,
}

impl Format {
    /// The extensions that are read when a directory is given; of arrays those that begin with an object.
    pub const EXTENSIONS: &[(&str, Self)] = &[
        ("txt", Self::Text),
        ("text", Self::Text),
        ("md", Self::Text),
        ("jsonl", Self::JsonLines),
        ("ndjson", Self::JsonLines),
        ("json", Self::JsonArray),
        ("csv", Self::Csv { delimiter: b',' }),
        ("tsv", Self::Csv { delimiter: b'\t' }),
        ("parquet", Self::Parquet),
        ("smi", Self::Lines),
        ("smiles", Self::Lines),
        ("sdf", Self::Structures),
        ("sd", Self::Structures),
    ];

    /// What the name of a file says, disregarding `.gz` and `.zst`.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = extension_within(path)?;
        Self::EXTENSIONS.iter().find(|(known, _)| *known == extension).map(|(_, format)| *format)
    }

    /// Whether it holds JSON objects, whose fields have names.
    pub fn holds_objects(self) -> bool {
        matches!(self, Self::JsonLines | Self::JsonArray)
    }
}

/// The extension of a file in lower case, disregarding `.gz` and `.zst`.
pub fn extension_within(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let inner = [".gz", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    inner.rsplit_once('.').map(|(_, extension)| extension.to_owned())
}

/// Reads documents from bytes in memory, as from a file of that format.
///
/// # Errors
/// When the container as a whole is not valid; errors in single documents come with the documents.
pub fn read_bytes(bytes: Vec<u8>, format: Format, columns: &Columns) -> Result<Documents> {
    let path = Path::new("memory");
    if format == Format::Parquet {
        return parquet::read(path, bytes::Bytes::from(bytes), columns);
    }
    let input = input::decompress(Box::new(Cursor::new(bytes))).map_err(|source| input::read_error(path, source))?;
    read_stream(path, input, format, columns)
}

fn read_file(path: &Path, options: &ReadOptions, counter: &ByteCounter) -> Result<Documents> {
    let format = match Format::of(path).unwrap_or(Format::Text) {
        Format::Text if options.lines => Format::Lines,
        format => format,
    };
    if format == Format::Parquet {
        let file = input::open_file(path)?;
        let n_bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let documents = parquet::read(path, file, &options.columns)?;
        counter.add(n_bytes);
        return Ok(documents);
    }
    read_stream(path, input::open(path, counter)?, format, &options.columns)
}

fn read_stream(path: &Path, input: input::Input, format: Format, columns: &Columns) -> Result<Documents> {
    match format {
        Format::Text => Ok(text::whole(path, input)),
        Format::Lines => Ok(text::lines(path, input)),
        Format::Structures => Ok(sdf::read(path, input)),
        Format::JsonLines | Format::JsonArray => Ok(jsonl::read(path, input, format, columns)),
        Format::Csv { delimiter } => csv::read(path, input, delimiter, columns),
        Format::Parquet => unreachable!("Parquet is read by position, not as a stream"),
    }
}

/// Files and directories of files, read one after the other.
#[derive(Clone, Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    options: ReadOptions,
    n_bytes: u64,
    fingerprint: String,
}

impl Files {
    /// Finds the files at `paths`; a directory stands for all files with a known extension below it, in sorted order, but for
    /// those in .json that are no array of objects.
    ///
    /// # Errors
    /// When a path does not exist, or a directory has no file with a known extension.
    pub fn open(paths: &[PathBuf], options: ReadOptions) -> Result<Self> {
        let mut found = Vec::new();
        for path in paths {
            let metadata = path.metadata().map_err(|source| stat_error(path, source))?;
            if metadata.is_dir() { directory::collect(path, &mut found)? } else { found.push(path.clone()) }
        }
        let mut fingerprint = format!("{options:?}\n");
        let n_bytes = found.iter().map(|path| describe(path, &mut fingerprint)).sum::<Result<u64>>()?;
        Ok(Self { paths: found, options, n_bytes, fingerprint })
    }

    /// The files, in the order they are read.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Corpus for Files {
    fn documents(&self, counter: &ByteCounter) -> Result<Documents> {
        let (mut paths, options, counter) = (self.paths.clone().into_iter(), self.options.clone(), counter.clone());
        let Some(first) = paths.next() else { return Ok(Box::new(std::iter::empty())) };
        let first = read_file(&first, &options, &counter)?;
        let rest = paths.flat_map(move |path| match read_file(&path, &options, &counter) {
            Ok(documents) => documents,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        Ok(Box::new(first.chain(rest)))
    }

    fn n_bytes(&self) -> Option<u64> {
        Some(self.n_bytes)
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn name(&self) -> String {
        match self.paths.as_slice() {
            [path] => path.display().to_string(),
            paths => format!("{} files", paths.len()),
        }
    }
}

fn stat_error(path: &Path, source: std::io::Error) -> Error {
    match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        _ => Error::io(path, "open", source),
    }
}

/// Adds path, size and time of a file to `fingerprint`, and gives the size.
fn describe(path: &Path, fingerprint: &mut String) -> Result<u64> {
    let metadata = path.metadata().map_err(|source| stat_error(path, source))?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    writeln!(fingerprint, "{} {} {:?}", place.display(), metadata.len(), modified).expect("a String takes any text");
    Ok(metadata.len())
}
