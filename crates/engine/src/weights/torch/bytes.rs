//! Taking bytes from what is left of them.

use super::Sound;
use crate::weights::content::Content;
use std::io::SeekFrom;

/// Reads `n` bytes at a place that is known to lie in the file; `what` is for messages.
pub(super) fn read_at(content: &mut dyn Content, at: u64, n: u64, what: &str) -> Sound<Vec<u8>> {
    let mut bytes = vec![0; n as usize];
    let read = content.seek(SeekFrom::Start(at)).and_then(|_| content.read_exact(&mut bytes));
    read.map(|()| bytes).map_err(|error| format!("{what} at byte {at} cannot be read: {error}"))
}

/// What is left of some bytes.
#[derive(Clone, Debug)]
pub(super) struct Bytes<'b> {
    all: &'b [u8],
    at: usize,
}

impl<'b> Bytes<'b> {
    pub(super) fn new(all: &'b [u8]) -> Self {
        Self { all, at: 0 }
    }

    /// Bytes taken so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.all.len()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub(super) fn take(&mut self, n: usize, what: &str) -> Sound<&'b [u8]> {
        let left = &self.all[self.at..];
        let taken = left.get(..n).ok_or_else(|| {
            format!(
                "it is cut short, or claims too much: {what} needs {n} bytes at byte {}, {} are left",
                self.at,
                left.len()
            )
        })?;
        self.at += n;
        Ok(taken)
    }

    /// The bytes up to the next line break, which is taken too.
    pub(super) fn line(&mut self, longest: usize, what: &str) -> Sound<&'b [u8]> {
        let left = &self.all[self.at..];
        let end = left.iter().take(longest + 1).position(|&byte| byte == b'\n');
        let end = end.ok_or_else(|| format!("{what} at byte {} has no end within {longest} bytes", self.at))?;
        self.at += end + 1;
        Ok(&left[..end])
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Sound<[u8; N]> {
        self.take(N, what).map(|bytes| bytes.try_into().expect("N bytes were taken"))
    }

    pub(super) fn u8(&mut self, what: &str) -> Sound<u8> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, what: &str) -> Sound<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Sound<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Sound<u64> {
        self.array(what).map(u64::from_le_bytes)
    }
}
