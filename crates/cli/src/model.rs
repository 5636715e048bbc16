//! Opening a model: a run directory, or a directory in the Hugging Face layout.

use crate::failure::{Failure, Outcome};
use crate::run::directory::RunDirectory;
use genera_data::load_tokenizer;
use genera_engine::checkpoint::{Rejected, latest_good};
use genera_engine::model::Transformer;
use genera_engine::recipe::{GenerateRecipe, Recipe};
use genera_engine::weights::{SpecialIds, load_hf, read_config};
use genera_modality::{Codebook, Modality, Text, Translation};
use genera_tensor::{DType, Device};
use std::path::Path;

/// A model with everything that is needed to use it.
pub struct LoadedModel {
    /// The model, with its averaged weights where there are any.
    pub transformer: Transformer,
    /// Its tokenizer; a directory without one can only be asked for token ids.
    pub codebook: Option<Codebook>,
    /// The kind of data it makes.
    pub modality: &'static dyn Modality,
    /// Ids that open, close and fill.
    pub special: SpecialIds,
    /// How its recipe wants answers made.
    pub defaults: GenerateRecipe,
    /// Steps it was trained for, where that is known.
    pub step: Option<u64>,
}

/// Loads a model to compute in `dtype`.
///
/// # Errors
/// When there is no model at `path`, or its files cannot be used.
pub fn load(path: &Path, dtype: DType, device: &Device) -> Outcome<LoadedModel> {
    if path.join("recipe.toml").is_file() {
        return of_run(path, dtype, device);
    }
    if path.join("config.json").is_file() {
        return of_directory(path, dtype, device);
    }
    let what = if path.exists() { "holds no model" } else { "does not exist" };
    Err(Failure::new(format!(
        "{} {what}; --model takes a run directory (made by `genera train`) or a directory with config.json, \
         model.safetensors and tokenizer.json",
        path.display()
    )))
}

fn of_run(path: &Path, dtype: DType, device: &Device) -> Outcome<LoadedModel> {
    let run = RunDirectory::open(path)?;
    let recipe = Recipe::load(&run.recipe())?;
    let (checkpoint, rejected) = latest_good(path)?;
    warn_of_rejected(&rejected);
    let Some(checkpoint) = checkpoint else {
        return Err(Failure::new(format!(
            "{0} has no checkpoint yet; the first is written after train.checkpoint_every steps or when training stops \
             (`genera resume {0}` goes on with it)",
            path.display()
        )));
    };
    let codebook: Codebook = load_tokenizer(&run.data())?;
    let transformer = checkpoint.model(dtype, device)?;
    let modality = modality_of(&transformer);
    let special = SpecialIds::of(&codebook.vocab().special, transformer.config());
    let step = Some(checkpoint.manifest.step);
    Ok(LoadedModel { transformer, codebook: Some(codebook), modality, special, defaults: recipe.generate, step })
}

fn of_directory(path: &Path, dtype: DType, device: &Device) -> Outcome<LoadedModel> {
    let special = read_config(path)?.special;
    let transformer = load_hf(path, device, dtype)?;
    let codebook = if path.join("tokenizer.json").is_file() { Some(load_tokenizer(path)?) } else { None };
    let modality = modality_of(&transformer);
    Ok(LoadedModel { transformer, codebook, modality, special, defaults: GenerateRecipe::default(), step: None })
}

fn modality_of(transformer: &Transformer) -> &'static dyn Modality {
    if transformer.config().is_encoder_decoder() { &Translation } else { &Text }
}

/// Says which checkpoints are damaged, and that an earlier one is used.
pub fn warn_of_rejected(rejected: &[Rejected]) {
    for Rejected { dir, reason } in rejected {
        eprintln!("genera: {} cannot be used ({reason}); taking the one before", dir.display());
    }
}

impl LoadedModel {
    /// The tokenizer.
    ///
    /// # Errors
    /// When the model has none.
    pub fn codebook(&self) -> Outcome<&Codebook> {
        self.codebook.as_ref().ok_or_else(|| {
            Failure::new("the model's directory has no tokenizer.json, so text cannot be turned into its tokens")
        })
    }

    /// Ids that end an answer.
    pub fn stop_ids(&self) -> Vec<u32> {
        let of_tokenizer = self.codebook.as_ref().and_then(|codebook| codebook.vocab().special.end);
        let mut ids = self.special.end.clone();
        ids.extend(of_tokenizer.filter(|id| !self.special.end.contains(id)));
        ids
    }

    /// What the decoder of an encoder-decoder reads first.
    ///
    /// # Errors
    /// When the files do not say which token that is.
    pub fn decoder_start(&self) -> Outcome<u32> {
        self.special.decoder_start.or(self.special.begin).or(self.special.padding).ok_or_else(|| {
            Failure::new("the model's files name no decoder_start_token_id, so the decoder cannot begin")
        })
    }
}
