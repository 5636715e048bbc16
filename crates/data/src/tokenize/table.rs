//! The bytes that each token stands for, for tokenizers whose tokens are strings of bytes.

use super::stream::Utf8Stream;
use super::{SpecialTokens, TextStream};
use genera_tokens::{TokenId, Vocab};
use std::sync::Arc;

/// The bytes of every token, the special ones (which have none) by name, and the vocabulary that they make.
#[derive(Clone, Debug)]
pub(crate) struct TokenTable {
    bytes: Vec<u8>,
    /// Where the bytes of each token end.
    ends: Vec<usize>,
    pub(crate) names: Vec<(TokenId, String)>,
    pub(crate) vocab: Vocab,
    pub(crate) special: SpecialTokens,
    pub(crate) json: String,
}

/// One row of a [`TokenTable`].
pub(crate) enum Token {
    /// Stands for these bytes.
    Plain(Vec<u8>),
    /// Stands for nothing.
    Special(String),
}

impl TokenTable {
    pub(crate) fn new(tokens: Vec<Token>, special: SpecialTokens, json: String) -> Self {
        let (mut bytes, mut ends, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (id, token) in (0..).zip(tokens) {
            match token {
                Token::Plain(plain) => bytes.extend_from_slice(&plain),
                Token::Special(name) => names.push((id, name)),
            }
            ends.push(bytes.len());
        }
        let ids = special.ids(|name| names.iter().find(|(_, known)| known == name).map(|(id, _)| *id));
        let vocab = Vocab::single("text", ends.len(), ids);
        Self { bytes, ends, names, vocab, special, json }
    }

    /// The bytes that `id` stands for; none for special ids and ids out of range.
    pub(crate) fn bytes(&self, id: TokenId) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start..end]
    }

    pub(crate) fn decode(&self, ids: &[TokenId]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).copied().collect();
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    pub(crate) fn stream(&self) -> Box<dyn TextStream + '_> {
        Box::new(TableStream { table: self, text: Utf8Stream::default() })
    }

    pub(crate) fn text(&self, id: TokenId) -> String {
        match self.names.iter().find(|(named, _)| *named == id) {
            Some((_, name)) => name.clone(),
            None => String::from_utf8_lossy(self.bytes(id)).into_owned(),
        }
    }

    pub(crate) fn lens(&self) -> Arc<[u32]> {
        (0..).zip(&self.ends).map(|(id, _)| self.bytes(id).len() as u32).collect()
    }
}

struct TableStream<'a> {
    table: &'a TokenTable,
    text: Utf8Stream,
}

impl TextStream for TableStream<'_> {
    fn push(&mut self, id: TokenId) -> String {
        self.text.push(self.table.bytes(id))
    }

    fn finish(&mut self) -> String {
        self.text.finish()
    }
}

/// Implements the methods of [`Tokenizer`](super::Tokenizer) that need nothing but the `table` field.
macro_rules! tokenizer_by_table {
    ($name:literal) => {
        fn name(&self) -> &'static str {
            $name
        }

        fn vocab(&self) -> &genera_tokens::Vocab {
            &self.table.vocab
        }

        fn decode(&self, ids: &[TokenId]) -> String {
            self.table.decode(ids)
        }

        fn stream(&self) -> Box<dyn TextStream + '_> {
            self.table.stream()
        }

        fn token_text(&self, id: TokenId) -> String {
            self.table.text(id)
        }

        fn token_content(&self, id: TokenId) -> Vec<u8> {
            self.table.bytes(id).to_vec()
        }

        fn token_bytes(&self) -> std::sync::Arc<[u32]> {
            self.table.lens()
        }

        fn to_json(&self) -> &str {
            &self.table.json
        }

        fn special_tokens(&self) -> &SpecialTokens {
            &self.table.special
        }

        fn special_names(&self) -> Vec<(TokenId, String)> {
            self.table.names.clone()
        }
    };
}
pub(crate) use tokenizer_by_table;
