//! A `tokenizer.json`, read once and into no more memory than what is known of it needs: the `tokenizers` crate reads a model three
//! times over, since it does not know its kind beforehand, and panics where merges do not fit the vocabulary.

use super::{bounded, charsmap};
use genera_tokens::{MAX_ADDED_TOKENS, MAX_MERGES};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{AddedToken, ModelWrapper, Result, Tokenizer};

/// Most bytes of a stage. The largest are normalizers of SentencePiece, with some 400 KiB.
const MAX_STAGE_BYTES: usize = 1 << 20;
/// Most values of a stage.
const MAX_STAGE_VALUES: usize = 1 << 14;
/// Most tokens of a vocabulary; the largest, of XLM-V, has 900,000.
const MAX_TOKENS: usize = 1 << 20;
/// No vocabulary has a quarter of that many tokens.
const MAX_ID: u32 = (1 << 22) - 1;
/// Most bytes of the tokens of a Unigram model, of which each takes some hundred in its tree. The largest have 3 MB.
const MAX_TREE_BYTES: usize = 6 << 20;

/// A file as far as it is understood; what else it holds is passed over.
pub(super) struct File {
    pub(super) added: Vec<Added>,
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
    pub(super) model: Model,
}

/// A token that is cut out of the text before anything else.
#[derive(Deserialize)]
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    pub(super) special: bool,
}

/// What makes tokens of words.
#[derive(Deserialize)]
pub(super) struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    pub(super) vocab: Tokens,
    #[serde(default, deserialize_with = "bounded::list::<MAX_MERGES, _, _>")]
    pub(super) merges: Option<Vec<Merge>>,
    pub(super) dropout: Option<f32>,
    pub(super) unk_token: Option<String>,
    unk_id: Option<usize>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) end_of_word_suffix: Option<String>,
    max_input_chars_per_word: Option<usize>,
    fuse_unk: Option<bool>,
    pub(super) byte_fallback: Option<bool>,
    pub(super) ignore_merges: Option<bool>,
}

/// The kinds of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    BytePairs,
    Unigram,
    WordPiece,
    WordLevel,
}

/// Tokens with their ids, or in the order of these with their scores.
pub(super) enum Tokens {
    ByName(Vocab),
    Scored(Vec<(String, f64)>),
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct EitherForm;

        impl<'de> Visitor<'de> for EitherForm {
            type Value = Tokens;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens with their ids, or a list of them with their scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Tokens, A::Error> {
                let mut vocab = Vocab::default();
                while let Some((token, id)) = map.next_entry()? {
                    bounded::check_count::<A::Error>(vocab.len(), MAX_TOKENS)?;
                    vocab.insert(token, id);
                }
                Ok(Tokens::ByName(vocab))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Tokens, A::Error> {
                let mut scored = Vec::new();
                while let Some(token) = list.next_element()? {
                    bounded::check_count::<A::Error>(scored.len(), MAX_TOKENS)?;
                    scored.push(token);
                }
                Ok(Tokens::Scored(scored))
            }
        }

        deserializer.deserialize_any(EitherForm)
    }
}

/// Two tokens that become one: a list of both, or as older files have it one text with a blank between them. A line that
/// says which version of the format they are in is none.
pub(super) struct Merge(pub(super) Option<(String, String)>);

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

/// The parts of a file, before its stages are looked at.
#[derive(Deserialize)]
struct Parts<'j> {
    version: Option<String>,
    #[serde(default, deserialize_with = "bounded::list::<MAX_ADDED_TOKENS, _, _>")]
    added_tokens: Option<Vec<Added>>,
    #[serde(borrow)]
    normalizer: Option<&'j RawValue>,
    #[serde(borrow)]
    pre_tokenizer: Option<&'j RawValue>,
    #[serde(borrow)]
    post_processor: Option<&'j RawValue>,
    #[serde(borrow)]
    decoder: Option<&'j RawValue>,
    model: Model,
}

impl File {
    /// # Errors
    /// Where a part is not as it should be.
    pub(super) fn read(json: &str) -> Result<Self> {
        let parts: Parts<'_> = serde_json::from_str(json)?;
        if let Some(version) = parts.version.filter(|version| version != "1.0") {
            return Err(format!("it has the version '{version}'; 1.0 is read").into());
        }
        let file = Self {
            added: parts.added_tokens.unwrap_or_default(),
            normalizer: stage("normalizer", parts.normalizer)?,
            pre_tokenizer: stage("pre_tokenizer", parts.pre_tokenizer)?,
            post_processor: stage("post_processor", parts.post_processor)?,
            decoder: stage("decoder", parts.decoder)?,
            model: parts.model,
        };
        if !charsmap::are_sound(&file.normalizer) {
            return Err("its normalizer has a precompiled_charsmap that is damaged".into());
        }
        match file.largest_id() {
            Some(id) if id > MAX_ID => Err(format!("it has a token {id}; ids up to {MAX_ID} are read").into()),
            _ => Ok(file),
        }
    }

    /// The largest id that the file gives to a token.
    pub(super) fn largest_id(&self) -> Option<u32> {
        let of_model = match &self.model.vocab {
            Tokens::ByName(vocab) => vocab.values().copied().max(),
            Tokens::Scored(list) => list.len().checked_sub(1).map(|id| u32::try_from(id).unwrap_or(u32::MAX)),
        };
        of_model.max(self.added.iter().map(|token| token.id).max())
    }

    /// The id of a token by name.
    pub(super) fn id_of(&self, name: &str) -> Option<u32> {
        let added = self.added.iter().find(|token| token.content == name).map(|token| token.id);
        added.or_else(|| match &self.model.vocab {
            Tokens::ByName(vocab) => vocab.get(name).copied(),
            Tokens::Scored(list) => list.iter().position(|(token, _)| token == name).map(|id| id as u32),
        })
    }

    /// The tokenizer and its largest id.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn into_tokenizer(self) -> Result<(Tokenizer, Option<u32>)> {
        let of_model = Self { added: Vec::new(), ..self };
        let largest_id = of_model.largest_id();
        let Self { normalizer, pre_tokenizer, post_processor, decoder, model, .. } = of_model;
        let stages = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder,
            "model": { "type": "BPE", "vocab": {}, "merges": [] },
        });
        let mut tokenizer: Tokenizer = serde_json::from_value(stages)?;
        let special = self.added.iter().filter(|token| token.special).map(|token| token.content.clone()).collect();
        // Where texts are cut otherwise, the added tokens have been given their ids by the whole vocabulary.
        let (model, of_texts) = model.for_texts(&special)?;
        tokenizer.with_model(model.build()?);
        tokenizer.add_tokens(self.added.into_iter().map(Added::into_token))?;
        if let Some(of_texts) = of_texts {
            tokenizer.with_model(of_texts.build()?);
        }
        let largest_added = tokenizer.get_added_tokens_decoder().into_keys().max();
        Ok((tokenizer, largest_id.max(largest_added)))
    }
}

fn stage(name: &str, json: Option<&RawValue>) -> Result<Value> {
    let Some(json) = json.map(RawValue::get) else { return Ok(Value::Null) };
    if json.len() > MAX_STAGE_BYTES {
        return Err(format!("its {name} has {} bytes; at most {MAX_STAGE_BYTES} are read", json.len()).into());
    }
    bounded::object(json, MAX_STAGE_VALUES, &[])
        .map_err(|error| format!("its {name} is not what it should be: {error}").into())
}

impl Added {
    /// Whether what stands around it counts.
    pub(super) fn is_bounded(&self) -> bool {
        self.single_word || self.lstrip || self.rstrip
    }

    fn into_token(self) -> AddedToken {
        AddedToken::from(self.content, self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

impl Model {
    /// Older files do not say what they are, but what a kind alone has gives it away.
    ///
    /// # Errors
    /// When the name is not known.
    pub(super) fn kind(&self) -> Result<Kind> {
        Ok(match (self.kind.as_deref(), &self.vocab) {
            (Some("BPE"), _) => Kind::BytePairs,
            (Some("Unigram"), _) => Kind::Unigram,
            (Some("WordPiece"), _) => Kind::WordPiece,
            (Some("WordLevel"), _) => Kind::WordLevel,
            (Some(other), _) => {
                let known = "BPE, Unigram, WordPiece and WordLevel";
                return Err(format!("its model is of the kind '{other}'; known are {known}").into());
            }
            (None, _) if self.merges.is_some() => Kind::BytePairs,
            (None, Tokens::Scored(_)) => Kind::Unigram,
            (None, _) if self.max_input_chars_per_word.is_some() => Kind::WordPiece,
            (None, _) => Kind::WordLevel,
        })
    }

    /// The model, and the one to cut texts by where that is another. Unigram keeps special tokens among its pieces, and with
    /// scores better than any: their names are taken out, so that no text is cut into them. Then the first is only a table of
    /// the ids.
    fn for_texts(mut self, special: &HashSet<String>) -> Result<(Self, Option<Self>)> {
        let is_unigram = self.kind()? == Kind::Unigram;
        let Tokens::Scored(list) = &mut self.vocab else { return Ok((self, None)) };
        if !is_unigram || !list.iter().any(|(token, _)| special.contains(token)) {
            return Ok((self, None));
        }
        let ids = list.iter().map(|(token, _)| token.clone()).zip(0..).collect();
        list.iter_mut().filter(|(token, _)| special.contains(token)).for_each(|(token, _)| token.clear());
        let table = Self {
            kind: Some("WordLevel".to_owned()),
            vocab: Tokens::ByName(ids),
            merges: None,
            dropout: None,
            unk_token: None,
            unk_id: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            max_input_chars_per_word: None,
            fuse_unk: None,
            byte_fallback: None,
            ignore_merges: None,
        };
        Ok((table, Some(self)))
    }

    fn build(self) -> Result<ModelWrapper> {
        let kind = self.kind()?;
        Ok(match (kind, &self.vocab) {
            (Kind::Unigram, Tokens::Scored(_)) => self.unigram()?.into(),
            (Kind::Unigram, _) => return Err("its tokens have no scores, which a Unigram model needs".into()),
            (_, Tokens::Scored(_)) => return Err("its tokens have scores, which only a Unigram model has".into()),
            (Kind::BytePairs, _) => self.byte_pairs()?.into(),
            (Kind::WordPiece, _) => self.word_piece()?.into(),
            (Kind::WordLevel, _) => {
                let unknown = self.unk_token.clone().unwrap_or_else(|| "<unk>".to_owned());
                WordLevel::builder().vocab(self.vocab.by_name()).unk_token(unknown).build()?.into()
            }
        })
    }

    fn unigram(self) -> Result<Unigram> {
        let (unknown, byte_fallback) = (self.unk_id, self.byte_fallback.unwrap_or(false));
        let list = match self.vocab {
            Tokens::Scored(list) => list,
            Tokens::ByName(_) => Vec::new(),
        };
        let n_bytes: usize = list.iter().map(|(token, _)| token.len()).sum();
        if n_bytes > MAX_TREE_BYTES {
            return Err(format!("its tokens have {n_bytes} bytes together; at most {MAX_TREE_BYTES} are read").into());
        }
        Unigram::from(list, unknown, byte_fallback)
    }

    fn word_piece(self) -> Result<WordPiece> {
        let mut builder = WordPiece::builder();
        if let Some(token) = self.unk_token {
            builder = builder.unk_token(token);
        }
        if let Some(prefix) = self.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(n) = self.max_input_chars_per_word {
            builder = builder.max_input_chars_per_word(n);
        }
        builder.vocab(self.vocab.by_name()).build()
    }

    fn byte_pairs(self) -> Result<BPE> {
        let merges: Vec<_> = self.merges.unwrap_or_default().into_iter().filter_map(|Merge(pair)| pair).collect();
        let vocab = self.vocab.by_name();
        // The crate relies on it.
        let n_dropped = self.continuing_subword_prefix.as_ref().map_or(0, String::len);
        let longest = vocab.keys().map(String::len).max().unwrap_or(0);
        let fits = |(left, right): &&(String, String)| {
            right.is_char_boundary(n_dropped) && left.len() + right.len() - n_dropped <= longest
        };
        if let Some((left, right)) = merges.iter().find(|pair| !fits(pair)) {
            return Err(format!("the merge of '{left}' and '{right}' makes no token of the vocabulary").into());
        }
        let mut builder = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .fuse_unk(self.fuse_unk.unwrap_or(false))
            .byte_fallback(self.byte_fallback.unwrap_or(false))
            .ignore_merges(self.ignore_merges.unwrap_or(false));
        if let Some(dropout) = self.dropout {
            builder = builder.dropout(dropout);
        }
        if let Some(token) = self.unk_token {
            builder = builder.unk_token(token);
        }
        if let Some(prefix) = self.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = self.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        builder.build()
    }
}

impl Tokens {
    fn by_name(self) -> Vocab {
        match self {
            Self::ByName(vocab) => vocab,
            Self::Scored(_) => Vocab::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenize::SpecialTokens;
    use crate::tokenize::Tokenizer as _;
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
                let file = File::read(&json).unwrap();
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
    fn other_kinds_are_read_as_by_the_crate() {
        let pieces = json!({ "type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": { "a": 0, "ab": 1, "##c": 2 } });
        let words = json!({ "type": "WordLevel", "vocab": { "a": 0, "abc": 1 }, "unk_token": "a" });
        let scored = json!({ "type": "Unigram", "unk_id": 0, "byte_fallback": false,
            "vocab": [["a", -1.0], ["ab", -1.5], ["c", -2.0]] });
        for model in [pieces, words, scored] {
            let json = file(model, json!([token(9, "<end>", true)]));
            let (ours, largest_id) = File::read(&json).unwrap().into_tokenizer().unwrap();
            let theirs = tokenizers::Tokenizer::from_bytes(json.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&ours).unwrap(), serde_json::to_string(&theirs).unwrap());
            assert_eq!(largest_id, theirs.get_vocab(true).into_values().max());
            let ids = |tokenizer: &tokenizers::Tokenizer| tokenizer.encode("abc1x", false).unwrap().get_ids().to_vec();
            assert_eq!(ids(&ours), ids(&theirs));
        }
    }

    #[test]
    fn texts_are_not_cut_into_special_tokens_of_unigram() {
        let vocab = json!([["<unk>", 0.0], ["</s>", 0.0], ["<", -9.0], ["/s>", -9.0], ["s", -9.0], ["ab", -1.0]]);
        let model = json!({ "type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": vocab });
        let added = [(0, "<unk>", true), (1, "</s>", true), (9, "<later>", true), (10, "ss", false)];
        let json = file(model, added.into_iter().map(|(id, content, special)| token(id, content, special)).collect());
        let tokenizer = Foreign::new(&json, SpecialTokens::none()).unwrap();
        let encode = |text: &str| tokenizer.encode(text).unwrap();
        assert_eq!(encode("ab</s>"), [5, 2, 3]);
        assert_eq!(encode("<unk>ss"), [2, 0, 7], "the letters are not in the vocabulary");
        assert_eq!(tokenizer.encode_with_special("ab</s>x<later>").unwrap(), [5, 1, 0, 6]);
        assert_eq!(tokenizer.decode(&[5, 1, 2, 6]), "ab<");
        assert_eq!((tokenizer.token_text(1), tokenizer.vocab().size), ("</s>".to_owned(), 8));
        assert_eq!(tokenizer.special_names().len(), 3);
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_what_is_too_large_is_refused() {
        let model = json!({ "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a", "more": [0, 0] });
        let known = file(model.clone(), json!([]));
        let more = known.replacen('{', r#"{"more": [[0, 0], {"x": 1}], "#, 1);
        assert!(File::read(&more).is_ok());
        let refusal = |json: &str| File::read(json).err().expect("it is too large").to_string();
        let long = format!(r#""normalizer":{{"type":"Prepend","prepend":"{}"}}"#, "x".repeat(MAX_STAGE_BYTES));
        assert!(refusal(&known.replacen(r#""normalizer":null"#, &long, 1)).contains("its normalizer has 10486"));
        let values = format!(r#""normalizer":{{"type":"Lowercase","more":[{}0]}}"#, "0,".repeat(MAX_STAGE_VALUES));
        assert!(refusal(&known.replacen(r#""normalizer":null"#, &values, 1)).contains("more than 16384 values"));
        let tokens = r#"{"id":0,"content":""},"#.repeat(MAX_ADDED_TOKENS);
        let added = format!(r#""added_tokens":[{tokens}{{"id":1,"content":""}}]"#);
        assert!(refusal(&known.replacen(r#""added_tokens":[]"#, &added, 1)).contains("more than 131072 in a list"));
        let far = file(model, json!([token(u32::MAX, "<end>", true)]));
        assert!(refusal(&far).contains("ids up to 4194303"));
        let other = File::read(&known.replacen("WordLevel", "Words", 1)).unwrap().into_tokenizer();
        assert!(other.unwrap_err().to_string().contains("of the kind 'Words'; known are BPE"));
    }

    #[test]
    fn models_without_a_name_are_known_by_their_merges() {
        let unnamed = json!({ "vocab": { "a": 0, "aa": 1 }, "merges": ["#version: 0.2", "a a"] });
        let file = File::read(&file(unnamed, json!([]))).unwrap();
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
