//! A tokenizer whose model comes with templates: of conversations, or of what stands around a text.

use super::frame::Frame;
use super::{SpecialTokens, TextStream, Tokenizer, json};
use crate::{ChatTemplate, Result};
use genera_tokens::{TokenId, Vocab};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

/// A tokenizer with the templates by which its model reads conversations and texts.
pub struct Templated {
    inner: Arc<dyn Tokenizer>,
    template: Option<ChatTemplate>,
    frame: Frame,
}

impl Templated {
    /// `inner` with a template of conversations.
    pub fn new(inner: Arc<dyn Tokenizer>, template: ChatTemplate) -> Self {
        Self { inner, template: Some(template), frame: Frame::default() }
    }

    /// `inner` with what its files say, where they say anything.
    pub(super) fn published(
        inner: Arc<dyn Tokenizer>,
        template: Option<ChatTemplate>,
        frame: Frame,
    ) -> Arc<dyn Tokenizer> {
        if template.is_none() && frame.closing().is_empty() {
            return inner;
        }
        Arc::new(Self { inner, template, frame })
    }
}

impl Tokenizer for Templated {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn vocab(&self) -> &Vocab {
        self.inner.vocab()
    }

    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        self.inner.encode(text)
    }

    fn encode_with_special(&self, text: &str) -> Result<Vec<TokenId>> {
        self.inner.encode_with_special(text)
    }

    fn encode_framed(&self, text: &str) -> Result<Vec<TokenId>> {
        if self.frame.closes() { Ok(self.frame.around(self.encode(text)?)) } else { self.inner.encode_framed(text) }
    }

    fn closing(&self) -> Vec<TokenId> {
        if self.frame == Frame::default() { self.inner.closing() } else { self.frame.closing() }
    }

    fn decode(&self, ids: &[TokenId]) -> String {
        self.inner.decode(ids)
    }

    fn stream(&self) -> Box<dyn TextStream + '_> {
        self.inner.stream()
    }

    fn token_text(&self, id: TokenId) -> String {
        self.inner.token_text(id)
    }

    fn token_content(&self, id: TokenId) -> Vec<u8> {
        self.inner.token_content(id)
    }

    fn token_bytes(&self) -> Arc<[u32]> {
        self.inner.token_bytes()
    }

    fn to_json(&self) -> &str {
        self.inner.to_json()
    }

    fn special_tokens(&self) -> &SpecialTokens {
        self.inner.special_tokens()
    }

    fn special_names(&self) -> Vec<(TokenId, String)> {
        self.inner.special_names()
    }

    fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    fn fingerprint(&self) -> u64 {
        let Some(template) = &self.template else { return self.inner.fingerprint() };
        let mut hash = Sha256::new();
        let of_tokens = self.inner.fingerprint().to_le_bytes();
        for part in [&of_tokens[..], template.source().as_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        u64::from_le_bytes(hash.finalize()[..8].try_into().expect("a SHA-256 digest has 32 bytes"))
    }

    fn save(&self, directory: &Path) -> Result<()> {
        self.inner.save(directory)?;
        let (special, closing) = (self.special_tokens(), self.inner.closing());
        let ends = self.frame.end.is_some() || (!closing.is_empty() && self.vocab().special.end.as_slice() == closing);
        let config = json::tokenizer_config(special, self.template.as_ref(), special.begin.is_some(), ends);
        crate::write::atomically(&directory.join("tokenizer_config.json"), config.as_bytes())?;
        let Some(template) = &self.template else { return Ok(()) };
        crate::write::atomically(&directory.join("chat_template.jinja"), template.source().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenize::{Bytes, load_tokenizer, tokenizer_from_json};

    /// Another template changes nothing else of a tokenizer that was published with things of its own.
    #[test]
    fn a_template_can_be_put_in_the_place_of_another() {
        const MINE: &str = "b{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}";
        let bytes = Bytes::new(&SpecialTokens::standard());
        let config =
            r#"{"eos_token": "</s>", "bos_token": "<s>", "add_eos_token": true, "chat_template": "a{{ eos_token }}"}"#;
        let published = tokenizer_from_json(bytes.to_json(), Some(config)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mine.jinja");
        std::fs::write(&file, MINE).unwrap();
        let template = ChatTemplate::read(&file, &*published).unwrap();
        assert_eq!(template.render(&[], false).unwrap(), "b</s>");
        let given: Arc<dyn Tokenizer> = Arc::new(Templated::new(published.clone(), template));
        assert_ne!(given.fingerprint(), published.fingerprint());
        given.save(directory.path()).unwrap();
        for tokenizer in [given, load_tokenizer(directory.path()).unwrap()] {
            assert_eq!(tokenizer.chat_template().unwrap().source(), MINE);
            assert_eq!(tokenizer.closing(), published.closing());
            assert_eq!(tokenizer.encode_whole("x").unwrap(), published.encode_whole("x").unwrap());
        }
        assert!(!published.closing().is_empty());
    }
}
