//! White space as Python sees it, which decides where sacrebleu ends a word.

/// What `str.isspace` says of one character: Unicode's White_Space, and the four ASCII separators besides.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The words of `str.split()`.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}
