//! `genera evaluate`: the field's measures, with their intervals.

use super::Common;
use crate::answers::{self, Settings};
use crate::failure::{Failure, Outcome, While};
use crate::model::LoadedModel;
use crate::model::OptionalModel;
use crate::molecules::verdict;
use crate::prompts::{GROUP, Group};
use crate::show::html;
use crate::show::number;
use crate::show::status_line::StatusLine;
use crate::tables::frame::{self, Frames};
use crate::tables::judgement::Judgement;
use crate::tables::{likelihood, page};
use crate::{machine, stories};
use genera_data::{Aligned, ByteCounter, Corpus as _};
use genera_engine::generate::Sampling;
use genera_eval::metric::{Bleu, Chrf, ExactMatch, Metric, TextMetric};
use genera_eval::{Bootstrap, Corpus, Figure, Report};
use genera_modality::demo::{SequenceTask, SequenceTaskKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Seed of examples for evaluation; runs train on other seeds of a built-in source ([`crate::plan::data::demo_seed`]).
const EVALUATION_SEED: u64 = crate::plan::data::demo_seed(0, 2);

/// Evaluate a model on a task, with the measures that the field accepts.
///
/// Examples:
///   genera evaluate --model runs/multi30k-de-en --task translation --file test.de --target test.en
///   genera evaluate --model runs/sort --task sort
///   genera evaluate --task moses --samples samples.smi --reference molsets/ --chemnet ChemNet_v0.13_pretrained.pt
///   genera evaluate --task table --synthetic synthetic.csv --real train.csv --holdout test.csv --output report.html
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    model: OptionalModel,
    /// The task.
    #[arg(long, value_enum)]
    task: Task,
    /// The source lines of a translation (plain, .gz or .zst).
    #[arg(long, value_name = "SRC", required_if_eq("task", "translation"))]
    file: Option<PathBuf>,
    /// The reference lines of a translation (plain, .gz or .zst).
    #[arg(long, value_name = "REF", required_if_eq("task", "translation"))]
    target: Option<PathBuf>,
    /// Fresh examples of a built-in source.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Beams of the search [default: as in the model's recipe].
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u16).range(1..=256))]
    beam: Option<u16>,
    /// The rows that are judged, csv or Parquet.
    #[arg(long, value_name = "FILE", required_if_eq("task", "table"))]
    synthetic: Option<PathBuf>,
    /// The real rows that they were learned from; with --model and --holdout, also how well the model's likelihood tells them.
    #[arg(long, value_name = "TRAIN", required_if_eq("task", "table"))]
    real: Option<PathBuf>,
    /// Real rows that were kept aside.
    #[arg(long, value_name = "TEST")]
    holdout: Option<PathBuf>,
    /// The column that is predicted from the others [default: the last in which rows differ].
    #[arg(long, value_name = "NAME")]
    predict: Option<String>,
    /// The molecules that are judged: lines of SMILES, or a table with a column of them.
    #[arg(long, value_name = "FILE", required_if_eq("task", "moses"))]
    samples: Option<PathBuf>,
    /// The files of the MOSES benchmark: the folder of the unpacked package molsets 0.3.1.
    #[arg(long, value_name = "DIR", required_if_eq("task", "moses"))]
    reference: Option<PathBuf>,
    /// ChemNet's weights, the PyTorch file of the package fcd_torch, for the Fréchet distance.
    #[arg(long, value_name = "FILE")]
    chemnet: Option<PathBuf>,
    /// Write what the model said to this file, a line each; for tables, the page with pictures (.html).
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Task {
    /// BLEU, chrF and exact matches on the lines of two files.
    Translation,
    /// Exact answers to fresh sequences that are to be repeated.
    Copy,
    /// Exact answers to fresh sequences that are to be reversed.
    Reverse,
    /// Exact answers to fresh sequences that are to be sorted.
    Sort,
    /// The share of grammatical stories and of new ones.
    Stories,
    /// A synthetic table beside the real one: shapes, trends, usefulness, privacy.
    Table,
    /// The columns of the MOSES benchmark for a file of molecules, beside the published ones.
    Moses,
}

impl Task {
    /// The built-in source that the task belongs to.
    fn demo(self) -> Option<&'static str> {
        match self {
            Self::Translation | Self::Table | Self::Moses => None,
            Self::Copy => Some("copy"),
            Self::Reverse => Some("reverse"),
            Self::Sort => Some("sort"),
            Self::Stories => Some("stories"),
        }
    }
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    if arguments.task == Task::Table {
        return judge(&arguments, common);
    }
    if arguments.task == Task::Moses {
        let (Some(samples), Some(reference)) = (&arguments.samples, &arguments.reference) else {
            return Err(Failure::new("molecules need --samples FILE and --reference DIR"));
        };
        return verdict::judge(samples, reference, arguments.chemnet.as_deref(), common);
    }
    let device = machine::device(common.threads);
    let given = arguments.model.given()?;
    let model = given.load(&device)?;
    let wants_pairs = arguments.task != Task::Stories;
    if model.modality.is_paired() != wants_pairs {
        let kind = |is_paired| if is_paired { "a sequence-to-sequence model" } else { "a model of single texts" };
        return Err(Failure::new(format!(
            "this task needs {}, and {} holds {}",
            kind(wants_pairs),
            arguments.model.name(),
            kind(!wants_pairs)
        )));
    }
    let kind = model.recipe.as_ref().map(|recipe| &recipe.data.kind);
    if let (Some(kind), Some(wanted)) = (kind, arguments.task.demo())
        && kind != wanted
    {
        return Err(Failure::new(format!(
            "{} learned {kind}, so its answers to {wanted} would say nothing; evaluate a run of recipes/{wanted}.toml",
            arguments.model.name()
        )));
    }
    if arguments.task == Task::Stories && arguments.beam.is_some() {
        return Err(Failure::new("stories are sampled, so --beam has no part in them; leave it out"));
    }
    let (said, report) = match arguments.task {
        Task::Stories => tell(&arguments, &model)?,
        Task::Translation => {
            let (Some(file), Some(target)) = (&arguments.file, &arguments.target) else {
                return Err(Failure::new("a translation needs --file SRC and --target REF"));
            };
            translate(&arguments, &model, &aligned(file, target)?)?
        }
        Task::Copy => translate(&arguments, &model, &fresh(SequenceTaskKind::Copy, arguments.n))?,
        Task::Reverse => translate(&arguments, &model, &fresh(SequenceTaskKind::Reverse, arguments.n))?,
        Task::Sort => translate(&arguments, &model, &fresh(SequenceTaskKind::Sort, arguments.n))?,
        Task::Table | Task::Moses => unreachable!("tables and molecules are judged without a model"),
    };
    if let Some(path) = &arguments.output {
        let text: String = said.iter().map(|line| format!("{}\n", one_line(line))).collect();
        std::fs::write(path, text).during(format!("cannot write {}", path.display()))?;
    }
    if common.json {
        println!("{}", serde_json::to_string(&report)?)
    } else {
        println!("{report}")
    }
    Ok(ExitCode::SUCCESS)
}

/// Judges a synthetic table.
fn judge(arguments: &Arguments, common: Common) -> Outcome {
    let (Some(synthetic), Some(real)) = (&arguments.synthetic, &arguments.real) else {
        return Err(Failure::new("a table needs --synthetic FILE and --real TRAIN, and better --holdout TEST as well"));
    };
    if let Some(page) = arguments.output.as_ref().filter(|path| !html::is_page(path)) {
        return Err(Failure::new(format!(
            "--output {}: the page about a table is HTML; name it .html",
            page.display()
        )));
    }
    let columns = frame::columns_of(real)?;
    let mut frames = Frames::new(frame::table_of(&columns));
    for path in [Some(real), Some(synthetic), arguments.holdout.as_ref()].into_iter().flatten() {
        frames.add_file(path)?;
    }
    let tables = frames.finish()?;
    let mut judgement = Judgement::of(&tables[0], tables.get(2), &tables[1], arguments.predict.as_deref())?;
    judgement.likelihood_auc = attack(arguments, common)?;
    if let Some(path) = &arguments.output {
        let title = format!("{} beside {}", synthetic.display(), real.display());
        std::fs::write(path, page::html(&title, &judgement, &tables[0], &tables[1])?)
            .during(format!("cannot write {}", path.display()))?;
    }
    if common.json {
        println!("{}", judgement.to_json());
    } else {
        print!("{judgement}");
    }
    match judgement.copies_of_holdout {
        None => eprintln!("genera: what is left open is measured by rows that were kept aside: --holdout TEST"),
        Some((n, all)) if 2 * n > all => eprintln!(
            "genera: {n} of the {all} rows of --holdout stand in --real as well; unless rows repeat by nature, they were not kept \
             aside, and figures by them mean nothing"
        ),
        Some(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The membership attack by likelihood, where a model and held-out rows are given.
fn attack(arguments: &Arguments, common: Common) -> Outcome<Option<f64>> {
    let (Ok(given), Some(real), Some(holdout)) = (arguments.model.given(), &arguments.real, &arguments.holdout) else {
        return Ok(None);
    };
    let model = given.load(&machine::device(common.threads))?;
    let speaking = model.speaking()?;
    let table = genera_modality::table::of(speaking.codebook)?;
    let rows = |path: &Path| likelihood::rows_of(table, path);
    Ok(likelihood::membership_auc(speaking.transformer, table, &rows(real)?, &rows(holdout)?))
}

/// Lines to answer, and the answers wanted.
struct Pairs {
    sources: Group,
    references: Vec<String>,
    /// Whether only an exact answer counts.
    is_exercise: bool,
}

fn aligned(file: &Path, target: &Path) -> Outcome<Pairs> {
    let (mut sources, mut references) = (Vec::new(), Vec::new());
    for document in Aligned::open(file, target)?.documents(&ByteCounter::default())? {
        let document = document?;
        sources.push(document.as_text().unwrap_or_default().to_owned());
        references.push(document.target.unwrap_or_default());
    }
    let sources = Group { prompts: sources, name: file.display().to_string(), n_before: 0, is_by_line: true };
    Ok(Pairs { sources, references, is_exercise: false })
}

/// Examples of a built-in source that no run has trained on.
fn fresh(kind: SequenceTaskKind, n: u32) -> Pairs {
    let task = SequenceTask::new(kind);
    let (prompts, references) = (0..u64::from(n)).map(|index| task.sample(EVALUATION_SEED, index)).unzip();
    let sources = Group { prompts, name: kind.name().to_owned(), ..Group::default() };
    Pairs { sources, references, is_exercise: true }
}

fn tell(arguments: &Arguments, model: &LoadedModel) -> Outcome<(Vec<String>, Report)> {
    let recipe = model.recipe.as_ref().ok_or_else(|| {
        Failure::new(format!("{} has no recipe that says which stories are known; name a run", arguments.model.name()))
    })?;
    let told = stories::tell(&model.speaking()?, recipe, arguments.n)?;
    Ok((told.texts, Report { figures: vec![told.grammatical, told.new] }))
}

fn translate(arguments: &Arguments, model: &LoadedModel, pairs: &Pairs) -> Outcome<(Vec<String>, Report)> {
    let beam = arguments.beam.map_or(model.defaults.beam(), usize::from);
    let settings = Settings {
        sampling: Sampling { temperature: 0.0, ..model.defaults.sampling() },
        beam: (beam > 1).then_some(beam),
        stop: Vec::new(),
        reads_on: model.goes_on(),
        ..Settings::of_model(model)
    };
    let hypotheses = answer_all(model, &pairs.sources, &settings)?;
    let mut figures = if pairs.is_exercise { Vec::new() } else { overlaps(&hypotheses, &pairs.references)? };
    let n_exact = hypotheses.iter().zip(&pairs.references).filter(|(said, wanted)| said == wanted).count();
    figures.push(Figure::share(ExactMatch.name(), n_exact, hypotheses.len()));
    Ok((hypotheses, Report { figures }))
}

fn answer_all(model: &LoadedModel, sources: &Group, settings: &Settings) -> Outcome<Vec<String>> {
    let n_lines = sources.prompts.len();
    let mut hypotheses = Vec::with_capacity(n_lines);
    let (start, mut status, speaking) = (Instant::now(), StatusLine::new(), model.speaking()?);
    // A line that cannot be read is found before time is spent on those before it.
    for group in answers::encode(&speaking, sources, settings)?.chunks(GROUP) {
        let answers = answers::answer(&speaking, group.to_vec(), settings)?;
        hypotheses.extend(answers.into_iter().map(|best| one_line(&best.into_iter().next().unwrap_or_default().text)));
        status.show(|| {
            let left = start.elapsed().mul_f64(n_lines as f64 / hypotheses.len() as f64 - 1.0);
            format!("{} of {} lines, {} left", hypotheses.len(), n_lines, number::duration(left))
        });
    }
    Ok(hypotheses)
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// BLEU and chrF.
fn overlaps(hypotheses: &[String], references: &[String]) -> Outcome<Vec<Figure>> {
    let references = [references];
    let corpus = Corpus::new(hypotheses, &references)?;
    let lowercased = Bleu { lowercase: true, ..Bleu::DEFAULT };
    let bootstrap = Bootstrap::default();
    let metrics = [("", &Bleu::DEFAULT as &dyn TextMetric), (", lowercased", &lowercased), ("", &Chrf::CHRF)];
    let figure = |(name, metric): (&str, &dyn TextMetric)| {
        let figure = bootstrap.figure(metric, &metric.statistics(&corpus));
        Figure { name: format!("{}{name}", figure.name), ..figure }
    };
    Ok(metrics.map(figure).into())
}
