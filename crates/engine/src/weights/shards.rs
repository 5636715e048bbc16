//! The weights of a model directory: one file, or several with an index of who has what; safetensors before others.

use super::config_json::read_json;
use super::content::StoredRows;
use super::load::Store;
use super::{safetensors, torch};
use crate::error::{Error, Result};
use genera_tensor::quant::Format;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// What the files of weights are called, and how they are opened.
struct Layout {
    single: &'static str,
    /// The single file of what was written as several, with room for one.
    sole: &'static str,
    index: &'static str,
    open: fn(&Path) -> Result<Box<dyn Store>>,
}

/// The layouts that are read; of several in one directory, the first.
const LAYOUTS: [Layout; 3] = [
    Layout {
        single: "model.safetensors",
        sole: "model-00001-of-00001.safetensors",
        index: "model.safetensors.index.json",
        open: open_safetensors,
    },
    Layout {
        single: "pytorch_model.bin",
        sole: "pytorch_model-00001-of-00001.bin",
        index: "pytorch_model.bin.index.json",
        open: open_torch,
    },
    Layout { single: "model.pt", sole: "model-00001-of-00001.pt", index: "model.pt.index.json", open: open_torch },
];

fn open_safetensors(path: &Path) -> Result<Box<dyn Store>> {
    Ok(Box::new(safetensors::Reader::open(path)?))
}

fn open_torch(path: &Path) -> Result<Box<dyn Store>> {
    Ok(Box::new(torch::Reader::open(path)?))
}

/// Longest index that is read; that of DeepSeek-V3 has 9 MB.
const MAX_INDEX_BYTES: u64 = 24 << 20;
/// Most tensors of an index; DeepSeek-V3 has 91 thousand.
const MAX_INDEXED: usize = 1 << 18;
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
        let has_one =
            |layout: &&Layout| [layout.index, layout.single, layout.sole].iter().any(|file| dir.join(file).exists());
        let layout = LAYOUTS.iter().find(has_one).ok_or_else(|| no_weights(dir))?;
        let index = dir.join(layout.index);
        let (files, by_name) = match read_json(&index, MAX_INDEX_BYTES)? {
            Some(Index { weight_map: Some(map) }) if !map.by_name.is_empty() => (map.files, map.by_name),
            Some(Index { .. }) => return Err(Error::file(&index, "has no 'weight_map' from tensors to files")),
            None => {
                let is_sole = !dir.join(layout.single).exists();
                (vec![(if is_sole { layout.sole } else { layout.single }).to_owned()], HashMap::new())
            }
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

/// An index, of which the rest tells nothing.
#[derive(Deserialize)]
struct Index {
    weight_map: Option<WeightMap>,
}

/// The files of an index, and which of them has which tensor.
#[derive(Default)]
struct WeightMap {
    files: Vec<String>,
    by_name: HashMap<String, usize>,
}

impl WeightMap {
    /// The number of a file.
    fn file(&mut self, numbers: &mut HashMap<String, usize>, file: String) -> std::result::Result<usize, String> {
        if let Some(&number) = numbers.get(&file) {
            return Ok(number);
        }
        if !is_plain_file_name(&file) {
            return Err(format!("the file '{file}' is not the name of a file beside the index"));
        }
        if self.files.len() == MAX_SHARDS {
            return Err(format!("more than {MAX_SHARDS} files, the most that are read"));
        }
        numbers.insert(file.clone(), self.files.len());
        self.files.push(file);
        Ok(self.files.len() - 1)
    }
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensors to files")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> std::result::Result<WeightMap, A::Error> {
                let (mut map, mut numbers) = (WeightMap::default(), HashMap::new());
                while let Some((name, file)) = pairs.next_entry::<String, String>()? {
                    let number = map.file(&mut numbers, file).map_err(A::Error::custom)?;
                    map.by_name.insert(name, number);
                    if map.by_name.len() > MAX_INDEXED {
                        return Err(A::Error::custom(format!(
                            "more than {MAX_INDEXED} tensors, the most that are read"
                        )));
                    }
                }
                Ok(map)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// An index must not lead out of its directory.
fn is_plain_file_name(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !file.contains(['/', '\\'])
}

fn open_shard(layout: &Layout, dir: &Path, file: &str) -> Result<Box<dyn Store>> {
    let path = dir.join(file);
    if ![layout.single, layout.sole].contains(&file) && !path.exists() {
        let message = format!("names {file}, which is missing; fetch it again or complete the copy");
        return Err(Error::file(&dir.join(layout.index), message));
    }
    (layout.open)(&path)
}
