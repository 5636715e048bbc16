//! GGUF, the single-file format of llama.cpp, versions 2 and 3: metadata, then tensors in blocks.
//!
//! A file is read as a model directory is: `architecture` says its metadata in the words of a `config.json`, which the
//! families understand, `dialect` says what values and tensors are called, and `tokenizer` makes a `tokenizer.json`.

mod architecture;
mod dialect;
mod ends;
mod export;
mod header;
mod metadata;
mod pairs;
mod parts;
mod reader;
mod tokenizer;
mod write;

pub use dialect::{DIALECTS, Dialect};
pub use export::{GgufFacts, export_gguf};
pub use header::{Texts, Value};
pub use parts::PartName;
pub use reader::{Entry, Reader};
pub use tokenizer::TokenizerFiles;

use super::config_json::{self, Fields, PublishedConfig, SpecialIds};
use super::generation::PublishedGeneration;
use super::load::{Purpose, load_from};
use crate::error::{Error, Result};
use crate::model::{Pooling, Transformer};
use genera_tensor::Device;
use header::Sound;
use metadata::Metadata;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A model from one file.
#[derive(Debug)]
pub struct GgufModel {
    /// The model.
    pub transformer: Transformer,
    /// Ids with a meaning.
    pub special: SpecialIds,
    /// How it is to answer.
    pub generation: PublishedGeneration,
}

/// A file of which the architecture has been understood, and the weights are yet to be read.
#[derive(Debug)]
pub struct GgufFile {
    reader: Reader,
    published: PublishedConfig,
    pooling: Option<Pooling>,
}

impl GgufFile {
    /// Reads the metadata; of a model in several files any of them stands for all.
    ///
    /// # Errors
    /// When they cannot be read or are malformed, or when the architecture or a format is not known.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Reader::open(path)?)
    }

    /// Understands the architecture.
    ///
    /// # Errors
    /// When a value is missing, of another type, out of range, or asks for something that is not supported.
    pub fn new(mut reader: Reader) -> Result<Self> {
        let published = understand(&mut reader)?;
        let pooling = architecture::pooling(&reader)?;
        Ok(Self { reader, published, pooling })
    }

    /// What the file says of its tokenizer, which can be understood while the weights are read.
    pub fn take_tokenizer(&mut self) -> GgufTokenizer {
        let name = self.reader.metadata().get(tokenizer::NAME).cloned();
        let mut metadata = self.reader.take_metadata("tokenizer.");
        metadata.extend(name.map(|name| (tokenizer::NAME.to_owned(), name)));
        GgufTokenizer { path: self.reader.path().to_owned(), metadata }
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// When they cannot be read, or do not fit the architecture.
    ///
    /// # Cost
    /// Memory: as [`load_hf`](super::load_hf); quantised blocks, where they are kept, take little more than in the file, but
    /// for those of 2, 3, 5 and 6 bits, which are kept in 4 or 8.
    pub fn load(self, device: &Device, purpose: Purpose) -> Result<GgufModel> {
        let PublishedConfig { model, special, family, generation } = self.published;
        let dialect = architecture::dialect_of(&self.reader)?;
        let store = Box::new(pairs::Turned::new(self.reader, dialect, model.last_stack().attention.d_head));
        let mut transformer = load_from(model, Some(dialect.names()), store, device, purpose)?;
        transformer.set_published_as(family.map(|family| family.model_type));
        transformer.set_pooling(self.pooling);
        Ok(GgufModel { transformer, special, generation })
    }
}

/// What a file says of its tokenizer.
#[derive(Debug)]
pub struct GgufTokenizer {
    path: PathBuf,
    metadata: BTreeMap<String, Value>,
}

impl GgufTokenizer {
    /// The same in the files of a model directory; none in a file of weights alone.
    ///
    /// # Errors
    /// When a value is missing or of another type, or the kind of tokenizer is not known.
    pub fn files(&self) -> Result<Option<TokenizerFiles>> {
        tokenizer::files(&Metadata(&self.metadata)).map_err(|message| Error::file(&self.path, message))
    }
}

fn understand(reader: &mut Reader) -> Result<PublishedConfig> {
    let path = reader.path().to_owned();
    let unknown = |message: String| Error::file(&path, message);
    let map = architecture::config_json(reader)?;
    let mut published = config_json::parse(&path, &map)?;
    architecture::check_rotated(reader, &published.model)?;
    let metadata = Metadata(reader.metadata());
    let (further, keys) = ends::further(&metadata).map_err(unknown)?;
    let end = &mut published.special.end;
    for id in further {
        end.extend((!end.contains(&id)).then_some(id));
    }
    published.special.gguf_ends = Some(keys);
    let sampling = sampling(&metadata).map_err(unknown)?;
    published.generation =
        PublishedGeneration::read(&Fields::new(&path, &sampling), published.model.is_encoder_decoder())?;
    Ok(published)
}

/// Settings of sampling after `general.sampling.`, and what they are called in `generation_config.json`.
const SAMPLING: [(&str, &str); 5] = [
    ("temp", "temperature"),
    ("top_k", "top_k"),
    ("top_p", "top_p"),
    ("min_p", "min_p"),
    ("penalty_repeat", "repetition_penalty"),
];

/// The file's `generation_config.json`.
fn sampling(metadata: &Metadata<'_>) -> Sound<Map<String, Json>> {
    let mut map = Map::new();
    for (gguf, published) in SAMPLING {
        let key = format!("general.sampling.{gguf}");
        let value = match gguf {
            "top_k" => metadata.whole(&key)?.map(|value| json!(value)),
            _ => metadata.number(&key)?.map(|value| json!(config_json::shortest(value as f32))),
        };
        map.extend(value.map(|value| (published.to_owned(), value)));
    }
    Ok(map)
}

/// The same for a file to be.
fn sampling_metadata(generation: &PublishedGeneration) -> Vec<(String, Value)> {
    let mut json = generation.to_json();
    json.extend(generation.temperature.map(|temperature| ("temperature".to_owned(), json!(temperature))));
    let entry = |(gguf, published): &(&str, &str)| {
        let value = json.get(*published)?;
        let value = match value.as_u64() {
            Some(whole) => Value::Integer(whole.into()),
            None => Value::Float(value.as_f64()?),
        };
        Some((format!("general.sampling.{gguf}"), value))
    };
    SAMPLING.iter().filter_map(entry).collect()
}
