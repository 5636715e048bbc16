//! From a document to its tokens.

use crate::{Document, Error, Result, Tokenizer};
use genera_tokens::{Role, TokenSeq};
use std::sync::Arc;

/// Turns documents of one kind into tokens.
pub trait Encode: Sync {
    /// The tokens of a document, or of a piece of one.
    ///
    /// # Errors
    /// When the document cannot be expressed.
    fn encode(&self, document: &Document) -> Result<TokenSeq>;

    /// Number of bytes of data that the target tokens of a document stand for.
    fn n_target_bytes(&self, document: &Document) -> u64 {
        document.target.as_ref().map_or_else(|| document.n_bytes(), String::len) as u64
    }
}

/// Text by a tokenizer.
///
/// A text becomes one target: the begin token (where the document begins), the text, the end token (where it ends). A
/// pair becomes a condition and a target, each as [`Tokenizer::encode_framed`] writes it: with the end token, if nothing else.
/// Where the vocabulary has no begin or end token, there is none.
#[derive(Clone)]
pub struct TextEncoder {
    tokenizer: Arc<dyn Tokenizer>,
}

impl TextEncoder {
    /// An encoder by `tokenizer`.
    pub fn new(tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self { tokenizer }
    }
}

impl Encode for TextEncoder {
    fn encode(&self, document: &Document) -> Result<TokenSeq> {
        let not_text =
            || Error::settings(format!("{} is not text, so no text tokenizer can encode it", document.origin));
        let text = document.as_text().ok_or_else(not_text)?;
        if let Some(target) = &document.target {
            return Ok(TokenSeq::conditioned(
                &self.tokenizer.encode_framed(text)?,
                &self.tokenizer.encode_framed(target)?,
            ));
        }
        let special = self.tokenizer.vocab().special;
        let mut sequence = TokenSeq::default();
        sequence.push(Role::Target, special.begin.filter(|_| document.piece.begins()).as_slice());
        sequence.push(Role::Target, &self.tokenizer.encode(text)?);
        sequence.push(Role::Target, special.end.filter(|_| document.piece.ends()).as_slice());
        Ok(sequence)
    }
}
