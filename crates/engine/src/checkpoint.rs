//! Checkpoints: directories from which a run goes on bit for bit, written so that a crash at any moment loses nothing.
//!
//! A checkpoint is written under a temporary name, every file synced, and renamed when it is complete; its manifest holds
//! a checksum of each file, and `manifest.sha256` that of the manifest (`sha256sum -c` reads it).

mod lock;
mod manifest;
mod write;

pub use lock::RunLock;
pub use manifest::{FileSum, Manifest};
pub use write::Progress;

use crate::error::{Error, Result};
use crate::model::Transformer;
use crate::params::{Params, layout};
use crate::train::{TrainSettings, Trainer};
use crate::weights::safetensors::Reader;
use genera_tensor::{DType, Device, Tensor};
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
        let mut trainer = Trainer::new(self.model_from(&[MODEL], compute, device)?, settings);
        let mut optimizer = self.reader(OPTIMIZER)?;
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
        let mut readers = files.iter().map(|file| self.reader(file)).collect::<Result<Vec<_>>>()?;
        let specs = layout(config);
        let mut masters = Vec::with_capacity(specs.len());
        for spec in &specs {
            let holder = readers.iter().position(|reader| reader.find(&spec.name).is_some());
            let values = readers[holder.unwrap_or(0)].read(&spec.name, spec.shape.sizes())?;
            masters.push(Tensor::from_f32(device, spec.shape, &values));
        }
        Ok(Transformer::new(config.clone(), Params::new(specs, masters, compute), device))
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
}

impl Checkpoints {
    /// Opens the checkpoints of a run, and clears away what a killed save left behind.
    ///
    /// # Errors
    /// When the directory cannot be made or cleared.
    pub fn open(run_dir: &Path) -> Result<Self> {
        let dir = run_dir.join(SUBDIR);
        fs::create_dir_all(&dir).map_err(|source| Error::io("cannot make the directory", &dir, source))?;
        write::recover(&dir)?;
        Ok(Self { dir })
    }

    /// Saves a checkpoint; it counts only once every byte of it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written, as on a full disk. What was written of it is removed; earlier checkpoints are not
    /// touched.
    pub fn save(&self, trainer: &Trainer, progress: &Progress<'_>) -> Result<Checkpoint> {
        write::save(&self.dir, trainer, progress, &write::create_file)
    }

    /// Removes all but the last `keep_last` (at least one) and the one with the lowest validation loss.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn prune(&self, keep_last: usize) -> Result<()> {
        let all = list(&self.dir)?;
        let best = self.best()?;
        let n_older = all.len().saturating_sub(keep_last.max(1));
        for (_, dir) in &all[..n_older] {
            if Some(dir) != best.as_ref() {
                write::remove(dir)?;
            }
        }
        Ok(())
    }

    /// The checkpoint with the lowest validation loss; the earliest of equals.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn best(&self) -> Result<Option<PathBuf>> {
        let loss = |(_, dir): (u64, PathBuf)| Some((Manifest::read(&dir).ok()?.validation_loss?, dir));
        let measured = list(&self.dir)?.into_iter().filter_map(loss);
        Ok(measured.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, dir)| dir))
    }

    /// The checkpoints with their steps, oldest first; not verified.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        list(&self.dir)
    }
}

#[cfg(test)]
mod tests;
