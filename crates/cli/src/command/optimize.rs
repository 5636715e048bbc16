//! `genera optimize`: what a model makes, improved toward a score.

use super::Common;
use crate::failure::{Failure, Outcome, While};
use crate::goal::counted;
use crate::goal::known::Known;
use crate::goal::objective::Objective;
use crate::goal::rounds::{Plan, Round, Rounds};
use crate::machine;
use crate::model::{self, LoadedModel, ModelFacts};
use crate::provenance::Provenance;
use crate::run::directory::RunDirectory;
use crate::run::interrupt::Interrupt;
use crate::show::word;
use genera_data::export_tokenizer;
use genera_engine::model::Transformer;
use genera_engine::recipe::{OptimizerKind, ScheduleKind, TrainRecipe};
use genera_engine::train::{TrainSettings, Trainer};
use genera_engine::weights::{CardFacts, Purpose, export_hf};
use genera_modality::table::csv_line;
use genera_tensor::DType;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Improve what a model makes, toward a score.
///
/// In rounds: the model makes candidates that did not come before and that it was not trained on, they are scored, and the
/// model learns from the best of all so far. The improved model and all scores (candidates.csv) are written to --output, also
/// when the objective fails on the way or Ctrl-C stops it, unless nothing was scored before. After three rounds in a row (and
/// 50 candidates) of which nothing could be scored it stops.
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
    /// A command for the shell that reads a candidate a line and prints a number a line, more for better, nan for none
    /// (inf and -inf count as nan).
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
    /// The directory for the improved model and the scores, a new or empty one [default: a free name below runs/].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let objective = objective(&arguments)?;
    let output = arguments.output.clone().unwrap_or_else(|| RunDirectory::free_name("optimized"));
    check_output(&output, &arguments.model)?;
    let loaded = model::load(&arguments.model, None, Purpose::Training(DType::F32), &device)?;
    check_model(&loaded, &objective, &arguments.model)?;
    let provenance = Provenance::of_tuned(&arguments.model)?;
    let plan = Plan {
        n_calls: arguments.calls as usize,
        n_per_round: arguments.per_round as usize,
        n_experts: arguments.experts as usize,
        n_passes: arguments.passes as usize,
        sampling_seed: arguments.seed,
        n_max_tokens: loaded.transformer.config().context_len,
    };
    let (transformer, facts) = loaded.split()?;
    let trainer = Trainer::new(transformer, TrainSettings::new(&learning(&arguments))?);
    let known = known(&arguments.model, &facts, common.threads.map_or_else(machine::n_cores, usize::from))?;
    // Before, there is nothing that a Ctrl-C could lose.
    let interrupt = Interrupt::listen()?;
    let mut rounds = Rounds::new(&facts, trainer, plan, known, interrupt.clone())?;
    let is_new = !output.exists();
    std::fs::create_dir_all(&output).during(format!("cannot create {}", output.display()))?;
    let mut outcome = Ok(());
    while !rounds.is_done() && outcome.is_ok() && !interrupt.is_asked() {
        match rounds.next(&objective) {
            Ok(round) => round.iter().for_each(|round| show(round, common)),
            Err(failure) => outcome = Err(failure),
        }
    }
    let end = End {
        is_complete: rounds.is_done() && !interrupt.is_asked(),
        n_calls: rounds.scored.len(),
        n_wanted: arguments.calls as usize,
        n_scored: rounds.n_scored,
        best: rounds.best_score(),
    };
    let (transformer, scored) = rounds.into_model();
    if end.n_scored > 0 {
        save(&transformer, &facts, &provenance, &scored, &output)?;
    } else if is_new {
        // The model is what it was, and the name is free again. Where that fails, an empty directory stays.
        let _ = std::fs::remove_dir(&output);
    }
    outcome.map_err(|failure| failure.and(kept(end.n_scored, &output)))?;
    if common.json {
        println!("{}", end.json(&output))
    } else {
        print!("{}", end.text(&output))
    }
    Ok(if end.is_complete { ExitCode::SUCCESS } else { ExitCode::from(130) })
}

/// Refuses a directory for the result in which the model or something else would be overwritten.
fn check_output(output: &Path, model: &Path) -> Outcome<()> {
    let (ours, theirs) = (resolved(output), resolved(model));
    let relation = match (ours.starts_with(&theirs), theirs.starts_with(&ours)) {
        _ if !model.exists() => None,
        (true, true) => Some("is"),
        (true, false) => Some("lies inside"),
        (false, true) => Some("contains"),
        (false, false) => None,
    };
    let (output, model) = (output.display(), model.display());
    if let Some(relation) = relation {
        return Err(Failure::new(format!(
            "the result would be written to {output}, which {relation} the model {model}, and that stays as it is; name a \
             directory of its own with --output"
        )));
    }
    if ours.is_file() {
        return Err(Failure::new(format!("{output} is a file; name a directory for the result with --output")));
    }
    let is_free = !ours.exists() || ours.read_dir().during(format!("cannot look into {output}"))?.next().is_none();
    if is_free {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{output} is not empty, and a result that it may hold would be overwritten; name another directory with --output, or \
         remove it first"
    )))
}

/// Where a path leads, with links followed as far as they are there.
fn resolved(path: &Path) -> PathBuf {
    let mut real = PathBuf::new();
    for component in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        if component == Component::ParentDir {
            real.pop();
            continue;
        }
        real.push(component);
        real = real.canonicalize().unwrap_or(real);
    }
    real
}

/// Refuses a model that makes nothing by itself, or nothing that this objective can score.
fn check_model(loaded: &LoadedModel, objective: &Objective, path: &Path) -> Outcome<()> {
    if objective.is_of_molecules() && loaded.modality.name() != "molecule" {
        return Err(Failure::new(format!(
            "--objective is for models of molecules, and {} makes {}; score it by a command with --objective-command",
            path.display(),
            loaded.modality.name()
        )));
    }
    if loaded.modality.is_paired() {
        return Err(Failure::new("a model that answers lines cannot be optimised: it makes nothing by itself"));
    }
    Ok(())
}

/// What came of all rounds.
struct End {
    is_complete: bool,
    /// Candidates that were given to the objective, and those that were to be.
    n_calls: usize,
    n_wanted: usize,
    /// Those that could be scored.
    n_scored: usize,
    /// The mean of the best, and how many they are.
    best: Option<(f64, usize)>,
}

impl End {
    fn json(&self, output: &Path) -> serde_json::Value {
        serde_json::json!({
            "output": self.best.map(|_| output),
            "calls": self.n_calls,
            "scored": self.n_scored,
            "mean_of_best_100": self.best.map(|(mean, _)| mean),
            "complete": self.is_complete,
        })
    }

    fn text(&self, output: &Path) -> String {
        let Some((mean, n_best)) = self.best else {
            return "Stopped before a candidate was scored; no model was written.\n".to_owned();
        };
        let mut text = String::new();
        if !self.is_complete {
            text =
                format!("Stopped after {} of {}; all is saved.\n", self.n_calls, counted(self.n_wanted, "candidate"));
        }
        let unscored = match self.n_calls - self.n_scored {
            0 => String::new(),
            n => format!(" ({n} could not be scored)"),
        };
        let of = counted(self.n_calls, "candidate");
        text += &format!("Mean score of the best {n_best} of {of}{unscored}: {mean:.4}.\n");
        text + &format!("Try:  genera generate --model {}\n", word(output))
    }
}

/// What is left of the rounds when they end early.
fn kept(n_scored: usize, output: &Path) -> String {
    let (they, output) =
        (if n_scored == 1 { "was scored before; it" } else { "were scored before; they" }, output.display());
    match n_scored {
        0 => "no candidate was scored before, so no model was written".to_owned(),
        n => format!("{} {they} and the model are in {output}", counted(n, "candidate")),
    }
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
    if round.n_infinite > 0 {
        let (they, are) = if round.n_infinite == 1 { ("it", "is") } else { ("they", "are") };
        eprintln!(
            "genera: {} of this round got inf or -inf, which is no score; {they} {are} taken as nan",
            counted(round.n_infinite, "candidate")
        );
    }
    let line = line(round);
    if common.json { eprintln!("{line}") } else { println!("{line}") }
}

/// A round on one line.
fn line(round: &Round) -> String {
    let Round { n_calls, n_scored, n_infinite: _, mean, best, repeated, unfinished, loss } = *round;
    let unscored = if n_calls > n_scored { format!(" and {} not", n_calls - n_scored) } else { String::new() };
    let mean = mean.map_or_else(|| "no score in this round".to_owned(), |mean| format!("this round's mean {mean:.4}"));
    let best = best.map_or_else(String::new, |(mean, n)| format!(", the best {n} so far {mean:.4}"));
    let unfinished =
        if unfinished > 0.0 { format!(", {:.0} % came to no end", 100.0 * unfinished) } else { String::new() };
    let loss = loss.map_or_else(|| "nothing learned".to_owned(), |loss| format!("loss {loss:.3}"));
    format!("{n_scored} scored{unscored}: {mean}{best}; {:.0} % had come before{unfinished}; {loss}", 100.0 * repeated)
}

/// Writes the model and every candidate with its score, best first.
fn save(
    transformer: &Transformer,
    facts: &ModelFacts,
    provenance: &Provenance,
    scored: &[(String, f64)],
    output: &Path,
) -> Outcome<()> {
    let name = format!("{} (optimised)", facts.modality.name());
    let card = CardFacts { name, origin: provenance.origin.clone(), ..CardFacts::default() };
    let ids = facts.special.with_all_ends(&facts.codebook.vocab().special, transformer.config().vocab_size);
    export_hf(transformer, output, &ids, &facts.published, &card, None)?;
    export_tokenizer(&*facts.codebook, output, model::reads(transformer))?;
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
    std::fs::write(&path, text).during(format!("cannot write {}", path.display()))?;
    provenance.copy(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_overwrites_neither_the_model_nor_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["runs/mols/model", "runs/other", "runs/empty"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        std::fs::write(path("runs/other/candidates.csv"), "candidate,score\n").unwrap();
        let check = |output: &str, expect: &str| {
            let said = check_output(&path(output), &path("runs/mols")).err();
            let said = said.map_or_else(String::new, |failure| format!("{failure:?}"));
            assert!(if expect.is_empty() { said.is_empty() } else { said.contains(expect) }, "{output}: {said}");
        };
        check("runs/mols", "which is the model");
        check("runs/new/../mols/.", "which is the model");
        check("runs/mols/better", "which lies inside the model");
        check("runs", "which contains the model");
        check("runs/other", "is not empty");
        check("runs/other/candidates.csv", "is a file");
        check("runs/mols-better", "");
        check("runs/empty", "");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(path("runs/mols"), path("link")).unwrap();
            check("link/better", "which lies inside the model");
        }
        assert!(check_output(&path("new"), &path("no-model")).is_ok(), "that there is no model is said later");
    }

    #[test]
    fn numbers_are_the_true_ones() {
        let round = Round {
            n_calls: 40,
            n_scored: 40,
            n_infinite: 0,
            mean: Some(0.5),
            best: Some((0.75, 40)),
            repeated: 0.25,
            unfinished: 0.0,
            loss: Some(1.0),
        };
        assert_eq!(
            line(&round),
            "40 scored: this round's mean 0.5000, the best 40 so far 0.7500; 25 % had come before; loss 1.000"
        );
        let none = Round { n_calls: 60, mean: None, loss: None, ..round };
        assert_eq!(
            line(&none),
            "40 scored and 20 not: no score in this round, the best 40 so far 0.7500; 25 % had come before; nothing learned"
        );
        let output = Path::new("better");
        assert_eq!(kept(0, output), "no candidate was scored before, so no model was written");
        assert_eq!(kept(1, output), "1 candidate was scored before; it and the model are in better");
        assert_eq!(kept(2, output), "2 candidates were scored before; they and the model are in better");
        let end = End { is_complete: true, n_calls: 60, n_wanted: 60, n_scored: 57, best: Some((0.5, 57)) };
        assert!(
            end.text(output)
                .starts_with("Mean score of the best 57 of 60 candidates (3 could not be scored): 0.5000.\n")
        );
        let nothing = End { is_complete: false, n_scored: 0, best: None, ..end };
        assert!(nothing.text(output).contains("no model was written") && nothing.json(output)["output"].is_null());
    }
}
