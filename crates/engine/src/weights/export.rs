//! A model as a directory in the Hugging Face layout, in the architecture that others know it by.

use super::card::{CardFacts, Loading, card};
use super::config_json::{OWN_TYPE, SpecialIds};
use super::express::{Expression, express_as};
use super::family::{Family, POOLER};
use super::generation::PublishedGeneration;
use super::in_file::error_inside;
use super::names::Sources;
use super::pooling;
use super::safetensors::{self, StoredType};
use super::written::{Data, Written, format_of_matrices, split};
use crate::config::ModelConfig;
use crate::disk::{self, hold_names};
use crate::error::{Error, Result};
use crate::model::Transformer;
use crate::params::{EMBEDDING, ParamSpec, Params, layout};
use genera_tensor::quant::Format;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The files of every export; those of models of sentences have more.
const FILES: [&str; 4] = ["model.safetensors", "generation_config.json", "README.md", "config.json"];

/// What is said of an export without the layer that a family has on top of the hidden states.
const NO_POOLER: &str = "pooler: left out, as nothing here reads it; what loads the copy begins one at random, so take the hidden \
                         states (last_hidden_state) of it, not pooler_output";

/// What became of an export.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The published family that the directory belongs to; none when only this program reads it.
    pub family: Option<&'static Family>,
    /// What the user should know: why no published family fits, or what was written otherwise than it is here or not at
    /// all.
    pub note: Option<String>,
}

/// Writes `config.json`, `generation_config.json`, `model.safetensors` and `README.md` into `dir`; what adapters add is added
/// to the weights.
///
/// `generation` is how the model is to answer, as far as that is known. Numbers are written as `dtype`, f32, bf16 or f16, or
/// without one as they are stored: those of a model that was loaded for [`Purpose::Export`](super::Purpose::Export) as in
/// its files, if in 32 or 16 bits; all others in f32.
///
/// Every architecture can be written. Where no published one can express it, `model_type` is "genera", and only
/// [`load_hf`](super::load_hf) reads it. Each file is complete before it takes the place of an older one.
///
/// # Errors
/// When a file cannot be read or written, or `dtype` is a format of blocks or too small for a number.
///
/// # Cost
/// Memory: of a model that was loaded for export about that of its largest tensor.
pub fn export_hf(
    model: &Transformer,
    dir: &Path,
    special: &SpecialIds,
    generation: &PublishedGeneration,
    facts: &CardFacts,
    dtype: Option<Format>,
) -> Result<Exported> {
    if dtype.is_some_and(|dtype| dtype.coding().is_some()) {
        return Err(Error::Config(
            "safetensors holds f32, bf16 or f16; quantised blocks go into a GGUF file".to_owned(),
        ));
    }
    disk::make_dir(dir).map_err(|source| Error::io("cannot create", dir, source))?;
    let config = model.config();
    let (mut exported, mut json, tensors, readme) = match express_as(config, model.published_as()) {
        Ok(Expression { family, json, model: theirs, mut concessions }) => {
            concessions.extend(family.ignored.contains(&POOLER).then(|| NO_POOLER.to_owned()));
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
    json.insert("dtype".to_owned(), json!(dtype_name(dtype.unwrap_or_else(|| format_of_matrices(model.params())))));
    write_weights(&dir.join("model.safetensors"), &tensors, dtype)?;
    let is_published = model.published_as().is_some();
    write_json(&dir.join("generation_config.json"), &generation_config(special, generation, config, is_published))?;
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
    is_published: bool,
) -> Map<String, Value> {
    let mut map = config_ids(special);
    map.retain(|_, value| !value.is_null());
    if *generation == PublishedGeneration::default() && !is_published {
        // Where nobody says how long an answer is, the library takes 20 tokens. Of published models their authors say it or not.
        map.insert("max_length".to_owned(), json!(config.context_len));
    }
    map.extend(generation.to_json());
    map
}

/// The parameters under their own names.
fn own_tensors(params: &Params) -> Vec<Written<'_>> {
    let specs = params.own_specs().iter();
    specs.flat_map(|spec| split(Sources::own(spec), numbers(params, spec), spec)).collect()
}

fn numbers<'p>(params: &'p Params, spec: &ParamSpec) -> Data<'p> {
    Data::of(params, &spec.name).unwrap_or_else(|| Data::zeros(spec))
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
        let sources = Sources::of(family.rows, theirs, &spec)
            .unwrap_or_else(|| panic!("{} has no name for '{}'", family.model_type, spec.name));
        written.extend(split(sources, numbers(params, &spec), &spec));
    }
    if let Some((name, data)) = (family.embedding_copy)(config).zip(Data::of(params, EMBEDDING)) {
        written.push(Written { name: name.to_owned(), shape: vec![config.vocab_size, config.embedding_width()], data });
    }
    written
}

/// Writes tensors, each in the format that is wanted, or else in the one in which its numbers are stored.
pub(super) fn write_weights(path: &Path, tensors: &[Written<'_>], wanted: Option<Format>) -> Result<()> {
    // The library refuses files that do not say whose axes they have.
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let formats: Vec<Format> = tensors.iter().map(|tensor| wanted.unwrap_or_else(|| tensor.data.format())).collect();
    write_file(path, |out| {
        let described = |(tensor, format): (&Written<'_>, &Format)| {
            let stored = StoredType::of_format(*format).expect("numbers, not blocks");
            (tensor.name.clone(), tensor.shape.clone(), stored)
        };
        safetensors::write_header(out, &metadata, tensors.iter().zip(&formats).map(described))?;
        tensors.iter().zip(formats).try_for_each(|(tensor, format)| tensor.data.encode(&tensor.name, format, out))
    })
}

/// What the library calls numbers in a format.
fn dtype_name(format: Format) -> &'static str {
    match format {
        Format::Bf16 => "bfloat16",
        Format::F16 => "float16",
        _ => "float32",
    }
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

/// Where a file is written before it is whole.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut beside = path.to_owned();
    beside.as_mut_os_string().push(".part");
    beside
}

/// Where the files of [`export_hf`] are before they are whole; what lies there was left by a process that was ended.
pub fn unfinished_files(dir: &Path) -> Vec<PathBuf> {
    FILES.iter().chain(&pooling::FILES).map(|file| unfinished(&dir.join(file))).collect()
}

/// Writes beside the file and takes its place only when all is on disk.
pub(super) fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let beside = unfinished(path);
    let create = || {
        let _names = hold_names();
        File::create(&beside)
    };
    let written = || -> io::Result<()> {
        let mut out = BufWriter::new(create()?);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let _names = hold_names();
        fs::rename(&beside, path)
    };
    written().map_err(|source| {
        // What is incomplete is of no use to anyone; the first error is the one to report.
        let _ = fs::remove_file(&beside);
        error_inside(source).unwrap_or_else(|source| Error::io("cannot write", path, source))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    /// Who clears away finds everything that was begun, and nothing comes behind it.
    #[test]
    fn no_file_begins_or_gets_its_name_while_names_are_held() {
        const MOMENT: Duration = Duration::from_millis(100);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let ((begun, has_begun), (go_on, may_go_on), (done, is_done)) = (channel(), channel::<()>(), channel());
        let names = hold_names();
        let to = path.clone();
        let writer = thread::spawn(move || {
            let written = write_file(&to, |out| {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                out.write_all(b"whole")
            });
            done.send(()).unwrap();
            written
        });
        assert!(has_begun.recv_timeout(MOMENT).is_err() && !unfinished(&path).exists());
        drop(names);
        has_begun.recv().unwrap();
        let names = hold_names();
        go_on.send(()).unwrap();
        assert!(is_done.recv_timeout(MOMENT).is_err() && unfinished(&path).exists() && !path.exists());
        drop(names);
        writer.join().unwrap().unwrap();
        assert!(!unfinished(&path).exists());
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
}
