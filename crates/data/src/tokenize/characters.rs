//! Every character is a token.

use super::table::{Token, TokenTable, tokenizer_by_table};
use super::{SpecialTokens, TextStream, Tokenizer, json};
use crate::{Error, Result};
use genera_tokens::TokenId;
use std::collections::BTreeSet;

/// Marks a character without a token.
const ABSENT: TokenId = TokenId::MAX;

/// Every character is a token: the special tokens first, then the characters in the order of Unicode.
#[derive(Clone, Debug)]
pub struct Characters {
    table: TokenTable,
    /// The id of each code point up to the last one that has a token.
    ids: Vec<TokenId>,
}

impl Characters {
    /// A token for each special name and each character.
    ///
    /// # Errors
    /// When there is neither, or a special name is a single character.
    pub fn new(characters: &BTreeSet<char>, special: &SpecialTokens) -> Result<Self> {
        let names = special.names();
        if names.len() + characters.len() == 0 {
            return Err(Error::tokenizer("there is no character to make a token of; the data is empty"));
        }
        if let Some(name) = names.iter().find(|name| name.chars().count() < 2) {
            return Err(Error::tokenizer(format!("the special token {name:?} must have two characters or more")));
        }
        let json = json::characters(&names, characters, special.unknown.as_deref());
        let special_tokens = names.into_iter().map(|name| Token::Special(name.to_owned()));
        let plain = characters.iter().map(|character| Token::Plain(character.to_string().into_bytes()));
        Ok(Self::from_tokens(special_tokens.chain(plain).collect(), special.clone(), json))
    }

    /// From the rows of a `tokenizer.json` that [`json`] has recognised.
    pub(crate) fn from_tokens(tokens: Vec<Token>, special: SpecialTokens, json: String) -> Self {
        let mut ids = Vec::new();
        for (id, token) in (0..).zip(&tokens) {
            let Token::Plain(bytes) = token else { continue };
            let character = std::str::from_utf8(bytes).ok().and_then(|text| text.chars().next());
            let code = character.expect("a plain token is one character") as usize;
            ids.resize(ids.len().max(code + 1), ABSENT);
            ids[code] = id;
        }
        Self { table: TokenTable::new(tokens, special, json), ids }
    }
}

impl Tokenizer for Characters {
    tokenizer_by_table!("characters");

    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        let mut ids = Vec::with_capacity(text.len());
        for (offset, character) in text.char_indices() {
            let id = self.ids.get(character as usize).copied().filter(|&id| id != ABSENT);
            let unknown = || self.table.vocab.special.unknown.ok_or(Error::UnknownCharacter { character, offset });
            ids.push(id.map_or_else(unknown, Ok)?);
        }
        Ok(ids)
    }
}
