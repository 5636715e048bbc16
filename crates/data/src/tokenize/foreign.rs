//! Any other `tokenizer.json`, run by the `tokenizers` crate.

use super::file::File;
use super::json::from_byte_level;
use super::{SpecialTokens, TextStream, Tokenizer};
use crate::{Error, Result};
use genera_tokens::{TokenId, Vocab};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

/// A tokenizer made elsewhere.
pub struct Foreign {
    inner: tokenizers::Tokenizer,
    vocab: Vocab,
    special: SpecialTokens,
    special_ids: HashSet<TokenId>,
    is_byte_level: bool,
    json: String,
    /// The same tokenizer, but for texts in which names of special tokens stand for them.
    for_templates: OnceLock<tokenizers::Tokenizer>,
}

impl Foreign {
    /// From the contents of its file.
    ///
    /// # Errors
    /// When it is not a tokenizer, or one that the `tokenizers` crate does not understand.
    pub fn new(json: &str, special: SpecialTokens) -> Result<Self> {
        Self::of_file(File::read(json).map_err(wrong)?, json, special)
    }

    /// The same, where the file has been read.
    pub(super) fn of_file(file: File, json: &str, special: SpecialTokens) -> Result<Self> {
        let (mut inner, largest_id) = file.into_tokenizer().map_err(wrong)?;
        inner.set_encode_special_tokens(true);
        let added = inner.get_added_tokens_decoder();
        let special_ids = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        let n_ids = largest_id.map_or(0, |last| last as usize + 1);
        let vocab = Vocab::single("text", n_ids, special.ids(|name| inner.token_to_id(name)));
        let is_byte_level = json.contains("\"ByteLevel\"");
        Ok(Self {
            inner,
            vocab,
            special,
            special_ids,
            is_byte_level,
            json: json.to_owned(),
            for_templates: OnceLock::new(),
        })
    }
}

/// That a file is not what it should be.
pub(super) fn wrong(error: tokenizers::Error) -> Error {
    Error::tokenizer(format!("is not a tokenizer.json: {error}"))
}

impl Tokenizer for Foreign {
    fn name(&self) -> &'static str {
        "foreign"
    }

    fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        let encoding = self.inner.encode_fast(text, false);
        Ok(encoding.map_err(|error| Error::tokenizer(error.to_string()))?.get_ids().to_vec())
    }

    fn encode_with_special(&self, text: &str) -> Result<Vec<TokenId>> {
        let tokenizer = self.for_templates.get_or_init(|| {
            let mut tokenizer = self.inner.clone();
            tokenizer.set_encode_special_tokens(false);
            tokenizer
        });
        let encoding = tokenizer.encode_fast(text, false);
        Ok(encoding.map_err(|error| Error::tokenizer(error.to_string()))?.get_ids().to_vec())
    }

    fn decode(&self, ids: &[TokenId]) -> String {
        self.inner.decode(ids, true).unwrap_or_default()
    }

    fn stream(&self) -> Box<dyn TextStream + '_> {
        Box::new(ForeignStream { tokenizer: self, ids: Vec::new(), n_shown: 0, n_settled: 0 })
    }

    fn token_text(&self, id: TokenId) -> String {
        let token = self.inner.id_to_token(id).unwrap_or_default();
        match from_byte_level(&token).filter(|_| self.is_byte_level && !self.special_ids.contains(&id)) {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => token.replace('\u{2581}', " "),
        }
    }

    /// By the conventions of byte-level, SentencePiece and WordPiece vocabularies.
    fn token_content(&self, id: TokenId) -> Vec<u8> {
        let Some(token) = self.inner.id_to_token(id).filter(|_| !self.special_ids.contains(&id)) else {
            return Vec::new();
        };
        if self.is_byte_level {
            return from_byte_level(&token).unwrap_or_else(|| token.into_bytes());
        }
        let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).filter(|digits| digits.len() == 2);
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => vec![byte],
            None => token.replace('\u{2581}', " ").trim_start_matches("##").as_bytes().to_vec(),
        }
    }

    fn token_bytes(&self) -> Arc<[u32]> {
        (0..self.vocab.size as TokenId).map(|id| self.token_content(id).len() as u32).collect()
    }

    fn to_json(&self) -> &str {
        &self.json
    }

    fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    fn special_names(&self) -> Vec<(TokenId, String)> {
        let mut names: Vec<(TokenId, String)> =
            self.special_ids.iter().filter_map(|&id| Some((id, self.inner.id_to_token(id)?))).collect();
        names.sort_unstable();
        names
    }
}

/// Shows what the newest tokens add to the text of those before. How a token reads can depend on the one before it
/// (SentencePiece drops the space of the first word), so the last shown ones are decoded again with each new one.
struct ForeignStream<'a> {
    tokenizer: &'a Foreign,
    ids: Vec<TokenId>,
    /// The ids before this one have been shown.
    n_shown: usize,
    /// The ids before this one are no longer needed as context.
    n_settled: usize,
}

impl ForeignStream<'_> {
    /// What the ids that have not been shown add.
    fn addition(&self) -> String {
        let shown = self.tokenizer.decode(&self.ids[self.n_settled..self.n_shown]);
        let all = self.tokenizer.decode(&self.ids[self.n_settled..]);
        all.strip_prefix(&shown).unwrap_or_default().to_owned()
    }

    fn show(&mut self) {
        (self.n_settled, self.n_shown) = (self.n_shown, self.ids.len());
    }
}

impl TextStream for ForeignStream<'_> {
    fn push(&mut self, id: TokenId) -> String {
        self.ids.push(id);
        let text = self.addition();
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return String::new();
        }
        self.show();
        text
    }

    fn finish(&mut self) -> String {
        let text = self.addition();
        self.show();
        text
    }
}
