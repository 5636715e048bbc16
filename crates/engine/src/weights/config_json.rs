//! `config.json` as the Hugging Face library writes it, today and in older versions.
//!
//! What a file leaves out has the default of its family, as in that library. Numbers are bounded here, so that nothing
//! behind has to fear them.

use super::family::{FAMILIES, Family};
use super::generation::PublishedGeneration;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use genera_tensor::Activation;
use genera_tokens::{Special, TokenId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Longest JSON file that is read; published ones have a few thousand bytes. In memory it may take a hundred times as much.
const MAX_JSON_BYTES: u64 = 1 << 19;
/// Largest number that any size may have.
const MAX_SIZE: u64 = 1 << 28;
/// Most layers of a stack.
const MAX_LAYERS: u64 = 4096;
/// Most unknown keys that a message names.
const MAX_NAMED: usize = 12;
/// Keys of derived architectures that change what a model computes, unless they are null, false or 1.
const CHANGING: [&str; 11] = [
    "alibi",
    "attention_multiplier",
    "clip_qkv",
    "embedding_multiplier",
    "logit_scale",
    "logits_scaling",
    "qk_layernorm",
    "quantization_config",
    "residual_multiplier",
    "use_alibi",
    "use_qk_norm",
];
/// `model_type` of what no published architecture can express, and the key with our own configuration.
pub(super) const OWN_TYPE: &str = "genera";

/// What the JSON files of a model directory say.
#[derive(Clone, Debug)]
pub struct PublishedConfig {
    /// The architecture, validated.
    pub model: ModelConfig,
    /// The published family; none when the directory is for this program only.
    pub family: Option<&'static Family>,
    /// Ids with a meaning.
    pub special: SpecialIds,
    /// How it is to answer.
    pub generation: PublishedGeneration,
}

/// The ids with a meaning, as the published files name them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialIds {
    /// `pad_token_id`
    pub padding: Option<TokenId>,
    /// `bos_token_id`
    pub begin: Option<TokenId>,
    /// `eos_token_id`: generation stops at any of them.
    pub end: Vec<TokenId>,
    /// `decoder_start_token_id`: what the decoder of an encoder-decoder is given first.
    pub decoder_start: Option<TokenId>,
    /// Ids of a GGUF file that end an answer beside `eos_token_id`, by its keys; none where they are not from such a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gguf_ends: Option<BTreeMap<String, TokenId>>,
}

impl SpecialIds {
    /// The special ids of a vocabulary for a model; a decoder that has an encoder starts from the begin token, or padding.
    pub fn of(special: &Special, config: &ModelConfig) -> Self {
        let start = special.begin.or(special.padding).filter(|_| config.is_encoder_decoder());
        Self {
            padding: special.padding,
            begin: special.begin,
            end: special.end.into_iter().collect(),
            decoder_start: start,
            gguf_ends: None,
        }
    }

    /// Ids that end an answer of a model of `n_rows` tokens: its own, and that of its tokenizer. Files may name the tokens of
    /// a larger vocabulary than the model has.
    pub fn stop_ids(&self, of_tokenizer: &Special, n_rows: usize) -> Vec<TokenId> {
        let mut ids = self.end.clone();
        ids.extend(of_tokenizer.end.filter(|id| !self.end.contains(id)));
        ids.retain(|&id| (id as usize) < n_rows);
        ids
    }

    /// The same with all ids that end an answer for its own, for files whose readers ask no tokenizer.
    #[must_use]
    pub fn with_all_ends(&self, of_tokenizer: &Special, n_rows: usize) -> Self {
        Self { end: self.stop_ids(of_tokenizer, n_rows), ..self.clone() }
    }

    /// What the decoder of an encoder-decoder with so many tokens reads first.
    ///
    /// # Errors
    /// When the files do not say, or name a token that the model does not have, as a family's default may be.
    pub fn decoder_opening(&self, n_rows: usize) -> Result<TokenId> {
        let id = self.decoder_start.or(self.begin).or(self.padding).ok_or_else(|| {
            Error::Config("the model's files name no decoder_start_token_id, so the decoder cannot begin".to_owned())
        })?;
        if id as usize >= n_rows {
            return Err(Error::Config(format!(
                "the decoder is to begin with token {id}, and the model has tokens 0 to {}; mend decoder_start_token_id in its \
                 config.json and generation_config.json",
                n_rows - 1
            )));
        }
        Ok(id)
    }
}

/// Reads `config.json` and, where there is one, `generation_config.json`, whose ids go before. Without one `config.json` says
/// how answers are made, as it did before there was another file for that.
///
/// # Errors
/// When a file cannot be read or is not JSON, when the architecture is unknown, and when a value is missing, of another
/// type, out of range, or asks for something that is not supported.
pub fn read_config(dir: &Path) -> Result<PublishedConfig> {
    let path = dir.join("config.json");
    let map = read_object(&path)?.ok_or_else(|| {
        let missing = format!("no config.json in {}; expected a model in the Hugging Face layout", dir.display());
        Error::file(&path, missing)
    })?;
    let mut published = parse(&path, &map)?;
    let path = dir.join("generation_config.json");
    if let Some(map) = read_object(&path)? {
        let fields = Fields::new(&path, &map);
        published.special = special_ids(&fields, published.special)?;
        published.generation = PublishedGeneration::read(&fields, published.model.is_encoder_decoder())?;
    }
    Ok(published)
}

/// How a model is to answer by a file like `generation_config.json`; `None` when there is no such file.
///
/// # Errors
/// As [`read_config`].
pub fn read_generation(path: &Path, is_encoder_decoder: bool) -> Result<Option<PublishedGeneration>> {
    let map = read_object(path)?;
    map.map(|map| PublishedGeneration::read(&Fields::new(path, &map), is_encoder_decoder)).transpose()
}

/// Understands a `config.json`; `path` is for messages.
///
/// # Errors
/// As [`read_config`].
pub fn parse(path: &Path, map: &Map<String, Value>) -> Result<PublishedConfig> {
    let fields = Fields::new(path, map);
    let model_type = fields.text("model_type", "")?;
    let family = FAMILIES.iter().copied().find(|family| family.model_types().any(|known| known == model_type));
    let (model, defaults) = match family {
        Some(family) => ((family.read)(&fields)?, family.default_ids()),
        None if model_type == OWN_TYPE => (own_config(&fields)?, SpecialIds::default()),
        None => return Err(unknown_architecture(&fields, model_type)),
    };
    fields.refuse_changing()?;
    model.validate().map_err(|error| fields.error(error.to_string()))?;
    let defaults = match fields.object("text_config")? {
        Some(text) => special_ids(&text, defaults)?,
        None => defaults,
    };
    let (special, generation) = (special_ids(&fields, defaults)?, generation(&fields, family, &model)?);
    Ok(PublishedConfig { model, family, special, generation })
}

/// How a model is to answer by its `config.json`.
fn generation(
    fields: &Fields<'_>,
    family: Option<&'static Family>,
    model: &ModelConfig,
) -> Result<PublishedGeneration> {
    let mut generation = PublishedGeneration::read(fields, model.is_encoder_decoder())?;
    if !fields.is_given("forced_eos_token_id") {
        generation.rules.forced_last = family.and_then(|family| family.forced_end);
    }
    Ok(generation)
}

fn own_config(fields: &Fields<'_>) -> Result<ModelConfig> {
    let value = fields.map.get(OWN_TYPE).unwrap_or(&Value::Null);
    ModelConfig::deserialize(value).map_err(|error| fields.error(format!("its '{OWN_TYPE}' table: {error}")))
}

fn unknown_architecture(fields: &Fields<'_>, model_type: &str) -> Error {
    let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.model_types()).collect();
    let found = if model_type.is_empty() { "no model_type".to_owned() } else { format!("model_type '{model_type}'") };
    let keys = unknown_keys(fields);
    let more = if keys.len() > MAX_NAMED { ", …" } else { "" };
    let named = keys[..keys.len().min(MAX_NAMED)].join(", ");
    let unknown = if keys.is_empty() { String::new() } else { format!("; no known one has its keys {named}{more}") };
    fields.error(format!(
        "{found}, which is not a known architecture; known are {}, {OWN_TYPE}{unknown}",
        known.join(", ")
    ))
}

/// The keys of a file that no family reads or writes, and that are no settings of training or of the library.
fn unknown_keys<'f>(fields: &'f Fields<'_>) -> Vec<&'f str> {
    let empty = Map::new();
    let mut known: HashSet<String> = HashSet::new();
    for family in FAMILIES {
        for map in [&empty, fields.map] {
            let asked = Fields::new(&fields.path, map);
            if let Ok(config) = (family.read)(&asked) {
                known.extend((family.write)(&config).into_iter().map(|(key, _)| key));
            }
            known.extend(asked.asked.into_inner());
        }
    }
    let is_idle = |key: &str| {
        let parts = [
            "dropout",
            "dtype",
            "initializer",
            "init_std",
            "_token",
            "architectures",
            "auto_map",
            "model_type",
            "use_cache",
        ];
        parts.iter().any(|part| key.contains(part)) || key.starts_with('_') || key == "transformers_version"
    };
    fields.map.keys().map(String::as_str).filter(|key| !known.contains(*key) && !is_idle(key)).collect()
}

fn special_ids(fields: &Fields<'_>, defaults: SpecialIds) -> Result<SpecialIds> {
    let one = |key, default: Option<TokenId>| match fields.map.get(key) {
        None => Ok(default),
        Some(_) => fields.ids(key).map(|ids| ids.first().copied()),
    };
    let end = if fields.map.contains_key("eos_token_id") { fields.ids("eos_token_id")? } else { defaults.end };
    Ok(SpecialIds {
        padding: one("pad_token_id", defaults.padding)?,
        begin: one("bos_token_id", defaults.begin)?,
        end,
        decoder_start: one("decoder_start_token_id", defaults.decoder_start)?,
        gguf_ends: None,
    })
}

/// The object in a JSON file; `None` when there is no such file.
///
/// # Errors
/// When it cannot be read, is too long, or is no JSON object.
pub(super) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    read_json(path, MAX_JSON_BYTES)
}

/// What the object in a JSON file of up to `max_bytes` says; `None` when there is no such file.
///
/// # Errors
/// As [`read_object`].
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, max_bytes: u64) -> Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("cannot open", path, error)),
    };
    let mut text = Vec::new();
    let read = file.take(max_bytes + 1).read_to_end(&mut text);
    read.map_err(|error| Error::io("cannot read", path, error))?;
    if text.len() as u64 > max_bytes {
        return Err(Error::file(path, format!("is longer than {max_bytes} bytes, the most that is read")));
    }
    let object = serde_json::from_slice(&text);
    object.map(Some).map_err(|error| Error::file(path, format!("is not a JSON object that can be read: {error}")))
}

/// The keys of a JSON object, read with their defaults and checked. A key that is null counts as left out.
#[derive(Debug)]
pub struct Fields<'a> {
    path: PathBuf,
    map: &'a Map<String, Value>,
    /// The keys that were asked for.
    asked: RefCell<HashSet<String>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(path: &Path, map: &'a Map<String, Value>) -> Self {
        Self { path: path.to_owned(), map, asked: RefCell::default() }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The value of a key; `None` when left out.
    pub(super) fn value_if_given(&self, key: &str) -> Option<&'a Value> {
        self.get(key)
    }

    /// Whether nothing is given.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether the file has the key, be it null.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.asked.borrow_mut().insert(key.to_owned());
        self.map.contains_key(key)
    }

    /// A whole number, 0 included; `None` when left out.
    pub(super) fn whole_if_given(&self, key: &str) -> Result<Option<u64>> {
        let whole = |value: &Value| {
            value.as_u64().ok_or_else(|| self.error(format!("'{key}' is {}, expected a whole number", short(value))))
        };
        self.get(key).map(whole).transpose()
    }

    /// A whole number, 0 included.
    pub(super) fn whole(&self, key: &str, default: u64) -> Result<u64> {
        Ok(self.whole_if_given(key)?.unwrap_or(default))
    }

    /// A number in a range; `None` when left out.
    pub(super) fn number_if_given(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>> {
        let number = |value: &Value| {
            value.as_f64().filter(|number| range.contains(number)).ok_or_else(|| {
                let (low, high) = (range.start(), range.end());
                self.error(format!("'{key}' is {}, expected a number from {low} to {high}", short(value)))
            })
        };
        self.get(key).map(number).transpose()
    }

    /// A whole number of at least 1; `None` when left out.
    pub(super) fn size_if_given(&self, key: &str) -> Result<Option<usize>> {
        let size = |value: &Value| {
            let size = value.as_u64().filter(|size| (1..=MAX_SIZE).contains(size));
            size.map(|size| size as usize).ok_or_else(|| {
                self.error(format!("'{key}' is {}, expected a whole number from 1 to {MAX_SIZE}", short(value)))
            })
        };
        self.get(key).map(size).transpose()
    }

    /// A whole number of at least 1.
    pub(super) fn size(&self, key: &str, default: usize) -> Result<usize> {
        Ok(self.size_if_given(key)?.unwrap_or(default))
    }

    /// A whole number of at least 1; `None` where the file says null.
    pub(super) fn nullable_size(&self, key: &str, default: usize) -> Result<Option<usize>> {
        if self.is_given(key) { self.size_if_given(key) } else { Ok(Some(default)) }
    }

    /// A number of layers.
    pub(super) fn layers(&self, key: &str, default: usize) -> Result<usize> {
        let n_layers = self.size(key, default)?;
        if n_layers as u64 <= MAX_LAYERS {
            return Ok(n_layers);
        }
        Err(self.error(format!("'{key}' is {n_layers}; at most {MAX_LAYERS} layers are read")))
    }

    /// A number above 0; `None` when left out.
    pub(super) fn positive_if_given(&self, key: &str) -> Result<Option<f64>> {
        let number = |value: &Value| {
            let number = value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
            number.ok_or_else(|| self.error(format!("'{key}' is {}, expected a number above 0", short(value))))
        };
        self.get(key).map(number).transpose()
    }

    /// A number above 0.
    pub(super) fn positive(&self, key: &str, default: f64) -> Result<f64> {
        Ok(self.positive_if_given(key)?.unwrap_or(default))
    }

    /// A number above 0 that must be there, for what `of` says.
    pub(super) fn required(&self, key: &str, of: &str) -> Result<f64> {
        self.positive_if_given(key)?.ok_or_else(|| self.error(format!("{of} needs '{key}', a number above 0")))
    }

    /// A list of numbers above 0 that must be there, for what `of` says.
    pub(super) fn required_list(&self, key: &str, of: &str) -> Result<Vec<f64>> {
        let number = |value: &Value| value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
        let list = self.get(key).and_then(Value::as_array);
        let numbers = list.and_then(|list| list.iter().map(number).collect());
        numbers.ok_or_else(|| self.error(format!("{of} needs '{key}', a list of numbers above 0")))
    }

    /// True or false; `None` when left out.
    pub(super) fn flag_if_given(&self, key: &str) -> Result<Option<bool>> {
        let flag = |value: &Value| {
            value.as_bool().ok_or_else(|| self.error(format!("'{key}' is {}, expected true or false", short(value))))
        };
        self.get(key).map(flag).transpose()
    }

    /// True or false.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.flag_if_given(key)?.unwrap_or(default))
    }

    /// A text.
    pub(super) fn text(&self, key: &str, default: &'a str) -> Result<&'a str> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text),
            Some(value) => Err(self.error(format!("'{key}' is {}, expected a text", short(value)))),
        }
    }

    /// A list of texts; `None` when left out.
    pub(super) fn texts_if_given(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        let texts = |value: &'a Value| {
            let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
            texts.ok_or_else(|| self.error(format!("'{key}' is {}, expected a list of texts", short(value))))
        };
        self.get(key).map(texts).transpose()
    }

    /// The fields of an object inside; those of an empty one when left out.
    pub(super) fn object(&self, key: &str) -> Result<Option<Fields<'a>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields::new(&self.path, map))),
            Some(value) => Err(self.error(format!("'{key}' is {}, expected an object", short(value)))),
        }
    }

    /// An activation by the name that the library's table has for it.
    pub(super) fn activation(&self, key: &str, default: &'a str) -> Result<Activation> {
        let name = self.text(key, default)?;
        activation(name).ok_or_else(|| {
            let known: Vec<&str> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
            self.error(format!("'{key}' is '{name}', which is not supported; known are {}", known.join(", ")))
        })
    }

    /// Refuses a file that sets a flag otherwise than here is possible.
    pub(super) fn must_be(&self, key: &str, expected: bool) -> Result<()> {
        match self.flag_if_given(key)? {
            Some(found) if found != expected => {
                Err(self.error(format!("'{key}' is {found}, which is not supported; expected {expected}")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses keys that nobody asked for and that change what a model computes.
    fn refuse_changing(&self) -> Result<()> {
        let is_idle = |value: &Value| value.is_null() || *value == json!(false) || value.as_f64() == Some(1.0);
        let asked = self.asked.borrow();
        let is_changing = |key: &str| !asked.contains(key) && self.map.get(key).is_some_and(|value| !is_idle(value));
        CHANGING.into_iter().find(|key| is_changing(key)).map_or(Ok(()), |key| {
            let value = short(&self.map[key]);
            Err(self.error(format!("'{key}' is {value}, which changes what the model computes and is not supported")))
        })
    }

    /// Lists of ids, or null for none.
    pub(super) fn id_lists(&self, key: &str) -> Result<Vec<Vec<TokenId>>> {
        let lists = |value: &Value| {
            Vec::deserialize(value)
                .map_err(|_| self.error(format!("'{key}' is {}, expected a list of lists of token ids", short(value))))
        };
        Ok(self.get(key).map(lists).transpose()?.unwrap_or_default())
    }

    /// One id, a list of ids, or null for none.
    pub(super) fn ids(&self, key: &str) -> Result<Vec<TokenId>> {
        let id = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
        let ids = match self.get(key) {
            None => Some(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(id).collect(),
            // Some published files write −1 for "none".
            Some(value) if value.as_i64() == Some(-1) => Some(Vec::new()),
            Some(value) => id(value).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.error(format!("'{key}' is {}, expected a token id", short(&self.map[key]))))
    }

    /// An error that names the file.
    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        Error::file(&self.path, message)
    }
}

pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The first name of each activation is the one that is written.
const ACTIVATIONS: [(&str, Activation); 10] = [
    ("relu", Activation::Relu),
    ("gelu", Activation::GeluErf),
    ("gelu_python", Activation::GeluErf),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
];

/// The activation of a name in the library's table.
pub(super) fn activation(name: &str) -> Option<Activation> {
    ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
}

/// The name of an activation in the library's table.
pub(super) fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Relu => "relu",
        Activation::GeluErf => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Silu => "silu",
    }
}

/// A number of single precision as the shortest decimal that reads back as it: 1e-6, not 9.999999974752427e-7.
pub(super) fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_begins_with_a_token_that_exists() {
        let ids = SpecialIds { decoder_start: Some(9), begin: Some(1), ..SpecialIds::default() };
        let message = |n_rows| ids.decoder_opening(n_rows).map_err(|error| error.to_string());
        assert_eq!(message(10), Ok(9));
        let beyond = message(9).unwrap_err();
        assert!(beyond.contains("token 9") && beyond.contains("tokens 0 to 8"), "{beyond}");
        assert_eq!(SpecialIds { decoder_start: None, ..ids }.decoder_opening(9).ok(), Some(1));
        let none = SpecialIds::default().decoder_opening(9).unwrap_err().to_string();
        assert!(none.contains("decoder_start_token_id"), "{none}");
    }

    #[test]
    fn exported_files_name_the_end_of_the_tokenizer_too() {
        let ids = SpecialIds { end: vec![2], begin: Some(1), ..SpecialIds::default() };
        let tokenizer = |end| Special { end: Some(end), ..Special::default() };
        let ends = |end| ids.with_all_ends(&tokenizer(end), 10).end;
        assert_eq!([ends(4), ends(2), ends(10)], [vec![2, 4], vec![2], vec![2]]);
        assert_eq!(SpecialIds { end: vec![2], ..ids.with_all_ends(&tokenizer(4), 10) }, ids);
    }
}
