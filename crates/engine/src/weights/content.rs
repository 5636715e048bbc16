//! Where tensors are read from, and their bytes where they lie.

use crate::error::{Error, Result};
use genera_tensor::quant::RowBytes;
use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::path::Path;
use std::sync::Mutex;

/// What tensors can be read from: a file, or bytes in memory.
pub trait Content: Read + Seek + Send + Sync {
    /// Reads all of `out` from byte `at` on; where the next [`Read::read`] begins is not defined then. Any thread may.
    ///
    /// # Errors
    /// When it cannot be read, or ends before.
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Content for File {
    #[cfg(unix)]
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, out, at)
    }

    #[cfg(windows)]
    fn read_at(&self, mut at: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(self, out, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => (at, out) = (at + n as u64, &mut out[n..]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<T: AsRef<[u8]> + Send + Sync> Content for Cursor<T> {
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(at).ok().and_then(|at| self.get_ref().as_ref().get(at..)?.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The bytes of a tensor, row by row as they are stored.
#[derive(Debug)]
pub(super) enum StoredRows<'c> {
    /// Where they lie.
    InPlace(RowsInPlace<'c>),
    /// In memory, since the file has them in another order.
    InMemory(Vec<u8>),
}

impl StoredRows<'_> {
    /// The bytes, to be packed.
    pub(super) fn bytes(&self) -> &dyn RowBytes {
        match self {
            Self::InPlace(rows) => rows,
            Self::InMemory(bytes) => bytes,
        }
    }

    /// What went wrong while they were read.
    ///
    /// # Errors
    /// When they could not all be read.
    pub(super) fn finish(self) -> Result<()> {
        let Self::InPlace(RowsInPlace { path, failure, .. }) = self else { return Ok(()) };
        let failure = failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        failure.map_or(Ok(()), |source| Err(Error::io("cannot read", path, source)))
    }

    /// All bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>> {
        match self {
            Self::InPlace(RowsInPlace { path, content, start, n_bytes, .. }) => {
                let mut bytes = vec![0; n_bytes];
                let read = content.read_at(start, &mut bytes);
                read.map_err(|source| Error::io("cannot read", path, source))?;
                Ok(bytes)
            }
            Self::InMemory(bytes) => Ok(bytes),
        }
    }
}

/// Bytes that are read where they are needed.
pub(super) struct RowsInPlace<'c> {
    /// The file, for messages.
    path: &'c Path,
    content: &'c dyn Content,
    start: u64,
    n_bytes: usize,
    /// The first failure to read them.
    failure: Mutex<Option<io::Error>>,
}

impl<'c> RowsInPlace<'c> {
    pub(super) fn new(path: &'c Path, content: &'c dyn Content, start: u64, n_bytes: usize) -> Self {
        Self { path, content, start, n_bytes, failure: Mutex::default() }
    }
}

impl RowBytes for RowsInPlace<'_> {
    fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        if let Err(error) = self.content.read_at(self.start + at as u64, out) {
            out.fill(0);
            self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
        }
    }
}

impl fmt::Debug for RowsInPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {} on", self.n_bytes, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_tensor::quant::{BlockRows, Format};

    #[test]
    fn rows_are_read_where_they_lie() {
        let content = Cursor::new((0..100).collect::<Vec<u8>>());
        let rows = StoredRows::InPlace(RowsInPlace::new(Path::new("m.gguf"), &content, 40, 48));
        let matrix = BlockRows::new(Format::Bf16, 3, rows.bytes());
        let mut read = Vec::new();
        matrix.read(2..4, &mut read);
        assert_eq!((matrix.n_rows(), read), (8, (52..64).collect()));
        rows.finish().expect("all were there");
        let rows = StoredRows::InPlace(RowsInPlace::new(Path::new("m.gguf"), &content, 40, 48));
        assert_eq!(rows.into_bytes().unwrap(), (40..88).collect::<Vec<u8>>());
    }

    /// A file that was cut short since its header was read.
    #[test]
    fn what_is_missing_is_told_at_the_end() {
        let content = Cursor::new(vec![1_u8; 50]);
        let rows = StoredRows::InPlace(RowsInPlace::new(Path::new("m.gguf"), &content, 40, 24));
        let mut read = vec![7; 6];
        for (at, expected) in [(0, [1; 6]), (12, [0; 6]), (6, [0; 6])] {
            rows.bytes().read(at, &mut read);
            assert_eq!(read, expected);
        }
        let message = rows.finish().expect_err("too short").to_string();
        assert!(message.contains("cannot read") && message.contains("m.gguf"), "{message}");
        assert!(
            StoredRows::InPlace(RowsInPlace::new(Path::new("m.gguf"), &content, u64::MAX - 30, 24))
                .into_bytes()
                .is_err()
        );
    }
}
