//! `genera train`: from a recipe, or from data alone.

use super::Common;
use crate::base::Base;
use crate::failure::{Failure, Outcome};
use crate::plan;
use crate::plan::overrides::Overrides;
use crate::plan::sizes::{self, Facts};
use crate::plan::{memory, trial, tuning};
use crate::run::directory::RunDirectory;
use crate::run::session::{Ending, Session, Surroundings, compute_dtype};
use crate::run::{adversarial, preferences, preparing};
use crate::show::number;
use crate::show::prose::fitted;
use crate::{base, machine, output, rates, show, tables};
use genera_data::prepare::Prepared;
use genera_engine::ModelConfig;
use genera_engine::recipe::{Layout, Reasons, Recipe, is_of_base};
use genera_engine::train::TrainSettings;
use genera_modality::{Chat, Modality, Preference};
use genera_tensor::Device;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Train a model, by a recipe or from data alone.
///
/// With --data everything else is derived from the data, the machine and the time, and shown with its reason.
///
/// Examples:
///   genera train recipes/reverse.toml --set train.steps=500
///   genera train --data my-texts/ --minutes 10
///   genera train --data train.de --target train.en --minutes 30
///   genera train --data pairs.csv --column question --target-column answer
///   genera train --data customers.csv --minutes 10
///   genera train --data molecules.smi --minutes 30
///
/// A csv, tsv or Parquet file of several columns is a table: its rows are learned, as many are made (synthetic.csv in the run
/// directory), and judged beside rows that were kept aside (report.html). With --column it is a list of texts. Lines of SMILES,
/// structure files (.sdf) and tables with a column named smiles are molecules.
///
/// With --base it goes on with a model (fine-tuning) on texts, pairs, chat files (JSON lines with "messages" or "conversations",
/// or with "instruction" and "output", of which the assistant's turns are learned), prompts with their completions (JSON lines
/// with "prompt" and "completion") or preferences (JSON lines with "prompt", "chosen" and "rejected"), in a file or a directory
/// of such files; a .json file with one array of such objects is read as their lines are. docs/reference/modalities.md has a line
/// of each layout. With --lora small matrices learn beside its frozen weights.
///   genera train --base model.gguf --data chat.jsonl --lora 16
///   genera train --base my-model/ --data preferences.jsonl --preferences --lora 16
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The recipe, a TOML file.
    #[arg(value_name = "RECIPE.toml", conflicts_with = "data")]
    recipe: Option<PathBuf>,
    /// Change one key of the recipe; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Learn from this file or directory.
    #[arg(long, value_name = "FILE_OR_DIR")]
    data: Option<PathBuf>,
    /// The lines that the lines of --data are to become.
    #[arg(long, value_name = "FILE", requires = "data", conflicts_with = "recipe")]
    target: Option<PathBuf>,
    /// The column or field of tables and JSON lines that holds the text.
    #[arg(long, value_name = "NAME", requires = "data", conflicts_with = "recipe")]
    column: Option<String>,
    /// The column or field that the text is to become.
    #[arg(long, value_name = "NAME", requires = "data", conflicts_with_all = ["recipe", "target"])]
    target_column: Option<String>,
    /// Time to train [default: 10].
    #[arg(long, value_name = "N", requires = "data", conflicts_with = "recipe", allow_negative_numbers = true)]
    minutes: Option<f64>,
    /// Go on with this model: a directory in the Hugging Face layout, a GGUF file, a pulled hf:ORG/NAME, or a run directory.
    #[arg(long, value_name = "MODEL", requires = "data", conflicts_with_all = ["recipe", "preset"])]
    base: Option<PathBuf>,
    /// A file with a chat template (Jinja, as in chat_template.jinja) for the base, in place of its own if it has one; the run
    /// and its model keep it.
    #[arg(long, value_name = "FILE", requires = "base", conflicts_with_all = ["recipe", "preset"])]
    chat_template: Option<PathBuf>,
    /// Passes over the data, with --base [default: 3].
    #[arg(long, value_name = "N", requires = "base", conflicts_with_all = ["recipe", "preset"], allow_negative_numbers = true)]
    epochs: Option<f64>,
    /// Learn matrices of this rank beside the frozen weights of the base (LoRA).
    #[arg(long, value_name = "RANK", requires = "base", conflicts_with_all = ["recipe", "preset"])]
    lora: Option<u32>,
    /// Learn from pairs of a chosen and a rejected answer (direct preference optimisation).
    #[arg(long, requires = "base", conflicts_with_all = ["recipe", "preset"])]
    preferences: bool,
    /// The family of architectures: llama, gpt2, t5, marian.
    #[arg(long, value_name = "NAME", requires = "data", conflicts_with = "recipe")]
    preset: Option<String>,
    /// Learn a table with differential privacy: what is made shows at most this much (ε) of any single row. What columns may
    /// hold must then be said in table.domains.
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    dp_epsilon: Option<f64>,
    /// Probability with which that may be exceeded (δ) [default: 1e-5, or a tenth of 1 / rows where that is less].
    #[arg(long, value_name = "D", requires = "dp_epsilon", allow_negative_numbers = true)]
    dp_delta: Option<f64>,
    /// The run directory [default: a free name below runs/].
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
}

/// Times to train that are taken.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(600)..=Duration::from_secs(6_000_000);

/// Share of the time that is spent on finding out how long a step takes, and how much that is at most.
const TRIAL: (f64, Duration) = (0.02, Duration::from_secs(4));

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    output::make_dispensable();
    let mut reasons = Reasons::default();
    let fixed = Overrides::parse(&arguments.set)?;
    let (mut recipe, name, time) = match (&arguments.recipe, &arguments.data) {
        (Some(path), _) => {
            let (recipe, given) = Recipe::load_with_keys(path)?;
            (recipe, stem(path), Plan::AsRecipe { given })
        }
        (None, Some(data)) if arguments.base.is_some() => {
            refuse_two_lengths(&arguments, &fixed)?;
            let epochs = arguments.epochs.unwrap_or(tuning::EPOCHS);
            if !(epochs > 0.0 && epochs <= 1e6) {
                return Err(Failure::new(format!(
                    "--epochs {epochs} is no number of passes; expected above 0 to 1000000"
                )));
            }
            (for_base(data, &arguments, &fixed, &mut reasons)?, stem(data), Plan::Tune { epochs })
        }
        (None, Some(data)) => {
            let minutes = arguments.minutes.unwrap_or(10.0);
            let time = Duration::try_from_secs_f64(minutes * 60.0).ok().filter(|time| TIMES.contains(time));
            let time = time.ok_or_else(|| {
                Failure::new(format!("--minutes {minutes} is not a time to train; expected 0.01 to 100000"))
            })?;
            (from_data(data, &arguments, &fixed, &mut reasons)?, stem(data), Plan::Fill { time })
        }
        (None, None) => {
            return Err(Failure::new(
                "what is to be learned? Name a recipe (genera train recipes/reverse.toml) or data (genera train --data FILE)",
            ));
        }
    };
    recipe.privacy.epsilon = arguments.dp_epsilon.or(recipe.privacy.epsilon);
    recipe.privacy.delta = arguments.dp_delta.or(recipe.privacy.delta);
    let path = arguments.run.clone().unwrap_or_else(|| RunDirectory::free_name(&name));
    let mut settled = recipe.clone();
    fixed.apply(&mut settled)?;
    if adversarial::is_asked(&settled) {
        let time = if let Plan::Fill { time } = time { Some(time) } else { None };
        return adversarial::start(recipe, &fixed, reasons, &path, time, common);
    }
    finish(start(recipe, &fixed, reasons, &path, time, common)?, common)
}

/// A fine-tuning is as long as its passes over the data, or as its steps; neither is ignored in favour of another.
fn refuse_two_lengths(arguments: &Arguments, fixed: &Overrides) -> Outcome<()> {
    let problem = if arguments.minutes.is_some() {
        "--minutes chooses the size of a new model by the time that it has; with --base the size is that of the base, and more time \
         than a few passes over the data makes it learn them by heart: say the passes with --epochs N, or the steps with \
         --set train.steps=N (Ctrl-C ends a run early and saves it)"
    } else if arguments.epochs.is_some() && fixed.fixes("train.steps") {
        "--epochs and --set train.steps both say how long to train; leave out one of them"
    } else {
        return Ok(());
    };
    Err(Failure::new(problem))
}

/// Settles everything that is open, prepares the data and starts the session.
///
/// # Errors
/// When the recipe, the data or the directory cannot be used.
pub fn start(
    mut recipe: Recipe,
    fixed: &Overrides,
    mut reasons: Reasons,
    path: &Path,
    plan: Plan,
    common: Common,
) -> Outcome<Session> {
    fixed.apply(&mut recipe)?;
    fixed.explain(&mut reasons);
    check_bounds(&recipe, fixed, &plan)?;
    if let Some(base) = &recipe.base.path {
        plan::data::check_files(&recipe.data)?;
        recipe.base.path = Some(base::recorded(Path::new(base))?);
        let template = recipe.base.chat_template.take();
        recipe.base.chat_template = template.map(|file| base::recorded(Path::new(&file))).transpose()?;
        refuse_keys_of_base(&recipe, fixed)?;
    } else if recipe.base.chat_template.is_some() {
        return Err(Failure::new(
            "base.chat_template is for a base; name that with base.path (--base MODEL), or leave it out",
        ));
    }
    preferences::beta(&recipe)?;
    let device = machine::device(common.threads);
    let dtype = compute_dtype(&recipe);
    let purpose = base::training(&recipe, dtype);
    let base = base::open(&mut recipe, None, purpose, &device)?;
    if let Some(base) = &base {
        fit_context(&mut recipe, &mut reasons, base.transformer.config(), &plan, fixed)?;
        let is_given = |key: &str| fixed.fixes(key) || plan.gives(key);
        recipe.take_generation(&base.generation, is_given, &mut reasons);
    }
    plan::data::settle(&mut recipe, &mut reasons, base.as_ref())?;
    plan::privacy::refuse(&recipe)?;
    // Sizes that cannot work are found before hours are spent on the data.
    let config = config_of(&recipe, base.as_ref())?;
    plan::data::check_fit(&recipe, &config)?;
    if matches!(plan, Plan::AsRecipe { .. }) {
        memory::check_recomputed_blocks(&recipe, &config)?;
    }
    let n_rows = base.as_ref().map(|_| config.vocab_size);
    let n_threads = device.kernels().n_threads();
    let preparation = plan::data::preparation(&recipe, n_threads, &RunDirectory::base_of(path), n_rows)?;
    let (run, lock) = RunDirectory::create(path)?;
    if let Some(base) = &base {
        base.save(&run).inspect_err(|_| run.discard())?;
    }
    let template = recipe.base.chat_template.as_deref();
    let prepared = preparing::prepare(&preparation, &run.data(), template, common.json);
    let prepared = prepared.inspect_err(|_| run.discard())?;
    let surroundings = Surroundings { device, json: common.json };
    let begin = || {
        plan::table::say_broken(&prepared, &recipe)?;
        plan::data::say_copies(&prepared, &recipe)?;
        let is_fixed = matches!(plan, Plan::AsRecipe { .. }) || fixed.fixes("model.context_len");
        plan::table::fit_context(&mut recipe, &mut reasons, &prepared, is_fixed)?;
        match plan {
            Plan::Fill { time } if plan::privacy::is_on(&recipe) => {
                plan::privacy::choose(&mut recipe, &mut reasons, &prepared, time, fixed, &surroundings.device)?;
            }
            Plan::Fill { time } => choose(&mut recipe, &mut reasons, &prepared, time, fixed, &surroundings.device)?,
            Plan::Tune { epochs } => {
                let n_rows = tuning::rows_per_epoch(&recipe, &prepared)?;
                tuning::choose(&mut recipe, &mut reasons, n_rows, epochs, fixed)?;
            }
            Plan::AsRecipe { .. } => {}
        }
        recipe.complete(&mut reasons)?;
        plan::privacy::settle(&mut recipe, &mut reasons, &prepared)?;
        let config = match &base {
            Some(_) => config,
            None => recipe.model.config(prepared.tokenizer.vocab().size)?,
        };
        let params = base.as_ref().map(|base| base.transformer.params());
        let setting = memory::Setting::from_base(dtype, n_threads, params, &recipe);
        memory::fit(&mut recipe, &mut reasons, &config, setting)?;
        if !matches!(plan, Plan::AsRecipe { .. }) && !common.json {
            show::plan(&recipe, &reasons);
        }
        let text = recipe.to_toml(&reasons);
        Session::start(run.clone(), lock, recipe, text, prepared, base, surroundings)
    };
    begin().inspect_err(|_| run.discard())
}

/// Refuses values that have no meaning, whatever else is chosen around them.
fn check_bounds(recipe: &Recipe, fixed: &Overrides, plan: &Plan) -> Outcome<()> {
    let mut train = recipe.train.clone();
    if !matches!(plan, Plan::AsRecipe { .. }) && !fixed.fixes("train.learning_rate") {
        // It must not be above the learning rate, which is chosen later.
        train.min_learning_rate = None;
    }
    TrainSettings::new(&train)?;
    if recipe.model.context_len == 0 {
        return Err(Failure::new("model.context_len is 0; it must be at least 1"));
    }
    Ok(recipe.generate.check()?)
}

/// The model's sizes: of its base, or as they will be as far as that can be said before the data is read.
fn config_of(recipe: &Recipe, base: Option<&Base>) -> Outcome<ModelConfig> {
    if let Some(base) = base {
        return Ok(base.transformer.config().clone());
    }
    let mut trial = recipe.clone();
    trial.complete(&mut Reasons::default())?;
    Ok(trial.model.config(trial.tokenizer.vocab_size.unwrap_or(256))?)
}

/// A value that would be ignored, because the base has its own, is refused.
fn refuse_keys_of_base(recipe: &Recipe, fixed: &Overrides) -> Outcome<()> {
    let given = fixed.keys().filter(|key| is_of_base(key)).map(str::to_owned);
    match given.chain(recipe.keys_of_base()).next() {
        None => Ok(()),
        Some(key) => Err(Failure::new(format!(
            "{key} is decided by the base, whose architecture and tokenizer stay as they are; leave it out, or train a new \
             model without a base"
        ))),
    }
}

/// Rows as long as conversations usually are, and never longer than the base can read.
fn fit_context(
    recipe: &mut Recipe,
    reasons: &mut Reasons,
    config: &ModelConfig,
    plan: &Plan,
    fixed: &Overrides,
) -> Outcome<()> {
    let longest = config.context_len;
    if matches!(plan, Plan::Tune { .. }) && !fixed.fixes("model.context_len") {
        recipe.model.context_len = longest.min(tuning::USUAL_CONTEXT);
        reasons.add("model.context_len", format!("tokens of a row; the base reads up to {longest}"));
    }
    if recipe.model.context_len > longest {
        return Err(Failure::new(format!(
            "model.context_len = {} is beyond the {longest} tokens that the base reads; make it smaller",
            recipe.model.context_len
        )));
    }
    Ok(())
}

/// Fills what the recipe leaves open, from the data, the time and the speed of this machine.
fn choose(
    recipe: &mut Recipe,
    reasons: &mut Reasons,
    prepared: &Prepared,
    time: Duration,
    fixed: &Overrides,
    device: &Device,
) -> Outcome<()> {
    let (summary, dtype, n_threads) = (&prepared.summary, compute_dtype(recipe), device.kernels().n_threads());
    let facts = Facts {
        n_tokens: summary.n_tokens,
        n_documents: summary.n_documents,
        n_validation_tokens: summary.n_validation_tokens,
        vocab_size: summary.vocab_size,
        is_paired: summary.has_pairs && recipe.data.layout == Some(Layout::Padded),
        time,
        peak_flops_per_s: rates::peak(n_threads, dtype, rates::GLANCE),
    };
    sizes::choose(recipe, reasons, &facts, fixed)?;
    let mut trial = recipe.clone();
    trial.complete(&mut Reasons::default())?;
    let config = trial.model.config(facts.vocab_size)?;
    let setting = memory::Setting::new(dtype, n_threads);
    memory::fit(&mut trial, &mut Reasons::default(), &config, setting)?;
    let lens = facts.lens(config.context_len);
    let seconds = trial::seconds_per_step(&trial, &config, lens, dtype, device, time.mul_f64(TRIAL.0).min(TRIAL.1))?;
    sizes::fit_time(recipe, reasons, &facts, fixed, seconds)
}

/// Trains, and says what came of it and how to go on.
///
/// # Errors
/// As [`Session::train`].
pub fn finish(mut session: Session, common: Common) -> Outcome {
    let ending = session.train()?;
    if !common.json {
        tell(&session, ending);
    }
    let judged = if ending == Ending::Complete { tables::finish::judge(&session, common)? } else { None };
    if common.json {
        print_summary(&session, ending, judged);
    }
    Ok(code_of(ending))
}

/// Says what came of a session and how to go on.
pub fn conclude(session: &Session, ending: Ending, common: Common) -> ExitCode {
    if common.json {
        print_summary(session, ending, None);
    } else {
        tell(session, ending);
    }
    code_of(ending)
}

fn code_of(ending: Ending) -> ExitCode {
    if ending == Ending::Complete { ExitCode::SUCCESS } else { ExitCode::from(130) }
}

fn tell(session: &Session, ending: Ending) {
    let path = show::word(session.run().path());
    match ending {
        Ending::Interrupted => {
            println!(
                "Saved after step {} of {}. Go on with:  genera resume {path}",
                session.n_steps(),
                session.recipe().train.steps
            );
        }
        Ending::Complete => {
            let loss = session.latest_validation().map_or_else(String::new, |row| {
                let bits = row.bits_per_byte.map_or_else(String::new, |bits| format!(" ({bits:.3} bits per byte)"));
                let before = session.first_validation().filter(|first| first.step != row.step);
                let before = before.map_or_else(String::new, |first| format!("{:.4} → ", first.validation_loss));
                format!(", validation loss {before}{:.4}{bits}", row.validation_loss)
            });
            let time = number::duration(Duration::from_secs_f64(session.seconds()));
            println!("{}", fitted(&format!("Trained in {time}{loss}."), 0));
            if let Some((epsilon, delta)) = session.privacy_spent() {
                let privacy = format!(
                    "Privacy: ε = {epsilon:.3} at δ = {delta} for each training row in {path}/model and in rows made with it; the \
                     rest of the directory, the report too, shows real rows."
                );
                println!("{}", fitted(&privacy, 0));
            }
            println!("Try:  genera {} --model {path}", user_of(&session.recipe().data.kind));
            println!("      genera report {path} --output report.html");
        }
    }
}

/// The command that shows best what was learned from a kind of data.
fn user_of(kind: &str) -> &'static str {
    let is_said = [Chat.name(), Preference.name()].contains(&kind);
    if is_said { "chat" } else { "generate" }
}

/// One object about a session, with what was measured of a table.
fn print_summary(session: &Session, ending: Ending, judged: Option<serde_json::Value>) {
    let mut summary = serde_json::json!({
        "run": session.run().path(),
        "complete": ending == Ending::Complete,
        "step": session.n_steps(),
        "seconds": session.seconds(),
        "validation_loss_before": session.first_validation().map(|row| row.validation_loss),
        "validation_loss": session.latest_validation().map(|row| row.validation_loss),
        "bits_per_byte": session.latest_validation().and_then(|row| row.bits_per_byte),
    });
    if let Some((epsilon, delta)) = session.privacy_spent() {
        let noise_multiplier = session.recipe().privacy.noise_multiplier;
        summary["privacy"] =
            serde_json::json!({"epsilon": epsilon, "delta": delta, "noise_multiplier": noise_multiplier});
    }
    if let Some(judged) = judged {
        summary["table"] = judged;
    }
    println!("{summary}");
}

/// How what a recipe leaves open is chosen.
#[derive(Clone, Debug)]
pub enum Plan {
    /// It stays at its default.
    AsRecipe {
        /// Keys that its file gives, as `train.steps`.
        given: Vec<String>,
    },
    /// To make the best of this time.
    Fill {
        /// Time to train.
        time: Duration,
    },
    /// As a base is usually fine-tuned.
    Tune {
        /// Passes over the data.
        epochs: f64,
    },
}

impl Plan {
    /// Whether the recipe's file gives a key.
    fn gives(&self, key: &str) -> bool {
        matches!(self, Self::AsRecipe { given } if given.iter().any(|given| given == key))
    }
}

/// The recipe of a fine-tuning.
fn for_base(data: &Path, arguments: &Arguments, fixed: &Overrides, reasons: &mut Reasons) -> Outcome<Recipe> {
    let mut recipe = from_data(data, arguments, fixed, reasons)?;
    recipe.base.path = arguments.base.as_ref().map(|path| path.display().to_string());
    recipe.base.chat_template = arguments.chat_template.as_ref().map(|path| path.display().to_string());
    recipe.lora.rank = arguments.lora.map(|rank| rank as usize);
    if arguments.preferences {
        if recipe.data.kind == "chat" {
            return Err(Failure::new(format!(
                "--preferences: {} has conversations; preferences are JSON lines with \"prompt\", \"chosen\" and \
                 \"rejected\". Leave --preferences out to learn from the conversations",
                data.display()
            )));
        }
        recipe.data.kind = "preference".to_owned();
        reasons.add("data.kind", "--preferences is given");
    }
    Ok(recipe)
}

fn from_data(data: &Path, arguments: &Arguments, fixed: &Overrides, reasons: &mut Reasons) -> Outcome<Recipe> {
    let mut recipe = Recipe::default();
    recipe.data.files = vec![data.display().to_string()];
    recipe.data.target_files = arguments.target.iter().map(|target| target.display().to_string()).collect();
    (recipe.data.column, recipe.data.target_column) = (arguments.column.clone(), arguments.target_column.clone());
    let has_column = arguments.target_column.is_some() || fixed.fixes("data.target_column");
    let is_paired = arguments.target.is_some() || has_column;
    if is_paired {
        recipe.data.kind = "translation".to_owned();
        reasons.add("data.kind", if has_column { "a target column is given" } else { "--target is given" });
    }
    let has_column = arguments.column.is_some() || fixed.fixes("data.column");
    let is_open = !is_paired && !has_column && !fixed.fixes("data.kind");
    if let Some((kind, why)) = if is_open { plan::data::recognised(data, arguments.base.is_some())? } else { None } {
        recipe.data.kind = kind.to_owned();
        reasons.add("data.kind", why);
        match kind {
            "table" => plan::table::keep_aside(&mut recipe, reasons),
            "molecule" => plan::molecule::keep_aside(&mut recipe, reasons),
            "text" => {
                let (prompt, completion) = plan::records::COMPLETION;
                recipe.data.column = Some(prompt.to_owned());
                recipe.data.target_column = Some(completion.to_owned());
            }
            _ => {}
        }
    }
    match &arguments.preset {
        Some(preset) => recipe.model.preset.clone_from(preset),
        None => {
            let (preset, reason) = if arguments.base.is_some() {
                return Ok(recipe);
            } else if is_paired {
                ("t5", "an encoder-decoder for pairs that other tools can load")
            } else {
                ("llama", "the family that most tools can load")
            };
            preset.clone_into(&mut recipe.model.preset);
            reasons.add("model.preset", reason);
        }
    }
    recipe.model.context_len = 256;
    reasons.add("model.context_len", "long enough for most sentences and paragraphs");
    Ok(recipe)
}

fn stem(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("run");
    name.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or("run").to_owned()
}
