//! A model as a directory in the Hugging Face layout, in the architecture that others know it by.

use super::card::{CardFacts, Loading, card};
use super::config_json::{OWN_TYPE, SpecialIds};
use super::express::{Expression, express_as};
use super::family::Family;
use super::generation::PublishedGeneration;
use super::load::{head_blocks, transpose};
use super::names::{Lie, Sources};
use super::pooling;
use super::safetensors::{self, NamedView};
use crate::config::ModelConfig;
use crate::disk;
use crate::error::{Error, Result};
use crate::model::Transformer;
use crate::params::{ParamSpec, Params, layout};
use genera_tensor::View;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// What became of an export.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The published family that the directory belongs to; none when only this program reads it.
    pub family: Option<&'static Family>,
    /// What the user should know: why no published family fits, or what was written otherwise than it is here or not at
    /// all.
    pub note: Option<String>,
}

/// Writes `config.json`, `generation_config.json`, `model.safetensors` in f32 and `README.md` into `dir`.
///
/// `generation` is how the model is to answer, as far as that is known.
///
/// Every architecture can be written. Where no published one can express it, `model_type` is "genera", and only
/// [`load_hf`](super::load_hf) reads it. Each file is complete before it takes the place of an older one.
///
/// # Errors
/// When a file cannot be written.
pub fn export_hf(
    model: &Transformer,
    dir: &Path,
    special: &SpecialIds,
    generation: &PublishedGeneration,
    facts: &CardFacts,
) -> Result<Exported> {
    disk::make_dir(dir).map_err(|source| Error::io("cannot create", dir, source))?;
    let config = model.config();
    let (mut exported, mut json, tensors, readme) = match express_as(config, model.published_as()) {
        Ok(Expression { family, json, model: theirs, concessions }) => {
            let note =
                (!concessions.is_empty()).then(|| format!("as {}: {}", family.model_type, concessions.join("; ")));
            let loading = Loading::Published { architecture: family.architecture, task: family.task };
            let tensors = family_tensors(model.params(), config, &theirs, family);
            (Exported { family: Some(family), note }, json, tensors, card(config, facts, &loading))
        }
        Err(reason) => {
            let readme = card(config, facts, &Loading::Own { reason: &reason });
            let note = Some(format!("Genera alone can load model/: {reason}"));
            let exported = Exported { family: None, note };
            (exported, own_json(config), own_tensors(model.params()), readme)
        }
    };
    json.extend(config_ids(special));
    json.insert("dtype".to_owned(), json!("float32"));
    write_weights(&dir.join("model.safetensors"), tensors)?;
    write_json(&dir.join("generation_config.json"), &generation_config(special, generation, config))?;
    write_file(&dir.join("README.md"), |out| out.write_all(readme.as_bytes()))?;
    if let Some(pooling) = model.pooling() {
        let notes = exported.note.into_iter().chain(pooling::write(pooling, config.d_model, dir)?);
        exported.note = notes.reduce(|all, note| format!("{all}; {note}"));
    }
    write_json(&dir.join("config.json"), &json)?;
    disk::settle(dir);
    Ok(exported)
}

fn own_json(config: &ModelConfig) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("model_type".to_owned(), json!(OWN_TYPE));
    map.insert(OWN_TYPE.to_owned(), json!(config));
    map
}

/// The ids as `config.json` has them: an explicit null where there is none, since leaving a key out means the family's
/// default. The library wants a number for the decoder's start.
fn config_ids(special: &SpecialIds) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("bos_token_id".to_owned(), json!(special.begin));
    map.insert("eos_token_id".to_owned(), end_ids(special));
    map.insert("pad_token_id".to_owned(), json!(special.padding));
    if let Some(id) = special.decoder_start {
        map.insert("decoder_start_token_id".to_owned(), json!(id));
    }
    map
}

fn end_ids(special: &SpecialIds) -> Value {
    match special.end.as_slice() {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    }
}

fn generation_config(
    special: &SpecialIds,
    generation: &PublishedGeneration,
    config: &ModelConfig,
) -> Map<String, Value> {
    let mut map = config_ids(special);
    map.retain(|_, value| !value.is_null());
    if *generation == PublishedGeneration::default() {
        // Where nobody says how long an answer is, the library takes 20 tokens.
        map.insert("max_length".to_owned(), json!(config.context_len));
    }
    map.extend(generation.to_json());
    map
}

/// A tensor of the file to be.
pub(super) struct Written<'p> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) data: Cow<'p, [f32]>,
}

/// The parameters under their own names.
fn own_tensors(params: &Params) -> Vec<Written<'_>> {
    let specs = params.own_specs().iter();
    specs.flat_map(|spec| split(Sources::own(spec), values(params, &spec.name).unwrap_or_default(), spec)).collect()
}

/// The parameters as a family has them, zeros for those that only it has.
fn family_tensors<'p>(
    params: &'p Params,
    config: &ModelConfig,
    theirs: &ModelConfig,
    family: &Family,
) -> Vec<Written<'p>> {
    let mut written = Vec::new();
    for spec in layout(theirs) {
        let data = values(params, &spec.name).unwrap_or_else(|| vec![0.0; spec.shape.n_elements()].into());
        let sources = Sources::of(family.rows, theirs, &spec)
            .unwrap_or_else(|| panic!("{} has no name for '{}'", family.model_type, spec.name));
        written.extend(split(sources, data, &spec));
    }
    if let Some(name) = (family.embedding_copy)(config) {
        let data = values(params, "embedding.weight").unwrap_or_default();
        written.push(Written { name: name.to_owned(), shape: vec![config.vocab_size, config.embedding_width()], data });
    }
    written
}

/// The numbers of a parameter that the model has.
pub(super) fn values<'p>(params: &'p Params, name: &str) -> Option<Cow<'p, [f32]>> {
    let id = params.find(name)?;
    Some(if params.is_packed_only(id) {
        Cow::Owned(params.numbers(id).to_vec())
    } else {
        Cow::Borrowed(params.master(id).view().f32())
    })
}

/// A parameter as the tensors of the file.
pub(super) fn split<'p>(sources: Sources, data: Cow<'p, [f32]>, spec: &ParamSpec) -> Vec<Written<'p>> {
    let changed: Option<Vec<f32>> = match sources.lie {
        Lie::Plain | Lie::OneRow => None,
        Lie::Transposed => {
            let mut turned = vec![0.0; data.len()];
            transpose(&data, spec.shape.last(), &mut turned);
            Some(turned)
        }
        Lie::PerHead { d_head } => {
            let mut by_head = vec![0.0; data.len()];
            for (ours, theirs) in head_blocks(data.len(), d_head * data.len() / spec.shape.sizes()[0]) {
                by_head[theirs].copy_from_slice(&data[ours]);
            }
            Some(by_head)
        }
        Lie::LessOne => Some(data.iter().map(|x| x - 1.0).collect()),
        Lie::After(n) => Some([vec![0.0; n * spec.shape.last()], data.to_vec()].concat()),
    };
    if let Some(data) = changed {
        let source = sources.tensors.into_iter().next().expect("a parameter that lies otherwise is one tensor");
        return vec![Written { name: source.name, shape: source.shape, data: data.into() }];
    }
    let mut start = 0;
    let part = |(name, shape): (String, Vec<usize>)| {
        let range = start..start + shape.iter().product::<usize>();
        start = range.end;
        let data = match &data {
            Cow::Borrowed(data) => Cow::Borrowed(&data[range]),
            Cow::Owned(data) => Cow::Owned(data[range].to_vec()),
        };
        Written { name, shape, data }
    };
    sources.tensors.into_iter().map(|source| (source.name, source.shape)).map(part).collect()
}

pub(super) fn write_weights(path: &Path, tensors: Vec<Written<'_>>) -> Result<()> {
    let view = |tensor: &'_ Written<'_>| (tensor.name.clone(), tensor.shape.clone());
    let named: Vec<NamedView<'_>> = tensors
        .iter()
        .map(|tensor| {
            let (name, shape) = view(tensor);
            NamedView { name, shape, data: View::F32(&tensor.data) }
        })
        .collect();
    // The library refuses files that do not say whose axes they have.
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_file(path, |out| safetensors::write(out, &metadata, &named))
}

pub(super) fn write_json(path: &Path, map: &Map<String, Value>) -> Result<()> {
    let mut sorted: Vec<_> = map.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    let sorted: Map<String, Value> = sorted.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    write_file(path, |out| {
        serde_json::to_writer_pretty(&mut *out, &sorted)?;
        out.write_all(b"\n")
    })
}

/// Writes beside the file and takes its place only when all is on disk.
pub(super) fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut beside = path.to_owned();
    beside.as_mut_os_string().push(".part");
    let written = || -> io::Result<()> {
        let mut out = BufWriter::new(File::create(&beside)?);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|source| {
        // What is incomplete is of no use to anyone; the first error is the one to report.
        let _ = fs::remove_file(&beside);
        Error::io("cannot write", path, source)
    })
}
