//! A GGUF file, or several that are one model, being read: its metadata, and its tensors as f32.

use super::header::{self, Header, RawEntry, Sound, Value};
use super::metadata::Metadata;
use super::parts::files_of;
use crate::error::{Error, Result};
use crate::weights::content::{Content, RowsInPlace, StoredRows};
use crate::weights::load::cut_entry;
use genera_tensor::quant::Format;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, SeekFrom};
use std::mem;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes decoded at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// How its elements are stored.
    pub format: Format,
    /// Its sizes, the outermost axis first.
    pub shape: Vec<usize>,
    /// Its bytes, counted from the first of all tensors of its file.
    range: Range<u64>,
    /// Which of several files it is in.
    part: usize,
}

/// Where the tensors of a file are.
struct Part {
    path: PathBuf,
    content: Arc<dyn Content>,
    data_start: u64,
}

/// A file that is being read.
pub struct Reader {
    parts: Vec<Part>,
    metadata: BTreeMap<String, Value>,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
}

impl Reader {
    /// Opens a file and checks its header; of a model in several files, all that lie beside it.
    ///
    /// # Errors
    /// When it cannot be read, when its header does not describe it, or when another file of the model is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Self::open_one(path)?;
        let n_parts = file.n_parts()?;
        if n_parts < 2 {
            return Ok(file);
        }
        let files = files_of(path);
        if files.len() as u64 != n_parts {
            let message = format!(
                "is one of the {n_parts} files of a model, which are found by their names: they must end in -00001-of-{n_parts:05}.gguf and so on"
            );
            return Err(Error::file(path, message));
        }
        if let Some(missing) = files.iter().find(|file| !file.exists()) {
            let missing = missing.file_name().unwrap_or_default().display();
            let message = format!("is one of the {n_parts} files of a model, and {missing} is missing beside it");
            return Err(Error::file(path, format!("{message}; fetch it again or complete the copy")));
        }
        let mut whole = Self::open_one(&files[0])?;
        whole.check_part(0, n_parts)?;
        for (i, file) in files.iter().enumerate().skip(1) {
            let part = Self::open_one(file)?;
            part.check_part(i, n_parts)?;
            whole.append(part)?;
        }
        Ok(whole)
    }

    /// The number of files of the model, by this one's metadata.
    fn n_parts(&self) -> Result<u64> {
        let n_parts = Metadata(&self.metadata).whole("split.count");
        Ok(n_parts.map_err(|message| Error::file(self.path(), message))?.unwrap_or(1))
    }

    fn check_part(&self, i: usize, n_parts: u64) -> Result<()> {
        let number = Metadata(&self.metadata).whole("split.no").map_err(|message| Error::file(self.path(), message))?;
        let found = (number, self.n_parts()?);
        if found == (Some(i as u64), n_parts) {
            return Ok(());
        }
        let message = format!(
            "says that split.no is {} and split.count {}, but its name asks for {i} and {n_parts}; give it back the name it had",
            number.map_or("missing".to_owned(), |number| number.to_string()),
            found.1
        );
        Err(Error::file(self.path(), message))
    }

    /// Takes the tensors of the next file of the model.
    fn append(&mut self, next: Self) -> Result<()> {
        let part = self.parts.len();
        for entry in next.entries {
            if self.by_name.insert(entry.name.clone(), self.entries.len()).is_some() {
                let message = format!("has a tensor '{}', as another file of the model has", entry.name);
                return Err(Error::file(&next.parts[0].path, message));
            }
            self.entries.push(Entry { part, ..entry });
        }
        self.parts.extend(next.parts);
        Ok(())
    }

    fn open_one(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::io("cannot open", path, source))?;
        Self::new(path, Box::new(file))
    }

    /// Checks the header of `content`; `path` is for messages.
    ///
    /// # Errors
    /// When it cannot be read, or when its header does not describe it.
    pub fn new(path: &Path, mut content: Box<dyn Content>) -> Result<Self> {
        let cannot_read = |source| Error::io("cannot read", path, source);
        let file_len = content.seek(SeekFrom::End(0)).map_err(cannot_read)?;
        content.seek(SeekFrom::Start(0)).map_err(cannot_read)?;
        let malformed = |message: String| Error::file(path, format!("not a sound GGUF file: {message}"));
        let header = header::read(content.as_mut(), file_len).map_err(malformed)?;
        let entries = checked_entries(&header, file_len).map_err(malformed)?;
        let by_name: HashMap<_, _> = entries.iter().enumerate().map(|(i, entry)| (entry.name.clone(), i)).collect();
        if by_name.len() < entries.len() {
            return Err(malformed("two tensors have the same name".to_owned()));
        }
        let Header { metadata, data_start, .. } = header;
        let parts = vec![Part { path: path.to_owned(), content: content.into(), data_start }];
        Ok(Self { parts, metadata, entries, by_name })
    }

    /// Where it lies, for messages.
    pub fn path(&self) -> &Path {
        &self.parts[0].path
    }

    /// The files that it is read from, in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(|part| part.path.as_path())
    }

    /// What the file says about itself.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// Takes out what the file says under keys that begin so.
    pub fn take_metadata(&mut self, prefix: &str) -> BTreeMap<String, Value> {
        let (taken, rest) = mem::take(&mut self.metadata).into_iter().partition(|(key, _)| key.starts_with(prefix));
        self.metadata = rest;
        taken
    }

    /// The tensors, in the order in which they lie in the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The tensor of a name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|&i| &self.entries[i])
    }

    /// The bytes of a tensor, to be read where they lie.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub(super) fn rows(&self, name: &str) -> Result<StoredRows> {
        let (entry, Part { path, content, data_start }) = self.place_of(name)?;
        let (start, n_bytes) = (data_start + entry.range.start, entry.range.end - entry.range.start);
        Ok(StoredRows::InPlace(RowsInPlace::new(path, content.clone(), start, n_bytes as usize)))
    }

    /// The elements of a tensor, as f32.
    ///
    /// # Errors
    /// When there is no such tensor, or when the file cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let (entry, Part { path, content, data_start }) = self.place_of(name)?;
        let (format, n, start) = (entry.format, entry.shape.iter().product(), entry.range.start);
        let read = || -> io::Result<Vec<f32>> {
            let mut at = data_start + start;
            let mut values = vec![0.0; n];
            let n_blocks = CHUNK_BYTES / format.block_bytes();
            let mut bytes = vec![0; n_blocks * format.block_bytes()];
            for values in values.chunks_mut(n_blocks * format.block_len()) {
                let bytes = &mut bytes[..values.len() / format.block_len() * format.block_bytes()];
                content.read_at(at, bytes)?;
                at += bytes.len() as u64;
                format.decode(bytes, values);
            }
            Ok(values)
        };
        read().map_err(|source| Error::io("cannot read", path, source))
    }

    fn place_of(&self, name: &str) -> Result<(&Entry, &Part)> {
        let entry = self.find(name).ok_or_else(|| Error::file(self.path(), format!("has no tensor '{name}'")))?;
        Ok((entry, &self.parts[entry.part]))
    }
}

impl Reader {
    /// See [`Store::cut`](crate::weights::load::Store::cut).
    pub(super) fn cut(&mut self, name: &str, parts: &[String]) -> bool {
        let part = |whole: &Entry, i: usize, name: String, shape: Vec<usize>| {
            let len = (whole.range.end - whole.range.start) / parts.len() as u64;
            let start = whole.range.start + i as u64 * len;
            Entry { name, format: whole.format, shape, range: start..start + len, part: whole.part }
        };
        cut_entry(&mut self.entries, &mut self.by_name, name, parts, |entry| &entry.shape, part)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({}, {} tensors)", self.path().display(), self.entries.len())
    }
}

/// The entries in the order of their bytes, which lie within the file and do not overlap.
fn checked_entries(header: &Header, file_len: u64) -> Sound<Vec<Entry>> {
    let entry = |raw| checked_entry(raw, header.alignment);
    let mut entries = header.tensors.iter().map(entry).collect::<Sound<Vec<_>>>()?;
    check_len(&entries, header.data_start, file_len)?;
    entries.sort_by_key(|entry| (entry.range.start, entry.range.end));
    let overlap = entries.windows(2).find(|pair| pair[1].range.start < pair[0].range.end);
    match overlap {
        Some([first, second]) => Err(format!("tensors '{}' and '{}' overlap", first.name, second.name)),
        _ => Ok(entries),
    }
}

/// Refuses a file that ends before its tensors do.
fn check_len(entries: &[Entry], data_start: u64, file_len: u64) -> Sound<()> {
    let data_len = file_len.saturating_sub(data_start);
    let Some(first) = entries.iter().find(|entry| entry.range.end > data_len) else { return Ok(()) };
    let end = entries.iter().map(|entry| entry.range.end).max().unwrap_or(0);
    Err(format!(
        "the file is cut short: it has {file_len} bytes, and its tensors end at byte {}; the first that is not whole is '{}' of \
         shape {:?} in {}; fetch it again",
        data_start.saturating_add(end),
        first.name,
        first.shape,
        first.format.name()
    ))
}

/// An entry that describes a tensor, wherever the file ends.
fn checked_entry(raw: &RawEntry, alignment: u64) -> Sound<Entry> {
    let RawEntry { name, sizes, format, offset } = raw;
    let format = Format::of_number(*format).ok_or_else(|| {
        let known: Vec<&str> = Format::names().collect();
        format!("tensor '{name}' is stored in format {format}, which is not known; known are {}", known.join(", "))
    })?;
    if !offset.is_multiple_of(alignment) {
        return Err(format!("tensor '{name}' begins at byte {offset}, which is not a multiple of {alignment}"));
    }
    if sizes.contains(&0) {
        return Err(format!("tensor '{name}' has no elements: its sizes are {sizes:?}"));
    }
    let row = sizes.first().copied().unwrap_or(1);
    if !row.is_multiple_of(format.block_len() as u64) {
        let (block, format) = (format.block_len(), format.name());
        return Err(format!("tensor '{name}' has rows of {row}, which are not whole blocks of {block} ({format})"));
    }
    let n = sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
    let n_bytes = n.and_then(|n| (n / format.block_len() as u64).checked_mul(format.block_bytes() as u64));
    let end = n_bytes.and_then(|n_bytes| offset.checked_add(n_bytes)).ok_or_else(|| {
        let shape: Vec<u64> = sizes.iter().rev().copied().collect();
        format!("tensor '{name}' of shape {shape:?} in {} at byte {offset} goes beyond 2^64 bytes", format.name())
    })?;
    let shape = sizes.iter().rev().map(|&size| size as usize).collect();
    Ok(Entry { name: name.clone(), format, shape, range: *offset..end, part: 0 })
}

#[cfg(test)]
mod tests;
