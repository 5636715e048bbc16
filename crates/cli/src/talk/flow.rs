//! An answer that appears as it is made, in lines that are broken between words.

use std::io::{self, Write};

/// Takes a word that would cross the edge of the terminal into the next line: what is there of it already is wiped out.
pub struct Flow<W> {
    out: W,
    width: usize,
    n_columns: usize,
    /// What is there of the word that is being written.
    word: String,
    /// The beginning of a letter whose other bytes have not come yet.
    rest: Vec<u8>,
}

impl<W: Write> Flow<W> {
    /// Writes for a terminal of so many columns.
    pub fn new(out: W, width: usize) -> Self {
        Self { out, width, n_columns: 0, word: String::new(), rest: Vec::new() }
    }

    fn letter(&mut self, letter: char, line: &mut String) {
        match letter {
            '\n' => (self.n_columns, self.word) = (0, String::new()),
            ' ' => {
                self.word.clear();
                // The edge is a break already.
                if self.n_columns >= self.width {
                    line.push('\n');
                    self.n_columns = 0;
                    return;
                }
                self.n_columns += 1;
            }
            _ => {
                let n = self.word.chars().count();
                if self.n_columns >= self.width && n < self.n_columns {
                    if n > 0 {
                        *line += &format!("\x1b[{n}D\x1b[K");
                    }
                    *line += &format!("\n{}", self.word);
                    self.n_columns = n;
                } else if self.n_columns >= self.width {
                    // A word longer than a line is broken where the line ends.
                    self.word.clear();
                    self.n_columns = 0;
                }
                self.word.push(letter);
                self.n_columns += 1;
            }
        }
        line.push(letter);
    }
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
        let (mut lines, mut letters) = (vec![String::new()], written.chars().peekable());
        while let Some(letter) = letters.next() {
            let last = lines.last_mut().unwrap();
            match letter {
                '\n' => lines.push(String::new()),
                '\x1b' => {
                    let code: String = letters.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
                    let n: usize = code.trim_start_matches('[').parse().unwrap_or(0);
                    last.truncate(last.char_indices().rev().nth(n.wrapping_sub(1)).map_or(last.len(), |(at, _)| at));
                }
                // What comes beyond the edge appears below.
                _ if last.chars().count() == width => lines.push(letter.to_string()),
                _ => last.push(letter),
            }
        }
        lines
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
}
