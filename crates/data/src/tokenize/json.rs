//! The `tokenizer.json` of each kind of tokenizer: writing it, and recognising it when it is loaded.

use super::file::{self, File, Merge, Tokens};
use super::frame::Frame;
use super::table::Token;
use super::{Bpe, Bytes, Characters, Foreign, SpecialTokens, Templated, Tokenizer, bounded, foreign, older};
use crate::{ChatTemplate, Error, Result};
use genera_tokens::TokenId;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Among published tokenizers the largest, of Gemma, has 33 MB.
const MAX_FILE_BYTES: u64 = 1 << 26;
/// Longest file of settings: where there are many added tokens, some repeat them in 12 MB.
const MAX_SETTINGS_BYTES: u64 = 1 << 24;
/// Most values of such a file; the largest have 50,000.
const MAX_SETTINGS: usize = 1 << 17;

/// The added tokens in a `tokenizer_config.json`, which a `tokenizer.json` has too.
pub(super) const ADDED_TOKENS: &str = "added_tokens_decoder";

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
    let file = File::read(&json).map_err(foreign::wrong)?;
    let rows = Rows::of(&file).ok_or_else(|| Error::tokenizer("training gave a vocabulary with gaps"))?;
    let tokens =
        rows.tokens_by_bytes().ok_or_else(|| Error::tokenizer("training gave a token that is not of bytes"))?;
    Bpe::from_tokens(tokens, &rows.merges(&file)?, special.clone(), json.clone())
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

/// The contents of a `tokenizer_config.json`; the template itself is a file of its own. `begins` is whether the begin token
/// stands before every text, `ends` whether only a setting says that the end token stands behind it.
pub(crate) fn tokenizer_config(
    special: &SpecialTokens,
    template: Option<&ChatTemplate>,
    begins: bool,
    ends: bool,
) -> String {
    let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false });
    let roles = config_roles(special);
    for (role, name) in roles.into_iter().filter_map(|(role, name)| Some((role, name.as_ref()?))) {
        config[role] = Value::from(name.as_str());
    }
    config["add_bos_token"] = Value::from(begins);
    if ends {
        config["add_eos_token"] = Value::from(true);
    }
    // A template may write a begin token that stands before no other text.
    if let Some(begin) = template.and_then(ChatTemplate::begin) {
        config["bos_token"] = Value::from(begin);
    }
    for (role, token) in template.into_iter().flat_map(ChatTemplate::further_tokens) {
        if config[&role].is_null() {
            config[&role] = token;
        }
    }
    format!("{config:#}\n")
}

/// What a model reads, which says what stands around its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Texts to go on with: they open with the begin token.
    Beginnings,
    /// Sources, with an encoder: they close with the end token.
    Sources,
}

/// Writes a tokenizer for other programs: as [`Tokenizer::save`] does, and where its file does not put special tokens around
/// a text, with the stage that does so as Genera does.
///
/// # Errors
/// When a file cannot be written.
pub fn export_tokenizer(tokenizer: &dyn Tokenizer, directory: &Path, reads: Reads) -> Result<()> {
    tokenizer.save(directory)?;
    let path = directory.join("tokenizer.json");
    if !path.is_file() {
        return Ok(());
    }
    let (special, ids) = (tokenizer.special_tokens(), tokenizer.vocab().special);
    let named = |name: &Option<String>, id: Option<TokenId>| name.clone().zip(id).into_iter().collect();
    let frame = match reads {
        Reads::Beginnings => Frame { before: named(&special.begin, ids.begin), ..Frame::default() },
        Reads::Sources => Frame { after: named(&special.end, ids.end), ..Frame::default() },
    };
    let file = File::read(tokenizer.to_json()).map_err(foreign::wrong)?;
    let of_file = Frame::of(&file, &Value::Null)?;
    if of_file == Frame::default() && frame != of_file {
        crate::write::atomically(&path, framed(tokenizer.to_json(), &frame)?.as_bytes())?;
    }
    let begins = reads == Reads::Beginnings && ids.begin.is_some();
    let ends = !of_file.closes() && ids.end.is_some_and(|end| tokenizer.closing() == [end]);
    let config = tokenizer_config(special, tokenizer.chat_template(), begins, ends);
    crate::write::atomically(&directory.join("tokenizer_config.json"), config.as_bytes())
}

/// A `tokenizer.json` that puts `frame` around a text, where it has put nothing.
fn framed(json: &str, frame: &Frame) -> Result<String> {
    let mut value: Value = serde_json::from_str(json).map_err(|error| foreign::wrong(error.into()))?;
    let before = value["post_processor"].take();
    value["post_processor"] = match before {
        Value::Null => frame.stage(),
        stage => json!({ "type": "Sequence", "processors": [stage, frame.stage()] }),
    };
    Ok(format!("{value:#}\n"))
}

fn config_roles(special: &SpecialTokens) -> [(&'static str, &Option<String>); 4] {
    [
        ("pad_token", &special.padding),
        ("bos_token", &special.begin),
        ("eos_token", &special.end),
        ("unk_token", &special.unknown),
    ]
}

/// Loads a `tokenizer.json`, or the one in a directory, with the `tokenizer_config.json` beside it if there is one. Where a
/// directory has none, the files that came before it are read.
///
/// # Errors
/// When the file is missing, or is not a tokenizer, and when another is there and damaged.
pub fn load_tokenizer(path: &Path) -> Result<Arc<dyn Tokenizer>> {
    let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
    let directory = file.parent().unwrap_or(Path::new("."));
    let is_older = path.is_dir() && !file.is_file();
    let config = read_config(directory, is_older)?;
    let template = ChatTemplate::load(directory, &config)?;
    let tokenizer = match if is_older { older::load(directory, &config)? } else { None } {
        Some(older) => of_files(&older.json, &older.config, template),
        None => of_files(&read(&file)?, &config, template),
    };
    tokenizer.map_err(|error| match error {
        Error::Tokenizer { problem } => Error::bad_file(if is_older { directory } else { &file }, problem),
        other => other,
    })
}

/// Whether a directory has the files of a tokenizer.
pub fn has_tokenizer(directory: &Path) -> bool {
    directory.join("tokenizer.json").is_file() || older::are_in(directory)
}

/// The contents of a small text file, when there is one.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>> {
    if path.is_file() { read(path).map(Some) } else { Ok(None) }
}

/// What the `tokenizer_config.json` of a directory says; null where there is none. Its added tokens are passed over but for
/// tokenizers in older files, which have them nowhere else.
fn read_config(directory: &Path, is_older: bool) -> Result<Value> {
    read_settings(&directory.join("tokenizer_config.json"), if is_older { &[] } else { &[ADDED_TOKENS] })
}

/// What a file of settings says, but for those of the names in `passed_over`; null where there is no such file.
pub(super) fn read_settings(path: &Path, passed_over: &[&str]) -> Result<Value> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let text = text(path, MAX_SETTINGS_BYTES)?;
    let settings = bounded::object(&text, MAX_SETTINGS, passed_over);
    settings.map_err(|error| Error::bad_file(path, format!("is not what it should be: {error}")))
}

/// The contents of a text file.
pub(super) fn read(path: &Path) -> Result<String> {
    text(path, MAX_FILE_BYTES)
}

/// The contents of a file.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    bytes_of(path, MAX_FILE_BYTES)
}

fn text(path: &Path, max_bytes: u64) -> Result<String> {
    String::from_utf8(bytes_of(path, max_bytes)?).map_err(|_| Error::bad_file(path, "is not UTF-8; is it a tokenizer?"))
}

fn bytes_of(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let file = crate::source::open_file(path)?;
    let n_bytes = file.metadata().map_err(|source| Error::io(path, "read", source))?.len();
    if n_bytes > max_bytes {
        return Err(Error::bad_file(path, format!("is bigger than {} MiB; is it a tokenizer?", max_bytes >> 20)));
    }
    std::fs::read(path).map_err(|source| Error::io(path, "read", source))
}

/// A tokenizer from the contents of its `tokenizer.json` and, for the roles of the special tokens and the chat template,
/// its `tokenizer_config.json`.
///
/// # Errors
/// When the first is not a tokenizer that the `tokenizers` crate reads, or the second no JSON object.
pub fn tokenizer_from_json(json: &str, config: Option<&str>) -> Result<Arc<dyn Tokenizer>> {
    let config = config.map(|config| bounded::object(config, MAX_SETTINGS, &[ADDED_TOKENS])).transpose();
    let config =
        config.map_err(|error| Error::tokenizer(format!("its configuration is not what it should be: {error}")))?;
    let config = config.unwrap_or_default();
    of_files(json, &config, ChatTemplate::of_config(&config))
}

fn of_files(json: &str, config: &Value, template: Option<ChatTemplate>) -> Result<Arc<dyn Tokenizer>> {
    let file = File::read(json).map_err(foreign::wrong)?;
    let frame = Frame::of(&file, config)?;
    let known = special_tokens(&file, config);
    let special = SpecialTokens { begin: begin_of_texts(&file, &frame, known.begin.clone(), config), ..known };
    Ok(Templated::published(bare(file, json, special)?, template, frame))
}

fn bare(file: File, json: &str, special: SpecialTokens) -> Result<Arc<dyn Tokenizer>> {
    let kind = Kind::of(&file);
    let rows = if let Kind::Other = kind { None } else { Rows::of(&file) };
    let made: Option<Arc<dyn Tokenizer>> = match (kind, rows) {
        (Kind::Characters, Some(rows)) if rows.plain().all(|token| token.chars().count() == 1) => {
            Some(Arc::new(Characters::from_tokens(rows.tokens(), special.clone(), json.to_owned())))
        }
        (Kind::ByteLevel { has_words: false }, Some(rows)) if rows.are_bytes() => {
            let tokens = rows.tokens_by_bytes().unwrap_or_default();
            Some(Arc::new(Bytes::from_tokens(tokens, special.clone(), json.to_owned())))
        }
        (Kind::ByteLevel { has_words: true }, Some(rows)) if rows.hold_all_bytes() => match rows.tokens_by_bytes() {
            Some(tokens) => {
                Some(Arc::new(Bpe::from_tokens(tokens, &rows.merges(&file)?, special.clone(), json.to_owned())?))
            }
            None => None,
        },
        _ => None,
    };
    made.map_or_else(|| Ok(Arc::new(Foreign::of_file(file, json, special)?) as Arc<dyn Tokenizer>), Ok)
}

/// The name of the token of a role, as a `tokenizer_config.json` has it.
pub(crate) fn role_of<'c>(config: &'c Value, role: &str) -> Option<&'c str> {
    name_of(&config[role])
}

/// The name in what is said of a token.
pub(crate) fn name_of(said: &Value) -> Option<&str> {
    said.as_str().or_else(|| said["content"].as_str())
}

/// The special tokens by role: as the configuration says, or else by the names that published tokenizers use.
fn special_tokens(file: &File, config: &Value) -> SpecialTokens {
    let name = |role: &str| role_of(config, role).map(str::to_owned);
    let known = SpecialTokens {
        padding: name("pad_token"),
        begin: name("bos_token"),
        end: name("eos_token"),
        unknown: name("unk_token"),
    };
    if known != SpecialTokens::none() {
        return known;
    }
    let special = file.added.iter().filter(|token| token.special);
    SpecialTokens::recognise(&special.map(|token| token.content.clone()).collect::<Vec<_>>())
}

/// The token that stands before every text: `known`, as the configuration says, or else what the file puts there.
fn begin_of_texts(file: &File, frame: &Frame, known: Option<String>, config: &Value) -> Option<String> {
    match (config["add_bos_token"].as_bool(), frame.before.first()) {
        (Some(says), _) => known.filter(|_| says),
        (None, Some((first, _))) => {
            let is_there = |known: &String| frame.before.iter().any(|(name, _)| name == known);
            Some(known.filter(is_there).unwrap_or_else(|| first.clone()))
        }
        (None, None) => known.filter(|_| is_made_here(file, config)),
    }
}

/// Whether a file, or the configuration beside it, is one of ours from before they said whether texts begin with the begin
/// token, which they do. No other program leaves out this stage and writes these settings, which concern offsets alone.
fn is_made_here(file: &File, config: &Value) -> bool {
    let is_ours = |stage: &Value| stage["trim_offsets"] == false;
    file.post_processor.is_null()
        && match Kind::of(file) {
            Kind::Characters => true,
            Kind::ByteLevel { .. } => {
                (is_ours(&file.pre_tokenizer) && is_ours(&file.decoder)) || is_written_here(config)
            }
            Kind::Other => false,
        }
}

/// Whether a configuration is one of ours: no other program writes these entries and no more.
fn is_written_here(config: &Value) -> bool {
    const KEYS: [&str; 6] =
        ["tokenizer_class", "clean_up_tokenization_spaces", "pad_token", "bos_token", "eos_token", "unk_token"];
    let has_no_more = config.as_object().is_some_and(|map| map.keys().all(|key| KEYS.contains(&key.as_str())));
    has_no_more
        && config["tokenizer_class"] == "PreTrainedTokenizerFast"
        && config["clean_up_tokenization_spaces"] == false
}

/// What the stages of a `tokenizer.json` make it.
enum Kind {
    Characters,
    ByteLevel { has_words: bool },
    Other,
}

impl Kind {
    fn of(file: &File) -> Self {
        let (before, after, model) = (&file.pre_tokenizer, &file.decoder, &file.model);
        let is = |stage: &Value, kind: &str| stage["type"] == kind;
        let Some(kind) = model.kind().ok().filter(|_| file.normalizer.is_null()) else { return Self::Other };
        let by_character = is(before, "Split") && before["pattern"]["Regex"] == ANY_CHARACTER && is(after, "Fuse");
        if kind == file::Kind::WordLevel && by_character && before["behavior"] == "Isolated" {
            return Self::Characters;
        }
        let texts = [&model.unk_token, &model.continuing_subword_prefix, &model.end_of_word_suffix];
        let is_plain = texts.iter().all(|text| text.as_ref().is_none_or(String::is_empty))
            && model.dropout.is_none()
            && [model.byte_fallback, model.ignore_merges].iter().all(|flag| *flag != Some(true));
        // Old files, such as GPT-2's own, leave the use of the pattern unsaid.
        let by_bytes = is(before, "ByteLevel") && is(after, "ByteLevel") && before["add_prefix_space"] == false;
        if kind == file::Kind::BytePairs && is_plain && by_bytes {
            return Self::ByteLevel { has_words: before["use_regex"] != false };
        }
        Self::Other
    }
}

/// The tokens of a `tokenizer.json` in order of their ids, each with whether it is special.
struct Rows<'a>(Vec<(&'a str, bool)>);

impl<'a> Rows<'a> {
    /// None when ids are missing or given twice, or when a token that is not special has been added, since such
    /// tokens are cut out of the text before anything else, or one that takes the white space around it.
    fn of(file: &'a File) -> Option<Self> {
        let Tokens::ByName(vocab) = &file.model.vocab else { return None };
        let mut rows = vec![None; vocab.len() + file.added.len()];
        for (token, &id) in vocab {
            let row = rows.get_mut(id as usize)?;
            if row.replace((token.as_str(), false)).is_some() {
                return None;
            }
        }
        for token in &file.added {
            let row = rows.get_mut(token.id as usize)?;
            if !token.special || token.is_bounded() || row.is_some_and(|(known, _)| known != token.content) {
                return None;
            }
            *row = Some((token.content.as_str(), true));
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

    /// Whether each byte alone is a token, so that any text can be written.
    fn hold_all_bytes(&self) -> bool {
        let tokens: HashSet<&str> = self.plain().collect();
        BYTE_CHARACTERS.iter().all(|character| tokens.contains(&*character.encode_utf8(&mut [0; 4])))
    }

    /// `None` when a token is not written in byte-level characters.
    fn tokens_by_bytes(&self) -> Option<Vec<Token>> {
        let token = |(token, is_special): &(&str, bool)| match is_special {
            true => Some(Token::Special((*token).to_owned())),
            false => from_byte_level(token).map(Token::Plain),
        };
        self.0.iter().map(token).collect()
    }

    /// The merges of a byte-pair model by ids.
    fn merges(&self, file: &File) -> Result<Vec<(TokenId, TokenId)>> {
        let ids: HashMap<&str, TokenId> = self.0.iter().map(|(token, _)| *token).zip(0..).collect();
        let bad = |left: &str, right: &str| {
            Error::tokenizer(format!("the merge of '{left}' and '{right}' is not a pair of tokens of the vocabulary"))
        };
        let pairs = file.model.merges.iter().flatten().filter_map(|Merge(pair)| pair.as_ref());
        pairs
            .map(|(left, right)| {
                let [first, second] = [left, right].map(|token| ids.get(token.as_str()).copied());
                first.zip(second).ok_or_else(|| bad(left, right))
            })
            .collect()
    }
}
