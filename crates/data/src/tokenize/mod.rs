//! Text to token ids and back: one file for each kind of tokenizer, and the [`Tokenizer`] trait that they serve.
//!
//! Every tokenizer is kept as a Hugging Face `tokenizer.json`, which other programs load. The kinds that are made
//! here ([`Characters`], [`Bytes`], [`Bpe`]) are recognised when loaded and run on code of their own; any other file
//! runs on the `tokenizers` crate ([`Foreign`]).

mod bounded;
mod bpe;
mod bytes;
mod characters;
mod charsmap;
mod file;
mod foreign;
mod frame;
mod json;
mod older;
mod sentence_piece;
mod special;
mod stream;
mod table;
mod templated;
mod train;
mod words;

pub use bpe::Bpe;
pub use bytes::Bytes;
pub use characters::Characters;
pub use foreign::Foreign;
pub use json::{Reads, export_tokenizer, has_tokenizer, load_tokenizer, tokenizer_from_json};
pub(crate) use json::{name_of, read_if_there, role_of};
pub(crate) use special::SpecialNames;
pub use special::SpecialTokens;
pub use stream::TextStream;
pub use templated::Templated;
pub use train::train_bpe;

use crate::{ChatTemplate, Result};
use genera_tokens::{TokenId, Vocab};
use sha2::{Digest, Sha256};
use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Text to token ids and back.
pub trait Tokenizer: Any + Send + Sync {
    /// The kind: "characters", "bytes", "bpe" or "foreign".
    fn name(&self) -> &'static str;

    /// The ids it gives, and the special ones.
    fn vocab(&self) -> &Vocab;

    /// The ids of `text`. Text never becomes a special token, whatever it says.
    ///
    /// # Errors
    /// When a character is not in the vocabulary and there is no unknown token.
    fn encode(&self, text: &str) -> Result<Vec<TokenId>>;

    /// The ids of a text in which the name of a special token stands for the token itself: what a chat template writes.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn encode_with_special(&self, text: &str) -> Result<Vec<TokenId>> {
        special::encode(self, text)
    }

    /// The ids of `text` as an encoder reads it, and as a decoder answers: between the special tokens that the file of the
    /// tokenizer puts around a text, where they close it, else with the end token behind it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn encode_framed(&self, text: &str) -> Result<Vec<TokenId>> {
        let mut ids = self.encode(text)?;
        ids.extend(self.vocab().special.end);
        Ok(ids)
    }

    /// The ids of a whole text of which a decoder makes a vector: behind the begin token, and before what its files put behind
    /// every text.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn encode_whole(&self, text: &str) -> Result<Vec<TokenId>> {
        let begin = self.vocab().special.begin;
        Ok(begin.into_iter().chain(self.encode(text)?).chain(self.closing()).collect())
    }

    /// The special tokens that its files put behind every text; none where they say nothing of that.
    fn closing(&self) -> Vec<TokenId> {
        Vec::new()
    }

    /// The text of `ids`; special tokens and ids out of range give nothing, bytes that are not UTF-8 give U+FFFD.
    fn decode(&self, ids: &[TokenId]) -> String;

    /// Decodes ids as they come; the parts together are what [`decode`](Self::decode) gives for all of them.
    fn stream(&self) -> Box<dyn TextStream + '_>;

    /// What to show for one token, special ones by name.
    fn token_text(&self, id: TokenId) -> String;

    /// The bytes of text that a token stands for inside a text, perhaps a part of a character; special ones stand for none.
    fn token_content(&self, id: TokenId) -> Vec<u8>;

    /// Number of bytes of text that each id stands for; special ones stand for none.
    fn token_bytes(&self) -> Arc<[u32]>;

    /// The contents of its `tokenizer.json`.
    fn to_json(&self) -> &str;

    /// Its special tokens by role.
    fn special_tokens(&self) -> &SpecialTokens;

    /// Every special token, those without a role too, with its id.
    fn special_names(&self) -> Vec<(TokenId, String)>;

    /// How its model reads conversations, where that is known.
    fn chat_template(&self) -> Option<&ChatTemplate> {
        None
    }

    /// Differs between tokenizers that differ in anything.
    fn fingerprint(&self) -> u64 {
        let digest = Sha256::digest(self.to_json());
        u64::from_le_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes"))
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`, the layout that Hugging Face transformers loads.
    ///
    /// # Errors
    /// When a file cannot be written.
    fn save(&self, directory: &Path) -> Result<()> {
        crate::write::atomically(&directory.join("tokenizer.json"), self.to_json().as_bytes())?;
        let special = self.special_tokens();
        let config = json::tokenizer_config(special, None, special.begin.is_some(), false);
        crate::write::atomically(&directory.join("tokenizer_config.json"), config.as_bytes())
    }
}

/// Which tokenizer to make or load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenizerSpec {
    /// Every character of the data is a token.
    Characters,
    /// Every byte is a token.
    Bytes,
    /// Byte-pair encoding, trained on the data.
    Bpe {
        /// Number of tokens at most, special ones included.
        vocab_size: usize,
    },
    /// A `tokenizer.json`, or a directory with one.
    File(PathBuf),
}

#[cfg(test)]
mod tests;
