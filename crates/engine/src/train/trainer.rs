//! The training loop's inside. Read [`Trainer::step`] first.

use super::ema::Averages;
use super::loss::{self, Sums, Validation};
use super::optimizer::{ModelOptimizer, Update};
use super::preference::{PreferencePair, PreferenceScore, PreferenceSums};
use super::report::StepReport;
use super::settings::TrainSettings;
use super::{clip, finite};
use crate::error::{Error, Result};
use crate::flops;
use crate::model::{Mode, Pooling, Transformer};
use genera_tensor::{Gradients, Key, Pass, Tape, Tensor};
use genera_tokens::Batch;
use std::time::Instant;

/// A model that is being trained, with everything that the next step depends on.
#[derive(Debug)]
pub struct Trainer {
    model: Transformer,
    settings: TrainSettings,
    optimizer: ModelOptimizer,
    averages: Option<Averages>,
    n_steps: u64,
    n_tokens: u64,
}

/// Tells the streams of random numbers that grow from one seed apart.
const DROPOUT_STREAM: u64 = 0xD209;
const ADAPTER_STREAM: u64 = 0x10_4A;

/// What was done in a step before the weights follow.
struct Work {
    start: Instant,
    n_tokens: u64,
    flops: f64,
    loss: f64,
    preferences: Option<PreferenceScore>,
}

/// Gives the numbers of a tensor by name and shape.
pub type ReadTensor<'r> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>> + 'r;

/// What a trainer must keep beside the weights to go on as if nothing had happened.
#[derive(Debug)]
pub struct TrainerState<'t> {
    /// Steps done.
    pub n_steps: u64,
    /// Tokens read.
    pub n_tokens: u64,
    /// What the optimizer remembers.
    pub optimizer: Vec<(String, &'t Tensor)>,
    /// The averages of the weights, when they are kept.
    pub averages: Option<Vec<(String, &'t Tensor)>>,
}

impl Trainer {
    /// A trainer that has done no step yet.
    pub fn new(model: Transformer, settings: TrainSettings) -> Self {
        let optimizer = ModelOptimizer::new(&settings.optimizer, model.config(), model.params());
        let averages = (settings.ema_decay > 0.0).then(|| Averages::new(model.params(), settings.ema_decay));
        Self { model, settings, optimizer, averages, n_steps: 0, n_tokens: 0 }
    }

    /// One step: the gradients of the micro-batches, which are gone through several times, are added up, and the weights follow
    /// them once.
    ///
    /// # Errors
    /// [`Error::Training`] when there is nothing to predict, or when the loss or a gradient is not finite: it names the
    /// tensor with which that began, and the weights stay as they were.
    ///
    /// # Determinism
    /// The new weights are a function of the old state and the batches, bit for bit, whatever the number of threads.
    pub fn step<'a>(
        &mut self,
        micro_batches: impl IntoIterator<Item = &'a Batch, IntoIter: Clone>,
    ) -> Result<StepReport> {
        let (start, micro_batches) = (Instant::now(), micro_batches.into_iter());
        let scale = 1.0 / self.n_targets(micro_batches.clone())? as f32;
        let mut gradients = Gradients::new(self.model.params().len());
        let mut sums = Sums::default();
        for (i, batch) in micro_batches.clone().enumerate() {
            self.accumulate(batch, i, scale, &mut gradients, &mut sums)?;
        }
        let n_tokens = micro_batches.clone().map(loss::n_real_tokens).sum::<u64>();
        let flops = micro_batches.map(|batch| self.flops_of(batch)).sum();
        self.follow(&gradients, Work { start, n_tokens, flops, loss: sums.mean_nats(), preferences: None })
    }

    /// One step of direct preference optimisation: the gradients of the pairs are added up, and the weights follow them
    /// once.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    ///
    /// # Determinism
    /// As [`step`](Self::step).
    pub fn step_preferences(&mut self, pairs: &[PreferencePair], beta: f64) -> Result<StepReport> {
        let start = Instant::now();
        let mut gradients = Gradients::new(self.model.params().len());
        let mut sums = PreferenceSums::default();
        let scale = 1.0 / pairs.len().max(1) as f64;
        for (i, pair) in pairs.iter().enumerate() {
            let mode = self.mode(i);
            let (loss, margin) = pair.accumulate(&self.model, beta, scale, mode, &mut gradients);
            if !loss.is_finite() {
                return Err(self.gone_wrong("the loss", &finite::cause_of_bad_loss(&self.model, &pair.chosen, mode)));
            }
            sums.add(loss, margin);
        }
        let score = sums.score();
        let n_tokens = pairs.iter().map(PreferencePair::n_tokens).sum();
        let flops = pairs.iter().map(|pair| self.flops_of(&pair.chosen) + self.flops_of(&pair.rejected)).sum();
        self.follow(&gradients, Work { start, n_tokens, flops, loss: score.loss, preferences: Some(score) })
    }

    /// One step with differential privacy: the gradient of each row is clipped, noise is added to their sum, and the weights
    /// follow it once. There may be no row at all, since each was drawn by itself.
    ///
    /// # Errors
    /// [`Error::Training`] when the noisy gradient is not finite. A row whose own gradient is not counts as none, so that
    /// an error tells nothing about it.
    ///
    /// # Panics
    /// When the settings have no privacy.
    ///
    /// # Determinism
    /// As [`step`](Self::step).
    ///
    /// # Cost
    /// A forward and a backward pass for each row, and the memory of one.
    pub fn step_private(&mut self, rows: &[Batch]) -> Result<StepReport> {
        let privacy = self.settings.privacy.expect("a private step needs settings with privacy");
        let start = Instant::now();
        let (mut sum, mut sums) = (Gradients::new(self.model.params().len()), Sums::default());
        for (i, row) in rows.iter().enumerate().filter(|(_, row)| row.n_targets() > 0) {
            let mut gradients = Gradients::new(self.model.params().len());
            let tape = Tape::new(self.model.device());
            let scale = 1.0 / row.n_targets() as f32;
            let loss = self.model.loss(&tape, row, self.settings.label_smoothing, scale, self.mode(i));
            sums.add(row, &loss);
            tape.backward(&loss.total, &mut gradients);
            privacy.add_clipped(&gradients, &mut sum);
        }
        privacy.add_noise(self.model.params(), self.n_steps, &mut sum);
        self.mark("privacy");
        let n_tokens = rows.iter().map(loss::n_real_tokens).sum();
        let flops = rows.iter().map(|row| self.flops_of(row)).sum();
        let loss = if sums.n_targets() == 0 { 0.0 } else { sums.mean_nats() };
        self.follow(&sum, Work { start, n_tokens, flops, loss, preferences: None })
    }

    fn flops_of(&self, batch: &Batch) -> f64 {
        let has_adapters = self.model.params().has_adapters();
        let of = if has_adapters { flops::training_beside_adapters } else { flops::training };
        flops::of_training_batch(self.model.config(), batch, of)
    }

    /// Lets the weights follow the gradients of a step.
    fn follow(&mut self, gradients: &Gradients, work: Work) -> Result<StepReport> {
        let step = self.n_steps + 1;
        let grad_norm = clip::global_norm(gradients);
        self.mark("clip");
        if !grad_norm.is_finite() {
            let cause = finite::cause_of_bad_gradient(self.model.params(), gradients);
            return Err(self.gone_wrong("the gradient", &cause));
        }
        let share = self.settings.schedule.share(step);
        let update = Update { step, share, gradient_scale: clip::factor(grad_norm, self.settings.clip) };
        self.optimizer.update(self.model.params_mut(), gradients, &update);
        self.mark("optimizer");
        if let Some(averages) = &mut self.averages {
            averages.update(self.model.params(), step);
            self.mark("averages");
        }
        let Work { start, n_tokens, flops, loss, preferences } = work;
        self.n_steps = step;
        self.n_tokens += n_tokens;
        let seconds = start.elapsed().as_secs_f64();
        Ok(StepReport {
            step,
            n_tokens: self.n_tokens,
            loss,
            learning_rate: self.settings.optimizer.learning_rate() * share,
            grad_norm,
            tokens_per_s: n_tokens as f64 / seconds,
            flops_per_s: flops / seconds,
            seconds,
            preferences,
        })
    }

    /// How the forward pass of micro-batch `index` of the next step behaves.
    fn mode(&self, index: usize) -> Mode<'static> {
        let key = Key::new(self.settings.seed).fold(DROPOUT_STREAM).fold(self.n_steps).fold(index as u64);
        let TrainSettings { dropout, adapter_dropout, recomputed_blocks, .. } = self.settings;
        let with = |p: f32, key: Key| (p > 0.0).then_some((p, key));
        Mode {
            dropout: with(dropout, key),
            adapter_dropout: with(adapter_dropout, key.fold(ADAPTER_STREAM)),
            recomputed_blocks,
            probe: None,
        }
    }

    /// Notes where the time went, on a device that wants to know.
    fn mark(&self, name: &'static str) {
        if let Some(profile) = self.model.device().profile() {
            profile.mark(name, Pass::Outside);
        }
    }

    /// Adds the gradients of one micro-batch to those of the step.
    fn accumulate(
        &self,
        batch: &Batch,
        index: usize,
        scale: f32,
        gradients: &mut Gradients,
        sums: &mut Sums,
    ) -> Result<()> {
        let (mode, label_smoothing) = (self.mode(index), self.settings.label_smoothing);
        let tape = Tape::new(self.model.device());
        let loss = self.model.loss(&tape, batch, label_smoothing, scale, mode);
        if !loss.total.tensor().view().get(0).is_finite() {
            return Err(self.gone_wrong("the loss", &finite::cause_of_bad_loss(&self.model, batch, mode)));
        }
        sums.add(batch, &loss);
        tape.backward(&loss.total, gradients);
        Ok(())
    }

    /// Mean loss over batches, without dropout and label smoothing, with the averaged weights when they are kept.
    ///
    /// # Errors
    /// [`Error::Training`] when there is nothing to predict.
    pub fn validate(&mut self, batches: impl IntoIterator<Item = Batch>) -> Result<Validation> {
        let mut sums = Sums::default();
        self.with_averaged(|model| {
            for batch in batches {
                let loss = model.loss(&Tape::inference(model.device()), &batch, 0.0, 1.0, Mode::default());
                sums.add(&batch, &loss);
            }
        });
        if sums.n_targets() == 0 {
            return Err(Error::Training("the validation data is empty: there is nothing to predict in it".to_owned()));
        }
        Ok(sums.validation())
    }

    /// Lends the model with the averaged weights when they are kept, else as it is: for samples and for export.
    pub fn with_averaged<R>(&mut self, f: impl FnOnce(&Transformer) -> R) -> R {
        self.swap_averages();
        let result = f(&self.model);
        self.swap_averages();
        result
    }

    fn swap_averages(&mut self) {
        if let Some(averages) = &mut self.averages {
            averages.swap(self.model.params_mut());
        }
    }

    /// The model, with the averaged weights when they are kept.
    pub fn into_model(mut self) -> Transformer {
        self.swap_averages();
        self.model
    }

    /// The model as the next step will see it.
    pub fn model(&self) -> &Transformer {
        &self.model
    }

    /// How the model's texts become vectors, which no checkpoint holds.
    pub fn set_pooling(&mut self, pooling: Option<Pooling>) {
        self.model.set_pooling(pooling);
    }

    /// The model for a test that changes it.
    #[cfg(test)]
    pub(crate) fn model_mut(&mut self) -> &mut Transformer {
        &mut self.model
    }

    /// How it trains.
    pub fn settings(&self) -> &TrainSettings {
        &self.settings
    }

    /// Steps done.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// Tokens read since the run began, padding not counted.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// Makes sure that the weights are worth keeping.
    ///
    /// # Errors
    /// [`Error::Training`], naming a parameter that is not finite.
    pub(crate) fn check_weights(&self) -> Result<()> {
        let Some(name) = finite::bad_parameter(self.model.params()) else { return Ok(()) };
        Err(Error::Training(format!(
            "step {}: the parameter {name} holds NaN or infinity, so no checkpoint was saved; earlier checkpoints are intact. \
             Lower train.learning_rate or raise train.warmup_steps, then resume",
            self.n_steps
        )))
    }

    /// What must be kept beside the weights.
    pub fn state(&self) -> TrainerState<'_> {
        let params = self.model.params();
        TrainerState {
            n_steps: self.n_steps,
            n_tokens: self.n_tokens,
            optimizer: self.optimizer.state(params),
            averages: self.averages.as_ref().map(|averages| {
                averages.iter().map(|(id, tensor)| (params.specs()[id.0].name.clone(), tensor)).collect()
            }),
        }
    }

    /// Goes on where a run stopped: the counters, what the optimizer remembered, and the averages. Without kept averages,
    /// new ones start at the weights.
    ///
    /// # Errors
    /// What the readers report, as when the run used another optimizer.
    pub fn restore(
        &mut self,
        n_steps: u64,
        n_tokens: u64,
        optimizer: &mut ReadTensor<'_>,
        averages: Option<&mut ReadTensor<'_>>,
    ) -> Result<()> {
        let params = self.model.params();
        self.optimizer.restore(params, optimizer)?;
        if let (Some(own), Some(read)) = (&mut self.averages, averages) {
            for (id, tensor) in own.iter_mut() {
                let values = read(&params.specs()[id.0].name, tensor.shape().sizes())?;
                tensor.view_mut().f32().copy_from_slice(&values);
            }
        }
        (self.n_steps, self.n_tokens) = (n_steps, n_tokens);
        Ok(())
    }

    fn n_targets<'a>(&self, micro_batches: impl Iterator<Item = &'a Batch>) -> Result<usize> {
        match loss::n_targets(micro_batches) {
            0 => Err(Error::Training(format!("step {}: no position of the batch carries loss", self.n_steps + 1))),
            n => Ok(n),
        }
    }

    fn gone_wrong(&self, what: &str, cause: &str) -> Error {
        let (step, before) = (self.n_steps + 1, self.n_steps);
        Error::Training(format!(
            "step {step}: {what} is not finite (NaN or infinity); it began with {cause}. The weights are those of step {before}. \
             A lower train.learning_rate, more train.warmup_steps or a smaller train.clip usually helps"
        ))
    }
}

#[cfg(test)]
mod tests;
