//! Tiny models of every shape, and batches for them.

use crate::failure::Outcome;
use genera_engine::ModelConfig;
use genera_engine::config::Head;
use genera_engine::model::{Transformer, initial_params};
use genera_engine::recipe::{ModelRecipe, TrainRecipe};
use genera_engine::train::{TrainSettings, Trainer};
use genera_tensor::{DType, Device, Key, View};
use genera_tokens::{Batch, IGNORE, Source};

/// Size of the vocabulary.
pub const VOCAB: usize = 29;

/// The presets that are checked.
pub const PRESETS: [&str; 5] = ["gpt2", "llama", "marian", "t5", "bert"];

/// A tiny architecture of a preset's family, with a head.
///
/// # Errors
/// When the preset is unknown.
pub fn config(preset: &str) -> Outcome<ModelConfig> {
    config_of_width(preset, 16)
}

fn config_of_width(preset: &str, d_model: usize) -> Outcome<ModelConfig> {
    let (n_heads, context_len) = (2, 24);
    let recipe = ModelRecipe {
        preset: preset.to_owned(),
        n_layers: 2,
        n_heads,
        n_kv_heads: (preset == "llama").then_some(1),
        d_model,
        context_len,
        ..ModelRecipe::default()
    };
    let mut config = recipe.config(VOCAB)?;
    if config.head == Head::None {
        config.head = Head::Tied { bias: false, scaled: false };
    }
    Ok(config)
}

/// A tiny model.
///
/// # Errors
/// When the preset is unknown.
pub fn model(preset: &str, dtype: DType, device: &Device) -> Outcome<Transformer> {
    Ok(initial(config(preset)?, dtype, device))
}

fn initial(config: ModelConfig, dtype: DType, device: &Device) -> Transformer {
    let params = initial_params(&config, 11, dtype, device);
    Transformer::new(config, params, device)
}

/// A trainer of a tiny model, with dropout, averaging and Muon, so that all of their state is exercised.
///
/// # Errors
/// When the preset is unknown.
pub fn trainer(preset: &str, dtype: DType, device: &Device) -> Outcome<Trainer> {
    trainer_of(config(preset)?, dtype, device)
}

/// Rows of [`batch`] that make the products of a [`wide_trainer`], its norms and its sums large enough to be shared among threads.
pub const WIDE_ROWS: usize = 24;

/// As [`trainer`], of a model whose work is shared among threads.
///
/// # Errors
/// When the preset is unknown.
pub fn wide_trainer(preset: &str, dtype: DType, device: &Device) -> Outcome<Trainer> {
    trainer_of(config_of_width(preset, 128)?, dtype, device)
}

fn trainer_of(config: ModelConfig, dtype: DType, device: &Device) -> Outcome<Trainer> {
    let mut recipe =
        TrainRecipe { steps: 8, learning_rate: 0.01, dropout: 0.1, ema_decay: 0.9, ..TrainRecipe::default() };
    recipe.optimizer = genera_engine::recipe::OptimizerKind::Muon;
    let settings = TrainSettings::new(&recipe)?;
    Ok(Trainer::new(initial(config, dtype, device), settings))
}

/// Rows of random tokens that fit a preset, the last positions without a target.
pub fn batch(preset: &str, seed: u64, rows: usize) -> Batch {
    let len = 12;
    let key = Key::new(seed);
    let tokens = |salt: u64, n: usize| -> Vec<u32> {
        (0..n as u64).map(|i| key.fold(salt).below(i, VOCAB as u64) as u32).collect()
    };
    let mut targets = tokens(1, rows * len);
    targets.iter_mut().skip(len - 1).step_by(len).for_each(|target| *target = IGNORE);
    let mut batch = Batch::dense(rows, len, tokens(0, rows * len), targets);
    if matches!(preset, "marian" | "t5") {
        let lens = (0..rows as u32).map(|row| 5 + row % 4).collect();
        batch.source = Some(Source { len: 8, tokens: tokens(2, rows * 8), lens });
    }
    batch
}

/// All weights of a model, in order, as bits.
pub fn weight_bits(model: &Transformer) -> Vec<u32> {
    let params = model.params();
    let bits = |i: usize| match params.master(genera_tensor::ParamId(i)).view() {
        View::F32(values) => values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>(),
        View::Bf16(_) => unreachable!("master weights are f32"),
    };
    (0..params.len()).flat_map(bits).collect()
}

/// Number of places in which two lists differ.
pub fn n_different(a: &[u32], b: &[u32]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a != b).count() as f64 + a.len().abs_diff(b.len()) as f64
}
