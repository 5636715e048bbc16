//! The symbols of a line.

use super::element;

/// Longest line that is read.
pub const MAX_LINE_BYTES: usize = 1 << 16;

/// Longest atom in brackets.
const MAX_BRACKET_BYTES: usize = 40;

/// An atom as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Atom {
    /// Its atomic number; 0 for any element (`*`).
    pub number: u8,
    /// Whether it is part of an aromatic ring (a small letter).
    pub is_aromatic: bool,
    /// Its charge.
    pub charge: i8,
    /// Hydrogens written in brackets; `None` outside of brackets, where as many are added as the valence asks for.
    pub n_hydrogens: Option<u8>,
}

/// A bond as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bond {
    /// `-`, `/` or `\`.
    Single,
    /// `=`
    Double,
    /// `#`
    Triple,
    /// `$`
    Quadruple,
    /// `:`
    Aromatic,
}

/// A symbol of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbol {
    /// An atom.
    Atom(Atom),
    /// The bond to what follows.
    Bond(Bond),
    /// `(`: a branch begins.
    Open,
    /// `)`: it ends.
    Close,
    /// The number of a ring bond, opened where it comes first and closed where it comes again.
    Ring(u8),
    /// `.`: a part of its own begins.
    Dot,
}

impl Symbol {
    /// What a text stands for that [`symbols`] has cut out; `None` when it is no symbol.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "-" | "/" | "\\" => Symbol::Bond(Bond::Single),
            "=" => Symbol::Bond(Bond::Double),
            "#" => Symbol::Bond(Bond::Triple),
            "$" => Symbol::Bond(Bond::Quadruple),
            ":" => Symbol::Bond(Bond::Aromatic),
            "(" => Symbol::Open,
            ")" => Symbol::Close,
            "." => Symbol::Dot,
            _ if text.starts_with('[') => Symbol::Atom(bracket(text)?),
            _ if text.starts_with('%') => Symbol::Ring(number(text.get(1..)?)?),
            _ if text.len() == 1 && text.as_bytes()[0].is_ascii_digit() => Symbol::Ring(number(text)?),
            _ => Symbol::Atom(organic(text)?),
        })
    }
}

fn number(text: &str) -> Option<u8> {
    text.parse().ok()
}

/// An atom that needs no brackets.
fn organic(text: &str) -> Option<Atom> {
    let plain = |number, is_aromatic| Atom { number, is_aromatic, charge: 0, n_hydrogens: None };
    Some(match text {
        "B" => plain(5, false),
        "C" => plain(6, false),
        "N" => plain(7, false),
        "O" => plain(8, false),
        "F" => plain(9, false),
        "P" => plain(15, false),
        "S" => plain(16, false),
        "Cl" => plain(17, false),
        "Br" => plain(35, false),
        "I" => plain(53, false),
        "b" => plain(5, true),
        "c" => plain(6, true),
        "n" => plain(7, true),
        "o" => plain(8, true),
        "p" => plain(15, true),
        "s" => plain(16, true),
        "*" => plain(0, false),
        _ => return None,
    })
}

/// An atom in brackets: isotope, element, chirality, hydrogens, charge, class.
fn bracket(text: &str) -> Option<Atom> {
    let text = text.strip_prefix('[')?.strip_suffix(']')?;
    let text = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let (number, is_aromatic, text) = match text.strip_prefix('*') {
        Some(rest) => (0, false, rest),
        None => {
            let (number, is_aromatic, n) = element::at_start(text)?;
            (number, is_aromatic, &text[n..])
        }
    };
    let text = after_chirality(text);
    let (n_hydrogens, text) = hydrogens(text)?;
    let (charge, text) = charge(text)?;
    let is_class = |class: &str| !class.is_empty() && class.bytes().all(|byte| byte.is_ascii_digit());
    let is_end = text.is_empty() || text.strip_prefix(':').is_some_and(is_class);
    is_end.then_some(Atom { number, is_aromatic, charge, n_hydrogens: Some(n_hydrogens) })
}

fn after_chirality(text: &str) -> &str {
    let rest = text.strip_prefix("@@").or_else(|| text.strip_prefix('@'));
    let Some(rest) = rest else { return text };
    let classes = ["TH", "AL", "SP", "TB", "OH"];
    match classes.iter().find_map(|class| rest.strip_prefix(class)) {
        Some(numbered) => numbered.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    }
}

fn hydrogens(text: &str) -> Option<(u8, &str)> {
    let Some(rest) = text.strip_prefix('H') else { return Some((0, text)) };
    let (n, rest) = digits(rest);
    Some((if n.is_empty() { 1 } else { n.parse().ok()? }, rest))
}

fn charge(text: &str) -> Option<(i8, &str)> {
    let Some(sign) = text.chars().next().filter(|sign| ['+', '-'].contains(sign)) else { return Some((0, text)) };
    let rest = text.trim_start_matches(sign);
    let n_signs = text.len() - rest.len();
    let (n, rest) = if n_signs == 1 { digits(rest) } else { ("", rest) };
    let size: i8 = if n.is_empty() { i8::try_from(n_signs).ok()? } else { n.parse().ok()? };
    Some((if sign == '+' { size } else { -size }, rest))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// The symbols of a line, each as a part of it; the last is an error when the rest is none: the byte at which it stands.
pub fn symbols(line: &str) -> impl Iterator<Item = Result<&str, usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = line.get(at..).filter(|rest| !rest.is_empty())?;
        let n = if line.len() > MAX_LINE_BYTES { None } else { first_len(rest) };
        let Some(n) = n else {
            let wrong = at;
            at = line.len();
            return Some(Err(wrong));
        };
        at += n;
        Some(Ok(&rest[..n]))
    })
}

/// Length of the symbol that begins `text`.
fn first_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes[0] {
        b'[' => Some(bytes.iter().take(MAX_BRACKET_BYTES).position(|&byte| byte == b']')? + 1),
        b'C' if bytes.get(1) == Some(&b'l') => Some(2),
        b'B' if bytes.get(1) == Some(&b'r') => Some(2),
        b'%' => bytes.get(1..3)?.iter().all(u8::is_ascii_digit).then_some(3),
        byte => b"BCNOPSFIbcnops*-=#$:/\\().0123456789".contains(&byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_into_symbols() {
        let cut = |line: &'static str| symbols(line).collect::<Vec<_>>();
        let ok = |parts: &[&'static str]| parts.iter().map(|part| Ok(*part)).collect::<Vec<_>>();
        assert_eq!(cut("CCl[nH]1%12=Br"), ok(&["C", "Cl", "[nH]", "1", "%12", "=", "Br"]));
        assert_eq!(cut("C[N+"), [Ok("C"), Err(1)]);
        assert_eq!(cut("C%1"), [Ok("C"), Err(1)]);
        assert_eq!(cut("Cé"), [Ok("C"), Err(1)]);
        assert_eq!(cut(""), []);
    }

    #[test]
    fn atoms_in_brackets_are_read() {
        let atom = |text| match Symbol::parse(text) {
            Some(Symbol::Atom(atom)) => Some((atom.number, atom.is_aromatic, atom.charge, atom.n_hydrogens)),
            _ => None,
        };
        assert_eq!(atom("[nH]"), Some((7, true, 0, Some(1))));
        assert_eq!(atom("[13C@@H2+2:7]"), Some((6, false, 2, Some(2))));
        assert_eq!(atom("[O--]"), Some((8, false, -2, Some(0))));
        assert_eq!(atom("[Cl-]"), Some((17, false, -1, Some(0))));
        assert_eq!(atom("[se]"), Some((34, true, 0, Some(0))));
        assert_eq!(atom("[C@TH1H]"), Some((6, false, 0, Some(1))));
        for bad in ["[]", "[Xx]", "[C", "[CH", "[C+999]", "[C:]", "[C:x]", "[H99999]", "Q"] {
            assert_eq!(atom(bad), None, "{bad}");
        }
    }
}
