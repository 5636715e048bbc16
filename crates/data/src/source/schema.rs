//! What the columns of a table are called, and what stands between them.

use super::{Columns, Format, csv, input, parquet};
use crate::{ByteCounter, Error, Result};
use std::collections::HashSet;
use std::path::Path;

/// Bytes of the beginning of a file that show its delimiter.
const SAMPLE_BYTES: usize = 1 << 16;

/// The names of the columns of a csv, tsv or Parquet file, made distinct: a name that is absent is "Unnamed: 2", one that
/// stands there twice is "name.1", as pandas has them.
///
/// # Errors
/// When the file cannot be read, or is no table.
pub fn column_names(path: &Path) -> Result<Vec<String>> {
    match Format::of(path) {
        Some(Format::Parquet) => parquet::names(path, &input::open_file(path)?),
        Some(Format::Csv { delimiter }) => {
            let input = input::open(path, &ByteCounter::default())?;
            Ok(csv::open(path, input, delimiter, &Columns::rows(Vec::new()))?.1)
        }
        _ => Err(Error::bad_file(path, "is no table; expected a .csv, .tsv or .parquet file (plain, .gz or .zst)")),
    }
}

/// The names of the columns of a Parquet file that hold lists or records, which are not read; none of other files.
///
/// # Errors
/// When the file cannot be read.
pub fn nested_column_names(path: &Path) -> Result<Vec<String>> {
    match Format::of(path) {
        Some(Format::Parquet) => parquet::nested_names(path, &input::open_file(path)?),
        _ => Ok(Vec::new()),
    }
}

/// What stands between the columns of a file that begins like this: of the usual delimiters the one that its first line has
/// most often outside of quotes, the comma where it has none.
pub(super) fn delimiter_of(head: &[u8]) -> u8 {
    let head = &head[..head.len().min(SAMPLE_BYTES)];
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut is_quoted = false;
    let mut counts = [0_usize; DELIMITERS.len()];
    for &byte in line {
        is_quoted ^= byte == b'"';
        if let Some(i) = DELIMITERS.iter().position(|&delimiter| delimiter == byte && !is_quoted) {
            counts[i] += 1;
        }
    }
    let best = (0..DELIMITERS.len()).rev().max_by_key(|&i| counts[i]).unwrap_or(0);
    DELIMITERS[best]
}

const DELIMITERS: [u8; 4] = *b",;\t|";

/// Names of which none is empty or stands there twice.
pub(super) fn distinct(names: Vec<String>) -> Vec<String> {
    let all: HashSet<String> = names.iter().cloned().collect();
    let mut seen = HashSet::new();
    let mut one = |(i, name): (usize, String)| {
        let name = if name.trim().is_empty() { format!("Unnamed: {i}") } else { name };
        let free = |name: &String| !seen.contains(name);
        let numbered = || (1..).map(|i| format!("{name}.{i}")).find(|name| free(name) && !all.contains(name));
        let name = if free(&name) { name } else { numbered().expect("there are endless numbers") };
        seen.insert(name.clone());
        name
    };
    names.into_iter().enumerate().map(&mut one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_what_the_header_has_most_of() {
        for (head, expect) in [
            (&b"a,b;c,d\n1,2;3,4"[..], b','),
            (b"a;b\n1,5;2,5", b';'),
            (b"a\tb\tc", b'\t'),
            (b"\"a;b;c\",d", b','),
            (b"alone", b','),
            (b"", b','),
        ] {
            assert_eq!(delimiter_of(head), expect, "{}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn names_become_distinct() {
        let names = ["a", "", "a", "a.1", " ", "a"].map(str::to_owned).to_vec();
        assert_eq!(distinct(names), ["a", "Unnamed: 1", "a.2", "a.1", "Unnamed: 4", "a.3"]);
    }
}
