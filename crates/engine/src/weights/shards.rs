//! The weights of a model directory: one safetensors file, or several with an index of who has what.

use super::config_json::read_object_up_to;
use super::load::Store;
use super::safetensors::Reader;
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Longest index that is read: that of a model with several hundred thousand tensors.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Most files of a model.
const MAX_SHARDS: usize = 4096;

/// The tensors of all files of a model.
#[derive(Debug)]
pub(super) struct Shards {
    dir: PathBuf,
    readers: Vec<Reader>,
    /// Which file has a tensor.
    by_name: HashMap<String, usize>,
}

impl Shards {
    /// Opens the files of a model directory and reads their headers.
    ///
    /// # Errors
    /// When there are none, when one that the index names is missing or lacks a tensor, or when one is malformed.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let index = dir.join(INDEX);
        let (files, by_name) = match read_object_up_to(&index, MAX_INDEX_BYTES)? {
            Some(map) => files_of_index(&index, map.get("weight_map"))?,
            None if dir.join(SINGLE).exists() => (vec![SINGLE.to_owned()], HashMap::new()),
            None => return Err(no_weights(dir)),
        };
        let readers = files.iter().map(|file| open_shard(dir, &index, file)).collect::<Result<Vec<_>>>()?;
        let mut shards = Self { dir: dir.to_owned(), readers, by_name };
        shards.check_index(&index, &files)?;
        if shards.by_name.is_empty() {
            let names = shards.readers[0].entries().iter().map(|entry| (entry.name.clone(), 0));
            shards.by_name = names.collect();
        }
        Ok(shards)
    }

    fn check_index(&self, index: &Path, files: &[String]) -> Result<()> {
        let missing = self.by_name.iter().find(|(name, shard)| self.readers[**shard].find(name).is_none());
        missing.map_or(Ok(()), |(name, shard)| {
            let file = &files[*shard];
            Err(Error::file(index, format!("says that tensor '{name}' is in {file}, but that file does not have it")))
        })
    }
}

impl Store for Shards {
    fn place(&self) -> &Path {
        &self.dir
    }

    fn names(&self) -> Vec<&str> {
        self.by_name.keys().map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        let shard = *self.by_name.get(name)?;
        self.readers[shard].find(name).map(|entry| entry.shape.as_slice())
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        self.readers[self.by_name[name]].read_any(name)
    }
}

fn no_weights(dir: &Path) -> Error {
    let others = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "tf_model.h5"];
    let hint = others.into_iter().find(|file| dir.join(file).exists());
    let hint = hint.map_or(String::new(), |file| format!("; {file} is not read, convert it to safetensors first"));
    Error::file(dir, format!("has no weights: expected {SINGLE} or {INDEX} in it{hint}"))
}

type FilesAndNames = (Vec<String>, HashMap<String, usize>);

/// The files of an index, and which of them has which tensor.
fn files_of_index(path: &Path, weight_map: Option<&Value>) -> Result<FilesAndNames> {
    let weight_map = weight_map.and_then(Value::as_object).filter(|map| !map.is_empty());
    let weight_map = weight_map.ok_or_else(|| Error::file(path, "has no 'weight_map' from tensors to files"))?;
    let mut pairs = Vec::new();
    for (name, file) in weight_map {
        let file = file.as_str().filter(|file| is_plain_file_name(file)).ok_or_else(|| {
            Error::file(
                path,
                format!("gives {file} as the file of tensor '{name}', expected the name of a file beside it"),
            )
        })?;
        pairs.push((name, file));
    }
    let files: Vec<String> =
        pairs.iter().map(|(_, file)| *file).collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect();
    if files.len() > MAX_SHARDS {
        return Err(Error::file(path, format!("names {} files; at most {MAX_SHARDS} are read", files.len())));
    }
    let number: HashMap<&str, usize> = files.iter().enumerate().map(|(i, file)| (file.as_str(), i)).collect();
    let by_name = pairs.into_iter().map(|(name, file)| (name.clone(), number[file])).collect();
    Ok((files, by_name))
}

/// An index must not lead out of its directory.
fn is_plain_file_name(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !file.contains(['/', '\\'])
}

fn open_shard(dir: &Path, index: &Path, file: &str) -> Result<Reader> {
    let path = dir.join(file);
    if file != SINGLE && !path.exists() {
        return Err(Error::file(index, format!("names {file}, which is missing; fetch it again or complete the copy")));
    }
    Reader::open(&path)
}
