//! An answer that appears as it is made, in lines that are broken between words.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use unicode_width::UnicodeWidthChar;

/// Takes a word that would cross the edge of the terminal into the next line: what is there of it already is wiped out.
///
/// Between letters of two columns, as those of Chinese, a line may end anywhere. What follows a letter that takes no column
/// or, as a tab, nobody knows how many is left to the terminal until its line ends: a wrong count would wipe out other words.
pub struct Flow<W> {
    out: W,
    width: usize,
    /// Columns that are taken in this line; not known after a letter of no certain width.
    n_columns: Option<usize>,
    /// What is there of the word that is being written, which has letters of one column only.
    word: String,
    /// The beginning of a letter whose other bytes have not come yet.
    rest: Vec<u8>,
}

impl<W: Write> Flow<W> {
    /// Writes for a terminal of so many columns.
    pub fn new(out: W, width: usize) -> Self {
        Self { out, width, n_columns: Some(0), word: String::new(), rest: Vec::new() }
    }

    fn letter(&mut self, letter: char, line: &mut String) {
        if letter == '\n' {
            (self.n_columns, self.word) = (Some(0), String::new());
        } else if let Some(n_columns) = self.n_columns {
            self.n_columns = match n_columns_of(letter) {
                Some(1) if letter == ' ' => {
                    self.word.clear();
                    // The edge is a break already.
                    if n_columns >= self.width {
                        line.push('\n');
                        self.n_columns = Some(0);
                        return;
                    }
                    Some(n_columns + 1)
                }
                Some(1) => Some(self.narrow(letter, n_columns, line)),
                Some(n) => {
                    self.word.clear();
                    // What does not fit goes below by itself.
                    Some(if n_columns + n > self.width { n } else { n_columns + n })
                }
                None => None,
            };
        }
        line.push(letter);
    }

    /// Makes room for a letter of a word; gives the columns that are taken then.
    fn narrow(&mut self, letter: char, mut n_columns: usize, line: &mut String) -> usize {
        let n = self.word.chars().count();
        if n_columns >= self.width && n < n_columns {
            if n > 0 {
                // By its number: beyond the last column, terminals differ in where they stand.
                *line += &format!("\x1b[{}G\x1b[K", n_columns - n + 1);
            }
            *line += &format!("\n{}", self.word);
            n_columns = n;
        } else if n_columns >= self.width {
            // A word longer than a line is broken where the line ends.
            self.word.clear();
            n_columns = 0;
        }
        self.word.push(letter);
        n_columns + 1
    }
}

/// Columns of a letter on a terminal; none of one that takes none, that moves the cursor, or that changes the letter before.
fn n_columns_of(letter: char) -> Option<usize> {
    const SKIN_TONES: RangeInclusive<char> = '\u{1f3fb}'..='\u{1f3ff}';
    letter.width().filter(|&n| n > 0 && !SKIN_TONES.contains(&letter))
}

impl<W: Write> Write for Flow<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let n_whole = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.rest.len(),
        };
        let whole: Vec<u8> = self.rest.drain(..n_whole).collect();
        let mut line = String::new();
        String::from_utf8_lossy(&whole).chars().for_each(|letter| self.letter(letter, &mut line));
        self.out.write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal of so many columns shows of a text that comes in pieces.
    fn shown(text: &str, width: usize, piece: usize) -> Vec<String> {
        let mut written = Vec::new();
        let mut flow = Flow::new(&mut written, width);
        text.as_bytes().chunks(piece).for_each(|bytes| flow.write_all(bytes).unwrap());
        let written = String::from_utf8(written).unwrap();
        // Each line by its cells; a letter of two columns fills a second one with nothing.
        let mut lines: Vec<Vec<String>> = vec![Vec::new()];
        let mut letters = written.chars();
        while let Some(letter) = letters.next() {
            let last = lines.last_mut().unwrap();
            match (letter, letter.width()) {
                ('\n', _) => lines.push(Vec::new()),
                ('\x1b', _) => {
                    let code: String = letters.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
                    let column = code.trim_start_matches('[').parse().map_or(last.len(), |column: usize| column - 1);
                    assert!(last.get(column).is_none_or(|cell| !cell.is_empty()), "half a letter is wiped out");
                    last.truncate(column);
                }
                ('\t', _) => last.resize((last.len() / 8 + 1) * 8, " ".to_owned()),
                (_, Some(0) | None) => {
                    let n_wide = if last.last().is_some_and(String::is_empty) { 2 } else { 1 };
                    let at = last.len() - n_wide;
                    last[at].push(letter);
                }
                (_, Some(n)) => {
                    // What comes beyond the edge appears below.
                    if last.len() + n > width {
                        lines.push(Vec::new());
                    }
                    let last = lines.last_mut().unwrap();
                    last.push(letter.to_string());
                    last.resize(last.len() + n - 1, String::new());
                }
            }
        }
        lines.iter().map(|cells| cells.concat()).collect()
    }

    #[test]
    fn words_are_not_broken_at_the_edge() {
        for piece in [1, 2, 3, 100] {
            assert_eq!(shown("one two three four", 9, piece), ["one two ", "three ", "four"], "{piece}");
            assert_eq!(shown("one two\nthree", 9, piece), ["one two", "three"]);
            assert_eq!(shown("12345 6789", 5, piece), ["12345", "6789"]);
            assert_eq!(shown("über größere", 9, piece), ["über ", "größere"]);
            assert_eq!(shown("unbreakable", 4, piece), ["unbr", "eaka", "ble"]);
        }
    }

    #[test]
    fn wide_letters_take_two_columns() {
        for piece in [1, 2, 3, 100] {
            assert_eq!(shown("- 日本語日本語", 8, piece), ["- 日本語", "日本語"], "{piece}");
            assert_eq!(shown("-日本語日本", 8, piece), ["-日本語", "日本"]);
            assert_eq!(shown("日本語 日本語", 6, piece), ["日本語", "日本語"]);
            assert_eq!(shown("日本語word 日", 8, piece), ["日本語", "word 日"]);
            assert_eq!(shown("so 🙂 four two", 9, piece), ["so 🙂 ", "four two"]);
            assert_eq!(shown("a 🙂🙂🙂 b", 5, piece), ["a 🙂", "🙂🙂 ", "b"]);
        }
    }

    #[test]
    fn what_cannot_be_counted_is_left_to_the_terminal() {
        for piece in [1, 2, 3, 100] {
            let (tab, mark, joined) = ("a\tbcd efg\none two", "e\u{301}tes abc defg", "👩\u{200d}💻 abcdefgh");
            assert_eq!(shown(tab, 9, piece), ["a       b", "cd efg", "one two"]);
            assert_eq!(shown(mark, 9, piece), ["e\u{301}tes abc ", "defg"]);
            assert_eq!(shown(joined, 9, piece), ["👩\u{200d}💻 abcd", "efgh"]);
            assert_eq!(shown("abcdefg e\u{301}tes", 9, piece), ["abcdefg e\u{301}", "tes"]);
            assert_eq!(shown("👍🏽 one two", 8, piece), ["👍🏽 one", " two"]);
        }
    }
}
