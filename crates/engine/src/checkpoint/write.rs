//! Writing a checkpoint so that a crash at any moment loses nothing.

use super::manifest::{FORMAT, FileSum, MANIFEST, MANIFEST_SUM, Manifest, hex};
use super::{AVERAGES, Checkpoint, MODEL, OPTIMIZER, entries};
use crate::disk::sync_dir;
use crate::error::{Error, Result};
use crate::params::Params;
use crate::train::Trainer;
use crate::weights::safetensors::{self, NamedView};
use genera_tensor::{ParamId, Tensor};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where a run stands, beside what its trainer knows.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'r> {
    /// Index of the next micro-batch of the data.
    pub cursor: u64,
    /// Seed of the run.
    pub seed: u64,
    /// The recipe, complete.
    pub recipe: &'r str,
    /// Loss on the validation data, in nats a token.
    pub validation_loss: Option<f64>,
}

/// A file that can be forced to the disk. The tests put a full disk in its place.
pub(super) trait Target: Write {
    fn sync(&mut self) -> io::Result<()>;
}

impl Target for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Makes a new file.
pub(super) type Create = dyn Fn(&Path) -> io::Result<Box<dyn Target>>;

pub(super) fn create_file(path: &Path) -> io::Result<Box<dyn Target>> {
    Ok(Box::new(File::create_new(path)?))
}

/// Being written; removed on the next start.
const UNFINISHED: &str = "tmp";
/// About to be replaced by one of the same step; put back on the next start if that did not come to be.
const REPLACED: &str = "old";
/// About to be removed.
const DISCARDED: &str = "gone";

/// `checkpoints/.step-000120.tmp` for `checkpoints/step-000120`.
fn hidden(dir: &Path, state: &str) -> PathBuf {
    let name = dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    dir.with_file_name(format!(".{name}.{state}"))
}

/// Writes a checkpoint of `trainer` into `checkpoints`.
pub(super) fn save(
    checkpoints: &Path,
    trainer: &Trainer,
    progress: &Progress<'_>,
    create: &Create,
) -> Result<Checkpoint> {
    let dir = checkpoints.join(format!("step-{:06}", trainer.n_steps()));
    let unfinished = hidden(&dir, UNFINISHED);
    let written = write_all(&unfinished, trainer, progress, create).and_then(|manifest| {
        publish(&unfinished, &dir)?;
        Ok(manifest)
    });
    match written {
        Ok(manifest) => Ok(Checkpoint { dir, manifest }),
        Err(failure) => {
            // The first error is the one worth telling; what cannot be removed now is removed on the next start.
            let _ = fs::remove_dir_all(&unfinished);
            let has_earlier = super::list(checkpoints).is_ok_and(|found| !found.is_empty());
            Err(explain(failure, trainer.n_steps(), has_earlier))
        }
    }
}

/// What could not be written, and why.
struct Failure {
    path: PathBuf,
    source: io::Error,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
    move |source| Failure { path: path.to_owned(), source }
}

fn explain(Failure { path, source }: Failure, step: u64, has_earlier: bool) -> Error {
    if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        let way = match has_earlier {
            true => "; earlier checkpoints are intact. Make room, or keep fewer with train.keep_last, then resume",
            false => ", and there is no earlier one. Make room, then resume: the run begins with its first step",
        };
        let message = format!("the disk is full ({source}), so the checkpoint of step {step} was not saved{way}");
        return Error::file(&path, message);
    }
    Error::io("cannot save the checkpoint: cannot write", &path, source)
}

fn write_all(
    dir: &Path,
    trainer: &Trainer,
    progress: &Progress<'_>,
    create: &Create,
) -> std::result::Result<Manifest, Failure> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(at(dir))?;
    }
    fs::create_dir(dir).map_err(at(dir))?;
    let params = trainer.model().params();
    let model = kept(params).map(|id| view(&params.specs()[id.0].name, params.master(id)));
    let state = trainer.state();
    let optimizer = state.optimizer.iter().map(|(name, tensor)| view(name, tensor));
    let mut files = vec![
        write_tensors(&dir.join(MODEL), &model.collect::<Vec<_>>(), create)?,
        write_tensors(&dir.join(OPTIMIZER), &optimizer.collect::<Vec<_>>(), create)?,
    ];
    if let Some(averages) = &state.averages {
        let averages: Vec<_> = averages.iter().map(|(name, tensor)| view(name, tensor)).collect();
        files.push(write_tensors(&dir.join(AVERAGES), &averages, create)?);
    }
    let &Progress { cursor, seed, recipe, validation_loss } = progress;
    let manifest = Manifest {
        format: FORMAT,
        step: state.n_steps,
        n_tokens: state.n_tokens,
        cursor,
        seed,
        validation_loss,
        config: trainer.model().config().clone(),
        model_type: trainer.model().published_as().map(str::to_owned),
        recipe: recipe.to_owned(),
        files,
    };
    write_manifest(dir, &manifest, create)?;
    Ok(manifest)
}

/// What a checkpoint has of a model. What adapters stand beside is not in it: the base has it.
fn kept(params: &Params) -> impl Iterator<Item = ParamId> {
    (0..params.len()).map(ParamId).filter(|&id| !params.has_adapters() || params.is_trained(id))
}

/// How much room a checkpoint takes.
///
/// # Units
/// Bytes of its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSize {
    /// The weights alone.
    pub model_bytes: u64,
    /// All of it.
    pub n_bytes: u64,
}

impl CheckpointSize {
    /// That of the checkpoints of a trainer.
    pub fn of(trainer: &Trainer) -> Self {
        let (params, state) = (trainer.model().params(), trainer.state());
        let beside =
            state.optimizer.iter().chain(state.averages.iter().flatten()).map(|(_, tensor)| tensor.n_elements());
        let n_weights: usize = kept(params).map(|id| params.specs()[id.0].shape.n_elements()).sum();
        // All are f32.
        let [model_bytes, beside_bytes] = [n_weights, beside.sum()].map(|n| 4 * n as u64);
        Self { model_bytes, n_bytes: model_bytes + beside_bytes }
    }
}

fn view<'t>(name: &str, tensor: &'t Tensor) -> NamedView<'t> {
    NamedView { name: name.to_owned(), shape: tensor.shape().sizes().to_vec(), data: tensor.view() }
}

fn write_tensors(path: &Path, tensors: &[NamedView<'_>], create: &Create) -> std::result::Result<FileSum, Failure> {
    write_file(path, create, |out| safetensors::write(out, &BTreeMap::new(), tensors))
}

fn write_manifest(dir: &Path, manifest: &Manifest, create: &Create) -> std::result::Result<(), Failure> {
    let json = serde_json::to_vec_pretty(manifest).expect("a manifest is plain data");
    let sum = write_file(&dir.join(MANIFEST), create, |out| out.write_all(&json))?;
    let line = format!("{}  {MANIFEST}\n", sum.sha256);
    write_file(&dir.join(MANIFEST_SUM), create, |out| out.write_all(line.as_bytes())).map(drop)
}

/// Writes one file down to the disk.
fn write_file(
    path: &Path,
    create: &Create,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> std::result::Result<FileSum, Failure> {
    let write = || {
        let mut out = Summing { target: create(path)?, hasher: Sha256::new(), n_bytes: 0 };
        content(&mut out)?;
        out.target.flush()?;
        out.target.sync()?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(FileSum { name, n_bytes: out.n_bytes, sha256: hex(&out.hasher.finalize()) })
    };
    write().map_err(at(path))
}

/// Adds up what goes through it.
struct Summing {
    target: Box<dyn Target>,
    hasher: Sha256,
    n_bytes: u64,
}

impl Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.target.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.n_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

/// Gives a complete checkpoint its name. One of the same step is moved aside first, since a directory cannot be replaced
/// in one go; [`recover`] puts it back if the program ends in between.
fn publish(unfinished: &Path, dir: &Path) -> std::result::Result<(), Failure> {
    sync_dir(unfinished).map_err(at(unfinished))?;
    let replaced = hidden(dir, REPLACED);
    if dir.exists() {
        fs::rename(dir, &replaced).map_err(at(dir))?;
    }
    if let Err(source) = fs::rename(unfinished, dir) {
        let _ = fs::rename(&replaced, dir);
        return Err(at(dir)(source));
    }
    let parent = dir.parent().unwrap_or(Path::new("."));
    sync_dir(parent).map_err(at(parent))?;
    if replaced.exists() {
        fs::remove_dir_all(&replaced).map_err(at(&replaced))?;
    }
    Ok(())
}

/// Removes a checkpoint; one that is half removed never bears its name.
pub(super) fn remove(dir: &Path) -> Result<()> {
    let discarded = hidden(dir, DISCARDED);
    let renamed = fs::rename(dir, &discarded).and_then(|()| fs::remove_dir_all(&discarded));
    renamed.map_err(|source| Error::io("cannot remove", dir, source))
}

/// Clears away what a killed program left: unfinished and discarded checkpoints go, one that was to be replaced comes back
/// if its successor did not make it.
pub(super) fn recover(checkpoints: &Path) -> Result<()> {
    for path in entries(checkpoints)? {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let Some((own, state)) = name.strip_prefix(".").and_then(|name| name.rsplit_once('.')) else { continue };
        if !own.starts_with("step-") || ![UNFINISHED, REPLACED, DISCARDED].contains(&state) {
            continue;
        }
        let target = checkpoints.join(own);
        let cleared =
            if state == REPLACED && !target.exists() { fs::rename(&path, &target) } else { fs::remove_dir_all(&path) };
        cleared.map_err(|source| Error::io("cannot clear away", &path, source))?;
    }
    Ok(())
}
