//! What is to be answered, read in groups, so that a large file is never held whole.

use crate::failure::{Outcome, unreadable};
use genera_data::source::{decompressed, without_byte_order_mark};
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

/// Prompts answered together.
pub const GROUP: usize = 64;

/// Read ahead of time; a group that ends here before it is full is answered as it is.
const BUFFER: usize = 1 << 16;

/// Prompts in order.
pub enum Prompts {
    /// A single one, until it is taken.
    One(Option<String>),
    /// One a line.
    Lines {
        /// Where the lines come from.
        reader: BufReader<Box<dyn Read>>,
        /// Its name, for messages.
        name: String,
        /// Lines taken.
        n_taken: usize,
    },
}

/// Some prompts, and where the first of them stands.
#[derive(Debug, Default)]
pub struct Group {
    /// The prompts.
    pub prompts: Vec<String>,
    /// What they were read from; empty for the command line.
    pub name: String,
    /// Prompts before the first of these.
    pub n_before: usize,
    /// Whether each is a line of a file, and so a text whatever it looks like.
    pub is_by_line: bool,
}

impl Prompts {
    /// The only prompt.
    pub fn one(prompt: impl Into<String>) -> Self {
        Self::One(Some(prompt.into()))
    }

    /// The lines of a file (plain, .gz or .zst), or of the standard input for `-`; or all of it as one prompt.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(path: &Path, by_line: bool) -> Outcome<Self> {
        let is_stdin = path.as_os_str() == "-";
        let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
        let source: Box<dyn Read> = if is_stdin {
            if std::io::stdin().is_terminal() {
                eprintln!("genera: reading from the terminal; end with Ctrl-D");
            }
            Box::new(std::io::stdin())
        } else {
            Box::new(decompressed(path)?)
        };
        let mut reader = BufReader::with_capacity(BUFFER, source);
        if by_line {
            return Ok(Self::Lines { reader, name, n_taken: 0 });
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).map_err(|error| unreadable(&name, &error))?;
        Ok(Self::one(without_byte_order_mark(&text)))
    }

    /// The next prompts; none at the end. Whoever writes a line and waits for its answer gets it: only what has been
    /// written already comes together in a group.
    ///
    /// # Errors
    /// When the file can no longer be read, or a line is not UTF-8.
    pub fn next_group(&mut self) -> Outcome<Option<Group>> {
        let (reader, name, n_taken) = match self {
            Self::One(prompt) => {
                return Ok(prompt.take().map(|prompt| Group { prompts: vec![prompt], ..Group::default() }));
            }
            Self::Lines { reader, name, n_taken } => (reader, name, n_taken),
        };
        let mut group = Group { prompts: Vec::new(), name: name.clone(), n_before: *n_taken, is_by_line: true };
        while group.prompts.is_empty() || (group.prompts.len() < GROUP && reader.buffer().contains(&b'\n')) {
            let mut line = String::new();
            let unreadable = |error| unreadable(&format!("{name}, line {}", *n_taken + 1), &error);
            let n_bytes = reader.read_line(&mut line).map_err(unreadable)?;
            if n_bytes == 0 {
                break;
            }
            let line = if *n_taken == 0 { without_byte_order_mark(&line) } else { &line };
            *n_taken += 1;
            group.prompts.push(line.trim_end_matches('\n').trim_end_matches('\r').to_owned());
        }
        Ok(Some(group).filter(|group| !group.prompts.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a line at a time, as a pipe whose other end waits for answers.
    struct Dialogue(Vec<&'static str>);

    impl Read for Dialogue {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let line = self.0.remove(0).as_bytes();
            buffer[..line.len()].copy_from_slice(line);
            Ok(line.len())
        }
    }

    #[test]
    fn a_line_is_not_kept_waiting_for_the_next() {
        let reader = BufReader::with_capacity(
            BUFFER,
            Box::new(Dialogue(vec!["\u{feff}a\nb\n", "c\r\n", "\u{feff}d"])) as Box<dyn Read>,
        );
        let mut prompts = Prompts::Lines { reader, name: "pipe".to_owned(), n_taken: 0 };
        let mut groups = Vec::new();
        while let Some(group) = prompts.next_group().unwrap() {
            groups.push((group.n_before, group.prompts.join(" ")));
        }
        assert_eq!(groups, [(0, "a b".to_owned()), (2, "c".to_owned()), (3, "\u{feff}d".to_owned())]);
    }

    #[test]
    fn a_mark_at_the_beginning_of_a_file_is_no_part_of_the_prompt() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        std::fs::write(&path, "\u{feff}a\nb").unwrap();
        let read = Prompts::open(&path, false).unwrap().next_group().unwrap();
        assert_eq!(read.map(|group| group.prompts), Some(vec!["a\nb".to_owned()]));
    }

    #[test]
    fn groups_have_a_limit() {
        let text = "x\n".repeat(GROUP + 1);
        let reader = BufReader::with_capacity(BUFFER, Box::new(std::io::Cursor::new(text)) as Box<dyn Read>);
        let mut prompts = Prompts::Lines { reader, name: "file".to_owned(), n_taken: 0 };
        let mut sizes = Vec::new();
        while let Some(group) = prompts.next_group().unwrap() {
            sizes.push(group.prompts.len());
        }
        assert_eq!(sizes, [GROUP, 1]);
    }
}
