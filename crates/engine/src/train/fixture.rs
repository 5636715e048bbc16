//! Models and batches so small that a step takes a millisecond, for tests.

use crate::config::ModelConfig;
use crate::model::{Transformer, initial_params};
use crate::presets::{self, Preset, Sizes};
use crate::recipe::{OptimizerKind, ScheduleKind, TrainRecipe};
use crate::train::{TrainSettings, Trainer};
use genera_tensor::{DType, Device, Key, ParamId};
use genera_tokens::{Batch, IGNORE, Source};

/// Number of tokens.
pub(crate) const V: usize = 13;

pub(crate) fn config(preset: &Preset) -> ModelConfig {
    config_of(preset, V, 16)
}

fn config_of(preset: &Preset, vocab_size: usize, d_model: usize) -> ModelConfig {
    let sizes = Sizes {
        vocab_size,
        context_len: 8,
        d_model,
        n_layers: 2,
        n_encoder_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        d_head: d_model / 2,
        d_ff: 2 * d_model,
    };
    preset.architecture.config(&sizes).unwrap()
}

pub(crate) fn preset(name: &str) -> &'static Preset {
    presets::find(name).unwrap()
}

pub(crate) fn recipe() -> TrainRecipe {
    TrainRecipe {
        steps: 100,
        warmup_steps: Some(5),
        learning_rate: 0.01,
        schedule: ScheduleKind::Constant,
        weight_decay: 0.0,
        ..TrainRecipe::default()
    }
}

/// All that can depend on chance or keep state, at once.
pub(crate) fn rich_recipe() -> TrainRecipe {
    TrainRecipe {
        optimizer: OptimizerKind::Muon,
        schedule: ScheduleKind::Cosine,
        weight_decay: 0.1,
        dropout: 0.1,
        label_smoothing: 0.1,
        ema_decay: 0.9,
        ..recipe()
    }
}

pub(crate) fn trainer_on(device: &Device, preset: &Preset, recipe: &TrainRecipe, compute: DType) -> Trainer {
    trainer_of(config(preset), device, recipe, compute)
}

/// Of a model whose work is shared among threads, where the batch has some hundred tokens.
pub(crate) fn wide_trainer_on(device: &Device, preset: &Preset, recipe: &TrainRecipe, compute: DType) -> Trainer {
    trainer_of(config_of(preset, 1000, 128), device, recipe, compute)
}

fn trainer_of(config: ModelConfig, device: &Device, recipe: &TrainRecipe, compute: DType) -> Trainer {
    let params = initial_params(&config, recipe.seed, compute, device);
    Trainer::new(Transformer::new(config, params, device), TrainSettings::new(recipe).unwrap())
}

pub(crate) fn trainer(preset: &Preset, recipe: &TrainRecipe) -> Trainer {
    trainer_on(&Device::cpu(2), preset, recipe, DType::F32)
}

/// Rows of random tokens, each to be predicted from those before it; some positions carry no loss.
pub(crate) fn batch(preset: &Preset, rows: usize, seed: u64) -> Batch {
    const T: usize = 6;
    let ids = |label: u64, n: usize| -> Vec<u32> {
        (0..n as u64).map(|i| Key::new(seed).fold(label).below(i, V as u64) as u32).collect()
    };
    let tokens = ids(0, rows * T);
    let mut targets: Vec<u32> = (0..rows * T).map(|i| if i % T == T - 1 { IGNORE } else { tokens[i + 1] }).collect();
    targets[0] = IGNORE;
    let mut batch = Batch::dense(rows, T, tokens, targets);
    batch.n_bytes = 10 * rows as u64;
    if config(preset).is_encoder_decoder() {
        let lens = (0..rows as u32).map(|row| 5 - row % 3).collect();
        batch.source = Some(Source { len: 5, tokens: ids(1, rows * 5), lens });
    }
    batch
}

pub(crate) fn weights(model: &Transformer) -> Vec<Vec<f32>> {
    let params = model.params();
    (0..params.len()).map(|i| params.master(ParamId(i)).to_vec()).collect()
}
