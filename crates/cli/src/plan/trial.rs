//! Training on random tokens, to see how fast it goes.

use crate::failure::Outcome;
use genera_engine::ModelConfig;
use genera_engine::flops::Lens;
use genera_engine::model::{Transformer, initial_params};
use genera_engine::recipe::Recipe;
use genera_engine::train::{TrainSettings, Trainer};
use genera_tensor::{DType, Device, Key};
use genera_tokens::{Batch, Source};
use std::time::{Duration, Instant};

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
    let micro = vec![batch(config, recipe.train.batch_size, lens); recipe.train.accumulate.max(1)];
    // The first one finds no memory ready.
    trainer.step(&micro)?;
    let (start, mut seconds) = (Instant::now(), Vec::new());
    while seconds.is_empty() || start.elapsed() < time {
        seconds.push(trainer.step(&micro)?.seconds);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}
