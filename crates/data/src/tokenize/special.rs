//! The special tokens by name.

use genera_tokens::{Special, TokenId};

/// Names of the tokens with a fixed meaning; each may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Fills rows up to a common length.
    pub padding: Option<String>,
    /// Opens a document.
    pub begin: Option<String>,
    /// Closes a document.
    pub end: Option<String>,
    /// Stands for a character that the vocabulary lacks. Byte-level tokenizers have no use for it and leave it out.
    pub unknown: Option<String>,
}

impl SpecialTokens {
    /// No special token: for one long text.
    pub fn none() -> Self {
        Self::default()
    }

    /// `<pad>`, `<s>`, `</s>` and `<unk>`: for documents and pairs.
    pub fn standard() -> Self {
        let name = |name: &str| Some(name.to_owned());
        Self { padding: name("<pad>"), begin: name("<s>"), end: name("</s>"), unknown: name("<unk>") }
    }

    /// The same without an unknown token.
    pub(crate) fn without_unknown(&self) -> Self {
        Self { unknown: None, ..self.clone() }
    }

    /// The names that exist, in the order padding, begin, end, unknown, each once.
    pub(crate) fn names(&self) -> Vec<&str> {
        let all = [&self.padding, &self.begin, &self.end, &self.unknown];
        let mut names: Vec<&str> = Vec::new();
        for name in all.into_iter().flatten() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// Their ids, by looking up the names.
    pub(crate) fn ids(&self, id_of: impl Fn(&str) -> Option<TokenId>) -> Special {
        let find = |name: &Option<String>| name.as_deref().and_then(&id_of);
        Special {
            padding: find(&self.padding),
            begin: find(&self.begin),
            end: find(&self.end),
            unknown: find(&self.unknown),
        }
    }

    /// Guesses the roles of special tokens from the names that published tokenizers use.
    pub(crate) fn recognise(names: &[String]) -> Self {
        let find = |candidates: &[&str]| {
            let found = candidates.iter().find(|candidate| names.iter().any(|name| name == *candidate));
            found.map(|name| (*name).to_owned())
        };
        Self {
            padding: find(&["<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>"]),
            begin: find(&["<s>", "<bos>", "[BOS]", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>", "[CLS]"]),
            end: find(&["</s>", "<eos>", "[EOS]", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>", "[SEP]"]),
            unknown: find(&["<unk>", "[UNK]", "<|unk|>"]),
        }
    }
}
