//! The elements of one JSON array, the form in which many data sets are published, each an object.

use super::input::{Input, read_error};
use super::jsonl::Item;
use super::text::{BYTE_ORDER_MARK, MAX_RECORD_BYTES, check_text};
use crate::document::element;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// How many of the first bytes show whether a file is text.
const HEAD_BYTES: usize = 512;

/// The objects of an array, one by one and bounded in length; stops after the first error.
pub(crate) struct Elements {
    path: PathBuf,
    input: Input,
    /// Bytes taken so far.
    offset: u64,
    /// The line of the next byte, from 1.
    line: u64,
    n_read: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the opening bracket.
    Before,
    Within,
    Done,
}

impl Elements {
    pub(crate) fn new(path: &Path, input: Input) -> Self {
        Self { path: path.to_owned(), input, offset: 0, line: 1, n_read: 0, state: State::Before }
    }

    /// The next byte that is not blank; it is not taken.
    fn significant(&mut self) -> Result<Option<u8>> {
        loop {
            let bytes = self.input.fill_buf().map_err(|source| read_error(&self.path, source))?;
            let n_blank = bytes.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
            let (next, is_end) = (bytes.get(n_blank).copied(), bytes.is_empty());
            self.line += n_lines(&bytes[..n_blank]);
            self.take(n_blank);
            if next.is_some() || is_end {
                return Ok(next);
            }
        }
    }

    fn take(&mut self, n: usize) {
        self.input.consume(n);
        self.offset += n as u64;
    }

    /// Takes the bracket at the beginning.
    fn enter(&mut self) -> Result<()> {
        let head = self.input.fill_buf().map_err(|source| read_error(&self.path, source))?;
        if let Err(error @ Error::Binary { .. }) = check_text(&self.path, &head[..head.len().min(HEAD_BYTES)], 0) {
            return Err(error);
        }
        let n_mark = if head.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        self.take(n_mark);
        match self.significant()? {
            Some(b'[') => {
                self.take(1);
                self.state = State::Within;
                Ok(())
            }
            found => Err(self.no_array(found)),
        }
    }

    fn no_array(&self, found: Option<u8>) -> Error {
        let what = found.map_or("nothing but blanks", kind);
        Error::bad_file(
            &self.path,
            format!(
                "holds {what}; a .json file is read where it is one array of objects, [{{…}}, {{…}}]: name it .jsonl where every \
                 line is an object of its own, take out an array that is a field of it (`jq -c '.FIELD[]' IN.json > OUT.jsonl`), \
                 or name it .txt to learn it as text"
            ),
        )
    }

    fn next_item(&mut self) -> Result<Option<Item>> {
        if self.state == State::Before {
            self.enter()?;
        }
        let mut next = self.significant()?;
        match (next, self.n_read) {
            (Some(b']'), _) => return self.leave(),
            (_, 0) => {}
            (Some(b','), _) => {
                self.take(1);
                next = self.significant()?;
            }
            (Some(_), n) => {
                return Err(self.bad(format!("expected a comma or the end of the array behind element {n}")));
            }
            (None, n) => return Err(self.cut(&format!("behind element {n}"))),
        }
        match next {
            Some(b'{') => self.object().map(Some),
            Some(b']') => {
                Err(self.bad(format!("a comma stands behind element {}, the last; take it away", self.n_read)))
            }
            Some(other) => {
                let problem = format!("is {}; expected an object, as every element of the array", kind(other));
                Err(Error::bad_record(&self.path, element(self.n_read + 1, self.line), problem))
            }
            None => Err(self.cut(&format!("before element {}", self.n_read + 1))),
        }
    }

    /// Takes the closing bracket, behind which nothing may stand.
    fn leave(&mut self) -> Result<Option<Item>> {
        self.take(1);
        self.state = State::Done;
        match self.significant()? {
            None => Ok(None),
            Some(_) => Err(self.bad(
                "something stands behind the end of the array; a .json file is read where it is one array: put several into \
                 files of their own",
            )),
        }
    }

    /// Takes an object, whose first brace comes next.
    fn object(&mut self) -> Result<Item> {
        let (number, line, offset) = (self.n_read + 1, self.line, self.offset);
        let (mut bytes, mut scan, mut is_whole) = (Vec::new(), Scan::default(), false);
        while !is_whole {
            let more = self.input.fill_buf().map_err(|source| read_error(&self.path, source))?;
            if more.is_empty() {
                return Err(self.cut(&format!("within {}", element(number, line))));
            }
            let more = &more[..more.len().min(MAX_RECORD_BYTES + 1 - bytes.len())];
            let end = scan.end(more);
            let n_taken = end.unwrap_or(more.len());
            is_whole = end.is_some();
            self.line += n_lines(&more[..n_taken]);
            bytes.extend_from_slice(&more[..n_taken]);
            self.take(n_taken);
            if bytes.len() > MAX_RECORD_BYTES {
                let problem = format!("is longer than {} MiB; is a quote or a brace missing?", MAX_RECORD_BYTES >> 20);
                return Err(Error::bad_record(&self.path, element(number, line), problem));
            }
        }
        let text = check_text(&self.path, &bytes, offset)?.to_owned();
        self.n_read = number;
        Ok(Item { number, line: Some(line), text })
    }

    fn bad(&self, problem: impl Into<String>) -> Error {
        Error::bad_record(&self.path, format!("line {}", self.line), problem)
    }

    fn cut(&self, place: &str) -> Error {
        self.bad(format!("the file ends {place}, before its array does: it is cut short; copy it again"))
    }
}

impl Iterator for Elements {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        let item = self.next_item().transpose();
        if item.as_ref().is_none_or(Result::is_err) {
            self.state = State::Done;
        }
        item
    }
}

/// Whether a file begins as an array of objects; also of one that cannot be opened, so that reading it says why.
pub(crate) fn begins_as_objects(path: &Path) -> bool {
    let Ok(input) = super::input::open(path, &super::ByteCounter::default()) else { return true };
    let mut elements = Elements::new(path, input);
    let next = elements.enter().and_then(|()| elements.significant());
    next.is_ok_and(|next| next == Some(b'{'))
}

fn n_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// What a value is, by its first byte.
fn kind(first: u8) -> &'static str {
    match first {
        b'{' => "an object",
        b'[' => "an array",
        b'"' => "a text",
        b'-' | b'0'..=b'9' => "a number",
        b't' | b'f' => "true or false",
        b'n' => "null",
        _ => "no JSON",
    }
}

/// Looks for the end of an object, piece by piece; what is wrong in it is left to who parses it.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Scan {
    /// How many of these bytes belong to the object, if it ends with them.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (i, &byte) in bytes.iter().enumerate() {
            match (self.in_text, byte) {
                (true, _) if self.is_escaped => self.is_escaped = false,
                (true, b'\\') => self.is_escaped = true,
                (true, b'"') => self.in_text = false,
                // No text goes on in the next line: its closing quote is missing.
                (true, b'\n') => return Some(i + 1),
                (true, _) => {}
                (false, b'"') => self.in_text = true,
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') if self.depth <= 1 => return Some(i + 1),
                (false, b'}' | b']') => self.depth -= 1,
                (false, _) => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Columns, Format, read_bytes};
    use super::*;
    use std::io::{BufReader, Cursor};

    /// The texts up to the first error, and that.
    fn read(bytes: &[u8]) -> (Vec<String>, Option<String>) {
        let mut texts = Vec::new();
        for document in read_bytes(bytes.to_vec(), Format::JsonArray, &Columns::default()).unwrap() {
            match document {
                Ok(document) => texts.push(document.as_text().unwrap().to_owned()),
                Err(error) => return (texts, Some(error.to_string())),
            }
        }
        (texts, None)
    }

    const WHOLE: &str = "\u{feff} [\n  {\"text\": \"a]}\\\"[{\\\\\", \"other\": [[], {\"b\": [1, {}]}]},\r\n\t{\n\"text\":\"é日\"\n} ,{\"text\" :\"\"}\n]\n \n";

    #[test]
    fn elements_are_read_as_lines_are() {
        let expected = ["a]}\"[{\\", "é日", ""];
        assert_eq!(read(WHOLE.as_bytes()), (expected.map(str::to_owned).to_vec(), None));
        assert_eq!(read(b"[]"), (vec![], None));
        assert_eq!(read(b" [ \n ] "), (vec![], None));
        // However the bytes come.
        for n in 3..20 {
            let input = BufReader::with_capacity(n, Cursor::new(WHOLE.as_bytes().to_vec()));
            let items: Vec<Item> = Elements::new(Path::new("a.json"), Box::new(input)).map(Result::unwrap).collect();
            let places: Vec<_> = items.iter().map(|item| (item.number, item.line.unwrap())).collect();
            assert_eq!(places, [(1, 2), (2, 3), (3, 5)]);
            assert_eq!(
                (items[1].text.as_str(), items[2].text.as_str()),
                ("{\n\"text\":\"é日\"\n}", "{\"text\" :\"\"}")
            );
        }
    }

    #[test]
    fn arrays_cut_short_are_refused_with_what_was_whole() {
        let whole = WHOLE.trim_end().as_bytes();
        let ends: Vec<usize> = [",\r\n", " ,{", "\n]"].iter().map(|part| WHOLE.find(part).unwrap()).collect();
        for n in 0..whole.len() {
            let (texts, error) = read(&whole[..n]);
            let error = error.unwrap_or_else(|| panic!("the first {n} bytes are taken for the whole"));
            assert_eq!(texts.len(), ends.iter().filter(|&&end| end <= n).count(), "{n}: {error}");
            // Before the mark and the bracket nothing shows what it was to be.
            assert!(n < 5 || error.contains("cut short"), "{n}: {error}");
        }
    }

    #[test]
    fn what_is_no_array_of_objects_is_named() {
        let check = |text: &str, n_read: usize, parts: &[&str]| {
            let (texts, error) = read(text.as_bytes());
            let error = error.unwrap_or_else(|| panic!("{text} is read"));
            parts.iter().for_each(|part| assert!(error.contains(part), "{text}: no {part} in {error}"));
            assert_eq!(texts.len(), n_read, "{text}");
        };
        check("{\"text\": \"a\"}\n{\"text\": \"b\"}", 0, &["holds an object", ".jsonl", "jq -c '.FIELD[]'"]);
        check("17", 0, &["holds a number", "one array of objects"]);
        check("text", 0, &["holds true or false"]);
        check("once", 0, &["holds no JSON"]);
        check("", 0, &["nothing"]);
        check("[1, 2]", 0, &["element 1 (line 1): is a number"]);
        check("[{\"text\": \"a\"},\n[{\"text\": \"b\"}]]", 1, &["element 2 (line 2): is an array; expected an object"]);
        check("[[{\"text\": \"a\"}]]", 0, &["element 1 (line 1): is an array"]);
        check("[{\"text\": \"a\"},\n\n]", 1, &["line 3: a comma stands behind element 1"]);
        check("[,{\"text\": \"a\"}]", 0, &["element 1 (line 1): is no JSON"]);
        check("[{\"text\": \"a\"} {\"text\": \"b\"}]", 1, &["expected a comma", "behind element 1"]);
        check("[{\"text\": \"a\"}]\n[{\"text\": \"b\"}]", 1, &["line 2: something stands behind the end of the array"]);
        check("[{\"text\": \"a\"}]]", 1, &["behind the end"]);
        check("[\n{\"text\": \"a\"},\n{\"text\":\n \"a\" 1}]", 1, &["element 2 (line 3)", "on line 4"]);
        check("[{\"text\": \"a}, {\n\"text\": \"b\"}]", 0, &["element 1 (line 1)", "control character"]);
        check("[{\"text\": \"a\"]", 0, &["element 1 (line 1)", "not a JSON object"]);
        check("[{\"text\": \"a\"}, {\"body\": \"b\"}]", 1, &["element 2 (line 1)", "no field \"text\""]);
        check(&format!("[{}", "{\"a\":".repeat(100_000)), 0, &["within element 1 (line 1)"]);
        check(&format!("[{}{}]", "{\"a\":".repeat(1000), "}".repeat(1000)), 0, &["element 1", "recursion limit"]);
        check("[{\"text\": \"a\0\"}]", 0, &["byte 12", "zero byte"]);
        let (_, error) = read(b"[{\"text\": \"a\xff\"}]");
        assert!(error.unwrap().contains("offset 12"));
        let (_, error) = read(b"\xff\xfe[\0{\0");
        assert!(error.unwrap().contains("UTF-16"));
    }

    #[test]
    fn an_endless_element_is_refused_by_its_length() {
        struct Endless;
        impl std::io::Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                buffer.fill(b'x');
                Ok(buffer.len())
            }
        }
        let input = std::io::Read::chain(Cursor::new(b"[{\"text\": \"".to_vec()), BufReader::new(Endless));
        let error = Elements::new(Path::new("a.json"), Box::new(input)).next().unwrap().err().unwrap().to_string();
        assert!(error.contains("element 1 (line 1): is longer than 64 MiB"), "{error}");
    }
}
