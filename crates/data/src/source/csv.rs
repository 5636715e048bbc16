//! Tables with a header line: comma-separated and tab-separated.

use super::input::{Input, read_error};
use super::schema::{delimiter_of, distinct};
use super::text::{MAX_RECORD_BYTES, check_text, without_byte_order_mark};
use super::{Columns, Documents};
use crate::{Document, Error, Origin, Result};
use ::csv::{ByteRecord, ReaderBuilder};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One document for each row below the header.
///
/// # Errors
/// When a wanted column does not exist.
pub(crate) fn read(path: &Path, input: Input, delimiter: u8, columns: &Columns) -> Result<Documents> {
    let (reader, names, budget) = open(path, input, delimiter, columns)?;
    let places = Places::find(path, &names, columns)?;
    let rows = Rows {
        path: path.to_owned(),
        reader,
        budget,
        places,
        fields: columns.fields.clone(),
        n_read: 0,
        is_done: false,
    };
    Ok(Box::new(rows))
}

/// Longest header that is read, in columns.
const MAX_COLUMNS: usize = 10_000;

type Opened = (::csv::Reader<Budgeted>, Vec<String>, Arc<AtomicUsize>);

/// A reader behind the header, the names in the header, and how much a record may still take. Where columns are found by their
/// names, the delimiter is found out; of whole rows names that are absent or stand there twice are made distinct.
///
/// # Errors
/// When the header cannot be read.
pub(super) fn open(path: &Path, mut input: Input, delimiter: u8, columns: &Columns) -> Result<Opened> {
    let delimiter = match delimiter {
        b',' => found_delimiter(input.fill_buf().map_err(|source| read_error(path, source))?, columns),
        other => other,
    };
    let budget = Arc::new(AtomicUsize::new(MAX_RECORD_BYTES));
    let input = Budgeted { input, left: budget.clone() };
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(input);
    let header = reader.byte_headers().map_err(|error| record_error(path, 1, error))?.clone();
    let names = header.iter().map(|name| Ok(without_byte_order_mark(check_text(path, name, 0)?).to_owned()));
    let names = names.collect::<Result<Vec<String>>>()?;
    if names.len() > MAX_COLUMNS {
        let problem = format!("has {} columns; at most {MAX_COLUMNS} are read", names.len());
        return Err(Error::bad_record(path, "line 1".to_owned(), problem));
    }
    Ok((reader, if columns.whole_rows { distinct(names) } else { names }, budget))
}

/// What stands between the columns of a file that begins like this; the comma where no column is looked for by its name, as a
/// text that is alone may have any signs in its name.
fn found_delimiter(head: &[u8], columns: &Columns) -> u8 {
    let found = delimiter_of(head);
    let Columns { text, target, fields, whole_rows, .. } = columns;
    let is_named = *whole_rows || text.is_some() || target.is_some() || !fields.is_empty();
    if is_named || has_name(head, found, Columns::DEFAULT_TEXT) { found } else { b',' }
}

/// Whether the first line of a file has this name between its delimiters.
fn has_name(head: &[u8], delimiter: u8, wanted: &str) -> bool {
    let head = head.strip_prefix("\u{feff}".as_bytes()).unwrap_or(head);
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let bare = |name: &[u8]| String::from_utf8_lossy(name).trim_matches(['"', '\r']).to_owned();
    line.split(|&byte| byte == delimiter).any(|name| bare(name) == wanted)
}

/// Position of each wanted column.
pub(crate) struct Places {
    /// None where rows are wanted whole.
    pub(crate) text: Option<usize>,
    pub(crate) target: Option<usize>,
    pub(crate) fields: Vec<usize>,
}

impl Places {
    /// Finds the wanted columns among `names`; without a wish the text is in "text", or in the only column.
    pub(crate) fn find(path: &Path, names: &[String], columns: &Columns) -> Result<Self> {
        let find = |name: &str| {
            let missing =
                || Error::MissingColumn { path: path.to_owned(), column: name.to_owned(), available: names.to_vec() };
            names.iter().position(|known| known == name).ok_or_else(missing)
        };
        let text = match &columns.text {
            _ if columns.whole_rows => None,
            Some(name) => Some(find(name)?),
            None if names.len() == 1 => Some(0),
            None => Some(find(Columns::DEFAULT_TEXT)?),
        };
        let target = columns.target.as_deref().map(find).transpose()?;
        let fields = columns.fields.iter().map(|name| find(name)).collect::<Result<_>>()?;
        Ok(Self { text, target, fields })
    }
}

struct Rows {
    path: PathBuf,
    reader: ::csv::Reader<Budgeted>,
    budget: Arc<AtomicUsize>,
    places: Places,
    fields: Vec<String>,
    n_read: u64,
    is_done: bool,
}

impl Rows {
    fn next_row(&mut self) -> Result<Option<Document>> {
        let mut record = ByteRecord::new();
        self.budget.store(MAX_RECORD_BYTES, Ordering::Relaxed);
        let line = self.reader.position().line();
        if !self.reader.read_byte_record(&mut record).map_err(|error| record_error(&self.path, line, error))? {
            return Ok(None);
        }
        let value = |place: usize| {
            let not_text = |_| {
                let problem = "is not valid UTF-8; convert the file first, for example with `iconv -f latin1 -t utf-8`";
                Error::bad_record(&self.path, format!("line {line}"), problem)
            };
            std::str::from_utf8(&record[place]).map(str::to_owned).map_err(not_text)
        };
        let origin = Origin::new(self.path.to_string_lossy(), self.n_read);
        let Some(text) = self.places.text else {
            self.n_read += 1;
            let values = self.places.fields.iter().map(|&place| value(place)).collect::<Result<_>>()?;
            return Ok(Some(Document::row(origin, values)));
        };
        let target = self.places.target.map(value).transpose()?;
        let kept = self.fields.iter().zip(&self.places.fields);
        let fields = kept.map(|(name, &place)| Ok((name.clone(), value(place)?))).collect::<Result<_>>()?;
        self.n_read += 1;
        Ok(Some(Document { target, fields, ..Document::text(origin, value(text)?) }))
    }
}

impl Iterator for Rows {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let row = self.next_row().transpose();
        self.is_done = !matches!(row, Some(Ok(_)));
        row
    }
}

fn record_error(path: &Path, line: u64, error: ::csv::Error) -> Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(source) if source.get_ref().is_some_and(|inner| inner.is::<TooLong>()) => {
            Error::bad_record(path, format!("line {line}"), TooLong.to_string())
        }
        ::csv::ErrorKind::Io(source) => read_error(path, source),
        ::csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.map_or(line, |pos| pos.line());
            Error::bad_record(
                path,
                format!("line {line}"),
                format!(
                    "has {len} columns, but the header has {expected_len}; is a value with the delimiter in it without \
                     quotes, or a line cut off?"
                ),
            )
        }
        other => Error::bad_record(path, format!("line {line}"), format!("{other:?}")),
    }
}

/// Refuses to read on inside one record, so that an unclosed quote cannot fill the memory.
pub(super) struct Budgeted {
    input: Input,
    left: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the record that starts here is longer than {} MiB; is a quote left open?", MAX_RECORD_BYTES >> 20)
    }
}

impl std::error::Error for TooLong {}

impl Read for Budgeted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        let left = self.left.load(Ordering::Relaxed).checked_sub(n).ok_or_else(|| io::Error::other(TooLong))?;
        self.left.store(left, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn documents(text: &[u8], delimiter: u8, columns: &Columns) -> Result<Vec<Document>> {
        read(Path::new("a.csv"), Box::new(Cursor::new(text.to_vec())), delimiter, columns)?.collect()
    }

    #[test]
    fn columns_are_found_by_name() {
        let columns = Columns { target: Some("label".into()), fields: vec!["id".into()], ..Columns::default() };
        let found = documents(b"id,text,label\n7,\"a, \"\"b\"\"\nc\",x\n", b',', &columns).unwrap();
        assert_eq!(found[0].as_text(), Some("a, \"b\"\nc"));
        assert_eq!(found[0].target.as_deref(), Some("x"));
        assert_eq!(found[0].field("id"), Some("7"));
        let tabs = documents(b"sentence\nyes, sir\n", b'\t', &Columns::default()).unwrap();
        assert_eq!(tabs[0].as_text(), Some("yes, sir"));
    }

    #[test]
    fn the_delimiter_is_found_out_where_columns_are_found_by_name() {
        let semicolons = b"id;SMILES\n7;CC(=O)O\n8;CCO\n";
        let columns = Columns { text: Some("SMILES".into()), ..Columns::default() };
        let texts = |found: Vec<Document>| -> Vec<String> {
            found.iter().map(|document| document.as_text().unwrap().to_owned()).collect()
        };
        assert_eq!(texts(documents(semicolons, b',', &columns).unwrap()), ["CC(=O)O", "CCO"]);
        let usual = b"\xef\xbb\xbfid;\"text\"\r\n7;a, b\r\n";
        assert_eq!(texts(documents(usual, b',', &Columns::default()).unwrap()), ["a, b"]);
        let alone = b"what was said; by whom\nyes\n";
        assert_eq!(
            texts(documents(alone, b',', &Columns::default()).unwrap()),
            ["yes"],
            "one column, whatever its name"
        );
        let tabs = Columns { text: Some("a;b;c".into()), ..Columns::default() };
        assert_eq!(texts(documents(b"a;b;c\td\n1\t2\n", b'\t', &tabs).unwrap()), ["1"], "a .tsv has tabs");
    }

    #[test]
    fn bad_tables_are_errors() {
        let check = |text: &[u8], expect: &str| {
            let error = documents(text, b',', &Columns::default()).map(drop).expect_err(expect).to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(b"a,b\n1,2\n", "it has \"a\", \"b\"");
        check(b"text,b\n1,2\n3\n", "line 3");
        check(b"text,b\nok,2\n\xff,2\n", "not valid UTF-8");
        let open_quote = [&b"text\n\""[..], &vec![b'a'; MAX_RECORD_BYTES + (1 << 18)]].concat();
        check(&open_quote, "quote left open");
    }
}
