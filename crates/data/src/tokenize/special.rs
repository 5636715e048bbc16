//! The special tokens by name.

use super::Tokenizer;
use crate::{Error, Result};
use aho_corasick::{AhoCorasick, MatchKind};
use genera_tokens::{Special, TokenId};
use std::ops::Range;

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
    let names = SpecialNames::of(tokenizer)?;
    let (mut ids, mut end) = (Vec::new(), 0);
    for (range, _, id) in names.in_text(text) {
        ids.extend(tokenizer.encode(&text[end..range.start])?);
        ids.push(id);
        end = range.end;
    }
    ids.extend(tokenizer.encode(&text[end..])?);
    Ok(ids)
}

/// The names of a tokenizer's special tokens, found in a text in one pass, however many there are.
#[derive(Debug)]
pub(crate) struct SpecialNames {
    names: Vec<(TokenId, String)>,
    finder: AhoCorasick,
}

impl SpecialNames {
    /// # Errors
    /// When there are too many to be looked for.
    pub(crate) fn of<T: Tokenizer + ?Sized>(tokenizer: &T) -> Result<Self> {
        let mut names = tokenizer.special_names();
        names.retain(|(_, name)| !name.is_empty());
        let finder =
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(names.iter().map(|(_, name)| name));
        let finder =
            finder.map_err(|error| Error::tokenizer(format!("its special tokens cannot be looked for: {error}")))?;
        Ok(Self { names, finder })
    }

    /// The names themselves.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(_, name)| name.as_str())
    }

    /// Where names stand in a text, the leftmost first and there the longest.
    pub(crate) fn in_text<'n>(&'n self, text: &'n str) -> impl Iterator<Item = (Range<usize>, &'n str, TokenId)> {
        self.finder.find_iter(text).map(|found| {
            let (id, name) = &self.names[found.pattern().as_usize()];
            (found.range(), name.as_str(), *id)
        })
    }
}
