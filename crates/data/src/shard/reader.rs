//! Reading a shard by position.

use super::{HEADER_BYTES, ShardInfo};
use crate::{Error, Result};
use crc32fast::Hasher;
use genera_tokens::{Role, TokenId, TokenSeq};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A verified token shard.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    contents: Contents,
    info: ShardInfo,
}

#[derive(Debug)]
enum Contents {
    File(File),
    Memory(Vec<u8>),
}

impl Shard {
    /// Opens a shard and verifies its checksum.
    ///
    /// # Errors
    /// When the file is missing, cut short or altered.
    ///
    /// # Cost
    /// Reads the file once, in small portions.
    pub fn open(path: &Path) -> Result<Self> {
        let file = crate::source::open_file(path)?;
        let n_bytes = file.metadata().map_err(|source| Error::io(path, "read", source))?.len();
        Self::verify(path, Contents::File(file), n_bytes)
    }

    /// A shard that is held in memory.
    ///
    /// # Errors
    /// When the bytes are not a whole shard.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let n_bytes = bytes.len() as u64;
        Self::verify(Path::new("memory"), Contents::Memory(bytes), n_bytes)
    }

    fn verify(path: &Path, contents: Contents, n_bytes: u64) -> Result<Self> {
        let failed = |source| Error::io(path, "read", source);
        if n_bytes < HEADER_BYTES as u64 {
            return Err(Error::bad_shard(path, format!("is cut short: it has only {n_bytes} bytes")));
        }
        let mut header = [0; HEADER_BYTES];
        contents.read_exact_at(&mut header, 0).map_err(failed)?;
        let (info, body_sum) = ShardInfo::from_header(&header).map_err(|problem| Error::bad_shard(path, problem))?;
        let n_expected = info.file_len();
        if n_expected != Some(n_bytes) {
            let n_expected = n_expected.map_or("an impossible number of".to_owned(), |n| n.to_string());
            let problem = format!("is cut short or extended: {n_expected} bytes expected, {n_bytes} found");
            return Err(Error::bad_shard(path, problem));
        }
        if contents.sum(HEADER_BYTES as u64..n_bytes).map_err(failed)? != body_sum {
            return Err(Error::bad_shard(path, "has been altered: the checksum of its contents does not match"));
        }
        Ok(Self { path: path.to_owned(), contents, info })
    }

    /// What it holds.
    pub fn info(&self) -> &ShardInfo {
        &self.info
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokens at `range` of the whole stream.
    ///
    /// # Errors
    /// When the disk fails, or the file has been cut short meanwhile.
    ///
    /// # Panics
    /// When the range reaches beyond the end.
    pub fn tokens(&self, range: Range<u64>) -> Result<Vec<TokenId>> {
        let n_tokens = self.info.n_tokens;
        assert!(range.start <= range.end && range.end <= n_tokens, "tokens {range:?} of a shard of {n_tokens}");
        let width = self.info.token_width();
        let bytes = self.read(HEADER_BYTES as u64 + range.start * width, (range.end - range.start) * width)?;
        Ok(match width {
            2 => bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect(),
            _ => bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
        })
    }

    /// Where the tokens of a document stand.
    ///
    /// # Errors
    /// When the disk fails, or the file has been cut short meanwhile.
    pub fn document_range(&self, document: u64) -> Result<Range<u64>> {
        let ends = self.document_bounds(document..document + 1)?;
        Ok(ends[0]..ends[1])
    }

    /// Where the documents of `range` begin and end: one number more than documents.
    ///
    /// # Errors
    /// When the disk fails, or the file has been cut short meanwhile.
    ///
    /// # Panics
    /// When the range reaches beyond the last document.
    pub fn document_bounds(&self, range: Range<u64>) -> Result<Vec<u64>> {
        let bounds = self.bounds(range)?.into_iter().map(|(token, _)| token);
        Ok(bounds.collect())
    }

    /// A document with its roles.
    ///
    /// # Errors
    /// When the disk fails, or the file has been cut short meanwhile.
    pub fn document(&self, document: u64) -> Result<TokenSeq> {
        let bounds = self.bounds(document..document + 1)?;
        let ((start, first_span), (end, end_span)) = (bounds[0], bounds[1]);
        let ids = self.tokens(start..end)?;
        if self.info.n_spans == 0 {
            return Ok(TokenSeq::target(ids));
        }
        let mut sequence = TokenSeq::default();
        let mut from = start;
        for (role, to) in self.spans(first_span..end_span)? {
            if to < from || to > end {
                return Err(Error::bad_shard(&self.path, format!("document {document} has a span outside of it")));
            }
            sequence.push(role, &ids[(from - start) as usize..(to - start) as usize]);
            from = to;
        }
        Ok(sequence)
    }

    /// Number of given and of wanted tokens of each document of `range`.
    pub(crate) fn role_lens(&self, range: Range<u64>) -> Result<Vec<(u64, u64)>> {
        let bounds = self.bounds(range)?;
        let (first_span, end_span) = (bounds[0].1, bounds[bounds.len() - 1].1);
        let spans = self.spans(first_span..end_span)?;
        let lens = bounds.windows(2).map(|pair| {
            let ((mut from, first), (end, last)) = (pair[0], pair[1]);
            if self.info.n_spans == 0 {
                return (0, end - from);
            }
            let (mut n_condition, mut n_target) = (0, 0);
            for &(role, to) in &spans[(first - first_span) as usize..(last - first_span) as usize] {
                let n = if role == Role::Condition { &mut n_condition } else { &mut n_target };
                *n += to.saturating_sub(from);
                from = to;
            }
            (n_condition, n_target)
        });
        Ok(lens.collect())
    }

    /// Where the documents' tokens and spans begin and end.
    fn bounds(&self, range: Range<u64>) -> Result<Vec<(u64, u64)>> {
        let n_documents = self.info.n_documents;
        assert!(range.start <= range.end && range.end <= n_documents, "documents {range:?} of {n_documents}");
        let width = self.info.document_width();
        let first = range.start.saturating_sub(1);
        let at = self.info.documents_at().expect("the layout was checked on opening") + first * width;
        let numbers = numbers(&self.read(at, (range.end - first) * width)?);
        let mut bounds = if range.start == 0 { vec![(0, 0)] } else { Vec::new() };
        bounds
            .extend(numbers.chunks_exact(width as usize / 8).map(|pair| (pair[0], pair.get(1).copied().unwrap_or(0))));
        let follow = |pair: &[(u64, u64)]| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1;
        let is_sound = bounds.windows(2).all(follow)
            && bounds.last().is_none_or(|last| last.0 <= self.info.n_tokens && last.1 <= self.info.n_spans);
        if is_sound { Ok(bounds) } else { Err(Error::bad_shard(&self.path, "its documents do not follow one another")) }
    }

    fn spans(&self, range: Range<u64>) -> Result<Vec<(Role, u64)>> {
        let at = self.info.spans_at().expect("the layout was checked on opening") + 8 * range.start;
        let numbers = numbers(&self.read(at, 8 * (range.end - range.start))?);
        let span = |number: u64| (if number % 2 == 1 { Role::Target } else { Role::Condition }, number / 2);
        Ok(numbers.into_iter().map(span).collect())
    }

    fn read(&self, at: u64, n_bytes: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; n_bytes as usize];
        self.contents.read_exact_at(&mut bytes, at).map_err(|source| Error::io(&self.path, "read", source))?;
        Ok(bytes)
    }
}

impl Contents {
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::File(file) => read_exact_at(file, buffer, at),
            Self::Memory(bytes) => {
                let place = bytes.get(at as usize..).and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(place.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// Checksum of the bytes of `range`.
    fn sum(&self, range: Range<u64>) -> io::Result<u32> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        for at in range.clone().step_by(buffer.len()) {
            let n = (range.end - at).min(buffer.len() as u64) as usize;
            self.read_exact_at(&mut buffer[..n], at)?;
            hasher.update(&buffer[..n]);
        }
        Ok(hasher.finalize())
    }
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (buffer, at) = (&mut buffer[n..], at + n as u64),
        }
    }
    Ok(())
}
