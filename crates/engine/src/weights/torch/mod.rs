//! PyTorch's own files, `pytorch_model.bin` and `model.pt`, by a reader that runs nothing of what is in them.
//!
//! `torch.save` writes a pickle, a program for a stack machine that in Python may call any function, and the bytes of the
//! storages that its tensors lie in. Since 2020 both are members of a ZIP `archive`; before, they stood one behind the other
//! (`legacy`). The `pickle` machine here knows the few instructions and names (`global`) that a table of tensors needs, builds
//! plain data from them, and refuses everything else.
//!
//! # Source
//! PyTorch, `torch/serialization.py` and `caffe2/serialize/inline_container.h`.

mod archive;
mod bytes;
mod entry;
mod global;
mod legacy;
mod pickle;
mod state_dict;

pub use entry::Entry;

use super::content::{Content, RowsInPlace, StoredRows};
use super::load::{Store, cut_entry};
use super::safetensors::{decoder, read_elements};
use crate::error::{Error, Result};
use archive::Archive;
use genera_tensor::quant::Format;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A part of a file, or what is wrong with it.
type Sound<T> = std::result::Result<T, String>;

/// A file that is being read.
pub struct Reader {
    path: PathBuf,
    content: Arc<dyn Content>,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
}

impl Reader {
    /// Opens a file and finds its tensors.
    ///
    /// # Errors
    /// When it cannot be read, is malformed, or asks for anything but tensors in tables.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::io("cannot open", path, source))?;
        Self::new(path, Box::new(file))
    }

    /// Finds the tensors of `content`; `path` is for messages.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn new(path: &Path, mut content: Box<dyn Content>) -> Result<Self> {
        let entries = entries(content.as_mut())
            .map_err(|message| Error::file(path, format!("not a sound PyTorch file: {message}")))?;
        let by_name = entries.iter().enumerate().map(|(i, entry)| (entry.name.clone(), i)).collect();
        Ok(Self { path: path.to_owned(), content: content.into(), entries, by_name })
    }

    /// The tensors, in the order of the table.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The tensor of a name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|&i| &self.entries[i])
    }

    /// The elements of a tensor row by row, as f32, however they lie in their storage.
    ///
    /// # Errors
    /// When there is no such tensor, when its type holds no real numbers, when it repeats the elements of a smaller
    /// storage, or when the file cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self.by_name.get(name).map(|&i| &self.entries[i]);
        let entry = entry.ok_or_else(|| Error::file(&self.path, format!("has no tensor '{name}'")))?;
        let refuse = |message: String| Error::file(&self.path, format!("tensor '{name}' {message}"));
        if entry.n_elements() > entry.n_stored {
            return Err(refuse(
                "repeats elements of a smaller storage; call .contiguous() on it before torch.save".into(),
            ));
        }
        let stored = entry.stored;
        let decode = decoder(stored)
            .ok_or_else(|| refuse(format!("is stored as {stored:?}; only F64, F32, F16 and BF16 are read")))?;
        let spanned = read_elements(&*self.content, entry.start, decode, stored, entry.n_spanned);
        let spanned = spanned.map_err(|source| Error::io("cannot read", &self.path, source))?;
        Ok(entry.in_order(spanned))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({}, {} tensors)", self.path.display(), self.entries.len())
    }
}

impl Store for Reader {
    fn place(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|entry| entry.shape.as_slice())
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        self.read(name)
    }

    fn stored(&self, name: &str) -> Option<Format> {
        let entry = self.find(name)?;
        let lies_row_by_row = entry.is_contiguous() && entry.n_elements() <= entry.n_stored;
        entry.stored.format().filter(|_| lies_row_by_row)
    }

    fn rows(&self, name: &str) -> Result<StoredRows> {
        let entry = self.find(name).ok_or_else(|| Error::file(&self.path, format!("has no tensor '{name}'")))?;
        let n_bytes = entry.n_elements() * entry.stored.size_bytes();
        Ok(StoredRows::InPlace(RowsInPlace::new(&self.path, self.content.clone(), entry.start, n_bytes)))
    }

    fn cut(&mut self, name: &str, parts: &[String]) -> bool {
        if self.find(name).is_none_or(|entry| !entry.is_contiguous() || entry.n_elements() > entry.n_stored) {
            return false;
        }
        let part = |whole: &Entry, i: usize, name: String, shape: Vec<usize>| {
            let n_spanned = whole.n_elements() / parts.len();
            let start = whole.start + (i * n_spanned * whole.stored.size_bytes()) as u64;
            let strides = vec![shape[1], 1];
            Entry { name, stored: whole.stored, shape, strides, start, n_spanned, n_stored: whole.n_stored }
        };
        cut_entry(&mut self.entries, &mut self.by_name, name, parts, |entry| &entry.shape, part)
    }
}

/// The tensors of a file in either layout.
fn entries(content: &mut dyn Content) -> Sound<Vec<Entry>> {
    let cannot_read = |error: io::Error| format!("it cannot be read: {error}");
    let file_len = content.seek(SeekFrom::End(0)).map_err(cannot_read)?;
    let start = bytes::read_at(content, 0, file_len.min(16), "its beginning")?;
    if start.starts_with(archive::MAGIC) {
        let archive = Archive::read(content, file_len)?;
        return archive.entries(content);
    }
    if legacy::is_beginning(&start) {
        return legacy::entries(content, file_len);
    }
    Err("it begins neither as a ZIP archive nor as torch.save wrote before 2020; it may be cut short, or a pointer to a \
         file that was not fetched"
        .to_owned())
}

#[cfg(test)]
mod tests;
