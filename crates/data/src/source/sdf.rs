//! Structure files (SDF): blocks of molecules one after the other, each ended by a line of four dollars.

use super::Documents;
use super::input::Input;
use super::text::{Line, Lines};
use crate::{Document, Error, Origin, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest block that is read.
const MAX_BLOCK_BYTES: usize = 1 << 22;

/// The line that ends a block.
const END: &str = "$$$$";

/// One document for each block: its text as it stands, without the line that ends it, and where it begins.
pub(crate) fn read(path: &Path, input: Input) -> Documents {
    let file: Arc<str> = path.to_string_lossy().into();
    Box::new(Blocks { path: path.to_owned(), file, lines: Lines::new(path, input), n_read: 0, is_done: false })
}

struct Blocks {
    path: PathBuf,
    file: Arc<str>,
    lines: Lines,
    n_read: u64,
    is_done: bool,
}

impl Blocks {
    fn next_block(&mut self) -> Result<Option<Document>> {
        let (mut text, mut first) = (String::new(), 0);
        for line in self.lines.by_ref() {
            let Line { text: line, number } = line?;
            if first == 0 {
                first = number;
            }
            if line.trim_end() == END {
                return Ok(Some(self.document(text, first)));
            }
            if text.len() + line.len() > MAX_BLOCK_BYTES {
                let problem = format!("its block of a molecule is longer than {} MiB", MAX_BLOCK_BYTES >> 20);
                return Err(Error::bad_record(&self.path, format!("line {number}"), problem));
            }
            text += &line;
            text.push('\n');
        }
        self.is_done = true;
        // A file may end without the line; blank lines behind the last block are none.
        Ok((!text.trim().is_empty()).then(|| self.document(text, first)))
    }

    fn document(&mut self, text: String, first: u64) -> Document {
        let origin = Origin::new(self.file.clone(), self.n_read);
        self.n_read += 1;
        Document::block(origin, text, first)
    }
}

impl Iterator for Blocks {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let block = self.next_block();
        self.is_done |= block.is_err();
        block.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Content;
    use std::io::Cursor;

    #[test]
    fn a_file_is_cut_at_the_lines_of_dollars() {
        let blocks = |text: &str| {
            let documents = read(Path::new("a.sdf"), Box::new(Cursor::new(text.as_bytes().to_vec())));
            documents.map(|document| document.unwrap().as_text().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(blocks("a\r\nb\n$$$$\nc\n$$$$\n"), ["a\nb\n", "c\n"]);
        assert_eq!(blocks("a\n$$$$\nb"), ["a\n", "b\n"]);
        assert_eq!(blocks("a\n$$$$\n\n\n"), ["a\n"]);
        assert!(blocks("").is_empty());
        let documents = read(Path::new("a.sdf"), Box::new(Cursor::new(b"a\nb\n$$$$\nc\n$$$$\nd\n".to_vec())));
        let first = |document: Result<Document>| match document.unwrap().content {
            Content::Block { line, .. } => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(documents.map(first).collect::<Vec<u64>>(), [1, 4, 6], "a block knows where it begins");
        let long = "x".repeat(1 << 20) + "\n";
        let documents: Vec<_> = read(Path::new("a.sdf"), Box::new(Cursor::new(long.repeat(5).into_bytes()))).collect();
        assert!(documents.last().unwrap().as_ref().unwrap_err().to_string().contains("longer than 4 MiB"));
    }
}
