//! The weights of a model directory: one file, or several with an index of who has what; safetensors before others.

use super::config_json::read_object_up_to;
use super::content::StoredRows;
use super::load::Store;
use super::{safetensors, torch};
use crate::error::{Error, Result};
use genera_tensor::quant::Format;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

/// What the files of weights are called, and how they are opened.
struct Layout {
    single: &'static str,
    index: &'static str,
    open: fn(&Path) -> Result<Box<dyn Store>>,
}

/// The layouts that are read; of several in one directory, the first.
const LAYOUTS: [Layout; 3] = [
    Layout { single: "model.safetensors", index: "model.safetensors.index.json", open: open_safetensors },
    Layout { single: "pytorch_model.bin", index: "pytorch_model.bin.index.json", open: open_torch },
    Layout { single: "model.pt", index: "model.pt.index.json", open: open_torch },
];

fn open_safetensors(path: &Path) -> Result<Box<dyn Store>> {
    Ok(Box::new(safetensors::Reader::open(path)?))
}

fn open_torch(path: &Path) -> Result<Box<dyn Store>> {
    Ok(Box::new(torch::Reader::open(path)?))
}

/// Longest index that is read: that of a model with several hundred thousand tensors.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Most files of a model.
const MAX_SHARDS: usize = 4096;

/// The tensors of all files of a model.
pub(super) struct Shards {
    dir: PathBuf,
    readers: Vec<Box<dyn Store>>,
    /// Which file has a tensor.
    by_name: HashMap<String, usize>,
}

impl Shards {
    /// Opens the files of a model directory and reads their headers.
    ///
    /// # Errors
    /// When there are none, when one that the index names is missing or lacks a tensor, or when one is malformed.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let has_one = |layout: &&Layout| [layout.index, layout.single].iter().any(|file| dir.join(file).exists());
        let layout = LAYOUTS.iter().find(has_one).ok_or_else(|| no_weights(dir))?;
        let index = dir.join(layout.index);
        let (files, by_name) = match read_object_up_to(&index, MAX_INDEX_BYTES)? {
            Some(map) => files_of_index(&index, map.get("weight_map"))?,
            None => (vec![layout.single.to_owned()], HashMap::new()),
        };
        let readers = files.iter().map(|file| open_shard(layout, dir, file)).collect::<Result<Vec<_>>>()?;
        let mut shards = Self { dir: dir.to_owned(), readers, by_name };
        shards.check_index(&index, &files)?;
        if shards.by_name.is_empty() {
            shards.by_name = shards.readers[0].names().into_iter().map(|name| (name.to_owned(), 0)).collect();
        }
        Ok(shards)
    }

    fn check_index(&self, index: &Path, files: &[String]) -> Result<()> {
        let missing = self.by_name.iter().find(|(name, shard)| self.readers[**shard].shape(name).is_none());
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
        self.readers[shard].shape(name)
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        self.readers[self.by_name[name]].read(name)
    }

    fn stored(&self, name: &str) -> Option<Format> {
        self.readers[*self.by_name.get(name)?].stored(name)
    }

    fn rows(&self, name: &str) -> Result<StoredRows> {
        self.readers[self.by_name[name]].rows(name)
    }

    fn cut(&mut self, name: &str, parts: &[String]) -> bool {
        let Some(&shard) = self.by_name.get(name) else { return false };
        let is_cut = self.readers[shard].cut(name, parts);
        if is_cut {
            self.by_name.remove(name);
            self.by_name.extend(parts.iter().map(|part| (part.clone(), shard)));
        }
        is_cut
    }
}

fn no_weights(dir: &Path) -> Error {
    let others = ["tf_model.h5", "flax_model.msgpack", "rust_model.ot", "model.onnx"];
    let hint = others.into_iter().find(|file| dir.join(file).exists());
    let hint = hint.map_or(String::new(), |file| format!("; {file} is not read, convert it to safetensors first"));
    let known: Vec<&str> = LAYOUTS.iter().map(|layout| layout.single).collect();
    Error::file(dir, format!("has no weights: expected {}, or their index, in it{hint}", known.join(" or ")))
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

fn open_shard(layout: &Layout, dir: &Path, file: &str) -> Result<Box<dyn Store>> {
    let path = dir.join(file);
    if file != layout.single && !path.exists() {
        let message = format!("names {file}, which is missing; fetch it again or complete the copy");
        return Err(Error::file(&dir.join(layout.index), message));
    }
    (layout.open)(&path)
}
