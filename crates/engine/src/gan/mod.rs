//! A generative adversarial network for rows of tables: a baseline of another family beside the Transformer.
//!
//! A row is a vector of *parts*: a number between −1 and 1, or a choice as a one-hot vector. The generator makes rows from noise
//! under a *condition*, one category of one column; the discriminator judges several real or made rows at once.
//! Read [`GanTrainer::step`] first.
//!
//! # Source
//! Xu, Skoularidou, Cuesta-Infante, Veeramachaneni, "Modeling tabular data using conditional GAN", arXiv 1907.00503 (CTGAN). Layer
//! norm takes the place of batch norm, so that a made row does not depend on those beside it.

mod config;
mod networks;
mod penalty;
mod store;
mod trainer;

pub use config::{GanConfig, Part};
pub use store::{load_generator, load_trainer, save_generator, save_trainer};
pub use trainer::{GanBatch, GanReport, GanSettings, GanTrainer};

use crate::params::Params;
use genera_tensor::{Device, Key, Tape, Tensor};
use networks::Generator;

/// Tells the streams of random numbers that grow from one seed apart.
const NOISE_STREAM: u64 = 0x6A01;
const CHOICE_STREAM: u64 = 0x6A02;

/// Makes rows.
#[derive(Debug)]
pub struct RowGenerator {
    config: GanConfig,
    params: Params,
    device: Device,
}

impl RowGenerator {
    /// What the parts of a row are.
    pub fn config(&self) -> &GanConfig {
        &self.config
    }

    /// Rows under conditions, each choice decided: 1 for what was chosen, 0 for the others.
    ///
    /// # Shapes
    /// conditions: [N, C]; result: [N, F], row by row.
    ///
    /// # Determinism
    /// Row i is a function of the seed, `first + i` and its condition.
    pub fn make(&self, conditions: &[f32], n: usize, seed: u64, first: u64) -> Vec<f32> {
        let conditions = Tensor::from_f32(&self.device, [n, self.config.n_conditions()], conditions);
        let key = Key::new(seed);
        let tape = Tape::inference(&self.device);
        let generator = Generator { config: &self.config, params: &self.params, is_trained: false };
        let noise = networks::noise(&self.config, n, key.fold(NOISE_STREAM), first, &self.device);
        let raw = generator.forward(&tape, &noise, &conditions);
        let mut rows = raw.tensor().to_vec();
        for (row, i) in rows.chunks_mut(self.config.n_features()).zip(first..) {
            self.decide(row, key.fold(CHOICE_STREAM).fold(i));
        }
        rows
    }

    /// Draws each choice by its logits, and brings numbers between −1 and 1.
    fn decide(&self, row: &mut [f32], key: Key) {
        for (part, range) in self.config.ranges() {
            let values = &mut row[range.clone()];
            match part {
                Part::Number => values[0] = values[0].tanh(),
                Part::Choice { .. } => {
                    let score = |(i, logit): (usize, &f32)| logit + networks::gumbel(key, (range.start + i) as u64);
                    let scores: Vec<f32> = values.iter().enumerate().map(score).collect();
                    let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
                    values.iter_mut().enumerate().for_each(|(i, value)| *value = f32::from(Some(i) == best));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
