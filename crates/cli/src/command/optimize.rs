//! `genera optimize`: what a model makes, improved toward a score.

use super::Common;
use crate::failure::{Failure, Outcome, While};
use crate::goal::known::Known;
use crate::goal::objective::Objective;
use crate::goal::rounds::{Plan, Round, Rounds};
use crate::machine;
use crate::model::{self, ModelFacts};
use crate::run::directory::RunDirectory;
use crate::run::interrupt::Interrupt;
use genera_engine::model::Transformer;
use genera_engine::recipe::{OptimizerKind, ScheduleKind, TrainRecipe};
use genera_engine::train::{TrainSettings, Trainer};
use genera_engine::weights::{CardFacts, Purpose, export_hf};
use genera_modality::table::csv_line;
use genera_tensor::DType;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Improve what a model makes, toward a score.
///
/// In rounds: the model makes candidates that did not come before and that it was not trained on, they are scored, and the
/// model learns from the best of all so far. The improved model and all scores (candidates.csv) are written to --output, also
/// when the objective fails on the way or Ctrl-C stops it.
///
/// Examples:
///   genera optimize --model runs/moses --objective qed --output qed-model
///   genera optimize --model runs/moses --objective "logp = 2.5"
///   genera optimize --model runs/stories --objective-command "python score.py" --calls 2000
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// A run directory, or a directory in the Hugging Face layout. It stays as it is.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// A property of molecules: "qed" for as much as possible, "-sa" for as little, "weight = 350" for near this value.
    #[arg(long, value_name = "OBJECTIVE", required_unless_present = "objective_command", allow_hyphen_values = true)]
    objective: Option<String>,
    /// A command for the shell that reads a candidate a line and prints a number a line, more for better, nan for none.
    #[arg(long, value_name = "CMD", conflicts_with = "objective")]
    objective_command: Option<String>,
    /// Seconds that the command may take for the candidates of a round.
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    objective_timeout: u32,
    /// Candidates that are scored in all.
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    calls: u32,
    /// Candidates of a round.
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    per_round: u32,
    /// Best candidates that are learned from after each round.
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    experts: u32,
    /// Passes over them after each round.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    passes: u32,
    /// How fast weights follow.
    #[arg(long, value_name = "RATE", default_value_t = 5e-4)]
    learning_rate: f64,
    /// Decides every random choice.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The directory for the improved model and the scores [default: a free name below runs/].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let objective = objective(&arguments)?;
    let loaded = model::load(&arguments.model, None, Purpose::Training(DType::F32), &device)?;
    if objective.is_of_molecules() && loaded.modality.name() != "molecule" {
        return Err(Failure::new(format!(
            "--objective is for models of molecules, and {} makes {}; score it by a command with --objective-command",
            arguments.model.display(),
            loaded.modality.name()
        )));
    }
    if loaded.modality.is_paired() {
        return Err(Failure::new("a model that answers lines cannot be optimised: it makes nothing by itself"));
    }
    let plan = Plan {
        n_calls: arguments.calls as usize,
        n_per_round: arguments.per_round as usize,
        n_experts: arguments.experts as usize,
        n_passes: arguments.passes as usize,
        sampling_seed: arguments.seed,
        n_max_tokens: loaded.transformer.config().context_len,
    };
    let output = arguments.output.clone().unwrap_or_else(|| RunDirectory::free_name("optimized"));
    std::fs::create_dir_all(&output).during(format!("cannot create {}", output.display()))?;
    let (transformer, facts) = loaded.split()?;
    let trainer = Trainer::new(transformer, TrainSettings::new(&learning(&arguments))?);
    let known = known(&arguments.model, &facts, common.threads.map_or_else(machine::n_cores, usize::from))?;
    // Before, there is nothing that a Ctrl-C could lose.
    let interrupt = Interrupt::listen()?;
    let mut rounds = Rounds::new(&facts, trainer, plan, known, interrupt.clone())?;
    let mut outcome = Ok(());
    while !rounds.is_done() && outcome.is_ok() && !interrupt.is_asked() {
        match rounds.next(&objective) {
            Ok(round) => round.iter().for_each(|round| show(round, common)),
            Err(failure) => outcome = Err(failure),
        }
    }
    let (is_complete, best) = (rounds.is_done() && !interrupt.is_asked(), rounds.best_score());
    let (transformer, scored) = rounds.into_model();
    save(&transformer, &facts, &scored, &output)?;
    outcome.map_err(|failure| {
        failure.and(format!(
            "{} candidates were scored before; they and the model are in {}",
            scored.len(),
            output.display()
        ))
    })?;
    if common.json {
        let calls = scored.len();
        let summary =
            serde_json::json!({ "output": output, "calls": calls, "mean_of_best_100": best, "complete": is_complete });
        println!("{summary}");
    } else {
        if !is_complete {
            println!("Stopped after {} of {} candidates; all is saved.", scored.len(), arguments.calls);
        }
        println!("Mean score of the best 100 of {} candidates: {best:.4}.", scored.len());
        println!("Try:  genera generate --model {}", output.display());
    }
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(130) })
}

/// How weights follow: evenly, for as long as there are rounds.
fn learning(arguments: &Arguments) -> TrainRecipe {
    TrainRecipe {
        steps: u64::MAX >> 1,
        learning_rate: arguments.learning_rate,
        optimizer: OptimizerKind::AdamW,
        schedule: ScheduleKind::Constant,
        warmup_steps: Some(0),
        weight_decay: 0.0,
        seed: arguments.seed,
        ..TrainRecipe::default()
    }
}

/// What the model was trained on, where its data lies beside it: no candidate then.
fn known(model: &Path, facts: &ModelFacts, n_threads: usize) -> Outcome<Known> {
    match RunDirectory::open(model) {
        Ok(run) if run.data().is_dir() => Known::of_run(&run, facts.modality, n_threads),
        _ => {
            eprintln!("genera: the training data does not lie beside the model, so what it holds counts as new too");
            Ok(Known::default())
        }
    }
}

fn objective(arguments: &Arguments) -> Outcome<Objective> {
    match (&arguments.objective, &arguments.objective_command) {
        (Some(objective), _) => Objective::parse(objective),
        (None, Some(command)) => Ok(Objective::Command {
            command: command.clone(),
            timeout: Duration::from_secs(arguments.objective_timeout.into()),
        }),
        (None, None) => Err(Failure::new("name an objective: --objective PROPERTY or --objective-command CMD")),
    }
}

fn show(round: &Round, common: Common) {
    let Round { n_calls, mean, best, repeated, unfinished, loss } = *round;
    let unfinished =
        if unfinished > 0.0 { format!(", {:.0} % came to no end", 100.0 * unfinished) } else { String::new() };
    let line = format!(
        "{n_calls} scored: this round's mean {mean:.4}, the best 100 so far {best:.4}; {:.0} % had come before{unfinished}; loss \
         {loss:.3}",
        100.0 * repeated
    );
    if common.json { eprintln!("{line}") } else { println!("{line}") }
}

/// Writes the model and every candidate with its score, best first.
fn save(transformer: &Transformer, facts: &ModelFacts, scored: &[(String, f64)], output: &Path) -> Outcome<()> {
    let card = CardFacts { name: format!("{} (optimised)", facts.modality.name()), ..CardFacts::default() };
    export_hf(transformer, output, &facts.special, &card)?;
    facts.codebook.save(output)?;
    let mut sorted: Vec<&(String, f64)> = scored.iter().collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let (mut rest, mut text) = (Vec::new(), "candidate,score\n".to_owned());
    for (candidate, score) in sorted {
        let line =
            csv_line(&[candidate.clone(), if score.is_nan() { String::new() } else { score.to_string() }]) + "\n";
        if score.is_nan() { rest.push(line) } else { text += &line }
    }
    text.extend(rest);
    let path = output.join("candidates.csv");
    std::fs::write(&path, text).during(format!("cannot write {}", path.display()))
}
