//! Tokenizers in the files that came before `tokenizer.json`, as a `tokenizer.json` says the same.
//!
//! Which files there are and what they mean depends on the class of the tokenizer: `vocab.json` and `merges.txt` (GPT-2, OPT,
//! BART, RoBERTa), `vocab.txt` (BERT), `tokenizer.model` or `spiece.model` (Llama, Gemma, T5, Pegasus), `source.spm` and `vocab.json` (Marian).
//!
//! Source: Hugging Face transformers 5, `tokenization_*.py` of each class and `convert_slow_tokenizer.py`.

use super::json::{ADDED_TOKENS, name_of, read, read_bytes, read_if_there, read_settings, role_of};
use super::sentence_piece::{Algorithm, Piece, PieceKind, SentencePiece};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Files of which one shows that there is a tokenizer.
const FILES: [&str; 6] = ["vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "source.spm"];

/// A tokenizer as its files would say it today.
pub(super) struct Older {
    /// `tokenizer.json`
    pub(super) json: String,
    /// `tokenizer_config.json`
    pub(super) config: Value,
}

/// Whether a directory has such files.
pub(super) fn are_in(directory: &Path) -> bool {
    FILES.iter().any(|file| directory.join(file).is_file())
}

/// Reads the files of a directory, beside what its `tokenizer_config.json` says; `None` where there are none.
///
/// # Errors
/// When the class is not known, or a file is missing or damaged.
pub(super) fn load(directory: &Path, config: &Value) -> Result<Option<Older>> {
    if !are_in(directory) {
        return Ok(None);
    }
    let said = settings(directory, config)?;
    let class = Class::of(directory, &said)?;
    let mut config = class.defaults();
    config.extend(said);
    if class == Class::Roberta
        && let Some(mask) = config.get("mask_token").and_then(Value::as_str)
    {
        // The mask stands for a word with the space before it.
        let mask = json!({ "content": mask, "lstrip": true, "normalized": false });
        config.insert("mask_token".to_owned(), mask);
    }
    let config = Value::Object(config);
    let parts = match class {
        Class::Gpt2 | Class::Roberta => byte_level(directory, &config)?,
        Class::Bert => word_piece(directory, &config)?,
        Class::T5 => t5(directory, &config)?,
        Class::Pegasus => pegasus(directory, &config)?,
        Class::Llama | Class::Gemma => llama(directory, &config)?,
        Class::Marian => marian(directory, &config)?,
    };
    let added = added_tokens(directory, &parts, &config)?;
    let frame = class.frame(&parts, &config);
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer, "post_processor": frame, "decoder": parts.decoder, "model": parts.model,
    });
    Ok(Some(Older { json: file.to_string(), config }))
}

/// What is said beside the vocabulary, the more telling file last.
fn settings(directory: &Path, config: &Value) -> Result<Map<String, Value>> {
    let special = read_settings(&directory.join("special_tokens_map.json"), &[])?;
    let said = [&special, config].into_iter().filter_map(Value::as_object).flatten();
    Ok(said.filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::bad_file(path, format!("is not what it should be: {error}")))
}

/// The classes of tokenizers that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Gpt2,
    Roberta,
    Bert,
    T5,
    Pegasus,
    Llama,
    Gemma,
    Marian,
}

impl Class {
    /// As the tokenizer's configuration says, or else as models of the kind have it.
    fn of(directory: &Path, said: &Map<String, Value>) -> Result<Self> {
        let name = said.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
        let of_name = match name.strip_suffix("Fast").unwrap_or(name) {
            "" | "PreTrainedTokenizer" | "TokenizersBackend" | "SentencePieceBackend" => None,
            "GPT2Tokenizer" => Some(Self::Gpt2),
            "RobertaTokenizer" | "BartTokenizer" => Some(Self::Roberta),
            "BertTokenizer" | "DistilBertTokenizer" | "ElectraTokenizer" => Some(Self::Bert),
            "T5Tokenizer" => Some(Self::T5),
            "PegasusTokenizer" => Some(Self::Pegasus),
            "LlamaTokenizer" => Some(Self::Llama),
            "GemmaTokenizer" => Some(Self::Gemma),
            "MarianTokenizer" => Some(Self::Marian),
            other => return Err(unknown(directory, &format!("of the class {other}"))),
        };
        if let Some(class) = of_name {
            return Ok(class);
        }
        let model = read_settings(&directory.join("config.json"), &[])?;
        Ok(match model["model_type"].as_str().unwrap_or_default() {
            "gpt2" | "opt" => Self::Gpt2,
            "bart" | "roberta" => Self::Roberta,
            "bert" | "distilbert" | "electra" => Self::Bert,
            "t5" | "mt5" => Self::T5,
            "pegasus" => Self::Pegasus,
            "llama" | "mistral" | "mixtral" => Self::Llama,
            "gemma" | "gemma2" | "gemma3_text" => Self::Gemma,
            "marian" => Self::Marian,
            other => {
                return Err(unknown(
                    directory,
                    &format!("of no class that is named, for a model of the kind '{other}'"),
                ));
            }
        })
    }

    /// What is not said.
    fn defaults(self) -> Map<String, Value> {
        let value = match self {
            Self::Gpt2 => json!({
                "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
                "add_bos_token": false,
            }),
            Self::Roberta => json!({
                "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>",
                "pad_token": "<pad>", "mask_token": "<mask>",
            }),
            Self::Bert => json!({
                "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
                "mask_token": "[MASK]",
            }),
            Self::T5 | Self::Marian | Self::Pegasus => {
                json!({ "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>" })
            }
            Self::Llama => {
                json!({ "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": true })
            }
            Self::Gemma => json!({
                "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>",
                "add_bos_token": true,
            }),
        };
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// The stage that puts special tokens around a text; for classes that leave it to a setting, the configuration says it.
    fn frame(self, parts: &Parts, config: &Value) -> Value {
        let token = |role: &str| role_of(config, role).and_then(|name| Some((name, parts.ids.get(name)?)));
        match self {
            Self::Roberta | Self::Bert => {
                let kind = if self == Self::Bert { "BertProcessing" } else { "RobertaProcessing" };
                match (token("cls_token"), token("sep_token")) {
                    (Some(cls), Some(sep)) => json!({
                        "type": kind, "cls": [cls.0, cls.1], "sep": [sep.0, sep.1], "trim_offsets": true,
                        "add_prefix_space": config["add_prefix_space"] == true,
                    }),
                    _ => Value::Null,
                }
            }
            Self::T5 | Self::Marian | Self::Pegasus => match token("eos_token") {
                Some((name, id)) => json!({
                    "type": "TemplateProcessing",
                    "single": [
                        { "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": name, "type_id": 0 } },
                    ],
                    "pair": [
                        { "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } },
                        { "SpecialToken": { "id": name, "type_id": 0 } },
                    ],
                    "special_tokens": { name: { "id": name, "ids": [id], "tokens": [name] } },
                }),
                None => Value::Null,
            },
            Self::Gpt2 | Self::Llama | Self::Gemma => Value::Null,
        }
    }
}

fn unknown(directory: &Path, what: &str) -> Error {
    Error::bad_file(
        directory,
        format!(
            "has no tokenizer.json, and its older files are {what}; read are those of GPT2Tokenizer, RobertaTokenizer, \
             BartTokenizer, BertTokenizer, T5Tokenizer, PegasusTokenizer, LlamaTokenizer, GemmaTokenizer and MarianTokenizer (transformers writes \
             a tokenizer.json: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR))"
        ),
    )
}

/// The parts of a `tokenizer.json` that depend on the class.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
    /// The ids of its vocabulary.
    ids: HashMap<String, u32>,
    /// Tokens with a meaning that the vocabulary knows of, by id, and whether texts never write them.
    marked: BTreeMap<u32, (String, bool)>,
}

/// The special tokens and those that are cut out of texts first, by id.
fn added_tokens(directory: &Path, parts: &Parts, config: &Value) -> Result<Vec<Value>> {
    let texts = json!({ "normalized": false });
    let marked = parts.marked.iter().map(|(&id, (name, special))| (id, added_token(id, name, *special, &texts)));
    let mut all: BTreeMap<u32, Value> = marked.collect();
    let roles = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    let more = config["additional_special_tokens"].as_array().into_iter().flatten();
    let said: Vec<&Value> = roles.into_iter().map(|role| &config[role]).chain(more).collect();
    let named = || said.iter().filter_map(|said| Some((name_of(said)?, *said)));
    let path = directory.join("added_tokens.json");
    let later: HashMap<String, u32> =
        read_if_there(&path)?.map(|text| parse(&path, &text)).transpose()?.unwrap_or_default();
    for (name, id) in later {
        let special = named().any(|(known, _)| known == name);
        all.insert(id, added_token(id, &name, special, &Value::Null));
    }
    for (name, said) in named() {
        let known = all.iter().find(|(_, token)| token["content"] == name).map(|(&id, _)| id);
        // A mere name says nothing of a token that is known.
        let id = if said.is_object() { known } else { None };
        let new = parts.ids.get(name).copied().filter(|_| known.is_none());
        all.extend(id.or(new).map(|id| (id, added_token(id, name, true, said))));
    }
    for (id, token) in config[ADDED_TOKENS].as_object().into_iter().flatten() {
        if let (Ok(id), Some(content)) = (id.parse(), token["content"].as_str()) {
            all.insert(id, added_token(id, content, token["special"] == true, token));
        }
    }
    Ok(all.into_values().collect())
}

/// An entry of `added_tokens`, with what is said of the token and otherwise as the Hugging Face library has it.
fn added_token(id: u32, content: &str, special: bool, said: &Value) -> Value {
    json!({
        "id": id, "content": content, "single_word": said["single_word"] == true, "lstrip": said["lstrip"] == true,
        "rstrip": said["rstrip"] == true, "normalized": said["normalized"].as_bool().unwrap_or(!special),
        "special": special,
    })
}

/// A file that the class needs.
fn needed(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(name);
    if path.is_file() { read(&path) } else { Err(missing(directory, name)) }
}

fn missing(directory: &Path, name: &str) -> Error {
    let there: Vec<&str> = FILES.into_iter().filter(|file| directory.join(file).is_file()).collect();
    Error::bad_file(directory, format!("has no tokenizer.json, and beside {} no {name}", there.join(", ")))
}

/// Byte-pair encoding over bytes, as GPT-2 has it.
fn byte_level(directory: &Path, config: &Value) -> Result<Parts> {
    let path = directory.join("vocab.json");
    let ids: HashMap<String, u32> = parse(&path, &needed(directory, "vocab.json")?)?;
    let merges = needed(directory, "merges.txt")?;
    let merges: Vec<&str> = merges.lines().filter(|line| !line.is_empty() && !line.starts_with("#version")).collect();
    let stage = |add_prefix_space: bool| json!({ "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": true });
    Ok(Parts {
        normalizer: Value::Null,
        pre_tokenizer: stage(config["add_prefix_space"] == true),
        decoder: stage(true),
        model: json!({ "type": "BPE", "vocab": ids, "merges": merges }),
        ids,
        marked: BTreeMap::new(),
    })
}

/// WordPiece, as BERT has it: one token a line.
fn word_piece(directory: &Path, config: &Value) -> Result<Parts> {
    let text = needed(directory, "vocab.txt")?;
    let ids: HashMap<String, u32> = text.lines().map(str::to_owned).zip(0..).collect();
    let model = json!({
        "type": "WordPiece", "unk_token": role_of(config, "unk_token"), "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": ids,
    });
    Ok(Parts {
        normalizer: json!({
            "type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": config["tokenize_chinese_chars"] != false,
            "strip_accents": config["strip_accents"], "lowercase": config["do_lower_case"] != false,
        }),
        pre_tokenizer: json!({ "type": "BertPreTokenizer" }),
        decoder: json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
        model,
        ids,
        marked: BTreeMap::new(),
    })
}

fn sentence_piece(directory: &Path, names: &[&str]) -> Result<SentencePiece> {
    let path = names.iter().map(|name| directory.join(name)).find(|path| path.is_file());
    let path = path.ok_or_else(|| missing(directory, names[0]))?;
    SentencePiece::read(&read_bytes(&path)?).map_err(|error| match error {
        Error::Tokenizer { problem } => Error::bad_file(&path, problem),
        other => other,
    })
}

/// Pieces by name, and those with a meaning.
fn ids_of(model: &SentencePiece) -> (HashMap<String, u32>, BTreeMap<u32, (String, bool)>) {
    let ids = model.pieces.iter().map(|piece| piece.text.clone()).zip(0..).collect();
    let marked = model.pieces.iter().zip(0..).filter_map(|(piece, id)| match piece.kind {
        PieceKind::Control | PieceKind::Unknown => Some((id, (piece.text.clone(), true))),
        PieceKind::UserDefined => Some((id, (piece.text.clone(), false))),
        PieceKind::Normal | PieceKind::Unused | PieceKind::Byte => None,
    });
    (ids, marked.collect())
}

fn sequence(kind: &str, list: &str, stages: Vec<Value>) -> Value {
    match stages.is_empty() {
        true => Value::Null,
        false => json!({ "type": kind, list: stages }),
    }
}

fn metaspace(scheme: &str, split: bool) -> Value {
    json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split })
}

/// Llama's way with SentencePiece: texts as they are, with a space before them where the model was trained so.
fn llama(directory: &Path, config: &Value) -> Result<Parts> {
    let model = sentence_piece(directory, &["tokenizer.model", "spiece.model"])?;
    let has_prefix = config["add_prefix_space"].as_bool().unwrap_or(model.has_prefix);
    let (ids, marked) = ids_of(&model);
    let scheme = match (has_prefix, config["legacy"].as_bool()) {
        (false, _) => "never",
        (true, Some(true)) => "always",
        (true, _) => "first",
    };
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    decoders.extend(has_prefix.then(|| json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 })));
    Ok(Parts {
        normalizer: sequence("Sequence", "normalizers", model.normalizers_of_spaces()),
        pre_tokenizer: metaspace(scheme, false),
        decoder: sequence("Sequence", "decoders", decoders),
        model: model.model()?,
        ids,
        marked,
    })
}

/// T5's way: words at white space, each with a space before it, and marks for gaps behind the pieces.
fn t5(directory: &Path, config: &Value) -> Result<Parts> {
    const MAX_EXTRA: u64 = 10_000;
    let mut model = sentence_piece(directory, &["spiece.model", "tokenizer.model"])?;
    let n_extra = config["extra_ids"].as_u64().unwrap_or(100);
    if n_extra > MAX_EXTRA {
        let path = directory.join("tokenizer_config.json");
        return Err(Error::bad_file(&path, format!("has extra_ids {n_extra}; at most {MAX_EXTRA} are read")));
    }
    model.pieces.extend((0..n_extra).rev().map(|i| mark(format!("<extra_id_{i}>"))));
    unigram(directory, "T5Tokenizer", &model)
}

/// Pegasus's way: as T5's, and after padding and end come marks that only its first training used.
fn pegasus(directory: &Path, config: &Value) -> Result<Parts> {
    const N_MARKS: usize = 103;
    const FIRST: usize = 2;
    let mut model = sentence_piece(directory, &["spiece.model"])?;
    if config["offset"].as_u64().is_some_and(|n| n != N_MARKS as u64) || model.unknown < FIRST {
        return Err(unknown(directory, "of the class PegasusTokenizer with other marks than <mask_1> to <unk_102>"));
    }
    let marks = ["<mask_1>", "<mask_2>"].map(str::to_owned).into_iter();
    let marks = marks.chain((2..N_MARKS).map(|i| format!("<unk_{i}>")));
    model.pieces.splice(FIRST..FIRST, marks.map(mark));
    model.unknown += N_MARKS;
    unigram(directory, "PegasusTokenizer", &model)
}

/// A piece that no text is cut into.
fn mark(text: String) -> Piece {
    Piece { text, score: 0.0, kind: PieceKind::Control }
}

/// The parts of a tokenizer of this class, whose pieces are chosen by their scores.
fn unigram(directory: &Path, class: &str, model: &SentencePiece) -> Result<Parts> {
    let (ids, marked) = ids_of(model);
    if model.algorithm != Algorithm::Unigram {
        return Err(unknown(directory, &format!("of the class {class}, but with merges")));
    }
    Ok(Parts { model: model.model()?, ids, marked, ..words_at_spaces(model) })
}

/// How T5, Pegasus and Marian cut texts into words.
fn words_at_spaces(model: &SentencePiece) -> Parts {
    let pre_tokenizers = json!([{ "type": "WhitespaceSplit" }, metaspace("always", true)]);
    Parts {
        normalizer: sequence("Sequence", "normalizers", model.normalizers()),
        pre_tokenizer: json!({ "type": "Sequence", "pretokenizers": pre_tokenizers }),
        decoder: metaspace("always", true),
        model: Value::Null,
        ids: HashMap::new(),
        marked: BTreeMap::new(),
    }
}

/// Marian's way: sources are cut by a model of their own language, and `vocab.json` numbers the pieces of both.
///
/// Pieces of the target language are never cut from a source that the source's pieces can write.
fn marian(directory: &Path, config: &Value) -> Result<Parts> {
    const NEVER: f32 = -1e6;
    if config["separate_vocabs"] == true {
        return Err(unknown(directory, "of the class MarianTokenizer with a vocabulary for each language"));
    }
    let model = sentence_piece(directory, &["source.spm"])?;
    let path = directory.join("vocab.json");
    let ids: HashMap<String, u32> = parse(&path, &needed(directory, "vocab.json")?)?;
    if model.algorithm != Algorithm::Unigram {
        return Err(unknown(directory, "of the class MarianTokenizer, but with merges"));
    }
    let normal = model.pieces.iter().filter(|piece| piece.kind == PieceKind::Normal);
    let scores: HashMap<&str, f32> = normal.map(|piece| (piece.text.as_str(), piece.score)).collect();
    let mut vocab = vec![None; ids.len()];
    for (token, &id) in &ids {
        let row = vocab.get_mut(id as usize).filter(|row| row.is_none());
        let row = row.ok_or_else(|| Error::bad_file(&path, format!("gives the id {id} twice, or leaves one out")))?;
        *row = Some((token.as_str(), scores.get(token.as_str()).copied().unwrap_or(NEVER)));
    }
    let unknown_id = role_of(config, "unk_token").and_then(|name| ids.get(name));
    let unknown_id =
        *unknown_id.ok_or_else(|| Error::bad_file(&path, "has no token for what the others cannot express"))?;
    let is_language = |token: &&String| token.starts_with(">>") && token.ends_with("<<");
    let marked = ids.keys().filter(is_language).map(|token| (ids[token], (token.clone(), false))).collect();
    let model_json = json!({ "type": "Unigram", "unk_id": unknown_id, "byte_fallback": false, "vocab": vocab });
    Ok(Parts { model: model_json, ids, marked, ..words_at_spaces(&model) })
}

#[cfg(test)]
mod tests;
