//! Texts for people, in lines that are broken between words at the width of the terminal.

use std::io::IsTerminal;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns where the terminal does not say.
const WIDTH: usize = 80;

/// A text whose lines are broken between words, so that the terminal breaks none within; what follows a break is indented as
/// `indent` says.
pub fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| wrapped_line(line, width, indent)).collect();
    lines.join("\n")
}

fn wrapped_line(line: &str, width: usize, indent: usize) -> String {
    let (mut out, mut n_columns) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let n = word.trim_end().width();
        if n_columns > indent && n_columns + n > width {
            out.truncate(out.trim_end().len());
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            n_columns = indent;
        }
        out.push_str(word);
        n_columns += word.width();
    }
    out
}

/// A text as [`wrapped`] where it is printed on a terminal; files and programs get it as it is.
pub fn fitted(text: &str, indent: usize) -> String {
    if std::io::stdout().is_terminal() { wrapped(text, width(), indent) } else { text.to_owned() }
}

/// The lines of a text, none of them wider: a word that does not fit into one is broken.
pub fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in wrapped(text, width, 0).lines() {
        let mut n_columns = 0;
        lines.push(String::new());
        for letter in line.chars() {
            let n = letter.width().unwrap_or(0);
            if n_columns > 0 && n_columns + n > width {
                lines.push(String::new());
                n_columns = 0;
            }
            n_columns += n;
            lines.last_mut().expect("there is always a line").push(letter);
        }
    }
    lines
}

/// Columns of the terminal.
pub fn width() -> usize {
    let size = ratatui::crossterm::terminal::size();
    size.ok().map(|(columns, _)| usize::from(columns)).filter(|&columns| columns > 0).unwrap_or(WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 8, 2), "one two\n  three");
        assert_eq!(wrapped("  /a    b c\nd", 9, 8), "  /a    b\n        c\nd");
        assert_eq!(wrapped("unbreakable", 4, 2), "unbreakable");
        assert_eq!(wrapped("äöü äöü", 7, 0), "äöü äöü");
        assert_eq!(wrapped("猫が 好き", 8, 0), "猫が\n好き");
    }

    #[test]
    fn nothing_is_beyond_the_edge() {
        let note = "with train.steps = 8 the run sees 8 of the 40 rows";
        assert_eq!(lines(note, 20), ["with train.steps = 8", "the run sees 8 of", "the 40 rows"]);
        assert_eq!(lines("a unbreakable b\nc", 4), ["a", "unbr", "eaka", "ble", "b", "c"]);
        assert_eq!(lines("好好好", 5), ["好好", "好"]);
        assert_eq!(lines("a\n\nb", 5), ["a", "", "b"]);
    }
}
