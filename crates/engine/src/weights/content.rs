//! Where tensors are read from, and their bytes where they lie.

use crate::error::{Error, Result};
use genera_tensor::quant::RowBytes;
use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::panic::panic_any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

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
pub(super) enum StoredRows {
    /// Where they lie.
    InPlace(RowsInPlace),
    /// In memory, since the file has them in another order.
    InMemory(Vec<u8>),
}

impl StoredRows {
    /// The bytes, to be packed.
    pub(super) fn bytes(&self) -> &dyn RowBytes {
        match self {
            Self::InPlace(rows) => rows,
            Self::InMemory(bytes) => bytes,
        }
    }

    /// The bytes, to be read after the model has been loaded. Whoever reads them panics with an [`Error`] when that fails.
    pub(super) fn for_later(self) -> Arc<dyn RowBytes> {
        match self {
            Self::InPlace(rows) => Arc::new(RowsForLater(rows)),
            Self::InMemory(bytes) => Arc::new(bytes),
        }
    }

    /// What went wrong while they were read.
    ///
    /// # Errors
    /// When they could not all be read.
    pub(super) fn finish(self) -> Result<()> {
        let Self::InPlace(rows) = self else { return Ok(()) };
        let failure = rows.failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        failure.map_or(Ok(()), |source| Err(Error::io("cannot read", &rows.path, source)))
    }

    /// All bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>> {
        match self {
            Self::InPlace(rows) => {
                let mut bytes = vec![0; rows.n_bytes];
                rows.try_read(0, &mut bytes)?;
                Ok(bytes)
            }
            Self::InMemory(bytes) => Ok(bytes),
        }
    }
}

/// Bytes that are read where they are needed.
pub(super) struct RowsInPlace {
    /// The file, for messages.
    path: PathBuf,
    content: Arc<dyn Content>,
    start: u64,
    n_bytes: usize,
    /// The first failure to read them.
    failure: Mutex<Option<io::Error>>,
}

impl RowsInPlace {
    pub(super) fn new(path: &Path, content: Arc<dyn Content>, start: u64, n_bytes: usize) -> Self {
        Self { path: path.to_owned(), content, start, n_bytes, failure: Mutex::default() }
    }

    fn try_read(&self, at: usize, out: &mut [u8]) -> Result<()> {
        let read = self.content.read_at(self.start + at as u64, out);
        read.map_err(|source| Error::io("cannot read", &self.path, source))
    }
}

impl RowBytes for RowsInPlace {
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

/// The same after the model has been loaded, when nobody is left to be told but by a panic.
#[derive(Debug)]
struct RowsForLater(RowsInPlace);

impl RowBytes for RowsForLater {
    fn n_bytes(&self) -> usize {
        self.0.n_bytes
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        self.0.try_read(at, out).unwrap_or_else(|error| panic_any(error));
    }
}

impl fmt::Debug for RowsInPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {} on", self.n_bytes, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_tensor::quant::{BlockRows, Format};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn rows_are_read_where_they_lie() {
        let content: Arc<dyn Content> = Arc::new(Cursor::new((0..100).collect::<Vec<u8>>()));
        let rows = StoredRows::InPlace(RowsInPlace::new(Path::new("m.gguf"), content.clone(), 40, 48));
        let matrix = BlockRows::new(Format::Bf16, 3, rows.bytes());
        let mut read = Vec::new();
        matrix.read(2..4, &mut read);
        assert_eq!((matrix.n_rows(), read), (8, (52..64).collect()));
        rows.finish().expect("all were there");
        let rows = StoredRows::InPlace(RowsInPlace::new(Path::new("m.gguf"), content.clone(), 40, 48));
        assert_eq!(rows.into_bytes().unwrap(), (40..88).collect::<Vec<u8>>());
    }

    /// A file that was cut short since its header was read.
    #[test]
    fn what_is_missing_is_told_at_the_end() {
        let content: Arc<dyn Content> = Arc::new(Cursor::new(vec![1_u8; 50]));
        let rows = StoredRows::InPlace(RowsInPlace::new(Path::new("m.gguf"), content.clone(), 40, 24));
        let mut read = vec![7; 6];
        for (at, expected) in [(0, [1; 6]), (12, [0; 6]), (6, [0; 6])] {
            rows.bytes().read(at, &mut read);
            assert_eq!(read, expected);
        }
        let message = rows.finish().expect_err("too short").to_string();
        assert!(message.contains("cannot read") && message.contains("m.gguf"), "{message}");
        assert!(
            StoredRows::InPlace(RowsInPlace::new(Path::new("m.gguf"), content.clone(), u64::MAX - 30, 24))
                .into_bytes()
                .is_err()
        );
    }
    #[test]
    fn rows_for_later_panic_with_the_error() {
        let content: Arc<dyn Content> = Arc::new(Cursor::new(vec![1_u8; 50]));
        let rows = StoredRows::InPlace(RowsInPlace::new(Path::new("m.gguf"), content, 40, 24)).for_later();
        let mut read = [0; 6];
        rows.read(4, &mut read);
        assert_eq!((read, rows.n_bytes()), ([1; 6], 24));
        let payload = catch_unwind(AssertUnwindSafe(|| rows.read(6, &mut [0; 6]))).expect_err("too short");
        let message = payload.downcast_ref::<Error>().expect("an error of reading").to_string();
        assert!(message.contains("cannot read") && message.contains("m.gguf"), "{message}");
    }
}
