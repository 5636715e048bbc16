//! Writing a shard as the documents come, in bounded memory.

use super::{HEADER_BYTES, ShardInfo};
use crate::write::{publish, temporary};
use crate::{Error, Piece, Result};
use crc32fast::Hasher;
use genera_tokens::{Role, TokenSeq, Vocab};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 20;

/// Writes a [`Shard`](super::Shard); nothing is at its path before [`finish`](Self::finish).
#[derive(Debug)]
pub struct ShardWriter {
    path: PathBuf,
    unfinished: PathBuf,
    body: Body,
    /// Ends of documents and of spans wait in files of their own, since they come after all tokens.
    documents: Side,
    spans: Side,
    info: ShardInfo,
    /// The role and end of the span under way, if a document is under way.
    open_span: Option<(Role, u64)>,
    has_conditions: bool,
    is_finished: bool,
}

impl ShardWriter {
    /// Begins a shard of tokens of `vocab`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path, vocab: &Vocab, tokenizer: u64) -> Result<Self> {
        let unfinished = temporary(path);
        let side = |name: &str| Side::create(unfinished.with_extension(name));
        let begin = || -> io::Result<_> {
            let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(&unfinished)?);
            file.write_all(&[0; HEADER_BYTES])?;
            Ok((Body { file, hasher: Hasher::new() }, side("documents")?, side("spans")?))
        };
        let (body, documents, spans) = begin().map_err(|source| Error::io(path, "write", source))?;
        let vocab_size = vocab.size as u64;
        let info = ShardInfo { n_tokens: 0, n_documents: 0, n_spans: 0, n_bytes: 0, vocab_size, tokenizer };
        let path = path.to_owned();
        let (open_span, has_conditions, is_finished) = (None, false, false);
        Ok(Self { path, unfinished, body, documents, spans, info, open_span, has_conditions, is_finished })
    }

    /// Appends a document or a piece of one; `n_bytes` is the size of the text it stands for.
    ///
    /// # Errors
    /// When the disk is full or fails.
    ///
    /// # Panics
    /// When an id is not in the vocabulary.
    pub fn push(&mut self, tokens: &TokenSeq, piece: Piece, n_bytes: u64) -> Result<()> {
        self.try_push(tokens, piece, n_bytes).map_err(|source| Error::io(&self.path, "write", source))
    }

    fn try_push(&mut self, tokens: &TokenSeq, piece: Piece, n_bytes: u64) -> io::Result<()> {
        let largest = tokens.ids().iter().copied().max().unwrap_or(0);
        assert!(u64::from(largest) < self.info.vocab_size.max(1), "id {largest} is not below the vocabulary's size");
        match self.info.token_width() {
            2 => self.body.write_numbers(tokens.ids().iter().map(|&id| (id as u16).to_le_bytes()))?,
            _ => self.body.write_numbers(tokens.ids().iter().map(|&id| id.to_le_bytes()))?,
        }
        for span in tokens.spans() {
            self.push_span(span.role, span.range.len() as u64)?;
        }
        self.info.n_bytes += n_bytes;
        if piece.ends() { self.end_document() } else { Ok(()) }
    }

    fn push_span(&mut self, role: Role, n_tokens: u64) -> io::Result<()> {
        self.info.n_tokens += n_tokens;
        self.has_conditions |= role == Role::Condition;
        if self.open_span.is_some_and(|(open, _)| open != role) {
            self.close_span()?;
        }
        self.open_span = Some((role, self.info.n_tokens));
        Ok(())
    }

    fn close_span(&mut self) -> io::Result<()> {
        if let Some((role, end)) = self.open_span.take() {
            self.info.n_spans += 1;
            self.spans.push(2 * end + u64::from(role == Role::Target))?;
        }
        Ok(())
    }

    fn end_document(&mut self) -> io::Result<()> {
        self.close_span()?;
        self.info.n_documents += 1;
        self.documents.push(self.info.n_tokens)?;
        self.documents.push(self.info.n_spans)
    }

    /// Number of tokens so far.
    pub fn n_tokens(&self) -> u64 {
        self.info.n_tokens
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// When the disk is full or fails.
    ///
    /// # Panics
    /// When a document has begun and not ended.
    pub fn finish(mut self) -> Result<ShardInfo> {
        assert!(self.open_span.is_none(), "the last document of {} has not ended", self.path.display());
        let file = self.complete().map_err(|source| Error::io(&self.path, "write", source))?;
        publish(&file, &self.unfinished, &self.path)?;
        self.is_finished = true;
        Ok(self.info)
    }

    fn complete(&mut self) -> io::Result<File> {
        let n_token_bytes = self.info.n_tokens * self.info.token_width();
        self.body.write(&[0; 8][..(n_token_bytes.next_multiple_of(8) - n_token_bytes) as usize])?;
        if !self.has_conditions {
            self.info.n_spans = 0;
        }
        let body = &mut self.body;
        let has_conditions = self.has_conditions;
        let document = |pair: [u64; 2]| {
            body.write_numbers(pair.into_iter().take(1 + usize::from(has_conditions)).map(u64::to_le_bytes))
        };
        self.documents.for_each(document)?;
        if has_conditions {
            let body = &mut self.body;
            self.spans.for_each(|span: [u64; 1]| body.write(&span[0].to_le_bytes()))?;
        }
        self.body.file.seek(SeekFrom::Start(0))?;
        let sum = self.body.hasher.clone().finalize();
        self.body.file.write_all(&self.info.to_header(sum))?;
        self.body.file.flush()?;
        self.body.file.get_ref().try_clone()
    }
}

impl Drop for ShardWriter {
    /// Leaves nothing behind when the shard was not finished.
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = std::fs::remove_file(&self.unfinished);
        }
    }
}

/// The file after its header, with the checksum of what has been written.
#[derive(Debug)]
struct Body {
    file: BufWriter<File>,
    hasher: Hasher,
}

impl Body {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }

    fn write_numbers<const N: usize>(&mut self, numbers: impl Iterator<Item = [u8; N]>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(numbers.size_hint().0 * N);
        numbers.for_each(|number| bytes.extend_from_slice(&number));
        self.write(&bytes)
    }
}

/// Numbers in a temporary file that is removed in the end.
#[derive(Debug)]
struct Side {
    path: PathBuf,
    file: BufWriter<File>,
    n_numbers: usize,
}

impl Side {
    fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Self { path, file: BufWriter::new(file), n_numbers: 0 })
    }

    fn push(&mut self, number: u64) -> io::Result<()> {
        self.n_numbers += 1;
        self.file.write_all(&number.to_le_bytes())
    }

    /// Reads the numbers back in groups of N.
    fn for_each<const N: usize>(&mut self, mut each: impl FnMut([u64; N]) -> io::Result<()>) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut numbers = BufReader::with_capacity(BUFFER_BYTES, self.file.get_ref());
        for _ in 0..self.n_numbers / N {
            let mut group = [0; N];
            for number in &mut group {
                let mut bytes = [0; 8];
                numbers.read_exact(&mut bytes)?;
                *number = u64::from_le_bytes(bytes);
            }
            each(group)?;
        }
        Ok(())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
