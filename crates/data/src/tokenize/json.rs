//! The `tokenizer.json` of each kind of tokenizer: writing it, and recognising it when it is loaded.

use super::table::Token;
use super::{Bpe, Bytes, Characters, Foreign, SpecialTokens, Templated, Tokenizer, byte_pairs, foreign};
use crate::{ChatTemplate, Error, Result};
use genera_tokens::TokenId;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Published tokenizers have at most some tens of megabytes.
const MAX_FILE_BYTES: u64 = 1 << 28;

/// The pattern by which [`Characters`] cuts: any one character, line ends too.
const ANY_CHARACTER: &str = r"[\s\S]";

/// Byte-level vocabularies write each byte as one visible character: itself where it is visible, else one from U+0100.
static BYTE_CHARACTERS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut characters = ['\0'; 256];
    let mut next_substitute = 256;
    for byte in 0..=u8::MAX {
        let is_visible = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let code = if is_visible { u32::from(byte) } else { next_substitute };
        next_substitute += u32::from(!is_visible);
        characters[usize::from(byte)] = char::from_u32(code).expect("codes below 512 are characters");
    }
    characters
});

static CHARACTER_BYTES: LazyLock<HashMap<char, u8>> =
    LazyLock::new(|| BYTE_CHARACTERS.iter().copied().zip(0..=u8::MAX).collect());

/// `bytes` as byte-level vocabularies write them.
pub(crate) fn byte_level(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| BYTE_CHARACTERS[usize::from(byte)]).collect()
}

/// The bytes that a token of a byte-level vocabulary stands for.
pub(crate) fn from_byte_level(token: &str) -> Option<Vec<u8>> {
    token.chars().map(|character| CHARACTER_BYTES.get(&character).copied()).collect()
}

pub(crate) fn characters(names: &[&str], characters: &BTreeSet<char>, unknown: Option<&str>) -> String {
    let plain = characters.iter().map(char::to_string);
    let tokens = names.iter().map(|name| (*name).to_owned()).chain(plain);
    let model = json!({ "type": "WordLevel", "vocab": vocab(tokens), "unk_token": unknown.unwrap_or("<unk>") });
    let split = json!({
        "type": "Split", "pattern": { "Regex": ANY_CHARACTER }, "behavior": "Isolated", "invert": false,
    });
    whole(names, 0, split, json!({ "type": "Fuse" }), model)
}

pub(crate) fn bytes(names: &[&str]) -> String {
    let plain = (0..=u8::MAX).map(|byte| byte_level(&[byte]));
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab(plain.chain(names.iter().map(|name| (*name).to_owned()))),
        "merges": [],
    });
    whole(names, 256, byte_level_stage(false), byte_level_stage(false), model)
}

/// Byte-pair encoding around a trained `model`, whose first tokens are the special ones.
pub(crate) fn bpe(model: Value, special: &SpecialTokens) -> Result<Bpe> {
    let json = whole(&special.names(), 0, byte_level_stage(true), byte_level_stage(true), model);
    let value: Value = parse(&json)?;
    let rows = Rows::of(&value).ok_or_else(|| Error::tokenizer("training gave a vocabulary with gaps"))?;
    Bpe::from_tokens(rows.tokens_by_bytes()?, &rows.merges(&value)?, special.clone(), json)
}

fn byte_level_stage(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex })
}

fn vocab(tokens: impl Iterator<Item = String>) -> Value {
    Value::Object(tokens.zip(0_u32..).map(|(token, id)| (token, Value::from(id))).collect())
}

fn whole(names: &[&str], first_id: u32, pre_tokenizer: Value, decoder: Value, model: Value) -> String {
    let added = names.iter().zip(first_id..).map(|(name, id)| {
        json!({
            "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    });
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null, "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder, "model": model,
    });
    format!("{file:#}\n")
}

/// The contents of a `tokenizer_config.json`; the template itself is a file of its own.
pub(crate) fn tokenizer_config(special: &SpecialTokens, template: Option<&ChatTemplate>) -> String {
    let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false });
    let roles = config_roles(special);
    for (role, name) in roles.into_iter().filter_map(|(role, name)| Some((role, name.as_ref()?))) {
        config[role] = Value::from(name.as_str());
    }
    // A template may write a begin token that stands before no other text.
    if let Some(begin) = template.and_then(ChatTemplate::begin) {
        config["add_bos_token"] = Value::from(special.begin.is_some());
        config["bos_token"] = Value::from(begin);
    }
    format!("{config:#}\n")
}

fn config_roles(special: &SpecialTokens) -> [(&'static str, &Option<String>); 4] {
    [
        ("pad_token", &special.padding),
        ("bos_token", &special.begin),
        ("eos_token", &special.end),
        ("unk_token", &special.unknown),
    ]
}

/// Loads a `tokenizer.json`, or the one in a directory, with the `tokenizer_config.json` beside it if there is one.
///
/// # Errors
/// When the file is missing, or is not a tokenizer.
pub fn load_tokenizer(path: &Path) -> Result<Arc<dyn Tokenizer>> {
    let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
    let json = read(&file)?;
    let config = read_if_there(&file.with_file_name("tokenizer_config.json"))?;
    let tokenizer = bare(&json, config.as_deref()).map_err(|error| match error {
        Error::Tokenizer { problem } => Error::bad_file(&file, problem),
        other => other,
    })?;
    let template = ChatTemplate::load(file.parent().unwrap_or(Path::new(".")))?;
    Ok(with_template(tokenizer, template))
}

fn with_template(tokenizer: Arc<dyn Tokenizer>, template: Option<ChatTemplate>) -> Arc<dyn Tokenizer> {
    match template {
        Some(template) => Arc::new(Templated::new(tokenizer, template)),
        None => tokenizer,
    }
}

/// The contents of a small text file, when there is one.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>> {
    if path.is_file() { read(path).map(Some) } else { Ok(None) }
}

fn read(path: &Path) -> Result<String> {
    let file = crate::source::open_file(path)?;
    let n_bytes = file.metadata().map_err(|source| Error::io(path, "read", source))?.len();
    if n_bytes > MAX_FILE_BYTES {
        return Err(Error::bad_file(path, format!("is bigger than {} MiB; is it a tokenizer?", MAX_FILE_BYTES >> 20)));
    }
    std::fs::read_to_string(path).map_err(|source| Error::io(path, "read", source))
}

/// A tokenizer from the contents of its `tokenizer.json` and, for the roles of the special tokens and the chat template,
/// its `tokenizer_config.json`.
///
/// # Errors
/// When the first is not a tokenizer that the `tokenizers` crate reads.
pub fn tokenizer_from_json(json: &str, config: Option<&str>) -> Result<Arc<dyn Tokenizer>> {
    Ok(with_template(bare(json, config)?, config.and_then(ChatTemplate::of_config)))
}

fn bare(json: &str, config: Option<&str>) -> Result<Arc<dyn Tokenizer>> {
    let file = byte_pairs::File::read(json).map_err(foreign::wrong)?;
    let outline = file.as_ref().map_or_else(|| Outline::of(json), |file| Ok(file.outline()))?;
    let config: Value = config.and_then(|config| serde_json::from_str(config).ok()).unwrap_or_default();
    let mut special = special_tokens(&outline, &config);
    if !begins_texts(&outline, &config) {
        special.begin = None;
    }
    let kind = Kind::of(&outline);
    if let Kind::Other = kind {
        return Ok(Arc::new(Foreign::of_file(file, json, special)?));
    }
    let value = parse(json)?;
    let Some(rows) = Rows::of(&value) else {
        return Ok(Arc::new(Foreign::of_file(file, json, special)?));
    };
    Ok(match kind {
        Kind::Characters if rows.plain().all(|token| token.chars().count() == 1) => {
            Arc::new(Characters::from_tokens(rows.tokens(), special, json.to_owned()))
        }
        Kind::ByteLevel { has_words: false } if rows.are_bytes() => {
            Arc::new(Bytes::from_tokens(rows.tokens_by_bytes()?, special, json.to_owned()))
        }
        Kind::ByteLevel { has_words: true } => {
            Arc::new(Bpe::from_tokens(rows.tokens_by_bytes()?, &rows.merges(&value)?, special, json.to_owned())?)
        }
        _ => Arc::new(Foreign::of_file(file, json, special)?),
    })
}

/// A `tokenizer.json` whose vocabulary and merges, by far the most of it, are passed over.
#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    model: ModelOutline,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Default, Deserialize)]
struct ModelOutline {
    vocab: Option<IgnoredAny>,
    merges: Option<IgnoredAny>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Outline {
    /// The file with an empty list for each of the two that is there.
    fn of(json: &str) -> Result<Value> {
        let Self { model: ModelOutline { vocab, merges, rest: mut model }, mut rest } = parse(json)?;
        for (name, _) in [("vocab", vocab), ("merges", merges)].into_iter().filter(|(_, part)| part.is_some()) {
            model.insert(name.to_owned(), json!([]));
        }
        rest.insert("model".to_owned(), Value::Object(model));
        Ok(Value::Object(rest))
    }
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::tokenizer(format!("is not a tokenizer.json: {error}")))
}

/// The special tokens by role: as the configuration says, or else by the names that published tokenizers use.
fn special_tokens(value: &Value, config: &Value) -> SpecialTokens {
    let name = |role: &str| {
        let token = &config[role];
        token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
    };
    let known = SpecialTokens {
        padding: name("pad_token"),
        begin: name("bos_token"),
        end: name("eos_token"),
        unknown: name("unk_token"),
    };
    if known != SpecialTokens::none() {
        return known;
    }
    let added = value["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let special = added.iter().filter(|token| token["special"] == true);
    SpecialTokens::recognise(
        &special.filter_map(|token| token["content"].as_str().map(str::to_owned)).collect::<Vec<_>>(),
    )
}

/// Whether the begin token stands before every text: as the configuration says, or else where a template puts a special
/// token. A file without this stage is one of ours, whose begin token always does, unless its words are cut by others' rules.
fn begins_texts(value: &Value, config: &Value) -> bool {
    let stages = |stage: &'_ Value| match stage["processors"].as_array() {
        Some(stages) => stages.clone(),
        None => vec![stage.clone()],
    };
    let puts_one =
        |stage: &Value| stage["type"] == "TemplateProcessing" && !stage["single"][0]["SpecialToken"].is_null();
    match (config["add_bos_token"].as_bool(), &value["post_processor"]) {
        (Some(says), _) => says,
        (None, Value::Null) => !matches!(Kind::of(value), Kind::Other),
        (None, stage) => stages(stage).iter().any(puts_one),
    }
}

/// What the stages of a `tokenizer.json` make it.
enum Kind {
    Characters,
    ByteLevel { has_words: bool },
    Other,
}

impl Kind {
    fn of(value: &Value) -> Self {
        let (before, after, model) = (&value["pre_tokenizer"], &value["decoder"], &value["model"]);
        let is = |stage: &Value, kind: &str| stage["type"] == kind;
        if !value["normalizer"].is_null() {
            return Self::Other;
        }
        let by_character = is(before, "Split") && before["pattern"]["Regex"] == ANY_CHARACTER && is(after, "Fuse");
        if is(model, "WordLevel") && by_character && before["behavior"] == "Isolated" {
            return Self::Characters;
        }
        let unset = |name: &str| matches!(&model[name], Value::Null | Value::Bool(false)) || model[name] == "";
        let is_plain = [
            "dropout",
            "unk_token",
            "continuing_subword_prefix",
            "end_of_word_suffix",
            "byte_fallback",
            "ignore_merges",
        ]
        .into_iter()
        .all(unset);
        // Old files, such as GPT-2's own, leave the model's type and the use of the pattern unsaid.
        let is_bpe = is(model, "BPE") || (model["type"].is_null() && model["merges"].is_array());
        let by_bytes = is(before, "ByteLevel") && is(after, "ByteLevel") && before["add_prefix_space"] == false;
        if is_bpe && is_plain && by_bytes {
            return Self::ByteLevel { has_words: before["use_regex"] != false };
        }
        Self::Other
    }
}

/// The tokens of a `tokenizer.json` in order of their ids, each with whether it is special.
struct Rows<'a>(Vec<(&'a str, bool)>);

impl<'a> Rows<'a> {
    /// None when ids are missing or given twice, or when a token that is not special has been added, since such
    /// tokens are cut out of the text before anything else.
    fn of(value: &'a Value) -> Option<Self> {
        let vocab: &Map<String, Value> = value["model"]["vocab"].as_object()?;
        let added = value["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut rows = vec![None; vocab.len() + added.len()];
        for (token, id) in vocab {
            let row = rows.get_mut(usize::try_from(id.as_u64()?).ok()?)?;
            if row.replace((token.as_str(), false)).is_some() {
                return None;
            }
        }
        for token in added {
            let name = token["content"].as_str()?;
            let row = rows.get_mut(usize::try_from(token["id"].as_u64()?).ok()?)?;
            if token["special"] != true || row.is_some_and(|(known, _)| known != name) {
                return None;
            }
            *row = Some((name, true));
        }
        let n_rows = rows.iter().position(Option::is_none).unwrap_or(rows.len());
        if n_rows == 0 || rows[n_rows..].iter().any(Option::is_some) {
            return None;
        }
        rows.truncate(n_rows);
        rows.into_iter().collect::<Option<_>>().map(Self)
    }

    fn plain(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(|(_, is_special)| !is_special).map(|(token, _)| *token)
    }

    /// Whether the first 256 ids are the bytes in order, and nothing but special tokens follows.
    fn are_bytes(&self) -> bool {
        self.plain().count() == 256
            && (0..=u8::MAX).zip(&self.0).all(|(byte, row)| *row == (byte_level(&[byte]).as_str(), false))
    }

    fn tokens(&self) -> Vec<Token> {
        let token = |(token, is_special): &(&str, bool)| match is_special {
            true => Token::Special((*token).to_owned()),
            false => Token::Plain(token.as_bytes().to_vec()),
        };
        self.0.iter().map(token).collect()
    }

    fn tokens_by_bytes(&self) -> Result<Vec<Token>> {
        let token = |(token, is_special): &(&str, bool)| match is_special {
            true => Ok(Token::Special((*token).to_owned())),
            false => from_byte_level(token).map(Token::Plain).ok_or_else(|| {
                Error::tokenizer(format!("the token {token:?} is not written in byte-level characters"))
            }),
        };
        self.0.iter().map(token).collect()
    }

    /// The merges of a byte-pair model by ids; each is written "left right" or as a pair.
    fn merges(&self, value: &Value) -> Result<Vec<(TokenId, TokenId)>> {
        let ids: HashMap<&str, TokenId> = self.0.iter().map(|(token, _)| *token).zip(0..).collect();
        let merges = value["model"]["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
        let pair = |merge: &Value| {
            let (left, right) = match merge {
                Value::String(both) => both.split_once(' ')?,
                both => (both[0].as_str()?, both[1].as_str()?),
            };
            Some((*ids.get(left)?, *ids.get(right)?))
        };
        let bad =
            |merge: &Value| Error::tokenizer(format!("the merge {merge} is not a pair of tokens of the vocabulary"));
        merges.iter().map(|merge| pair(merge).ok_or_else(|| bad(merge))).collect()
    }
}
