//! The model that a run starts from: its weights, its tokenizer, and how to know it again.

use crate::failure::{Failure, Outcome, While, printable};
use crate::run::directory::RunDirectory;
use crate::show::word;
use crate::{hub, model};
use genera_engine::checkpoint::latest_good;
use genera_engine::model::{Pooling, Transformer};
use genera_engine::recipe::Recipe;
use genera_engine::weights::gguf::Reader;
use genera_engine::weights::{
    AdapterSummary, LoraSettings, PublishedGeneration, Purpose, SpecialIds, SummaryConfig, attach_new, read_generation,
};
use genera_modality::Codebook;
use genera_tensor::{DType, Device};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A model to start from, with its tokenizer.
pub struct Base {
    /// The model, with fresh adapters where the recipe wants them.
    pub transformer: Transformer,
    /// Its tokenizer and chat template.
    pub codebook: Codebook,
    /// Ids that open, close and fill.
    pub special: SpecialIds,
    /// How its authors want answers made.
    pub generation: PublishedGeneration,
}

/// Loads the base that a recipe names; `None` when it names none. A recipe that knows its checksum gets no other. `run` is the
/// directory of the run whose recipe it is, if that has begun.
///
/// # Errors
/// When it cannot be found or read, has no tokenizer or that of another model, or is not the one it was.
pub fn open(
    recipe: &mut Recipe,
    run: Option<&RunDirectory>,
    purpose: Purpose,
    device: &Device,
) -> Outcome<Option<Base>> {
    let Some(name) = recipe.base.path.clone() else { return Ok(None) };
    let path = &*match run {
        Some(run) => found(&name, run)?,
        None => hub::locate(Path::new(&name))?.into_owned(),
    };
    refuse_adapter(path)?;
    let loaded = model::load(path, None, purpose, device)?;
    let mut codebook = loaded.codebook()?.clone();
    // A run that has begun has its template in its own files.
    if let Some(file) = recipe.base.chat_template.as_ref().filter(|_| run.is_none()) {
        codebook = model::with_template(&codebook, Path::new(file))?;
    }
    let found = checksum(path)?;
    let known = recipe.base.sha256.get_or_insert_with(|| found.clone());
    if *known != found {
        return Err(Failure::new(format!(
            "{name} is not the model that this run began with: its SHA-256 is {found}, and base.sha256 says {known}; put \
             the old files back, or train anew"
        )));
    }
    let (mut transformer, special, generation) = (loaded.transformer, loaded.special, loaded.published);
    // A base that was adapted itself is one model from here on.
    transformer.params_mut().settle();
    if let Purpose::BesideAdapters(_) = purpose {
        transformer.params_mut().keep_rounded();
    }
    if let Some(settings) = lora_settings(recipe) {
        attach_new(&mut transformer, &settings)?;
    }
    Ok(Some(Base { transformer, codebook, special, generation }))
}

/// Refuses an adapter in the place of a model.
fn refuse_adapter(path: &Path) -> Outcome<()> {
    if !AdapterSummary::is_in(path) || ["config.json", "recipe.toml"].iter().any(|file| path.join(file).is_file()) {
        return Ok(());
    }
    let run = path.parent().and_then(|run| RunDirectory::open(run).ok());
    let adapter = word(path);
    let way = match run.map(|run| word(run.path())) {
        Some(run) => {
            format!(
                "tune the run that it belongs to (--base {run}), or merge it first: genera export --model {run} --to hf merged"
            )
        }
        None => format!(
            "merge it first (genera export --model BASE --adapter {adapter} --to hf merged; `genera inspect {adapter}` says which \
             base), and tune what comes of that (--base merged)"
        ),
    };
    Err(Failure::new(format!("{adapter} is an adapter, and a whole model is needed to start from: {way}")))
}

/// Most characters that are shown of the name of an adapter's base.
const MAX_SHOWN: usize = 200;

/// The base that an adapter names, as --model takes it; `None` where it names none.
pub fn of_adapter(config: &SummaryConfig) -> Option<String> {
    let base = config.base_model_name_or_path.as_deref().filter(|base| !base.is_empty())?;
    Some(hub::as_model(base, config.revision.as_deref()))
}

/// What there is to say of an adapter for a model, `path` to the user, that plainly has another name than the adapter's base. Its
/// shapes are checked when it is loaded.
pub fn note_on_adapter(adapter: &Path, path: &Path, place: &Path) -> Option<String> {
    // What is wrong with its files is said when they are loaded.
    let config = AdapterSummary::read(adapter).ok()?.config;
    let base = of_adapter(&config)?;
    is_plainly_another(config.base_model_name_or_path.as_deref()?, place).then(|| {
        format!(
            "{} was trained on {}, and {} seems to be another model; if it is, what comes of them together makes no sense",
            word(adapter),
            word(Path::new(&printable(&base, MAX_SHOWN))),
            word(path)
        )
    })
}

/// Whether neither the name nor the place of a model is that of a base.
fn is_plainly_another(base: &str, place: &Path) -> bool {
    let base = Path::new(base);
    let [base_place, place] = [base, place].map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    let [name, place_name] =
        [base.file_name().unwrap_or_default(), place.as_os_str()].map(|name| name.to_string_lossy().to_lowercase());
    base_place != place && !place_name.contains(&name)
}

/// The base of a run by the path in its recipe. A relative one starts where the run was begun: here, or somewhere above its
/// directory; the checksum tells whether what is found is the base.
///
/// # Errors
/// When there is nothing.
pub fn found(name: &str, run: &RunDirectory) -> Outcome<PathBuf> {
    let place = hub::locate(Path::new(name)).during(format!("the base of {}", run.path().display()))?;
    if place.exists() {
        return Ok(place.into_owned());
    }
    let directory = std::path::absolute(run.path()).during("cannot tell the current directory")?;
    directory.ancestors().skip(1).map(|above| above.join(&place)).find(|path| path.exists()).ok_or_else(|| {
        Failure::new(format!(
            "the base of {} is missing: {} records it as base.path = \"{name}\", and there is nothing; put it back there, \
             or set base.path to where it lies now",
            run.path().display(),
            run.recipe().display()
        ))
    })
}

/// A base as a recipe records it, so that it is found from any directory: an absolute path, or its name on the hub.
///
/// # Errors
/// When the current directory is not known.
pub fn recorded(path: &Path) -> Outcome<String> {
    if path.to_str().is_some_and(|name| name.starts_with(hub::PREFIX)) {
        return Ok(path.display().to_string());
    }
    Ok(std::path::absolute(path).during("cannot tell the current directory")?.display().to_string())
}

/// How the base of a recipe is loaded to be trained: beside adapters, weights stay as they are stored, quantised ones too
/// (QLoRA).
///
/// # Source
/// Dettmers, Pagnoni, Holtzman and Zettlemoyer, "QLoRA: efficient finetuning of quantized LLMs", arXiv 2305.14314.
pub fn training(recipe: &Recipe, dtype: DType) -> Purpose {
    if recipe.lora.rank.is_some() { Purpose::BesideAdapters(dtype) } else { Purpose::Training(dtype) }
}

/// Which adapters a recipe wants.
pub fn lora_settings(recipe: &Recipe) -> Option<LoraSettings> {
    let rank = recipe.lora.rank?;
    let alpha = recipe.lora.alpha.unwrap_or(2.0 * rank as f64);
    Some(LoraSettings { rank, alpha, targets: recipe.lora.targets.clone(), seed: recipe.train.seed })
}

impl Base {
    /// Keeps what a run needs of its base beside the weights: the tokenizer, the ids with a meaning, how it is to answer, and
    /// how its texts become vectors.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, run: &RunDirectory) -> Outcome<()> {
        let directory = run.base();
        std::fs::create_dir_all(&directory).during(format!("cannot make {}", directory.display()))?;
        self.codebook.save(&directory)?;
        let json = serde_json::to_vec_pretty(&self.special)?;
        genera_data::write_atomically(&special_file(run), &json)?;
        let json = serde_json::to_vec_pretty(&self.generation.to_json())?;
        genera_data::write_atomically(&generation_file(run), &json)?;
        let json = serde_json::to_vec_pretty(&self.transformer.pooling())?;
        Ok(genera_data::write_atomically(&pooling_file(run), &json)?)
    }
}

/// The ids with a meaning of a run's base; `None` for a run without one.
///
/// # Errors
/// When the file is damaged.
pub fn special_of(run: &RunDirectory) -> Outcome<Option<SpecialIds>> {
    read(&special_file(run))
}

/// How the texts of a run's base become vectors, where its files say so; of a run that is older than this file, nothing.
///
/// # Errors
/// When the file is damaged.
pub fn pooling_of(run: &RunDirectory) -> Outcome<Option<Pooling>> {
    Ok(read(&pooling_file(run))?.flatten())
}

/// What a JSON file holds; `None` where there is none.
fn read<T: DeserializeOwned>(path: &Path) -> Outcome<Option<T>> {
    if !path.is_file() {
        return Ok(None);
    }
    let json = std::fs::read(path).during(format!("cannot read {}", path.display()))?;
    Ok(Some(serde_json::from_slice(&json).during(format!("{} is damaged", path.display()))?))
}

/// How the authors of a run's base want answers made, with the values of the run's recipe for what is in both; of a run
/// without a base, or one that is older than this file, nothing.
///
/// # Errors
/// When the file is damaged.
pub fn generation_of(run: &RunDirectory, recipe: &Recipe, model: &Transformer) -> Outcome<PublishedGeneration> {
    let theirs = read_generation(&generation_file(run), model.config().is_encoder_decoder())?;
    Ok(theirs.unwrap_or_default().as_in(&recipe.generate))
}

fn generation_file(run: &RunDirectory) -> PathBuf {
    run.base().join("generation_config.json")
}

fn pooling_file(run: &RunDirectory) -> PathBuf {
    run.base().join("pooling.json")
}

fn special_file(run: &RunDirectory) -> PathBuf {
    run.base().join("special_ids.json")
}

/// SHA-256 of a model's weights and configuration: of a GGUF file or all parts of one as they are, of a directory's files in the order of their
/// names, of a run what its newest checkpoint says of itself.
fn checksum(path: &Path) -> Outcome<String> {
    let files = if path.is_file() {
        Reader::open(path)?.files().map(Path::to_owned).collect()
    } else if path.join("manifest.json").is_file() {
        vec![path.join("manifest.json")]
    } else if path.join("recipe.toml").is_file() {
        let (checkpoint, _) = latest_good(path)?;
        checkpoint.map(|checkpoint| checkpoint.dir.join("manifest.json")).into_iter().collect()
    } else {
        weight_files(path).during(format!("cannot list {}", path.display()))?
    };
    let mut hash = Sha256::new();
    for path in files {
        let mut file = File::open(&path).during(format!("cannot open {}", path.display()))?;
        std::io::copy(&mut file, &mut HashWriter(&mut hash)).during(format!("cannot read {}", path.display()))?;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Takes what is written into a checksum.
struct HashWriter<'h>(&'h mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn weight_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<std::io::Result<Vec<PathBuf>>>()?;
    let is_weights = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| ["safetensors", "bin", "pt"].iter().any(|weights| extension == *weights))
    };
    files.retain(|path| is_weights(path) || path.file_name().is_some_and(|name| name == "config.json"));
    files.sort();
    Ok(files)
}
