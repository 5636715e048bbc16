//! A `tokenizer.json` of byte-pair encoding, read once: the `tokenizers` crate reads the model three times over, since it does not
//! know its kind beforehand, and panics where merges do not fit the vocabulary.

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use std::fmt;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{AddedToken, Result, Tokenizer};

/// What the model calls itself.
const KIND: &str = "BPE";

/// A file with a model of byte-pair encoding.
#[derive(Deserialize)]
pub(super) struct File {
    model: Model,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct Model {
    vocab: Vocab,
    merges: Vec<Merge>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What a model is beside its vocabulary and merges.
#[derive(Deserialize)]
struct Settings {
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

/// Two tokens that become one: a list of both, or as older files have it one text with a blank between them. A line that
/// says which version of the format they are in is none.
struct Merge(Option<(String, String)>);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct EitherForm;

        impl<'de> Visitor<'de> for EitherForm {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two tokens")
            }

            fn visit_str<E: Error>(self, text: &str) -> std::result::Result<Merge, E> {
                if text.starts_with("#version") {
                    return Ok(Merge(None));
                }
                let both = text.split_once(' ').filter(|(_, right)| !right.contains(' '));
                let (left, right) = both.ok_or_else(|| E::custom("a merge is not of two tokens"))?;
                Ok(Merge(Some((left.to_owned(), right.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> std::result::Result<Merge, A::Error> {
                let (left, right) = (tokens.next_element()?, tokens.next_element()?);
                let (Some(left), Some(right), None) = (left, right, tokens.next_element::<String>()?) else {
                    return Err(A::Error::custom("a merge is not of two tokens"));
                };
                Ok(Merge(Some((left, right))))
            }
        }

        deserializer.deserialize_any(EitherForm)
    }
}

impl File {
    /// `None` where the model is of another kind.
    ///
    /// # Errors
    /// Where its merges or its vocabulary are not as they should be.
    pub(super) fn read(json: &str) -> Result<Option<Self>> {
        match serde_json::from_str::<Self>(json) {
            Ok(file) => Ok(Some(file).filter(|file| is_ours(&file.model.rest, true))),
            // Whether it is of the kind shows without a look at what is wrong.
            Err(error) => match serde_json::from_str(json) {
                Ok(Glance { model: GlanceAtModel { merges, rest } }) if is_ours(&rest, merges.is_some()) => {
                    Err(error.into())
                }
                _ => Ok(None),
            },
        }
    }

    /// The file with empty lists for vocabulary and merges.
    pub(super) fn outline(&self) -> Value {
        let (mut outline, mut model) = (self.rest.clone(), self.model.rest.clone());
        model.extend(["vocab", "merges"].map(|name| (name.to_owned(), json!([]))));
        outline.insert("model".to_owned(), Value::Object(model));
        Value::Object(outline)
    }

    /// The tokenizer and its largest id.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn into_tokenizer(self) -> Result<(Tokenizer, Option<u32>)> {
        let Self { model, mut rest } = self;
        let added = rest.remove("added_tokens").map(serde_json::from_value::<Vec<AddedToken>>).transpose()?;
        let largest_id = model.vocab.values().copied().max();
        rest.insert("model".to_owned(), json!({ "type": KIND, "vocab": {}, "merges": [] }));
        let mut tokenizer: Tokenizer = serde_json::from_value(Value::Object(rest))?;
        tokenizer.with_model(model.build()?);
        tokenizer.add_tokens(added.unwrap_or_default())?;
        let largest_added = tokenizer.get_added_tokens_decoder().into_keys().max();
        Ok((tokenizer, largest_id.max(largest_added)))
    }
}

/// A file as far as the kind of its model shows.
#[derive(Deserialize)]
struct Glance {
    model: GlanceAtModel,
}

#[derive(Deserialize)]
struct GlanceAtModel {
    merges: Option<IgnoredAny>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Older files do not say what they are; merges have no others.
fn is_ours(model: &Map<String, Value>, has_merges: bool) -> bool {
    model.get("type").map_or(has_merges, |name| name == KIND || (name.is_null() && has_merges))
}

impl Model {
    fn build(self) -> Result<BPE> {
        let settings: Settings = serde_json::from_value(Value::Object(self.rest))?;
        let merges: Vec<_> = self.merges.into_iter().filter_map(|Merge(pair)| pair).collect();
        // The crate relies on it.
        let n_dropped = settings.continuing_subword_prefix.as_ref().map_or(0, String::len);
        let longest = self.vocab.keys().map(String::len).max().unwrap_or(0);
        let fits = |(left, right): &&(String, String)| {
            right.is_char_boundary(n_dropped) && left.len() + right.len() - n_dropped <= longest
        };
        if let Some((left, right)) = merges.iter().find(|pair| !fits(pair)) {
            return Err(format!("the merge of '{left}' and '{right}' makes no token of the vocabulary").into());
        }
        let mut builder = BPE::builder()
            .vocab_and_merges(self.vocab, merges)
            .fuse_unk(settings.fuse_unk.unwrap_or(false))
            .byte_fallback(settings.byte_fallback.unwrap_or(false))
            .ignore_merges(settings.ignore_merges.unwrap_or(false));
        if let Some(dropout) = settings.dropout {
            builder = builder.dropout(dropout);
        }
        if let Some(token) = settings.unk_token {
            builder = builder.unk_token(token);
        }
        if let Some(prefix) = settings.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = settings.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenize::SpecialTokens;
    use crate::tokenize::foreign::Foreign;

    fn file(model: Value, added: Value) -> String {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
            "pre_tokenizer": { "type": "Digits", "individual_digits": true }, "post_processor": null,
            "decoder": { "type": "Fuse" }, "model": model,
        })
        .to_string()
    }

    fn token(id: u32, content: &str, special: bool) -> Value {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": true, "normalized": false,
            "special": special,
        })
    }

    #[test]
    fn byte_pairs_are_read_as_by_the_crate() {
        let vocab = json!({ "a": 0, "b": 1, "ab": 2, "<end>": 3, "aab": 4 });
        for merges in [json!(["a b", "a ab"]), json!([["a", "b"], ["a", "ab"]])] {
            for ignore_merges in [false, true] {
                let model = json!({
                    "type": "BPE", "dropout": null, "unk_token": "a", "continuing_subword_prefix": null,
                    "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false,
                    "ignore_merges": ignore_merges, "vocab": vocab, "merges": merges,
                });
                let json = file(model, json!([token(3, "<end>", true), token(5, "new", false)]));
                let file = File::read(&json).unwrap().expect("byte-pair encoding");
                let (ours, largest_id) = file.into_tokenizer().unwrap();
                let theirs = tokenizers::Tokenizer::from_bytes(json.as_bytes()).unwrap();
                assert_eq!(serde_json::to_string(&ours).unwrap(), serde_json::to_string(&theirs).unwrap());
                assert_eq!(ours.get_vocab(true), theirs.get_vocab(true));
                assert_eq!(largest_id, theirs.get_vocab(true).into_values().max());
                for text in ["aab<end>  new 12", "ba<end", ""] {
                    let ids =
                        |tokenizer: &tokenizers::Tokenizer| tokenizer.encode(text, false).unwrap().get_ids().to_vec();
                    assert_eq!(ids(&ours), ids(&theirs), "{text}");
                }
            }
        }
    }

    #[test]
    fn other_kinds_are_left_to_the_crate() {
        let pieces = json!({ "type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": { "a": 0 } });
        assert!(File::read(&file(pieces, json!([]))).unwrap().is_none());
    }

    #[test]
    fn models_without_a_name_are_known_by_their_merges() {
        let unnamed = json!({ "vocab": { "a": 0, "aa": 1 }, "merges": ["#version: 0.2", "a a"] });
        let file = File::read(&file(unnamed, json!([]))).unwrap().expect("byte-pair encoding");
        let (read, largest_id) = file.into_tokenizer().unwrap();
        assert_eq!((read.encode("aa", false).unwrap().get_ids(), largest_id), ([1].as_slice(), Some(1)));
    }

    #[test]
    fn merges_that_do_not_fit_the_vocabulary_are_refused() {
        for (vocab, merges, prefix, expected) in [
            (json!({ "a": 0 }), json!(["a b"]), Value::Null, "makes no token"),
            (json!({ "ab": 0, "cd": 1 }), json!(["ab cd"]), Value::Null, "'ab' and 'cd' makes no token"),
            (json!({ "a": 0, "bcd": 1 }), json!(["a bc"]), Value::Null, "`bc` out of vocabulary"),
            (json!({ "a": 0, "b": 1, "ab": 2 }), json!(["a b"]), json!("##"), "makes no token"),
            (json!({ "a": 0, "éé": 1 }), json!(["a éé"]), json!("#"), "makes no token"),
            (json!({ "a": 0 }), json!(["a b c"]), Value::Null, "not of two tokens"),
            (json!({ "a": 0 }), json!([["a"]]), Value::Null, "not of two tokens"),
            (json!({ "a": 0 }), json!([["a", "b", "c"]]), Value::Null, "not of two tokens"),
            (json!({ "a": 0 }), json!([7]), Value::Null, "two tokens"),
            (json!({ "a": -1 }), json!([]), Value::Null, "-1"),
        ] {
            for name in [json!("BPE"), Value::Null] {
                let model =
                    json!({ "type": name, "continuing_subword_prefix": prefix, "vocab": vocab, "merges": merges });
                let json = file(model, json!([]));
                let message = Foreign::new(&json, SpecialTokens::none()).err().expect("it does not fit").to_string();
                assert!(message.contains(expected), "{message}");
            }
        }
    }
}
