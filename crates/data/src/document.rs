//! One item of data as its author made it, before it becomes tokens.

use crate::source::Format;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::sync::Arc;

/// Where a document was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file (or the name of the rule that made it).
    pub file: Arc<str>,
    /// Number of the document in that file, from 0.
    pub index: u64,
    /// The line on which it begins, from 1, where that is told beside its number.
    pub line: Option<u64>,
}

impl Origin {
    /// The document `index` of `file`.
    pub fn new(file: impl Into<Arc<str>>, index: u64) -> Self {
        Self { file: file.into(), index, line: None }
    }

    /// The file and the number of the document, as in "a.jsonl, line 6".
    pub fn place(&self) -> String {
        format!("{}, {}", self.file, self.number())
    }

    /// The number of the document as people count, from 1: in a file of lines that of the line, in an array that of the element.
    pub fn number(&self) -> String {
        let number = self.index + 1;
        match (Format::of(Path::new(&*self.file)), self.line) {
            (_, Some(line)) => element(number, line),
            (Some(Format::JsonLines), None) => format!("line {number}"),
            _ => format!("number {number}"),
        }
    }
}

/// Where an element of an array stands, both counted from 1.
pub(crate) fn element(number: u64, line: u64) -> String {
    format!("element {number} (line {line})")
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} (document {})", self.file, self.index)
    }
}

/// What a document holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// Several lines of a file that are one thing, such as the block of a structure file.
    Block {
        /// The lines.
        text: String,
        /// The number of the first of them in the file, from 1.
        line: u64,
    },
    /// A row of a table: its values in the order of the columns that were asked for; an absent one is empty.
    Row(Vec<String>),
    /// A picture, a tune: the bytes of a file of this kind.
    Bytes {
        /// Such as `image/png`.
        media_type: Arc<str>,
        /// The file's bytes.
        data: Vec<u8>,
    },
}

/// Which part of a document this is: a text too big to hold comes in pieces that continue one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Piece {
    /// The whole document.
    #[default]
    Whole,
    /// Its beginning; more follows.
    First,
    /// Continues the piece before it, and more follows.
    Middle,
    /// Continues the piece before it and ends the document.
    Last,
}

impl Piece {
    /// The part that begins and ends where told.
    pub fn new(begins: bool, ends: bool) -> Self {
        match (begins, ends) {
            (true, true) => Self::Whole,
            (true, false) => Self::First,
            (false, false) => Self::Middle,
            (false, true) => Self::Last,
        }
    }

    /// Whether the document begins here.
    pub fn begins(self) -> bool {
        matches!(self, Self::Whole | Self::First)
    }

    /// Whether the document ends here.
    pub fn ends(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
}

/// One item of data: its content, for pairs the answer that belongs to it, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it was read.
    pub origin: Origin,
    /// The whole document or a part of it.
    pub piece: Piece,
    /// The text or bytes.
    pub content: Content,
    /// What is to be produced from the content: the translation of a sentence, the sorted form of a list.
    pub target: Option<String>,
    /// Further columns that the source was asked to keep, by name.
    pub fields: Vec<(String, String)>,
    /// Whether it is the document before it written in another way. It is learned where that one is, and otherwise left out: a
    /// model that knows a document in one spelling cannot be measured by another.
    pub is_variant: bool,
}

impl Document {
    /// A whole text.
    pub fn text(origin: Origin, text: impl Into<String>) -> Self {
        let content = Content::Text(text.into());
        Self { origin, piece: Piece::Whole, content, target: None, fields: Vec::new(), is_variant: false }
    }

    /// Lines of a file from number `line` on, counted from 1.
    pub fn block(origin: Origin, text: impl Into<String>, line: u64) -> Self {
        Self { content: Content::Block { text: text.into(), line }, ..Self::text(origin, "") }
    }

    /// A row of a table.
    pub fn row(origin: Origin, values: Vec<String>) -> Self {
        Self { content: Content::Row(values), ..Self::text(origin, "") }
    }

    /// A text and what is to be produced from it.
    pub fn pair(origin: Origin, source: impl Into<String>, target: impl Into<String>) -> Self {
        Self { target: Some(target.into()), ..Self::text(origin, source) }
    }

    /// The text, when it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) | Content::Block { text, .. } => Some(text),
            Content::Row(_) | Content::Bytes { .. } => None,
        }
    }

    /// The values of a row, when it is one.
    pub fn as_row(&self) -> Option<&[String]> {
        match &self.content {
            Content::Row(values) => Some(values),
            Content::Text(_) | Content::Block { .. } | Content::Bytes { .. } => None,
        }
    }

    /// Number of bytes of content and target.
    pub fn n_bytes(&self) -> usize {
        let content = match &self.content {
            Content::Text(text) | Content::Block { text, .. } => text.len(),
            Content::Row(values) => values.iter().map(String::len).sum(),
            Content::Bytes { data, .. } => data.len(),
        };
        content + self.target.as_ref().map_or(0, String::len)
    }

    /// The value of a kept column.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}
