//! A run of the GAN baseline: from the recipe to made rows and their judgement.
//!
//! Read [`Adversarial::train`] first; it is the whole loop.

use super::directory::RunDirectory;
use super::interrupt::Interrupt;
use super::log::{self, AdversarialRow, Log, Row};
use super::preparing;
use crate::command::Common;
use crate::failure::{Failure, Outcome, While};
use crate::machine;
use crate::plan::{self, overrides::Overrides};
use crate::show::prose::fitted;
use crate::show::status_line::StatusLine;
use crate::show::{number, word};
use crate::tables::finish::{report, write_synthetic};
use crate::tables::gan::{GanMaker, GanModel, features_of};
use genera_data::Shard;
use genera_data::prepare::Prepared;
use genera_engine::checkpoint::RunLock;
use genera_engine::gan::{GanConfig, GanReport, GanSettings, GanTrainer, Part, load_trainer, save_trainer};
use genera_engine::recipe::{Family, Reasons, Recipe};
use genera_modality::table::{self, Cell, Conditions, Features, SampledRows, TableCodebook};
use genera_tensor::Device;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Numbers of noise of a row, and rows that are judged at once: CTGAN's.
const D_NOISE: usize = 128;
const N_PACKED: usize = 10;

/// Rows of a step where nobody says.
const BATCH: usize = 500;

/// Steps by which the time of one is measured.
const N_TRIAL: u64 = 4;

/// A run in progress.
pub struct Adversarial {
    run: RunDirectory,
    recipe: Recipe,
    prepared: Prepared,
    trainer: GanTrainer,
    common: Common,
    _lock: RunLock,
}

/// Whether a recipe is of this family.
pub fn is_asked(recipe: &Recipe) -> bool {
    recipe.model.family == Family::Gan
}

/// Trains a new GAN by a recipe, for `time` where that is given.
///
/// # Errors
/// When the recipe does not fit a GAN, or the data or the directory cannot be used.
pub fn start(
    mut recipe: Recipe,
    fixed: &Overrides,
    mut reasons: Reasons,
    path: &Path,
    time: Option<Duration>,
    common: Common,
) -> Outcome {
    fixed.apply(&mut recipe)?;
    fixed.explain(&mut reasons);
    refuse(&recipe)?;
    plan::data::settle(&mut recipe, &mut reasons, None)?;
    let device = machine::device(common.threads);
    let preparation =
        plan::data::preparation(&recipe, device.kernels().n_threads(), &RunDirectory::base_of(path), None)?;
    let (run, lock) = RunDirectory::create(path)?;
    let begin = || -> Outcome<Adversarial> {
        let prepared = preparing::prepare(&preparation, &run.data(), None, common.json)?;
        plan::table::say_broken(&prepared, &recipe)?;
        let rows = fit(&prepared, &run.data())?;
        if let Some(time) = time {
            choose(&mut recipe, &mut reasons, fixed, &rows, time, &device)?;
        }
        recipe.complete(&mut reasons)?;
        let trainer = GanTrainer::new(config(&recipe, rows.parts())?, settings(&recipe), &device)?;
        drop(rows);
        genera_data::write_atomically(&run.recipe(), recipe.to_toml(&reasons).as_bytes())?;
        Ok(Adversarial { run: run.clone(), recipe, prepared, trainer, common, _lock: lock })
    };
    begin().inspect_err(|_| run.discard())?.train()
}

/// Goes on with a run from its checkpoint, or from its beginning when there is none.
///
/// # Errors
/// When another process works on it, or its files cannot be used.
pub fn resume(run: RunDirectory, common: Common) -> Outcome {
    let lock = RunLock::take(run.path())?;
    let recipe = Recipe::load(&run.recipe())?;
    refuse(&recipe)?;
    let prepared = preparing::prepared_of(&run, &recipe)?;
    let device = machine::device(common.threads);
    let features = features_of(&prepared.tokenizer, &run.data())?;
    let (config, settings) = (config(&recipe, features.parts(table_of(&prepared)?))?, settings(&recipe));
    let file = checkpoint(&run);
    let trainer = match file.is_file() {
        true => load_trainer(&file, &config, settings, &device)?,
        false => GanTrainer::new(config, settings, &device)?,
    };
    if let Some(note) = plan::notices::of_resuming(&recipe, trainer.n_steps()).filter(|_| !common.json) {
        println!("{}", fitted(&note, 0));
    }
    Adversarial { run, recipe, prepared, trainer, common, _lock: lock }.train()
}

/// Refuses what a GAN has no part in.
fn refuse(recipe: &Recipe) -> Outcome<()> {
    let (modality, _) = plan::data::modality_of(&recipe.data)?;
    let problem = match () {
        () if modality.name() != "table" => format!("a GAN learns tables, and data.kind is {}", recipe.data.kind),
        () if recipe.base.path.is_some() || recipe.lora.rank.is_some() => "a GAN is trained from nothing, not from a base".to_owned(),
        () if plan::privacy::is_on(recipe) => {
            "its discriminator sees rows in packs, so that no row has a gradient of its own and privacy cannot be promised".to_owned()
        }
        () => return Ok(()),
    };
    Err(Failure::new(format!("model.family = \"gan\": {problem}; take family = \"transformer\"")))
}

fn table_of(prepared: &Prepared) -> Outcome<&TableCodebook> {
    Ok(table::of(&prepared.tokenizer)?)
}

fn cells(prepared: &Prepared) -> Outcome<Vec<Vec<Option<Cell>>>> {
    let (table, shard): (_, &Shard) = (table_of(prepared)?, &prepared.train);
    (0..shard.info().n_documents).map(|i| Ok(table.decode_cells(shard.document(i)?.ids()))).collect()
}

/// Learns the features of the training rows and keeps them.
fn fit<'p>(prepared: &'p Prepared, directory: &Path) -> Outcome<SampledRows<'p>> {
    let (table, cells) = (table_of(prepared)?, cells(prepared)?);
    let features = Features::fit(table, &cells)?;
    features.save(directory)?;
    Ok(SampledRows::new(table, features, cells))
}

fn config(recipe: &Recipe, parts: Vec<Part>) -> Outcome<GanConfig> {
    let config = GanConfig {
        parts,
        d_hidden: recipe.model.d_model,
        n_layers: recipe.model.n_layers,
        d_noise: D_NOISE,
        n_packed: N_PACKED,
    };
    config.validate()?;
    let batch = recipe.train.batch_size;
    if batch == 0 || !batch.is_multiple_of(N_PACKED) {
        return Err(Failure::new(format!(
            "train.batch_size is {batch}; a GAN judges {N_PACKED} rows at once, so it must be a multiple of that, such as {BATCH}"
        )));
    }
    Ok(config)
}

fn settings(recipe: &Recipe) -> GanSettings {
    let train = &recipe.train;
    GanSettings {
        seed: train.seed,
        learning_rate: train.learning_rate,
        n_steps: train.steps,
        ema_decay: train.ema_decay,
    }
}

fn checkpoint(run: &RunDirectory) -> PathBuf {
    run.checkpoints().join("gan.safetensors")
}

/// CTGAN's sizes, and as many steps as fit into the time.
fn choose(
    recipe: &mut Recipe,
    reasons: &mut Reasons,
    fixed: &Overrides,
    rows: &SampledRows<'_>,
    time: Duration,
    device: &Device,
) -> Outcome<()> {
    (recipe.model.d_model, recipe.model.n_layers) = (256, 2);
    (recipe.train.batch_size, recipe.train.learning_rate, recipe.train.ema_decay) = (BATCH, 5e-4, 0.99);
    reasons.add("train.batch_size", "CTGAN's");
    fixed.apply(recipe)?;
    let mut trial = GanTrainer::new(config(recipe, rows.parts())?, settings(recipe), device)?;
    let start = Instant::now();
    for step in 0..N_TRIAL {
        trial.step(&rows.batch(trial.config(), recipe.train.batch_size, recipe.train.seed, step))?;
    }
    let seconds = start.elapsed().as_secs_f64() / N_TRIAL as f64;
    recipe.train.steps = ((0.95 * time.as_secs_f64() / seconds) as u64).max(20);
    reasons.add("train.steps", format!("what fits at {:.0} ms a step, as measured", 1e3 * seconds));
    fixed.apply(recipe)?;
    fixed.explain(reasons);
    Ok(())
}

impl Adversarial {
    /// Trains until all steps are done or Ctrl-C asks to stop, then saves, exports, makes rows and judges them.
    fn train(mut self) -> Outcome {
        let interrupt = Interrupt::listen()?;
        let train = self.recipe.train.clone();
        let features = features_of(&self.prepared.tokenizer, &self.run.data())?;
        let rows = SampledRows::new(table_of(&self.prepared)?, features, cells(&self.prepared)?);
        let (start, first, mut status) = (Instant::now(), self.trainer.n_steps(), StatusLine::new());
        let path = self.run.log();
        let earlier = log::read(&path).during(format!("cannot read {}", path.display()))?;
        let earlier = earlier.iter().filter(|row| row.step() <= first).map(Row::seconds).fold(0.0, f64::max);
        let mut log = Log::open(&path, first).during(format!("cannot write {}", path.display()))?;
        while self.trainer.n_steps() < train.steps && !interrupt.is_asked() {
            let batch = rows.batch(self.trainer.config(), train.batch_size, train.seed, self.trainer.n_steps());
            let report = self.trainer.step(&batch)?;
            status.show(|| self.line(&report, start.elapsed(), first));
            if report.step.is_multiple_of(train.log_every.max(1)) || report.step == train.steps {
                let row = row(&report, earlier + start.elapsed().as_secs_f64());
                log.append(&row).during(format!("cannot write {}", path.display()))?;
            }
            if train.checkpoint_every.is_some_and(|every| every > 0 && report.step.is_multiple_of(every)) {
                save_trainer(&self.trainer, &checkpoint(&self.run))?;
            }
        }
        save_trainer(&self.trainer, &checkpoint(&self.run))?;
        let model = GanModel::new(self.prepared.tokenizer.clone(), rows.features().clone(), self.trainer.generator());
        std::fs::create_dir_all(self.run.model()).during("cannot make the model's directory")?;
        model.save(&self.run.model())?;
        self.conclude(&model, start.elapsed())
    }

    fn line(&self, report: &GanReport, elapsed: Duration, first: u64) -> String {
        let n_left = self.recipe.train.steps.saturating_sub(report.step) as f64;
        let left = elapsed.mul_f64(n_left / report.step.saturating_sub(first).max(1) as f64);
        format!(
            "step {}/{}: distance {:.3}, penalty {:.3}, condition {:.3}, {} left",
            report.step,
            self.recipe.train.steps,
            report.distance,
            report.penalty,
            report.condition_loss,
            number::duration(left)
        )
    }

    fn conclude(&self, model: &GanModel, elapsed: Duration) -> Outcome {
        let path = word(self.run.path());
        let is_complete = self.trainer.n_steps() >= self.recipe.train.steps;
        if !self.common.json {
            match is_complete {
                true => {
                    println!("Trained in {}.\nTry:  genera generate --model {path} --n 10", number::duration(elapsed))
                }
                false => println!("Saved after step {}. Go on with:  genera resume {path}", self.trainer.n_steps()),
            }
        }
        let judged = match is_complete {
            false => None,
            true => {
                let mut maker = GanMaker::new(model, Conditions::none(model.table()?), self.recipe.train.seed)?;
                write_synthetic(&mut maker, &self.run, &self.prepared)?;
                Some(report(&self.run, &self.recipe, &self.prepared, None, self.common)?)
            }
        };
        if self.common.json {
            let summary = serde_json::json!({
                "run": self.run.path(),
                "complete": is_complete,
                "step": self.trainer.n_steps(),
                "seconds": elapsed.as_secs_f64(),
                "table": judged,
            });
            println!("{summary}");
        }
        Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(130) })
    }
}

/// A row of the log, `seconds` after the run began.
fn row(report: &GanReport, seconds: f64) -> Row {
    let GanReport { step, distance, penalty, condition_loss, .. } = *report;
    Row::Adversarial(AdversarialRow { step, distance, penalty, condition_loss, seconds })
}
