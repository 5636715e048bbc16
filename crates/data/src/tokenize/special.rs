//! The special tokens by name.

use super::Tokenizer;
use crate::Result;
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

/// Cuts `text` at the names of special tokens, the leftmost and there the longest first, and encodes what lies between.
pub(super) fn encode<T: Tokenizer + ?Sized>(tokenizer: &T, text: &str) -> Result<Vec<TokenId>> {
    let mut names = tokenizer.special_names();
    names.retain(|(_, name)| !name.is_empty());
    let (mut ids, mut rest) = (Vec::new(), text);
    while let Some((at, name, id)) = first_name(&names, rest) {
        ids.extend(tokenizer.encode(&rest[..at])?);
        ids.push(id);
        rest = &rest[at + name.len()..];
    }
    ids.extend(tokenizer.encode(rest)?);
    Ok(ids)
}

/// Where the first special token of a text stands, its name and its id.
pub(crate) fn first_name<'n>(names: &'n [(TokenId, String)], text: &str) -> Option<(usize, &'n str, TokenId)> {
    let found = names.iter().filter_map(|(id, name)| Some((text.find(name.as_str())?, name.as_str(), *id)));
    found.min_by_key(|(at, name, _)| (*at, std::cmp::Reverse(name.len())))
}
