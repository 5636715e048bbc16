//! Plain text: a whole file as one document in bounded pieces, or one document a line.

use super::Documents;
use super::input::{Input, read_error};
use crate::{Document, Error, Origin, Piece, Result};
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A text bigger than this comes in pieces of at most this size.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// No line or record may be longer, so that a file without line ends cannot fill the memory.
pub(crate) const MAX_RECORD_BYTES: usize = 1 << 26;
/// How far from the end of a piece a good place to cut is looked for.
const CUT_WINDOW_BYTES: usize = 1 << 16;

pub(crate) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The beginning of a file without the byte-order mark that some editors put there.
pub fn without_byte_order_mark(text: &str) -> &str {
    text.trim_start_matches('\u{feff}')
}

/// First bytes of files that are often mistaken for text.
const MAGICS: &[(&[u8], &str)] = &[
    (b"\xff\xfe", "UTF-16 text (convert it with `iconv -f utf-16 -t utf-8`)"),
    (b"\xfe\xff", "UTF-16 text (convert it with `iconv -f utf-16 -t utf-8`)"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document (extract its text first)"),
    (b"PK\x03\x04", "a zip archive (unpack it first)"),
    (b"\x7fELF", "a program"),
    (b"PAR1", "a Parquet file (its name must end in .parquet)"),
    (b"BZh", "bzip2 data (unpack it first)"),
    (b"\xfd7zXZ", "xz data (unpack it first)"),
];

/// The bytes as text.
///
/// # Errors
/// When they hold a zero byte or are not UTF-8; `offset` is the position of the first of them in the file.
pub(crate) fn check_text<'a>(path: &Path, bytes: &'a [u8], offset: u64) -> Result<&'a str> {
    let binary =
        |at: usize, looks_like| Err(Error::Binary { path: path.to_owned(), offset: offset + at as u64, looks_like });
    let magic = MAGICS.iter().find(|(magic, _)| offset == 0 && bytes.starts_with(magic));
    if let Some((_, kind)) = magic {
        return binary(0, kind);
    }
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return binary(at, "binary data (a zero byte)");
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let at = offset + error.valid_up_to() as u64;
        Error::NotUtf8 { path: path.to_owned(), offset: at }
    })
}

/// The whole of `input` as one document, in pieces of at most [`PIECE_BYTES`] when it is big.
pub(crate) fn whole(path: &Path, input: Input) -> Documents {
    Box::new(Pieces::new(path, input))
}

struct Pieces {
    path: PathBuf,
    file: Arc<str>,
    input: Input,
    /// Bytes read but not given out: the head of the next piece.
    pending: Vec<u8>,
    /// Position of the first pending byte in the stream.
    offset: u64,
    begins: bool,
    is_done: bool,
}

impl Pieces {
    fn new(path: &Path, input: Input) -> Self {
        let file = path.to_string_lossy().into();
        Self { path: path.to_owned(), file, input, pending: Vec::new(), offset: 0, begins: true, is_done: false }
    }

    /// Fills `pending` up to a piece; whether the stream ends with it.
    fn fill(&mut self) -> Result<bool> {
        let missing = (PIECE_BYTES - self.pending.len()) as u64;
        let taken = (&mut self.input).take(missing).read_to_end(&mut self.pending);
        taken.map_err(|source| read_error(&self.path, source))?;
        Ok(self.input.fill_buf().map_err(|source| read_error(&self.path, source))?.is_empty())
    }

    fn next_piece(&mut self) -> Result<Document> {
        let ends = self.fill()?;
        let n_complete = if ends { self.pending.len() } else { complete_len(&self.pending) };
        let text = check_text(&self.path, &self.pending[..n_complete], self.offset)?;
        let n_taken = if ends { n_complete } else { cut(text) };
        let skipped =
            if self.offset == 0 && self.pending.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let text = text[skipped..n_taken].to_owned();
        let piece = Piece::new(self.begins, ends);
        self.pending.drain(..n_taken);
        self.offset += n_taken as u64;
        (self.begins, self.is_done) = (false, ends);
        Ok(Document { piece, ..Document::text(Origin::new(self.file.clone(), 0), text) })
    }
}

impl Iterator for Pieces {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let piece = self.next_piece();
        self.is_done |= piece.is_err();
        Some(piece)
    }
}

/// Length without a character that is cut off at the end.
fn complete_len(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let start_of_last = (tail..bytes.len()).rev().find(|&i| bytes[i] & 0xc0 != 0x80);
    match start_of_last {
        Some(start) if std::str::from_utf8(&bytes[start..]).is_err_and(|error| error.error_len().is_none()) => start,
        _ => bytes.len(),
    }
}

/// Where to cut a long text so that the words on both sides become the same tokens as in the whole.
///
/// Before a space between words, every splitter into words in use cuts as well. Where there is none, before any
/// white space, or between two characters.
fn cut(text: &str) -> usize {
    let bytes = text.as_bytes();
    let first = bytes.len().saturating_sub(CUT_WINDOW_BYTES).max(1);
    let between_words =
        |&i: &usize| bytes[i] == b' ' && bytes[i - 1].is_ascii_alphanumeric() && bytes[i + 1].is_ascii_alphabetic();
    let before_space = |&i: &usize| bytes[i].is_ascii_whitespace() && bytes[i - 1].is_ascii_graphic();
    let inner = || (first..bytes.len() - 1).rev();
    inner().find(between_words).or_else(|| inner().find(before_space)).unwrap_or(bytes.len())
}

/// One document for each line.
pub(crate) fn lines(path: &Path, input: Input) -> Documents {
    let file: Arc<str> = path.to_string_lossy().into();
    let lines = Lines::new(path, input);
    Box::new(
        lines.map(move |line| line.map(|line| Document::text(Origin::new(file.clone(), line.number - 1), line.text))),
    )
}

/// A line without its end.
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    pub(crate) text: String,
}

/// The lines of a stream, bounded in length; stops after the first error.
pub(crate) struct Lines {
    path: PathBuf,
    input: Input,
    offset: u64,
    n_read: u64,
    has_failed: bool,
}

impl Lines {
    pub(crate) fn new(path: &Path, input: Input) -> Self {
        Self { path: path.to_owned(), input, offset: 0, n_read: 0, has_failed: false }
    }

    fn next_line(&mut self) -> Result<Option<Line>> {
        let mut bytes = Vec::new();
        let taken = (&mut self.input).take(MAX_RECORD_BYTES as u64 + 1).read_until(b'\n', &mut bytes);
        let n_taken = taken.map_err(|source| read_error(&self.path, source))?;
        if n_taken == 0 {
            return Ok(None);
        }
        self.n_read += 1;
        if n_taken > MAX_RECORD_BYTES {
            let problem = format!("is longer than {} MiB; split it into lines", MAX_RECORD_BYTES >> 20);
            return Err(Error::bad_record(&self.path, format!("line {}", self.n_read), problem));
        }
        let text = check_text(&self.path, &bytes, self.offset)?;
        let text = if self.offset == 0 { without_byte_order_mark(text) } else { text };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text).to_owned();
        self.offset += n_taken as u64;
        Ok(Some(Line { number: self.n_read, text }))
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let line = self.next_line().transpose();
        self.has_failed = matches!(line, Some(Err(_)));
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn pieces(bytes: &[u8]) -> Vec<Result<Document>> {
        whole(Path::new("a.txt"), Box::new(Cursor::new(bytes.to_vec()))).collect()
    }

    #[test]
    fn a_big_text_comes_in_pieces_that_join_to_the_whole() {
        let samples = ["To be, or not to be: that is the question.\n", "łódź żółć 日本語", "日本語", "x"];
        for sample in samples {
            let text = sample.repeat(3 * PIECE_BYTES / sample.len());
            let pieces: Vec<Document> = pieces(text.as_bytes()).into_iter().map(Result::unwrap).collect();
            assert!(pieces.len() >= 3, "{} pieces", pieces.len());
            let joined: String = pieces.iter().filter_map(Document::as_text).collect();
            assert!(joined == text, "the pieces of {sample:?} do not join to the whole");
            let (last, rest) = pieces.split_last().unwrap();
            assert!(rest.iter().all(|piece| !piece.piece.ends() && piece.n_bytes() > PIECE_BYTES / 2));
            assert_eq!(last.piece, Piece::Last);
            assert_eq!(rest[0].piece, Piece::First);
        }
    }

    #[test]
    fn a_cut_falls_before_a_space_between_words() {
        assert_eq!(cut("one two three!  "), 7);
        assert_eq!(cut("one! \n\n"), 4);
        assert_eq!(cut("日本"), 6);
    }

    #[test]
    fn a_text_of_exactly_one_piece_is_whole() {
        let documents = pieces("a".repeat(PIECE_BYTES).as_bytes());
        assert_eq!(documents.len(), 1);
        assert_eq!(documents[0].as_ref().unwrap().piece, Piece::Whole);
    }

    #[test]
    fn bytes_that_are_not_text_are_named_by_offset() {
        let far = [&b"a ".repeat(PIECE_BYTES)[..], b"\xe9 "].concat();
        let check = |bytes: &[u8], expect: &str| {
            let last = pieces(bytes).pop().unwrap().unwrap_err().to_string();
            assert!(last.contains(expect), "{last}");
        };
        check(&far, &format!("offset {}", 2 * PIECE_BYTES));
        check(b"abc\xc3", "offset 3");
        check(b"abc\xff", "offset 3");
        check(b"ab\0", "byte 2");
        check(b"\xff\xfea\0", "UTF-16");
        check(b"\x89PNG\r\n", "PNG");
    }

    #[test]
    fn lines_lose_their_ends_and_keep_their_numbers() {
        let read = |text: &str| {
            let documents = lines(Path::new("a.txt"), Box::new(Cursor::new(text.as_bytes().to_vec())));
            documents.map(|d| d.unwrap().as_text().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(read("\u{feff}a\r\n\nb c"), ["a", "", "b c"]);
        assert_eq!(read("a\n"), ["a"]);
        let error = lines(Path::new("a.txt"), Box::new(Cursor::new(b"ab\ncd\xff\nef".to_vec())));
        let results: Vec<_> = error.collect();
        assert_eq!(results.len(), 2, "reading stops at the error");
        assert!(results[1].as_ref().unwrap_err().to_string().contains("offset 5"));
    }
}
