//! A sitting of a run: from the recipe to the trained model, with everything written along the way.
//!
//! Read [`Session::train`] first; it is the whole loop.

use super::directory::RunDirectory;
use super::interrupt::Interrupt;
use super::log::{Log, Row, StepRow, ValidationRow};
use super::preferences::PreferenceData;
use super::tensorboard::EventFile;
use super::{export, preparing, samples};
use crate::base::{self, Base};
use crate::failure::{Failure, Outcome, While};
use crate::hub;
use crate::model::SpeakingModel;
use crate::show::monitor::{Monitor, RunFacts, monitor};
use crate::show::{number, word};
use crate::stories::{self, Floor};
use crate::{machine, model, plan, rates};
use genera_data::prepare::{Prepared, load_prepared, load_summary};
use genera_data::{Layout, Loader, LoaderSettings, Padded, Poisson, Prefetch, Shard, Validation};
use genera_engine::checkpoint::{CheckpointSize, Checkpoints, Progress, RunLock, latest_good};
use genera_engine::model::{Transformer, initial_params};
use genera_engine::params::{ParamCount, Params};
use genera_engine::recipe::{self, Reasons, Recipe};
use genera_engine::train::{StepReport, TrainSettings, Trainer};
use genera_engine::weights::{AdapterFacts, PublishedGeneration, SpecialIds, export_adapter};
use genera_modality::{Chat, Codebook, Modality};
use genera_tensor::{DType, Device};
use genera_tokens::Batch;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Batches made ahead of time.
const N_AHEAD: usize = 4;

/// A run in progress.
pub struct Session {
    run: RunDirectory,
    recipe: Recipe,
    recipe_text: String,
    prepared: Prepared,
    modality: &'static dyn Modality,
    /// Ids that open, close and fill.
    special: SpecialIds,
    generation: PublishedGeneration,
    trainer: Trainer,
    loader: Arc<Loader>,
    /// Pairs of answers, where it learns from those.
    preferences: Option<PreferenceData>,
    /// Draws the rows of each step, where it learns with privacy.
    private: Option<Poisson>,
    /// What was kept aside, where it does not learn from pairs of answers and there is something to predict.
    validation: Option<Validation>,
    /// Micro-batches of the loader that were used.
    cursor: u64,
    checkpoints: Checkpoints,
    log: Log,
    events: EventFile,
    monitor: Box<dyn Monitor>,
    interrupt: Interrupt,
    clock: Clock,
    since_row: SinceRow,
    /// Before the first step, in fine-tuning.
    first_validation: Option<ValidationRow>,
    latest_validation: Option<ValidationRow>,
    floor: Option<Floor>,
    /// Held for as long as the session lives.
    _lock: RunLock,
}

/// How a sitting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Complete,
    /// Ctrl-C: saved, to be resumed.
    Interrupted,
}

/// Time spent training, over all sittings.
struct Clock {
    earlier: Duration,
    started: Instant,
    first_step: u64,
}

/// What was measured since the last row of the log.
#[derive(Default)]
struct SinceRow {
    n_steps: u64,
    loss: f64,
    reward_margin: f64,
    preference_accuracy: f64,
    n_tokens: f64,
    n_flops: f64,
    seconds: f64,
}

/// What a session is shown and asked with.
pub struct Surroundings {
    /// Where to compute.
    pub device: Device,
    /// Whether standard output is for machines.
    pub json: bool,
}

/// The storage type that a recipe's products are to use here.
pub fn compute_dtype(recipe: &Recipe) -> DType {
    match recipe.train.dtype {
        recipe::Precision::F32 => DType::F32,
        recipe::Precision::Bf16 => DType::Bf16,
        recipe::Precision::Auto if machine::multiplies_bf16() => DType::Bf16,
        recipe::Precision::Auto => DType::F32,
    }
}

impl Session {
    /// Starts a run whose recipe is complete and whose data is prepared.
    ///
    /// # Errors
    /// When the recipe's sizes do not fit together or into memory, or the directory cannot be written.
    pub fn start(
        run: RunDirectory,
        lock: RunLock,
        recipe: Recipe,
        recipe_text: String,
        prepared: Prepared,
        base: Option<Base>,
        surroundings: Surroundings,
    ) -> Outcome<Self> {
        let settings = train_settings(&recipe)?;
        let model = match base {
            Some(base) => base.transformer,
            None => new_model(&recipe, &prepared, &surroundings.device)?,
        };
        let trainer = Trainer::new(model, settings);
        let size = CheckpointSize::of(&trainer);
        plan::notices::check_disk(&recipe, run.path(), size, (0, 0), "name a --run on another disk, or ")?;
        genera_data::write_atomically(&run.recipe(), recipe_text.as_bytes())?;
        let mut session = Self::open(run, recipe, recipe_text, prepared, (trainer, 0), lock, surroundings)?;
        let Self { recipe, prepared, run, .. } = &session;
        let (n_rows, is_validated) = (session.rows_per_epoch(), session.is_validated());
        let mut notices = plan::notices::of_lengths(recipe, &prepared.summary, n_rows, is_validated);
        notices.extend(plan::notices::of_disk(recipe, run.path(), size, is_validated));
        notices.iter().for_each(|notice| session.monitor.note(notice));
        Ok(session)
    }

    /// Goes on with a run from its latest good checkpoint, or from its beginning when there is none.
    ///
    /// # Errors
    /// When another process works on the run, its files cannot be used, or the disk cannot hold what is to come.
    pub fn resume(run: RunDirectory, surroundings: Surroundings) -> Outcome<Self> {
        let lock = RunLock::take(run.path())?;
        let recipe_text = std::fs::read_to_string(run.recipe()).during("cannot read the recipe")?;
        let mut recipe = Recipe::load(&run.recipe())?;
        let fit = plan::table::fit(&recipe)?;
        let prepared = match load_prepared(&run.data(), fit.as_deref()) {
            Ok(prepared) => prepared,
            Err(_) => prepare_again(&recipe, &run, &surroundings)?,
        };
        // Clears away what a killed save left behind.
        let there = Checkpoints::open(run.path())?.list()?;
        let (checkpoint, rejected) = latest_good(run.path())?;
        model::warn_of_rejected(&rejected);
        let dtype = compute_dtype(&recipe);
        // A checkpoint of adapters stands beside its base; any other is a whole model.
        let purpose = base::training(&recipe, dtype);
        let first = match &checkpoint {
            Some(_) if recipe.lora.rank.is_none() => None,
            _ => Some(match base::open(&mut recipe, Some(&run), purpose, &surroundings.device)? {
                Some(base) => base.transformer,
                None => new_model(&recipe, &prepared, &surroundings.device)?,
            }),
        };
        let config = match (&first, &checkpoint) {
            (Some(model), _) => model.config().clone(),
            (None, Some(checkpoint)) if recipe.base.path.is_some() => checkpoint.manifest.config.clone(),
            (None, _) => recipe.model.config(prepared.tokenizer.vocab().size)?,
        };
        let params = first.as_ref().map(Transformer::params);
        let n_threads = surroundings.device.kernels().n_threads();
        let setting = plan::memory::Setting::from_base(dtype, n_threads, params, &recipe);
        plan::memory::fit(&mut recipe, &mut Reasons::default(), &config, setting)?;
        if let Some(checkpoint) = &checkpoint {
            plan::privacy::check_unchanged(&recipe, &Recipe::parse(&checkpoint.manifest.recipe)?)?;
        }
        let settings = train_settings(&recipe)?;
        let cursor = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.manifest.cursor);
        let trainer = match (first, checkpoint) {
            (_, Some(checkpoint))
                if checkpoint.manifest.config != config || checkpoint.manifest.seed != recipe.train.seed =>
            {
                return Err(Failure::new(format!(
                    "{} has another model or seed than the checkpoint {}; these cannot change within a run: put them back \
                     as they are in the checkpoint's manifest.json, or train anew with --run",
                    run.recipe().display(),
                    checkpoint.dir.display()
                )));
            }
            (Some(base), Some(checkpoint)) => checkpoint.resume_adapted(base, settings)?,
            (None, Some(checkpoint)) => {
                let mut trainer = checkpoint.resume(settings, dtype, &surroundings.device)?;
                trainer.set_pooling(base::pooling_of(&run)?);
                trainer
            }
            (Some(model), None) => Trainer::new(model, settings),
            (None, None) => unreachable!("without a checkpoint there is a first model"),
        };
        let step = trainer.n_steps();
        let n_there = there.iter().filter(|(its_step, _)| *its_step <= step).count() as u64;
        plan::notices::check_disk(&recipe, run.path(), CheckpointSize::of(&trainer), (step, n_there), "")?;
        let note = plan::notices::of_resuming(&recipe, step);
        let mut session = Self::open(run, recipe, recipe_text, prepared, (trainer, cursor), lock, surroundings)?;
        note.iter().for_each(|note| session.monitor.note(note));
        Ok(session)
    }

    fn open(
        run: RunDirectory,
        recipe: Recipe,
        recipe_text: String,
        prepared: Prepared,
        (trainer, cursor): (Trainer, u64),
        lock: RunLock,
        surroundings: Surroundings,
    ) -> Outcome<Self> {
        let (modality, _) = plan::data::modality_of(&recipe.data)?;
        let of_tokenizer = || SpecialIds::of(&prepared.tokenizer.vocab().special, trainer.model().config());
        let special = base::special_of(&run)?.unwrap_or_else(of_tokenizer);
        let generation = base::generation_of(&run, &recipe, trainer.model())?;
        let settings = loader_settings(&recipe, &prepared, &special, trainer.model().config().vocab_size)?;
        let private = match trainer.settings().privacy {
            None => None,
            Some(privacy) => {
                plan::privacy::check(&recipe, prepared.train.info().n_documents)?;
                let n_expected = plan::privacy::rows_of_step(&recipe);
                Some(Poisson::new(prepared.train.clone(), settings.clone(), n_expected, privacy.secret)?)
            }
        };
        let loader = Arc::new(Loader::new(vec![(prepared.train.clone(), 1.0)], settings)?);
        let step = trainer.n_steps();
        let rows = super::log::read(&run.log()).during("cannot read the log")?;
        let earlier = rows.iter().filter(|row| row.step() <= step).map(Row::seconds).fold(0.0, f64::max);
        let mut validations = rows.iter().filter(|row| row.step() <= step).filter_map(Row::validation);
        let first_validation = validations.clone().next().filter(|row| row.step == 0).cloned();
        let latest_validation = validations.next_back().cloned();
        let preferences = PreferenceData::open(&recipe, &run, &prepared, trainer.model(), step)?;
        let validation = match &preferences {
            Some(_) => None,
            None => validation_of(&prepared, &recipe, loader.settings())?,
        };
        let log = Log::open(&run.log(), step).during(format!("cannot write {}", run.log().display()))?;
        let events = EventFile::create(&run.events()).during(format!("cannot write {}", run.events().display()))?;
        let checkpoints = Checkpoints::open(run.path())?;
        let floor = stories::floor_of(&recipe, &prepared.tokenizer)?;
        let rows = rows.into_iter().filter(|row| row.step() <= step);
        let facts = facts(&recipe, &trainer, &surroundings.device, floor, rows);
        let mut monitor = monitor(facts, surroundings.json);
        if loader.n_left_out() > 0 {
            monitor.note(&format!(
                "{} pairs are left out: longer than data.max_source_len or data.max_target_len, or empty",
                loader.n_left_out()
            ));
        }
        if let Some(n) = preferences.as_ref().map(PreferenceData::n_left_out).filter(|&n| n > 0) {
            monitor.note(&format!("{n} pairs are left out: longer than model.context_len"));
        }
        if let Some(note) = note_on_long(&recipe, &prepared.train)? {
            monitor.note(&note);
        }
        let mut session = Self {
            monitor,
            preferences,
            private,
            validation,
            first_validation,
            special,
            generation,
            clock: Clock { earlier: Duration::from_secs_f64(earlier), started: Instant::now(), first_step: step },
            interrupt: Interrupt::listen()?,
            since_row: SinceRow::default(),
            run,
            recipe,
            recipe_text,
            prepared,
            modality,
            trainer,
            loader,
            cursor,
            checkpoints,
            log,
            events,
            latest_validation,
            floor,
            _lock: lock,
        };
        if let Some(shard) = session.prepared.validation.as_ref().filter(|_| !session.is_validated()) {
            let note = note_on_unvalidated(&session.recipe, shard.info().n_documents);
            session.monitor.note(&note);
        }
        Ok(session)
    }

    /// How many rows, or pairs, a pass over the data has.
    fn rows_per_epoch(&self) -> u64 {
        self.preferences.as_ref().map_or_else(|| self.loader.rows_per_epoch(), PreferenceData::n)
    }

    /// Whether there is something that was kept aside and can be scored.
    fn is_validated(&self) -> bool {
        self.validation.is_some() || self.preferences.as_ref().is_some_and(|pairs| pairs.validation().is_some())
    }

    /// Trains until all steps are done or Ctrl-C asks to stop, then saves and exports.
    ///
    /// # Errors
    /// When the loss is no longer a number, or something cannot be written. What the last checkpoint holds is not lost.
    pub fn train(&mut self) -> Outcome<Ending> {
        let n_micro = self.recipe.train.accumulate.max(1);
        let (loader, cursor) = (self.loader.clone(), self.cursor);
        let mut batches = None;
        let train = self.recipe.train.clone();
        let mut saved = None;
        if self.recipe.base.path.is_some() && self.trainer.n_steps() == 0 && self.first_validation.is_none() {
            self.validate()?;
            self.first_validation = self.latest_validation.clone();
        }
        while self.trainer.n_steps() < train.steps && !self.interrupt.is_asked() {
            let report = match (&self.preferences, &self.private) {
                (_, Some(private)) => {
                    self.cursor += 1;
                    self.trainer.step_private(&private.step(self.trainer.n_steps())?)
                }
                (Some(preferences), None) => {
                    let pairs = preferences.batches(self.cursor, n_micro)?;
                    self.cursor += n_micro as u64;
                    self.trainer.step_preferences(&pairs, preferences.beta)
                }
                (None, None) => {
                    let ahead = || Prefetch::new(loader.clone(), cursor, N_AHEAD.max(n_micro));
                    let batches = batches.get_or_insert_with(ahead);
                    let (micro, n_used) = with_targets(batches, n_micro, self.loader.rows_per_epoch())?;
                    self.cursor += n_used;
                    self.trainer.step(&micro)
                }
            };
            let report = report.map_err(|error| self.stopped(error.into()))?;
            let step = report.step;
            self.record(&report)?;
            let is_due = |every: Option<u64>| every.is_some_and(|every| every > 0 && step.is_multiple_of(every));
            let is_last = step == train.steps;
            if is_due(train.validate_every) || is_last {
                self.validate()?;
            }
            if is_due(train.checkpoint_every) || is_last {
                self.save()?;
                saved = Some(step);
            }
            if is_due(train.sample_every) || (is_last && train.sample_every != Some(0)) {
                self.sample()?;
            }
        }
        if self.interrupt.is_asked() {
            self.monitor.note("stopping: saving what was learned; Ctrl-C again stops at once");
        }
        if saved != Some(self.trainer.n_steps()) && self.trainer.n_steps() > self.clock.first_step {
            self.save()?;
        }
        self.export()?;
        self.monitor.finish();
        Ok(if self.trainer.n_steps() < train.steps { Ending::Interrupted } else { Ending::Complete })
    }

    /// Adds a step to what was measured since the last row, and writes a row when one is due.
    fn record(&mut self, report: &StepReport) -> Outcome<()> {
        let since = &mut self.since_row;
        since.n_steps += 1;
        since.loss += report.loss;
        let score = report.preferences.unwrap_or_default();
        since.reward_margin += score.reward_margin;
        since.preference_accuracy += score.accuracy;
        since.n_tokens += report.tokens_per_s * report.seconds;
        since.n_flops += report.flops_per_s * report.seconds;
        since.seconds += report.seconds;
        let row = StepRow {
            step: report.step,
            n_tokens: report.n_tokens,
            loss: since.loss / since.n_steps as f64,
            learning_rate: report.learning_rate,
            grad_norm: report.grad_norm,
            tokens_per_s: since.n_tokens / since.seconds,
            flops_per_s: since.n_flops / since.seconds,
            reward_margin: report.preferences.map(|_| since.reward_margin / since.n_steps as f64),
            preference_accuracy: report.preferences.map(|_| since.preference_accuracy / since.n_steps as f64),
            seconds: self.clock.seconds(),
        };
        self.monitor.step(&row, self.clock.left(report.step, self.recipe.train.steps));
        if report.step.is_multiple_of(self.recipe.train.log_every.max(1)) || report.step == self.recipe.train.steps {
            self.since_row = SinceRow::default();
            let mut values = vec![
                ("train/loss", row.loss),
                ("train/learning_rate", row.learning_rate),
                ("train/grad_norm", row.grad_norm),
                ("speed/tokens_per_s", row.tokens_per_s),
                ("speed/flops_per_s", row.flops_per_s),
            ];
            values.extend(row.reward_margin.map(|margin| ("train/reward_margin", margin)));
            values.extend(row.preference_accuracy.map(|accuracy| ("train/preference_accuracy", accuracy)));
            self.events.scalars(row.step, &values).during("cannot write the TensorBoard events")?;
            self.log.append(&Row::Step(row)).during(format!("cannot write {}", self.run.log().display()))?;
        }
        Ok(())
    }

    fn validate(&mut self) -> Outcome<()> {
        let row = match &self.preferences {
            Some(_) => self.validate_preferences()?,
            None => self.validate_rows()?,
        };
        let Some(row) = row else { return Ok(()) };
        let mut values = vec![("validation/loss", row.validation_loss), ("validation/accuracy", row.accuracy)];
        values.extend(row.bits_per_byte.map(|bits| ("validation/bits_per_byte", bits)));
        values.extend(row.reward_margin.map(|margin| ("validation/reward_margin", margin)));
        self.events.scalars(row.step, &values).during("cannot write the TensorBoard events")?;
        self.log.append(&Row::Validation(row.clone())).during(format!("cannot write {}", self.run.log().display()))?;
        self.monitor.validation(&row);
        if !row.validation_loss.is_finite() {
            let loss = row.validation_loss;
            let diverged = format!("step {}: the validation loss is {loss}: training has diverged", row.step);
            return Err(self.stopped(Failure::new(format!("{diverged}; a lower train.learning_rate may help"))));
        }
        self.latest_validation = Some(row);
        Ok(())
    }

    /// Scores the pairs that were kept aside; `None` when there are none.
    fn validate_preferences(&mut self) -> Outcome<Option<ValidationRow>> {
        let Some(preferences) = &self.preferences else { return Ok(None) };
        let Some(pairs) = preferences.validation() else { return Ok(None) };
        let mut failed = None;
        let pairs = pairs.map_while(|pair| pair.map_err(|error| failed = Some(error)).ok());
        let score = self.trainer.validate_preferences(pairs, preferences.beta);
        if let Some(error) = failed {
            return Err(error);
        }
        let score = score?;
        Ok(Some(ValidationRow {
            step: self.trainer.n_steps(),
            validation_loss: score.loss,
            bits_per_byte: None,
            accuracy: score.accuracy,
            reward_margin: Some(score.reward_margin),
            is_average: self.recipe.train.ema_decay > 0.0,
            seconds: self.clock.seconds(),
        }))
    }

    /// Scores what was kept aside; `None` when there is nothing.
    fn validate_rows(&mut self) -> Outcome<Option<ValidationRow>> {
        let Some(validation) = &self.validation else { return Ok(None) };
        let mut failed = None;
        let batches = validation.batches().step_by(scored_share(&self.prepared, &self.recipe));
        let batches = batches.map_while(|batch| batch.map_err(|error| failed = Some(error)).ok());
        let measured = self.trainer.validate(batches);
        if let Some(error) = failed {
            return Err(error.into());
        }
        let measured = measured?;
        Ok(Some(ValidationRow {
            step: self.trainer.n_steps(),
            validation_loss: measured.loss,
            bits_per_byte: measured.bits_per_byte,
            accuracy: measured.accuracy,
            reward_margin: None,
            is_average: self.recipe.train.ema_decay > 0.0,
            seconds: self.clock.seconds(),
        }))
    }

    fn sample(&mut self) -> Outcome<()> {
        let (recipe, codebook, modality) = (&self.recipe, self.codebook().clone(), self.modality);
        let special = self.special.clone();
        let step = self.trainer.n_steps();
        let validation = self.prepared.validation.clone();
        let made = self.trainer.with_averaged(|model| {
            samples::make(
                &SpeakingModel::new(model, &codebook, modality, &special),
                recipe,
                validation.as_deref(),
                step,
            )
        });
        let text = match made {
            Ok(text) => text,
            // What is only to be glanced at ends no training.
            Err(failure) => {
                self.monitor.note(&format!("step {step}: no sample: {}", failure.message()));
                return Ok(());
            }
        };
        samples::write(&self.run.samples(), step, &text).during("cannot write a sample")?;
        self.monitor.sample(step, &text);
        Ok(())
    }

    fn save(&mut self) -> Outcome<()> {
        let validation_loss = self
            .latest_validation
            .as_ref()
            .filter(|row| row.step == self.trainer.n_steps())
            .map(|row| row.validation_loss);
        let progress =
            Progress { cursor: self.cursor, seed: self.recipe.train.seed, recipe: &self.recipe_text, validation_loss };
        self.checkpoints.save(&self.trainer, &progress)?;
        self.checkpoints.prune(self.recipe.train.keep_last)?;
        Ok(())
    }

    /// Writes `model/`, or `adapter/` where adapters were trained, with the averaged weights where there are any.
    fn export(&mut self) -> Outcome<()> {
        if self.recipe.lora.rank.is_some() {
            let (directory, recipe) = (self.run.adapter(), &self.recipe);
            let base = recipe.base.path.as_deref().unwrap_or_default();
            let (base, revision) = hub::for_others(base);
            let provenance = export::provenance(recipe);
            let dropout = recipe.lora.dropout.unwrap_or(0.0);
            let facts =
                AdapterFacts { base: &base, revision: revision.as_deref(), dropout, origin: &provenance.origin };
            self.trainer.with_averaged(|model| export_adapter(model, &directory, facts))?;
            self.prepared.tokenizer.save(&directory)?;
            if let Some(note) = export::copy_terms(&provenance, &directory) {
                self.monitor.note(&note);
            }
            return Ok(());
        }
        let rows = super::log::read(&self.run.log()).during("cannot read the log")?;
        let facts = export::Facts {
            recipe: &self.recipe,
            prepared: &self.prepared,
            special: &self.special,
            generation: &self.generation,
            step: self.trainer.n_steps(),
            n_tokens: self.trainer.n_tokens(),
            n_flops: super::log::n_flops(rows.iter().filter_map(Row::steps)),
            seconds: self.clock.seconds(),
            validation: self.latest_validation.as_ref(),
        };
        let directory = self.run.model();
        let note = self.trainer.with_averaged(|model| export::write(model, &directory, &facts))?;
        if let Some(note) = note {
            self.monitor.note(&note);
        }
        Ok(())
    }

    /// Explains a stop in the middle of training.
    fn stopped(&self, failure: Failure) -> Failure {
        let last = self.checkpoints.list().unwrap_or_default().last().map_or_else(
            || "no checkpoint was written yet".to_owned(),
            |(_, dir)| format!("the last good state is {}", dir.display()),
        );
        failure.and(format!(
            "{last}; change {} and go on from there with `genera resume {}`",
            self.run.recipe().display(),
            word(self.run.path())
        ))
    }

    /// What the run directory holds, and the run's numbers.
    pub fn run(&self) -> &RunDirectory {
        &self.run
    }

    /// The measurement on the validation data before the first step, in fine-tuning.
    pub fn first_validation(&self) -> Option<&ValidationRow> {
        self.first_validation.as_ref()
    }

    /// The last measurement on the validation data.
    pub fn latest_validation(&self) -> Option<&ValidationRow> {
        self.latest_validation.as_ref()
    }

    /// What a perfect model would lose on the validation data, where it is known.
    pub fn floor(&self) -> Option<Floor> {
        self.floor
    }

    /// Whether all steps are done.
    pub fn is_complete(&self) -> bool {
        self.trainer.n_steps() >= self.recipe.train.steps
    }

    /// Steps done.
    pub fn n_steps(&self) -> u64 {
        self.trainer.n_steps()
    }

    /// Time spent training, over all sittings.
    pub fn seconds(&self) -> f64 {
        self.clock.seconds()
    }

    /// The ε and δ that the steps so far have spent, with privacy.
    pub fn privacy_spent(&self) -> Option<(f64, f64)> {
        plan::privacy::spent(&self.recipe, self.prepared.train.info().n_documents, self.n_steps())
    }

    /// The data.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The tokenizer.
    pub fn codebook(&self) -> &Codebook {
        &self.prepared.tokenizer
    }

    /// Ends the session and gives its model away, with the averaged weights where there are any.
    pub fn into_model(self) -> Transformer {
        self.trainer.into_model()
    }
}

/// The next micro-batches of a step, and how many were taken. Rows of which all is given teach nothing, as the long beginning
/// of a conversation; where a step has no other, it takes the next ones.
fn with_targets(batches: &mut Prefetch, n_micro: usize, rows_per_epoch: u64) -> Outcome<(Vec<Batch>, u64)> {
    let mut n_used = 0;
    while n_used <= rows_per_epoch.saturating_add(n_micro as u64) {
        let micro = batches.by_ref().take(n_micro).collect::<Result<Vec<Batch>, _>>()?;
        n_used += n_micro as u64;
        if micro.iter().any(|batch| batch.n_targets() > 0) {
            return Ok((micro, n_used));
        }
    }
    Err(Failure::new(
        "no row of the data has anything to predict: every answer begins beyond the first model.context_len tokens of its \
         conversation; raise model.context_len",
    ))
}

/// What was kept aside as batches; `None` where there is none, or nothing to predict in what is scored of it.
fn validation_of(prepared: &Prepared, recipe: &Recipe, settings: &LoaderSettings) -> Outcome<Option<Validation>> {
    let Some(shard) = prepared.validation.clone() else { return Ok(None) };
    let validation = Validation::new(shard, settings.clone(), None)?;
    let mut scored = validation.batches().step_by(scored_share(prepared, recipe));
    let first = scored.find(|batch| batch.as_ref().map_or(true, |batch| batch.n_targets() > 0)).transpose()?;
    drop(scored);
    Ok(first.map(|_| validation))
}

/// Every so many batches of what was kept aside are scored, evenly over the data, where not all are wanted.
fn scored_share(prepared: &Prepared, recipe: &Recipe) -> usize {
    let n_tokens = prepared.summary.n_validation_tokens;
    recipe.train.validation_tokens.map_or(1, |wanted| n_tokens.div_ceil(wanted.max(1)).max(1)) as usize
}

/// Why nothing is validated although `n` documents were kept aside.
fn note_on_unvalidated(recipe: &Recipe, n: u64) -> String {
    let why = if plan::has_pairs(recipe) {
        "is within model.context_len"
    } else if recipe.data.layout == Some(recipe::Layout::Padded) {
        "is within data.max_source_len and data.max_target_len"
    } else {
        "has anything to predict where it is scored"
    };
    format!("there is no validation loss: none of the documents that were kept aside ({n}) {why}")
}

/// How many conversations are longer than a row, and what becomes of them; `None` where all fit.
fn note_on_long(recipe: &Recipe, shard: &Shard) -> Outcome<Option<String>> {
    let is_packed = matches!(recipe.data.layout, None | Some(recipe::Layout::Packed));
    let what = match &recipe.data.target_column {
        _ if recipe.data.kind == Chat.name() => "conversations",
        Some(_) => "prompts with their completions",
        None => return Ok(None),
    };
    if !is_packed {
        return Ok(None);
    }
    let (context_len, n) = (recipe.model.context_len as u64, shard.info().n_documents);
    let bounds = shard.document_bounds(0..n)?;
    // Each token but the last predicts one.
    let n_long = bounds.windows(2).filter(|ends| ends[1] - ends[0] > context_len + 1).count();
    Ok((n_long > 0).then(|| {
        format!(
            "{n_long} of {n} {what} are longer than a row of {context_len} tokens (model.context_len): they are cut \
             into pieces, each learned without what was said before it"
        )
    }))
}

/// How a recipe trains.
fn train_settings(recipe: &Recipe) -> Outcome<TrainSettings> {
    Ok(TrainSettings::new(&recipe.train)?.with_lora(&recipe.lora)?.with_privacy(&recipe.privacy, &recipe.train)?)
}

/// A model with the weights that a recipe's seed gives it.
fn new_model(recipe: &Recipe, prepared: &Prepared, device: &Device) -> Outcome<Transformer> {
    let config = recipe.model.config(prepared.tokenizer.vocab().size)?;
    let params = initial_params(&config, recipe.train.seed, compute_dtype(recipe), device);
    Ok(Transformer::new(config, params, device))
}

/// What a run's model is: the preset, or the base by name.
pub fn origin(recipe: &Recipe) -> String {
    let name = recipe.base.path.as_deref().and_then(|path| Path::new(path).file_name());
    name.map_or_else(|| recipe.model.preset.clone(), |name| name.to_string_lossy().into_owned())
}

/// Replaces the prepared data of a run that was damaged.
fn prepare_again(recipe: &Recipe, run: &RunDirectory, surroundings: &Surroundings) -> Outcome<Prepared> {
    let before = load_summary(&run.data()).ok();
    // Its tokens were checked when it was prepared first.
    let preparation = plan::data::preparation(recipe, surroundings.device.kernels().n_threads(), &run.base(), None)?;
    let template = recipe.base.chat_template.as_deref();
    let prepared = preparing::prepare(&preparation, &run.data(), template, surroundings.json)?;
    if before.is_some_and(|before| before != prepared.summary) {
        return Err(Failure::new(format!(
            "the prepared data of {} was damaged, and its files are no longer those that the run began with, so it \
             cannot go on to the same weights; train anew with `genera train {} --run DIRECTORY`",
            run.path().display(),
            word(&run.recipe())
        )));
    }
    Ok(prepared)
}

/// How the batches of a recipe are cut from its data, for a model of `n_rows` tokens.
///
/// # Errors
/// When a decoder has nothing to begin with.
pub fn loader_settings(
    recipe: &Recipe,
    prepared: &Prepared,
    special: &SpecialIds,
    n_rows: usize,
) -> Outcome<LoaderSettings> {
    let data = &recipe.data;
    let context = recipe.model.context_len;
    let layout = match data.layout {
        Some(recipe::Layout::Contiguous) => Layout::Contiguous,
        Some(recipe::Layout::Padded) => Layout::Padded(Padded {
            begin: special.decoder_opening(n_rows)?,
            max_source_len: data.max_source_len.unwrap_or(context),
            max_target_len: data.max_target_len.unwrap_or(context),
            max_tokens: data.tokens_per_batch,
        }),
        Some(recipe::Layout::Packed) | None => Layout::Packed,
    };
    Ok(LoaderSettings {
        layout,
        rows: match plan::privacy::is_on(recipe) {
            true => recipe.train.batch_size.min(plan::privacy::ROWS_AT_ONCE),
            false => recipe.train.batch_size,
        },
        context_len: context,
        seed: recipe.train.seed,
        // Files may name a token that the model does not have; nobody attends to it.
        padding: special.padding.filter(|&id| (id as usize) < n_rows).unwrap_or(0),
        token_bytes: prepared.tokenizer.token_bytes(),
        vary: plan::data::modality_of(&recipe.data).ok().and_then(|(modality, _)| modality.vary(&prepared.tokenizer)),
    })
}

impl Clock {
    fn seconds(&self) -> f64 {
        (self.earlier + self.started.elapsed()).as_secs_f64()
    }

    /// Time left at the pace of this sitting.
    fn left(&self, step: u64, n_steps: u64) -> Option<Duration> {
        let done = step.checked_sub(self.first_step).filter(|&done| done > 0)?;
        let per_step = self.started.elapsed().as_secs_f64() / done as f64;
        Some(Duration::from_secs_f64(per_step * n_steps.saturating_sub(step) as f64))
    }
}

fn facts(
    recipe: &Recipe,
    trainer: &Trainer,
    device: &Device,
    floor: Option<Floor>,
    earlier: impl Iterator<Item = Row>,
) -> RunFacts {
    let (mut losses, mut validations) = (Vec::new(), Vec::new());
    for row in earlier {
        match row {
            Row::Step(row) => losses.push((row.step as f64, row.loss)),
            Row::Validation(row) => validations.push((row.step as f64, row.validation_loss)),
            Row::Adversarial(_) => {}
        }
    }
    let config = trainer.model().config();
    let dtype = trainer.model().compute_dtype();
    let title = format!(
        "{} · {} · {} parameters{} · {dtype} · {} threads",
        recipe.data.kind,
        origin(recipe),
        number::count(ParamCount::of(config).total() as f64),
        adapted(recipe, trainer.model().params()),
        device.kernels().n_threads(),
    );
    RunFacts {
        title,
        losses,
        validations,
        n_steps: recipe.train.steps,
        floor_nats: floor.map(|floor| floor.nats_per_token),
        peak_flops_per_s: Some(rates::peak(device.kernels().n_threads(), dtype, rates::GLANCE)),
    }
}

/// What is trained of a model with adapters, behind the number of its parameters; nothing for a model without.
fn adapted(recipe: &Recipe, params: &Params) -> String {
    let Some(rank) = recipe.lora.rank.filter(|_| params.has_adapters()) else { return String::new() };
    let adapters = &params.specs()[params.own_specs().len()..];
    let n_trained: usize = adapters.iter().map(|spec| spec.shape.n_elements()).sum();
    let mut modules: Vec<&str> = Vec::new();
    for (_, adapter) in params.adapters() {
        let module = adapter.module.rsplit('.').next().unwrap_or(&adapter.module);
        if !modules.contains(&module) {
            modules.push(module);
        }
    }
    format!(", {} of them trained (LoRA, rank {rank}: {})", number::count(n_trained as f64), modules.join(", "))
}
