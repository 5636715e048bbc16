//! Checkpoints: directories from which a run goes on bit for bit, written so that a crash at any moment loses nothing.
//!
//! A checkpoint is written under a temporary name, every file synced, and renamed when it is complete; its manifest holds
//! a checksum of each file, and `manifest.sha256` that of the manifest (`sha256sum -c` reads it).

mod lock;
mod manifest;
mod write;

pub use lock::RunLock;
pub(crate) use manifest::hex;
pub use manifest::{FileSum, Manifest};
pub use write::{CheckpointSize, Progress};

use crate::disk;
use crate::error::{Error, Result};
use crate::model::Transformer;
use crate::params::{Params, layout, least_tensors};
use crate::train::{TrainSettings, Trainer};
use crate::weights::safetensors::Reader;
use crate::weights::{FAMILIES, Family};
use genera_tensor::{DType, Device, ParamId, Tensor};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const AVERAGES: &str = "ema.safetensors";

/// A checkpoint whose files are those that were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where it is.
    pub dir: PathBuf,
    /// What it says about itself.
    pub manifest: Manifest,
}

/// A checkpoint that cannot be used.
#[derive(Debug)]
pub struct Rejected {
    /// Where it is.
    pub dir: PathBuf,
    /// What is wrong with it.
    pub reason: Error,
}

impl Checkpoint {
    /// Opens a checkpoint, comparing every file with its checksum.
    ///
    /// # Errors
    /// Naming the file that is missing, cut short or altered.
    pub fn open(dir: &Path) -> Result<Self> {
        let manifest = Manifest::read(dir)?;
        for file in &manifest.files {
            file.verify(dir)?;
        }
        Ok(Self { dir: dir.to_owned(), manifest })
    }

    /// The model, with the averaged weights when there are any.
    ///
    /// # Errors
    /// When the files do not hold the parameters of the architecture.
    pub fn model(&self, compute: DType, device: &Device) -> Result<Transformer> {
        self.model_from(if self.has(AVERAGES) { &[AVERAGES, MODEL] } else { &[MODEL] }, compute, device)
    }

    /// A trainer that goes on where this one was saved.
    ///
    /// # Errors
    /// When the files do not hold what these settings need, as when the optimizer is another.
    ///
    /// # Determinism
    /// With the settings of the run it goes on as if it had never stopped, bit for bit.
    pub fn resume(&self, settings: TrainSettings, compute: DType, device: &Device) -> Result<Trainer> {
        self.go_on(Trainer::new(self.model_from(&[MODEL], compute, device)?, settings))
    }

    /// The same for a run that trains the adapters of `base`, which is as it was when the run began.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    ///
    /// # Determinism
    /// As [`resume`](Self::resume).
    pub fn resume_adapted(&self, mut base: Transformer, settings: TrainSettings) -> Result<Trainer> {
        self.fill_adapters(&mut base, &[MODEL])?;
        self.go_on(Trainer::new(base, settings))
    }

    /// Gives a model that has adapters those of this checkpoint, averaged when there are averages.
    ///
    /// # Errors
    /// When the files do not hold the adapters that it has.
    pub fn adapt(&self, base: &mut Transformer) -> Result<()> {
        self.fill_adapters(base, if self.has(AVERAGES) { &[AVERAGES, MODEL] } else { &[MODEL] })
    }

    fn fill_adapters(&self, base: &mut Transformer, files: &[&str]) -> Result<()> {
        let readers = files.iter().map(|file| self.reader(file)).collect::<Result<Vec<_>>>()?;
        let device = base.device().clone();
        for i in base.params().own_specs().len()..base.params().len() {
            let spec = base.params().specs()[i].clone();
            let holder = readers.iter().position(|reader| reader.find(&spec.name).is_some());
            let values = readers[holder.unwrap_or(0)].read(&spec.name, spec.shape.sizes())?;
            base.params_mut().set(ParamId(i), &Tensor::from_f32(&device, spec.shape, &values));
        }
        Ok(())
    }

    fn go_on(&self, mut trainer: Trainer) -> Result<Trainer> {
        let optimizer = self.reader(OPTIMIZER)?;
        let mut averages = if self.has(AVERAGES) { Some(self.reader(AVERAGES)?) } else { None };
        let mut read_average =
            averages.as_mut().map(|reader| move |name: &str, shape: &[usize]| reader.read(name, shape));
        trainer.restore(
            self.manifest.step,
            self.manifest.n_tokens,
            &mut |name, shape| optimizer.read(name, shape),
            read_average.as_mut().map(|read| read as &mut crate::train::ReadTensor<'_>),
        )?;
        Ok(trainer)
    }

    /// A model whose parameters are each taken from the first of `files` that has it.
    fn model_from(&self, files: &[&str], compute: DType, device: &Device) -> Result<Transformer> {
        let config = &self.manifest.config;
        let readers = files.iter().map(|file| self.reader(file)).collect::<Result<Vec<_>>>()?;
        let n_tensors: usize = readers.iter().map(|reader| reader.entries().len()).sum();
        if n_tensors < least_tensors(config) {
            let message = format!("holds {n_tensors} tensors, fewer than the layers of its configuration take");
            return Err(Error::file(&self.dir, message));
        }
        let specs = layout(config);
        let mut masters = Vec::with_capacity(specs.len());
        for spec in &specs {
            let holder = readers.iter().position(|reader| reader.find(&spec.name).is_some());
            let values = readers[holder.unwrap_or(0)].read(&spec.name, spec.shape.sizes())?;
            masters.push(Tensor::from_f32(device, spec.shape, &values));
        }
        let mut model = Transformer::new(config.clone(), Params::new(specs, masters, compute), device);
        let is_of = |family: &&Family| Some(family.model_type) == self.manifest.model_type.as_deref();
        model.set_published_as(FAMILIES.into_iter().find(is_of).map(|family| family.model_type));
        Ok(model)
    }

    fn reader(&self, file: &str) -> Result<Reader> {
        Reader::open(&self.dir.join(file))
    }

    fn has(&self, file: &str) -> bool {
        self.manifest.files.iter().any(|sum| sum.name == file)
    }
}

/// The newest checkpoint of a run that is whole, and the newer ones that are not.
///
/// # Errors
/// When the directory cannot be listed.
pub fn latest_good(run_dir: &Path) -> Result<(Option<Checkpoint>, Vec<Rejected>)> {
    let mut rejected = Vec::new();
    for (_, dir) in list(&run_dir.join(SUBDIR))?.into_iter().rev() {
        match Checkpoint::open(&dir) {
            Ok(checkpoint) => return Ok((Some(checkpoint), rejected)),
            Err(reason) => rejected.push(Rejected { dir, reason }),
        }
    }
    Ok((None, rejected))
}

/// Where a run keeps its checkpoints.
const SUBDIR: &str = "checkpoints";

/// Checkpoints by step, oldest first; none when there is no directory yet.
fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found: Vec<(u64, PathBuf)> = entries(dir)?
        .into_iter()
        .filter_map(|path| {
            let step = path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()?;
            path.is_dir().then_some((step, path))
        })
        .collect();
    found.sort();
    Ok(found)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let cannot_list = |source| Error::io("cannot list", dir, source);
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(cannot_list(error)),
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(cannot_list)?.path())).collect(),
    }
}

/// The checkpoints of a run that is being trained. Only one process may hold them; see [`RunLock`].
#[derive(Clone, Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    /// Which are whole, as far as they were saved or compared with their checksums since this was opened.
    known: RefCell<BTreeMap<PathBuf, bool>>,
}

impl Checkpoints {
    /// Opens the checkpoints of a run, and clears away what a killed save left behind.
    ///
    /// # Errors
    /// When the directory cannot be made or cleared.
    pub fn open(run_dir: &Path) -> Result<Self> {
        let dir = run_dir.join(SUBDIR);
        disk::make_dir(&dir).map_err(|source| Error::io("cannot make the directory", &dir, source))?;
        write::recover(&dir)?;
        Ok(Self { dir, known: RefCell::default() })
    }

    /// Saves a checkpoint; it counts only once every byte of it is on the disk. Those of later steps are then removed: the
    /// run went back behind them, as it does when they are damaged.
    ///
    /// # Errors
    /// When a weight is not finite, or when it cannot be written, as on a full disk: what was written of it is removed, and
    /// no other is touched. Or when one of a later step cannot be removed.
    pub fn save(&self, trainer: &Trainer, progress: &Progress<'_>) -> Result<Checkpoint> {
        trainer.check_weights()?;
        let saved = write::save(&self.dir, trainer, progress, &write::create_file)?;
        self.known.borrow_mut().insert(saved.dir.clone(), true);
        for (step, dir) in list(&self.dir)? {
            if step > saved.manifest.step {
                self.remove(&dir)?;
            }
        }
        Ok(saved)
    }

    /// Removes all that are older than the last `keep_last` (at least one) whole ones, but for the one with the lowest
    /// validation loss.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn prune(&self, keep_last: usize) -> Result<()> {
        let all = list(&self.dir)?;
        let mut whole = (0..all.len()).rev().filter(|&i| self.is_whole(&all[i].1));
        let n_older = whole.nth(keep_last.max(1) - 1).unwrap_or(0);
        if n_older == 0 {
            return Ok(());
        }
        let best = self.best()?;
        for (_, dir) in &all[..n_older] {
            if Some(dir) != best.as_ref() {
                self.remove(dir)?;
            }
        }
        Ok(())
    }

    /// The whole checkpoint with the lowest validation loss; the earliest of equals.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn best(&self) -> Result<Option<PathBuf>> {
        let loss = |(_, dir): (u64, PathBuf)| Some((Manifest::read(&dir).ok()?.validation_loss?, dir));
        let mut measured: Vec<(f64, PathBuf)> = list(&self.dir)?.into_iter().filter_map(loss).collect();
        measured.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Ok(measured.into_iter().map(|(_, dir)| dir).find(|dir| self.is_whole(dir)))
    }

    /// The checkpoints with their steps, oldest first; not verified.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        list(&self.dir)
    }

    /// Whether the files of a checkpoint are those that were written; they are read once.
    fn is_whole(&self, dir: &Path) -> bool {
        *self.known.borrow_mut().entry(dir.to_owned()).or_insert_with(|| Checkpoint::open(dir).is_ok())
    }

    fn remove(&self, dir: &Path) -> Result<()> {
        self.known.borrow_mut().remove(dir);
        write::remove(dir)
    }
}

#[cfg(test)]
mod tests;
