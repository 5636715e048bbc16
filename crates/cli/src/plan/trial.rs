//! Training on random tokens, to see how fast it goes and what it takes.

use super::data::{check_lens, modality_of};
use super::has_pairs;
use super::memory;
use super::overrides::Overrides;
use crate::failure::{Failure, Outcome};
use crate::rates;
use genera_engine::ModelConfig;
use genera_engine::flops::Lens;
use genera_engine::model::{Transformer, initial_params};
use genera_engine::recipe::{BaseRecipe, DpoRecipe, Family, LoraRecipe, Reasons, Recipe};
use genera_engine::train::{TrainSettings, Trainer};
use genera_engine::weights::read_config;
use genera_tensor::{DType, Device, Key};
use genera_tokens::{Batch, Source};
use std::iter::repeat_n;
use std::path::Path;
use std::time::{Duration, Instant};

/// The vocabulary where a recipe leaves it to the data, which are not looked at.
const ASSUMED_VOCAB: usize = 256;

/// Reads a recipe: a file, or that of a run directory, with the vocabulary of the run where it has a model.
///
/// # Errors
/// When the file or a change of it cannot be used.
pub fn load(path: &Path, set: &[String]) -> Outcome<Recipe> {
    let is_run = is_run(path);
    let path = if path.is_dir() { path.join("recipe.toml") } else { path.to_owned() };
    let mut recipe = Recipe::load(&path)?;
    let model = path.with_file_name("model");
    if is_run && model.join("config.json").is_file() {
        recipe.tokenizer.vocab_size = Some(read_config(&model)?.model.vocab_size);
    }
    Overrides::parse(set)?.apply(&mut recipe)?;
    Ok(recipe)
}

/// Whether a path is a run directory, or the recipe in one.
fn is_run(path: &Path) -> bool {
    path.is_dir() || path.ends_with("recipe.toml") && path.with_file_name("log.jsonl").is_file()
}

/// What to do about a recipe that cannot be measured for this key.
pub fn advice(path: &Path, key: &str) -> String {
    match is_run(path) {
        true => "how fast this run was stands in its log.jsonl (tokens_per_s, flops_per_s)".to_owned(),
        false => format!("leave {key} out to see what training takes without it"),
    }
}

/// Completes the recipe of a path that is only to be `done` ("measured") without its data. A vocabulary that the data would decide is
/// assumed, and that is said.
///
/// # Errors
/// When the recipe asks for more than the training of a new Transformer, which would be ignored, or a setting cannot be used.
pub fn settle(recipe: &mut Recipe, path: &Path, done: &str) -> Outcome<()> {
    let asked = [
        ("base", recipe.base != BaseRecipe::default()),
        ("train.lora", recipe.lora != LoraRecipe::default()),
        ("train.dpo", recipe.dpo != DpoRecipe::default()),
        ("data.kind = \"preference\"", has_pairs(recipe)),
        ("model.family = \"gan\"", recipe.model.family == Family::Gan),
    ];
    if let Some((key, _)) = asked.iter().find(|(_, is_asked)| *is_asked) {
        return Err(Failure::new(format!(
            "{key} cannot be {done} by a recipe alone: only the training of a new Transformer, all of whose weights learn which \
             token follows, can; {}",
            advice(path, key)
        )));
    }
    modality_of(&recipe.data)?;
    recipe.complete(&mut Reasons::default())?;
    TrainSettings::new(&recipe.train)?;
    if recipe.tokenizer.vocab_size.is_none() {
        eprintln!(
            "genera: the recipe does not say how large the vocabulary is, and the data is not looked at: {ASSUMED_VOCAB} tokens are \
             assumed (--set tokenizer.vocab_size=N)"
        );
        recipe.tokenizer.vocab_size = Some(ASSUMED_VOCAB);
    }
    let config = config(recipe)?;
    memory::check_recomputed_blocks(recipe, &config)?;
    if config.is_encoder_decoder() { check_lens(&recipe.data, &config) } else { Ok(()) }
}

/// The model of a recipe that is settled.
///
/// # Errors
/// When its sizes do not fit together.
pub fn config(recipe: &Recipe) -> Outcome<ModelConfig> {
    Ok(recipe.model.config(recipe.tokenizer.vocab_size.unwrap_or(ASSUMED_VOCAB))?)
}

/// A batch of random tokens; the same every time.
pub fn batch(config: &ModelConfig, rows: usize, lens: Lens) -> Batch {
    let key = Key::new(1);
    let tokens = |salt: u64, n: usize| -> Vec<u32> {
        (0..n as u64).map(|i| key.fold(salt).below(i, config.vocab_size as u64) as u32).collect()
    };
    let Lens { target, source } = lens;
    let mut batch = Batch::dense(rows, target, tokens(0, rows * target), tokens(1, rows * target));
    batch.source = config.is_encoder_decoder().then(|| Source {
        len: source,
        tokens: tokens(2, rows * source),
        lens: vec![source as u32; rows],
    });
    batch
}

/// A fresh trainer of a recipe.
///
/// # Errors
/// When a setting of the recipe cannot be used.
pub fn trainer(recipe: &Recipe, config: ModelConfig, dtype: DType, device: &Device) -> Outcome<Trainer> {
    let params = initial_params(&config, recipe.train.seed, dtype, device);
    Ok(Trainer::new(Transformer::new(config, params, device), TrainSettings::new(&recipe.train)?))
}

/// How long a step of a recipe takes with rows of these lengths: the median of those that fit into `time`, at least one.
///
/// # Errors
/// When a setting of the recipe cannot be used.
pub fn seconds_per_step(
    recipe: &Recipe,
    config: &ModelConfig,
    lens: Lens,
    dtype: DType,
    device: &Device,
    time: Duration,
) -> Outcome<f64> {
    let mut trainer = trainer(recipe, config.clone(), dtype, device)?;
    let batch = batch(config, recipe.train.batch_size, lens);
    let micro = repeat_n(&batch, recipe.train.accumulate.max(1));
    // The first one finds no memory ready.
    trainer.step(micro.clone())?;
    let (start, mut seconds) = (Instant::now(), Vec::new());
    while seconds.is_empty() || start.elapsed() < time {
        seconds.push(trainer.step(micro.clone())?.seconds);
    }
    Ok(rates::median(seconds))
}
