//! The training loop's inside. Read [`GanTrainer::step`] first.

use super::config::GanConfig;
use super::networks::{self, Discriminator, Generator};
use super::{NOISE_STREAM, RowGenerator, penalty};
use crate::error::{Error, Result};
use crate::params::Params;
use crate::train::clip;
use crate::train::ema::Averages;
use crate::train::{AdamWSettings, ModelOptimizer, Update};
use genera_tensor::op::{LossSpec, add, columns, cross_entropy, gather_rows, scale, sum};
use genera_tensor::{DType, Device, Gradients, Key, Tape, Tensor, Var};
use std::sync::Arc;
use std::time::Instant;

/// Tells the streams of random numbers of a step apart.
const SOFT_STREAM: u64 = 0x6A11;
const DROPOUT_STREAM: u64 = 0x6A12;
const BETWEEN_STREAM: u64 = 0x6A13;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GanSettings {
    /// Decides the initial weights and all noise.
    pub seed: u64,
    /// Learning rate of both networks.
    pub learning_rate: f64,
    /// Steps of the run; over the last half the rate falls to nothing.
    pub n_steps: u64,
    /// How slowly the moving average of the weights follows them.
    pub ema_decay: f64,
}

/// Real rows, each drawn to have what its condition asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GanBatch {
    /// [N, F], row by row.
    pub rows: Vec<f32>,
    /// [N, C]: 1 for the category that is asked for.
    pub conditions: Vec<f32>,
    /// `[N]`: which of [`GanConfig::asked`] the condition is about, and which category it asks for; none without conditions.
    pub asked: Vec<(usize, u32)>,
}

/// One step, as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GanReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// How far apart the discriminator finds real and made rows (an estimate of Wasserstein's distance).
    pub distance: f64,
    /// How much its slope strays from 1.
    pub penalty: f64,
    /// How far made rows are from what was asked for.
    ///
    /// # Units
    /// Nats a row.
    pub condition_loss: f64,
    /// How long the step took.
    pub seconds: f64,
}

/// Both networks, with everything that the next step depends on.
#[derive(Debug)]
pub struct GanTrainer {
    pub(super) config: GanConfig,
    pub(super) params: Params,
    pub(super) optimizer: ModelOptimizer,
    pub(super) averages: Averages,
    pub(super) n_steps: u64,
    settings: GanSettings,
    device: Device,
}

impl GanTrainer {
    /// A trainer that has done no step yet.
    ///
    /// # Errors
    /// When the networks are out of range.
    pub fn new(config: GanConfig, settings: GanSettings, device: &Device) -> Result<Self> {
        config.validate()?;
        let params = Params::new(config.layout(), config.initial(settings.seed, device), DType::F32);
        let adam = AdamWSettings {
            learning_rate: settings.learning_rate,
            beta1: 0.5,
            beta2: 0.9,
            eps: 1e-8,
            weight_decay: 0.0,
        };
        let optimizer = ModelOptimizer::adamw(adam, &params);
        let averages = Averages::new(&params, settings.ema_decay);
        Ok(Self { config, params, optimizer, averages, n_steps: 0, settings, device: device.clone() })
    }

    /// One step of the discriminator, then one of the generator.
    ///
    /// # Errors
    /// When the batch is not a whole number of packs, or a loss or gradient is not finite.
    ///
    /// # Determinism
    /// The new weights are a function of the old state and the batch, bit for bit, whatever the number of threads.
    pub fn step(&mut self, batch: &GanBatch) -> Result<GanReport> {
        let start = Instant::now();
        let n = batch.rows.len() / self.config.n_features();
        if n == 0 || !n.is_multiple_of(self.config.n_packed) {
            let packed = self.config.n_packed;
            return Err(Error::Config(format!(
                "train.batch_size is {n}; a GAN judges {packed} rows at once, so it must be a multiple"
            )));
        }
        let conditions = Tensor::from_f32(&self.device, [n, self.config.n_conditions()], &batch.conditions);
        let rows = Tensor::from_f32(&self.device, [n, self.config.n_features()], &batch.rows);
        let mut gradients = Gradients::new(self.params.len());
        let (distance, penalty) = self.judge(&rows, &conditions, &mut gradients);
        self.follow(&gradients, distance + penalty)?;
        let mut gradients = Gradients::new(self.params.len());
        let (loss, condition_loss) = self.deceive(batch, &conditions, &mut gradients);
        self.follow(&gradients, loss)?;
        self.n_steps += 1;
        self.averages.update(&self.params, self.n_steps);
        let seconds = start.elapsed().as_secs_f64();
        Ok(GanReport { step: self.n_steps, distance, penalty, condition_loss, seconds })
    }

    fn key(&self, stream: u64, turn: u64) -> Key {
        Key::new(self.settings.seed).fold(stream).fold(self.n_steps).fold(turn)
    }

    fn discriminator(&self, is_trained: bool) -> Discriminator<'_> {
        let key = self.key(DROPOUT_STREAM, u64::from(is_trained));
        Discriminator { config: &self.config, params: &self.params, is_trained, key }
    }

    /// Gradients by the discriminator's weights. Gives the distance and the penalty.
    fn judge(&self, rows: &Tensor, conditions: &Tensor, gradients: &mut Gradients) -> (f64, f64) {
        let discriminator = self.discriminator(true);
        let still = Tape::inference(&self.device);
        let (_, made) = self.make(&still, conditions, 0, false);
        let made = discriminator.pack(&still, &made, conditions).into_tensor();
        let real = discriminator.pack(&still, &Var::constant(rows.clone()), conditions).into_tensor();
        let n = real.shape().n_rows();
        let both = [real.to_vec(), made.to_vec()].concat();
        let both = Tensor::from_f32(&self.device, [2 * n, real.shape().last()], &both);
        let tape = Tape::new(&self.device);
        let (scores, _) = discriminator.forward(&tape, &Var::constant(both));
        let values: Vec<f64> = scores.tensor().to_vec().into_iter().map(f64::from).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / n as f64;
        let distance = mean(&values[..n]) - mean(&values[n..]);
        let share = 1.0 / n as f32;
        let dscores = [vec![-share; n], vec![share; n]].concat();
        tape.backward_from(&scores, Tensor::from_f32(&self.device, [2 * n, 1], &dscores), gradients);
        let points = penalty::between(&real, &made, self.key(BETWEEN_STREAM, 0));
        (distance, penalty::penalise(&discriminator, &points, gradients))
    }

    /// Gradients by the generator's weights. Gives its loss, and the part of it that is about the conditions.
    fn deceive(&self, batch: &GanBatch, conditions: &Tensor, gradients: &mut Gradients) -> (f64, f64) {
        let discriminator = self.discriminator(false);
        let tape = Tape::new(&self.device);
        let (raw, made) = self.make(&tape, conditions, 1, true);
        let packed = discriminator.pack(&tape, &made, conditions);
        let (scores, _) = discriminator.forward(&tape, &packed);
        let n = scores.tensor().shape().n_rows();
        let mut loss = scale(&tape, &sum(&tape, &scores), -1.0 / n as f32);
        let score = f64::from(loss.tensor().view().get(0));
        for part in self.condition_losses(&tape, &raw, batch) {
            loss = add(&tape, &loss, &part);
        }
        let total = f64::from(loss.tensor().view().get(0));
        tape.backward(&loss, gradients);
        (total, total - score)
    }

    /// −ln of the probability of what was asked for, by column, as shares of the mean.
    fn condition_losses(&self, tape: &Tape<'_>, raw: &Var, batch: &GanBatch) -> Vec<Var> {
        let loss = |(i, (features, _)): (usize, (std::ops::Range<usize>, std::ops::Range<usize>))| {
            let asked = batch.asked.iter().zip(0_u32..).filter(|((choice, _), _)| *choice == i);
            let (targets, rows): (Vec<u32>, Vec<u32>) = asked.map(|(&(_, category), row)| (category, row)).unzip();
            if rows.is_empty() {
                return None;
            }
            let logits = columns(tape, &gather_rows(tape, raw, &rows.into()), features);
            let scale = 1.0 / batch.asked.len() as f32;
            let spec = LossSpec { targets: Arc::from(targets), smoothing: 0.0, scale, cap: None };
            Some(cross_entropy(tape, &logits, &spec).loss)
        };
        self.config.asked().enumerate().filter_map(loss).collect()
    }

    /// Made rows, before and after they are decided. `turn` tells the two times of a step apart.
    fn make(&self, tape: &Tape<'_>, conditions: &Tensor, turn: u64, is_trained: bool) -> (Var, Var) {
        let generator = Generator { config: &self.config, params: &self.params, is_trained };
        let n = conditions.shape().n_rows();
        let noise = networks::noise(&self.config, n, self.key(NOISE_STREAM, turn), 0, &self.device);
        let raw = generator.forward(tape, &noise, conditions);
        let made = generator.soften(tape, &raw, self.key(SOFT_STREAM, turn));
        (raw, made)
    }

    fn follow(&mut self, gradients: &Gradients, loss: f64) -> Result<()> {
        if !loss.is_finite() || !clip::global_norm(gradients).is_finite() {
            return Err(Error::Training(format!(
                "step {}: the loss or a gradient of the GAN is not finite; a lower train.learning_rate usually helps",
                self.n_steps + 1
            )));
        }
        let left = self.settings.n_steps.saturating_sub(self.n_steps) as f64 / self.settings.n_steps.max(1) as f64;
        let update = Update { step: self.n_steps + 1, share: (2.0 * left).min(1.0), gradient_scale: 1.0 };
        self.optimizer.update(&mut self.params, gradients, &update);
        Ok(())
    }

    /// Steps done.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// What the networks are made of.
    pub fn config(&self) -> &GanConfig {
        &self.config
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A generator with the averaged weights.
    pub fn generator(&mut self) -> RowGenerator {
        self.averages.swap(&mut self.params);
        let copies = (0..self.params.len()).map(|i| self.params.master(genera_tensor::ParamId(i)).copy()).collect();
        self.averages.swap(&mut self.params);
        let params = Params::new(self.config.layout(), copies, DType::F32);
        RowGenerator { config: self.config.clone(), params, device: self.device.clone() }
    }
}
