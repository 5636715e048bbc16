//! Opening a file: decompression by what the bytes say, a count of bytes for progress, errors that name the file.

use crate::{Error, Result};
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of bytes taken from disk so far (before decompression), shared with whoever shows progress.
#[derive(Clone, Debug, Default)]
pub struct ByteCounter(Arc<AtomicU64>);

impl ByteCounter {
    /// Bytes so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// A decompressed stream of bytes.
pub(crate) type Input = Box<dyn BufRead + Send>;

/// Size of the buffer in front of a file.
const BUFFER_BYTES: usize = 1 << 18;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: u32 = 0xfd2f_b528;
/// Zstandard frames that carry no data have one of sixteen magic numbers.
const ZSTD_SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;

/// Opens `path`, decompressing gzip and Zstandard.
///
/// # Errors
/// When the file is missing, unreadable, empty, or named as compressed without being so.
pub(crate) fn open(path: &Path, counter: &ByteCounter) -> Result<Input> {
    let file = open_file(path)?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, Counted { file, counter: counter.clone() });
    let head = reader.fill_buf().map_err(|source| Error::io(path, "read", source))?;
    if head.is_empty() {
        return Err(empty(path));
    }
    check_extension(path, Compression::of(head))?;
    let mut input = decompress(Box::new(reader)).map_err(|source| read_error(path, source))?;
    let is_empty = input.fill_buf().map_err(|source| read_error(path, source))?.is_empty();
    if is_empty { Err(empty(path)) } else { Ok(input) }
}

/// A file as it is read, decompressed where it is gzip or Zstandard.
///
/// # Errors
/// As for a source of documents: missing, unreadable, empty, a directory, or named as compressed without being so.
pub fn decompressed(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    open(path, &ByteCounter::default())
}

/// Opens a regular file.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        _ => Error::io(path, "open", source),
    })?;
    let metadata = file.metadata().map_err(|source| Error::io(path, "read", source))?;
    if metadata.is_dir() { Err(Error::bad_file(path, "is a directory, but a file is needed here")) } else { Ok(file) }
}

fn empty(path: &Path) -> Error {
    Error::Empty { path: path.to_owned(), expected: "a file with at least one character of text".to_owned() }
}

/// Says in whose terms reading failed: a damaged compressed stream, or the system.
pub(crate) fn read_error(path: &Path, source: io::Error) -> Error {
    if source.raw_os_error().is_some() {
        return Error::io(path, "read", source);
    }
    match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::bad_file(path, "the compressed data ends early; copy the file again"),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
            Error::bad_file(path, format!("the compressed data is damaged ({source}); copy the file again"))
        }
        _ => Error::io(path, "read", source),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
    None,
}

impl Compression {
    fn of(head: &[u8]) -> Self {
        if head.starts_with(GZIP_MAGIC) {
            return Self::Gzip;
        }
        let magic = head.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        match magic {
            Some(magic) if magic == ZSTD_MAGIC || ZSTD_SKIPPABLE.contains(&magic) => Self::Zstd,
            _ => Self::None,
        }
    }
}

fn check_extension(path: &Path, found: Compression) -> Result<()> {
    let (expected, name) = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => (Compression::Gzip, "gzip"),
        Some("zst" | "zstd") => (Compression::Zstd, "Zstandard"),
        _ => return Ok(()),
    };
    if expected == found {
        return Ok(());
    }
    let problem =
        format!("the name promises {name} data, but the first bytes are not {name}; rename it or copy it again");
    Err(Error::bad_file(path, problem))
}

/// The stream behind gzip or Zstandard, whichever the first bytes announce, or the stream itself.
pub(crate) fn decompress(mut reader: Input) -> io::Result<Input> {
    Ok(match Compression::of(reader.fill_buf()?) {
        Compression::Gzip => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(reader))),
        Compression::Zstd => Box::new(BufReader::with_capacity(BUFFER_BYTES, ZstdFrames::new(reader))),
        Compression::None => reader,
    })
}

struct Counted {
    file: File,
    counter: ByteCounter,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.counter.add(n as u64);
        Ok(n)
    }
}

/// The data of all Zstandard frames of a stream, one after the other, with their checksums verified.
struct ZstdFrames {
    reader: Input,
    decoder: FrameDecoder,
    is_inside: bool,
}

impl ZstdFrames {
    fn new(reader: Input) -> Self {
        Self { reader, decoder: FrameDecoder::new(), is_inside: false }
    }

    /// Moves to the next frame with data; false at the end of the stream.
    fn enter_frame(&mut self) -> io::Result<bool> {
        while !self.reader.fill_buf()?.is_empty() {
            let magic = self.read_u32()?;
            if ZSTD_SKIPPABLE.contains(&magic) {
                let n_skipped = u64::from(self.read_u32()?);
                if io::copy(&mut (&mut self.reader).take(n_skipped), &mut io::sink())? < n_skipped {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            let head = magic.to_le_bytes();
            self.decoder.reset(head.chain(&mut self.reader)).map_err(damaged)?;
            self.is_inside = true;
            return Ok(true);
        }
        Ok(false)
    }

    fn read_u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.reader.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn leave_frame(&mut self) -> io::Result<()> {
        self.is_inside = false;
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            return Err(damaged("the checksum does not match"));
        }
        Ok(())
    }
}

impl Read for ZstdFrames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_inside && !self.enter_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.reader, one).map_err(damaged)?;
            }
            let n = self.decoder.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            self.leave_frame()?;
        }
    }
}

fn damaged(reason: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::{Cursor, Write};

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn read_all(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        decompress(Box::new(Cursor::new(bytes)))?.read_to_end(&mut data)?;
        Ok(data)
    }

    #[test]
    fn compressed_streams_of_several_members_are_read_whole() {
        let text = b"to be or not to be ".repeat(10_000);
        let zstd = |data: &[u8]| compress_to_vec(data, CompressionLevel::Fastest);
        let skippable = [&0x184d_2a53_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc"].concat();
        let twice = [&text[..], &text].concat();
        assert_eq!(read_all(text.clone()).unwrap(), text);
        assert_eq!(read_all([gzip(&text), gzip(&text)].concat()).unwrap(), twice);
        assert_eq!(read_all([zstd(&text), skippable.clone(), zstd(&text)].concat()).unwrap(), twice);
        assert_eq!(read_all([skippable, zstd(&text)].concat()).unwrap(), text);
    }

    #[test]
    fn damaged_streams_are_errors() {
        let text = b"to be or not to be ".repeat(1000);
        for whole in [gzip(&text), compress_to_vec(&text[..], CompressionLevel::Fastest)] {
            assert!(read_all(whole[..whole.len() - 5].to_vec()).is_err());
            let mut altered = whole.clone();
            let last = altered.len() - 2;
            altered[last] ^= 1;
            assert!(read_all(altered).is_err());
        }
    }
}
