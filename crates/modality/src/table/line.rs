//! A row as a line of csv.

/// The cells of a line; quotes that are not closed end with it.
pub(super) fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.trim_end_matches(['\n', '\r']).chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => cell.extend(characters.next()),
            '"' if is_quoted || cell.is_empty() => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            other => cell.push(other),
        }
    }
    cells.push(cell);
    cells
}

/// A line of cells, quoted where that is needed.
pub fn of(cells: &[String]) -> String {
    let quoted = |cell: &String| {
        let needs_quotes = cell.contains([',', '"', '\n', '\r']);
        if needs_quotes { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() }
    };
    // A line of one empty cell would be no line.
    if cells == [""] { "\"\"".to_owned() } else { cells.iter().map(quoted).collect::<Vec<_>>().join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_cells_agree() {
        for row in [&["a", "b, c", "say \"x\"", ""][..], &[""], &["two\nlines", " >50K"]] {
            let row: Vec<String> = row.iter().map(|cell| (*cell).to_owned()).collect();
            assert_eq!(cells(&of(&row)), row);
        }
        assert_eq!(cells("\"open, to the end"), ["open, to the end"]);
    }
}
