//! The networks in files: all that a run goes on from, and the generator alone.

use super::RowGenerator;
use super::config::GanConfig;
use super::trainer::{GanSettings, GanTrainer};
use crate::checkpoint::hex;
use crate::disk;
use crate::error::{Error, Result};
use crate::params::{ParamSpec, Params};
use crate::weights::safetensors::{self, NamedView, Reader};
use genera_tensor::{DType, Device, ParamId, Tensor};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

const CONFIG: &str = "gan";
const STEP: &str = "step";
const SUM: &str = "sha256";
const AVERAGE: &str = "average.";
const OPTIMIZER: &str = "optimizer.";
/// Names of the parameters that make rows.
const GENERATOR: &str = "generator.";

/// Writes everything that training goes on from: weights, their averages, what the optimizer remembers, and the step.
///
/// # Errors
/// When the file cannot be written; an older one is then untouched.
pub fn save_trainer(trainer: &GanTrainer, path: &Path) -> Result<()> {
    let params = &trainer.params;
    let own = params.specs().iter().zip(0..).map(|(spec, i)| (spec.name.clone(), params.master(ParamId(i))));
    let name = |id: ParamId| &params.specs()[id.0].name;
    let averages = trainer.averages.iter().map(|(id, tensor)| (format!("{AVERAGE}{}", name(id)), tensor));
    let state = trainer.optimizer.state(params);
    let state = state.into_iter().map(|(name, tensor)| (format!("{OPTIMIZER}{name}"), tensor));
    let tensors: Vec<(String, &Tensor)> = own.chain(averages).chain(state).collect();
    write(path, &trainer.config, trainer.n_steps, &tensors)
}

/// Reads what [`save_trainer`] wrote.
///
/// # Errors
/// When it is missing, damaged, or of other networks than `config`.
///
/// # Determinism
/// With the settings of the run it goes on as if it had never stopped, bit for bit.
pub fn load_trainer(path: &Path, config: &GanConfig, settings: GanSettings, device: &Device) -> Result<GanTrainer> {
    let mut file = Stored::open(path)?;
    if &file.config != config {
        return Err(Error::file(
            path,
            "holds a GAN of other columns or sizes than the run's; these cannot change within a run",
        ));
    }
    let mut trainer = GanTrainer::new(file.config.clone(), settings, device)?;
    for (i, spec) in config.layout().iter().enumerate() {
        let values = file.read("", spec)?;
        trainer.params.set(ParamId(i), &Tensor::from_f32(device, spec.shape, &values));
    }
    let specs = config.layout();
    for (id, tensor) in trainer.averages.iter_mut() {
        tensor.view_mut().f32().copy_from_slice(&file.read(AVERAGE, &specs[id.0])?);
    }
    let read = &mut |name: &str, shape: &[usize]| file.numbers(&format!("{OPTIMIZER}{name}"), shape);
    trainer.optimizer.restore(&trainer.params, read)?;
    file.check()?;
    trainer.n_steps = file.step;
    Ok(trainer)
}

/// Writes the generator, which is all that making rows takes.
///
/// # Errors
/// As [`save_trainer`].
pub fn save_generator(generator: &RowGenerator, path: &Path) -> Result<()> {
    let specs = generator.params.specs().iter().zip(0..).filter(|(spec, _)| spec.name.starts_with(GENERATOR));
    let tensors: Vec<(String, &Tensor)> =
        specs.map(|(spec, i)| (spec.name.clone(), generator.params.master(ParamId(i)))).collect();
    write(path, &generator.config, 0, &tensors)
}

/// Reads what [`save_generator`] wrote.
///
/// # Errors
/// When it is missing or damaged.
pub fn load_generator(path: &Path, device: &Device) -> Result<RowGenerator> {
    let mut file = Stored::open(path)?;
    let specs: Vec<ParamSpec> =
        file.config.layout().into_iter().filter(|spec| spec.name.starts_with(GENERATOR)).collect();
    let mut tensors = Vec::with_capacity(specs.len());
    for spec in &specs {
        tensors.push(Tensor::from_f32(device, spec.shape, &file.read("", spec)?));
    }
    file.check()?;
    let params = Params::new(specs, tensors, DType::F32);
    Ok(RowGenerator { config: file.config, params, device: device.clone() })
}

/// A file that is being read, whose numbers are summed on the way.
struct Stored<'p> {
    path: &'p Path,
    reader: Reader,
    config: GanConfig,
    step: u64,
    hasher: Sha256,
}

impl<'p> Stored<'p> {
    fn open(path: &'p Path) -> Result<Self> {
        let reader = Reader::open(path)?;
        let text = |key: &str| {
            reader
                .metadata()
                .get(key)
                .cloned()
                .ok_or_else(|| Error::file(path, format!("is no GAN of Genera: it has no '{key}'")))
        };
        let bad = |error: &dyn std::fmt::Display| Error::file(path, format!("is no GAN of Genera: {error}"));
        let config: GanConfig = serde_json::from_str(&text(CONFIG)?).map_err(|error| bad(&error))?;
        config.validate()?;
        let step = text(STEP)?.parse().map_err(|error| bad(&error))?;
        Ok(Self { path, config, step, reader, hasher: Sha256::new() })
    }

    fn read(&mut self, prefix: &str, spec: &ParamSpec) -> Result<Vec<f32>> {
        self.numbers(&format!("{prefix}{}", spec.name), spec.shape.sizes())
    }

    fn numbers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let values = self.reader.read(name, shape)?;
        values.iter().for_each(|value| self.hasher.update(value.to_le_bytes()));
        Ok(values)
    }

    /// Compares what was read with what was written; to be called when all was read in the order of writing.
    fn check(&mut self) -> Result<()> {
        let found = hex(&std::mem::take(&mut self.hasher).finalize());
        match self.reader.metadata().get(SUM) {
            Some(sum) if *sum == found => Ok(()),
            _ => Err(Error::file(self.path, "is altered: its numbers are not those that were written")),
        }
    }
}

fn write(path: &Path, config: &GanConfig, step: u64, tensors: &[(String, &Tensor)]) -> Result<()> {
    let mut hasher = Sha256::new();
    for (_, tensor) in tensors {
        tensor.view().f32().iter().for_each(|value| hasher.update(value.to_le_bytes()));
    }
    let config = serde_json::to_string(config).expect("a configuration is plain data");
    let metadata = BTreeMap::from([
        (CONFIG.to_owned(), config),
        (STEP.to_owned(), step.to_string()),
        (SUM.to_owned(), hex(&hasher.finalize())),
    ]);
    let views: Vec<NamedView<'_>> = tensors.iter().map(view).collect();
    replace(path, &metadata, &views).map_err(|source| Error::io("cannot write", path, source))
}

fn view<'t>((name, tensor): &'t (String, &'t Tensor)) -> NamedView<'t> {
    NamedView { name: name.clone(), shape: tensor.shape().sizes().to_vec(), data: tensor.view() }
}

/// Writes a file under another name, forces it to the disk, and lets it take the place of an older one.
fn replace(path: &Path, metadata: &BTreeMap<String, String>, tensors: &[NamedView<'_>]) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    let mut out = BufWriter::new(File::create(&unfinished)?);
    safetensors::write(&mut out, metadata, tensors)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    fs::rename(&unfinished, path)?;
    disk::settle(disk::holder(path));
    Ok(())
}
