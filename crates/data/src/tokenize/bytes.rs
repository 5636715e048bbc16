//! Every byte is a token.

use super::table::{Token, TokenTable, tokenizer_by_table};
use super::{SpecialTokens, TextStream, Tokenizer, json};
use crate::Result;
use genera_tokens::TokenId;

/// Every byte is a token with its value as id; the special tokens come after.
#[derive(Clone, Debug)]
pub struct Bytes {
    table: TokenTable,
}

impl Bytes {
    /// The 256 bytes and the special names. There is no unknown token, since nothing is unknown.
    pub fn new(special: &SpecialTokens) -> Self {
        let special = special.without_unknown();
        let json = json::bytes(&special.names());
        let names = special.names().into_iter().map(|name| Token::Special(name.to_owned()));
        let tokens = (0..=u8::MAX).map(|byte| Token::Plain(vec![byte])).chain(names).collect();
        Self { table: TokenTable::new(tokens, special, json) }
    }

    /// From the rows of a `tokenizer.json` that [`json`] has recognised.
    pub(crate) fn from_tokens(tokens: Vec<Token>, special: SpecialTokens, json: String) -> Self {
        Self { table: TokenTable::new(tokens, special, json) }
    }
}

impl Tokenizer for Bytes {
    tokenizer_by_table!("bytes");

    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        Ok(text.bytes().map(TokenId::from).collect())
    }
}
