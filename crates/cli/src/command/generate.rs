//! `genera generate`: new text, or an output line for each input line.

use super::Common;
use super::sampling::SamplingOptions;
use crate::answer_writer::{AnswerWriter, Shape};
use crate::failure::{Failure, Outcome, While};
use crate::model::{self, LoadedModel, ModelArguments, Precision};
use crate::molecules::options::{MoleculeOptions, Wanted};
use crate::prompts::Prompts;
use crate::run::interrupt::{EXIT_CODE, Interrupt};
use crate::tables::gan;
use crate::tables::options::RowOptions;
use crate::{answers, machine};
use genera_engine::generate::{Sampling, WhenFull};
use genera_engine::weights::PublishedGeneration;
use genera_modality::{Chat, Modality, Text};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Generate with a model: go on with a text, answer a message (--chat), or translate each line of a file.
///
/// Answers are written as they are finished; after Ctrl-C those that are finished stay. What the model's recipe or authors say of
/// how to answer holds unless an option says otherwise; where they say nothing, a message (--chat) is answered as by `genera chat`.
///
/// Examples:
///   genera generate --model runs/stories --prompt "Once upon a time" --n 3
///   genera generate --model hf:HuggingFaceTB/SmolLM2-135M-Instruct --chat --prompt "What is the capital of France?"
///   genera generate --model model.gguf --chat --input questions.txt --lines --json --output answers.jsonl
///   genera generate --model runs/customers --n 1000 --where "country = Mexico, age >= 30" --output rows.csv
///   genera generate --model runs/customers --complete with-gaps.csv --output filled.csv
///   genera generate --model runs/moses --n 30000 --output samples.smi
///   genera generate --model runs/moses --prompt "c1ccc2ncccc2c1" --property "qed = 0.9" --n 50 --output drawings.svg
///   genera generate --model runs/multi30k-de-en --input test.de --beam 5 --output test.en
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The beginning of the text, or one source line.
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    prompt: Option<String>,
    /// Say the prompt to the model as a message, in the words of its chat template; without this every model goes on with the
    /// prompt as it stands, also one that learned from conversations.
    #[arg(long)]
    chat: bool,
    /// Read the names of special tokens in the prompt as these tokens: a mask, the beginning of a turn, marks around a gap.
    #[arg(long, conflicts_with = "chat")]
    special: bool,
    /// With --chat: tell the model how to answer.
    #[arg(long, value_name = "TEXT", requires = "chat", conflicts_with = "special")]
    system: Option<String>,
    /// With --chat: a file with a chat template (Jinja, as in chat_template.jinja), in place of the model's own if it has one.
    #[arg(long, value_name = "FILE", requires = "chat", conflicts_with = "special")]
    chat_template: Option<PathBuf>,
    /// A file with the prompt, all of it as one; for a sequence-to-sequence model each line is one. - reads standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Each line of --input is a prompt of its own: one line in, one line out.
    #[arg(long, requires = "input", conflicts_with = "prompt")]
    lines: bool,
    /// Answers for each prompt, sampled (with --beam: the N best); where there are several prompts, N lines for each.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    n: Option<u32>,
    #[command(flatten)]
    table: RowOptions,
    #[command(flatten)]
    molecule: MoleculeOptions,
    #[command(flatten)]
    sampling: SamplingOptions,
    /// Beam search with B beams: the most probable whole answer instead of a random one.
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u16).range(1..=256),
        conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
    beam: Option<u16>,
    /// Beam search divides the score by length to this power: above 1 favours long answers.
    #[arg(long, value_name = "A")]
    length_penalty: Option<f32>,
    /// With --json: report this many alternatives for each token, with their log-probabilities.
    #[arg(long, value_name = "K")]
    logprobs: Option<usize>,
    /// Guess up to N tokens ahead where the text repeats itself, and try them all at once: the same answer, sooner.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=64), conflicts_with = "beam")]
    guess_ahead: Option<u16>,
    /// Let this model with the same tokens guess ahead instead (by default 4 tokens): the same answer, sooner if it is many
    /// times smaller.
    #[arg(long, value_name = "MODEL", conflicts_with = "beam")]
    draft: Option<PathBuf>,
    /// Write the answers to this file instead of standard output; what it held stays until the first answer.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Arguments {
    fn asks_for_samples(&self) -> bool {
        self.sampling.asks_for_samples() || self.n.is_some()
    }

    /// The options that not every kind of model takes and that are given, beside those that are for one kind alone.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        let own = [
            ("adapter", self.model.adapter.is_some()),
            ("precision", self.model.precision != Precision::default()),
            ("prompt", self.prompt.is_some()),
            ("chat", self.chat),
            ("special", self.special),
            ("system", self.system.is_some()),
            ("chat-template", self.chat_template.is_some()),
            ("input", self.input.is_some()),
            ("lines", self.lines),
            ("beam", self.beam.is_some()),
            ("length-penalty", self.length_penalty.is_some()),
            ("logprobs", self.logprobs.is_some()),
            ("guess-ahead", self.guess_ahead.is_some()),
            ("draft", self.draft.is_some()),
        ];
        own.into_iter().chain(self.sampling.given()).filter(|(_, is_given)| *is_given).map(|(name, _)| name)
    }
}

/// What a model makes, as far as options differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gan,
    Table,
    Molecule,
    Other,
}

impl Kind {
    /// Whether an option has an effect.
    fn takes(self, option: &str) -> bool {
        let is_of_samples = ["adapter", "precision", "temperature", "top-k", "top-p", "min-p"].contains(&option)
            || ["repetition-penalty", "presence-penalty", "frequency-penalty"].contains(&option);
        match self {
            Self::Gan => false,
            Self::Table => is_of_samples,
            Self::Molecule => is_of_samples || option == "prompt",
            Self::Other => true,
        }
    }

    /// What it is called, and what it takes instead.
    fn about(self) -> (&'static str, &'static str) {
        match self {
            Self::Gan => ("a GAN", "ask for rows with --where \"column = value\""),
            Self::Table => {
                ("a table", "ask for rows with --where \"column = value\", or fill gaps with --complete FILE")
            }
            Self::Molecule => ("molecules", "give the beginning of each with --prompt SMILES"),
            Self::Other => ("a text", ""),
        }
    }
}

/// Refuses what would have no effect, by name.
fn refuse_ineffective(arguments: &Arguments, kind: Kind) -> Outcome<()> {
    let path = &arguments.model.path;
    if !matches!(kind, Kind::Gan | Kind::Table) {
        arguments.table.refuse(path)?;
    }
    if kind != Kind::Molecule {
        arguments.molecule.refuse(path)?;
    }
    let idle: Vec<String> =
        arguments.given().filter(|name| !kind.takes(name)).map(|name| format!("--{name}")).collect();
    if idle.is_empty() {
        return Ok(());
    }
    let (what, instead) = kind.about();
    let them = if idle.len() == 1 { "it" } else { "them" };
    let idle = idle.join(", ");
    Err(Failure::new(format!("{idle}: without effect on {what}; leave {them} out, and {instead}")))
}

/// Refuses what beam search does not know, by name; perhaps nobody but the model's authors asked for beams.
fn refuse_beside_beams(arguments: &Arguments, settings: &answers::Settings) -> Outcome<()> {
    let Some(n_beams) = settings.beam else { return Ok(()) };
    if settings.n as usize > n_beams {
        return Err(Failure::new(format!(
            "--n {} is more than the {n_beams} texts that --beam follows; give --beam {0}",
            settings.n
        )));
    }
    let unknown = ["presence-penalty", "frequency-penalty", "logprobs", "guess-ahead", "draft"];
    arguments.given().find(|name| unknown.contains(name)).map_or(Ok(()), |name| {
        Err(Failure::new(format!(
            "--{name}: without effect on beam search, and {n_beams} beams are followed here; leave it out, or add --beam 1 for \
             the most probable token each time"
        )))
    })
}

/// Looks at what can be wrong without the model, before it is loaded.
fn check(arguments: &Arguments, common: Common) -> Outcome<()> {
    arguments.sampling.over(Sampling::default()).validate(usize::MAX)?;
    if arguments.logprobs.is_some() && !common.json {
        return Err(Failure::new("--logprobs is reported with --json only; add it"));
    }
    if arguments.draft.is_some() && arguments.guess_ahead == Some(0) {
        return Err(Failure::new("--guess-ahead 0 leaves --draft nothing to guess; leave one of both out"));
    }
    let Some(input) = arguments.input.as_ref().filter(|input| input.as_os_str() != "-") else { return Ok(()) };
    File::open(input).during(format!("cannot read {}", input.display()))?;
    match &arguments.output {
        Some(output) if is_same(input, output) => {
            Err(Failure::new(format!("--input and --output are both {}; name another output", input.display())))
        }
        _ => Ok(()),
    }
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    check(&arguments, common)?;
    arguments.sampling.check_lengths()?;
    let device = machine::device(common.threads);
    if let Some(directory) = gan::directory(&arguments.model.path)? {
        refuse_ineffective(&arguments, Kind::Gan)?;
        let model = gan::load(&directory, &device)?;
        let (n, seed) = (arguments.n, arguments.sampling.over(Sampling::default()).seed);
        let output = arguments.output.as_deref();
        return arguments.table.write_of_gan(&model, &arguments.model.path, (n, seed), output, common.json);
    }
    let kind = match model::kind(&arguments.model.path)?.map(Modality::name) {
        Some("table") => Kind::Table,
        Some("molecule") => Kind::Molecule,
        _ => Kind::Other,
    };
    refuse_ineffective(&arguments, kind)?;
    // The process ends with the answers: giving the model's memory back piece by piece would only take time.
    let mut model = ManuallyDrop::new(arguments.model.load_to_answer(&device)?);
    match kind {
        Kind::Table => return rows(&arguments, &model, common),
        Kind::Molecule => return molecules(&arguments, &model, common),
        Kind::Gan | Kind::Other => {}
    }
    if arguments.chat {
        model.take_template(arguments.chat_template.as_deref())?;
        model.modality = as_chat(&model)?;
    }
    let settings = settings(&arguments, &model);
    say_what_is_used(&arguments, &model, &settings);
    refuse_beside_beams(&arguments, &settings)?;
    let is_greedy = settings.beam.is_none() && settings.sampling.temperature == 0.0;
    if is_greedy && settings.n > 1 {
        return Err(Failure::new(
            "--temperature 0 always gives the same answer, so --n would repeat it; give a temperature above 0 or --beam",
        ));
    }
    if arguments.length_penalty.is_some() && settings.beam.is_none() {
        return Err(Failure::new("--length-penalty is for beam search; add --beam B, or leave it out"));
    }
    let by_line = arguments.lines || model.modality.is_paired();
    let mut prompts = prompts(&arguments, model.modality.is_paired(), by_line)?;
    let shape = match (common.json, by_line) {
        (true, _) => Shape::Json,
        (false, true) => Shape::Lines,
        (false, false) => Shape::Text,
    };
    let mut out = AnswerWriter::new(arguments.output.clone(), shape)?;
    let draft = arguments.draft.as_ref().map(|path| arguments.model.load_beside(path, &device)).transpose();
    let draft = draft.during("--draft")?;
    let speaking = match &draft {
        Some(draft) => model.speaking()?.with_draft(draft)?,
        None => model.speaking()?,
    };
    let is_complete = answers::write(&speaking, &mut prompts, &settings, &mut out, &Interrupt::listen()?)?;
    if is_complete {
        out.finish()?;
    }
    say_what_is_written(&out, is_complete);
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CODE) })
}

/// Tells a person how many answers there are, where they cannot be seen or are not all.
fn say_what_is_written(out: &AnswerWriter, is_complete: bool) {
    if !is_complete && out.n_written == 0 {
        return eprintln!("genera: stopped before an answer was finished");
    }
    let stopped = if is_complete { "" } else { "stopped; " };
    let answers = match out.n_written {
        1 => "1 answer".to_owned(),
        n => format!("{n} answers"),
    };
    match out.path() {
        Some(path) => eprintln!("genera: {stopped}wrote {answers} to {}", path.display()),
        None if !is_complete => eprintln!("genera: {stopped}wrote {answers}"),
        None => {}
    }
}

/// The kind of data that a message and its answer are.
fn as_chat(model: &LoadedModel) -> Outcome<&'static dyn Modality> {
    if model.modality.is_paired() || model.codebook()?.chat_template().is_none() {
        return Err(Failure::new(
            "--chat needs a model with a chat template, and this one has none; give one with --chat-template FILE, or leave \
             --chat out to go on with the prompt",
        ));
    }
    Ok(&Chat)
}

/// Tells a person what the model brought with it: settings, and a chat template that is not used.
fn say_what_is_used(arguments: &Arguments, model: &LoadedModel, settings: &answers::Settings) {
    let is_drawn = settings.beam.is_none() && settings.sampling.temperature > 0.0;
    let is_usual = arguments.chat && !model.defaults.is_of_sampling() && arguments.sampling.leaves_open();
    if is_drawn && is_usual {
        eprintln!("genera: {} (as is usual for messages; options go before)", settings.line());
    } else if model.published != PublishedGeneration::default() {
        let whose = if model.recipe.is_some() { "the run's recipe sets" } else { "the model's authors set" };
        eprintln!("genera: {} (as {whose} it; options go before)", settings.line());
    }
    model.note_of_ignored();
    let has_template = model.codebook.as_ref().is_some_and(|codebook| codebook.chat_template().is_some());
    let is_prompted = arguments.prompt.is_some() || arguments.input.is_some();
    if has_template && is_prompted && model.modality.name() == Text.name() {
        let kind = model.recipe.as_ref().map_or("", |recipe| recipe.data.kind.as_str());
        let learned = if kind == Chat.name() { " learned from conversations and" } else { "" };
        eprintln!(
            "genera: the model{learned} goes on with the prompt as it stands; --chat says it as a message instead"
        );
    }
}

/// Rows of a table, made anew or filled in.
fn rows(arguments: &Arguments, model: &LoadedModel, common: Common) -> Outcome {
    let sampling = arguments.sampling.over(model.defaults.sampling());
    let output = arguments.output.as_deref();
    arguments.table.write(&model.speaking()?, &arguments.model.path, arguments.n, sampling, output, common.json)
}

/// Molecules, made anew or from a beginning.
fn molecules(arguments: &Arguments, model: &LoadedModel, common: Common) -> Outcome {
    let wanted = Wanted {
        prefix: arguments.prompt.as_deref().unwrap_or_default().trim(),
        n: arguments.n.unwrap_or(10) as usize,
        output: arguments.output.as_deref(),
        sampling: arguments.sampling.over(model.defaults.sampling()),
        json: common.json,
    };
    arguments.molecule.write(&model.speaking()?, &arguments.model.path, wanted)
}

fn settings(arguments: &Arguments, model: &LoadedModel) -> answers::Settings {
    let defaults = match arguments.chat {
        true => answers::Settings::of_message(model),
        false => answers::Settings::of_model(model),
    };
    let is_paired = model.modality.is_paired();
    let beam = match arguments.beam {
        Some(beam) => Some(usize::from(beam)).filter(|&beam| beam > 1),
        // Who asks for samples does not want the one best answer.
        None if arguments.asks_for_samples() => None,
        None => defaults.beam.filter(|_| is_paired),
    };
    let mut sampling = defaults.sampling;
    if is_paired {
        // Who translates wants the best answer, unless the model's authors or an option say otherwise.
        let (is_open, is_greedy) = (model.published.temperature.is_none(), sampling.temperature == 0.0);
        sampling.temperature = match arguments.asks_for_samples() {
            false if is_open => 0.0,
            true if is_greedy => 1.0,
            _ => sampling.temperature,
        };
    }
    let max_tokens = arguments.sampling.max_tokens;
    answers::Settings {
        n: arguments.n.unwrap_or(1),
        max_tokens: max_tokens.map_or(defaults.max_tokens, |n| n as usize),
        // Who names a length wants it, even beyond the context.
        when_full: match max_tokens {
            Some(_) if model.goes_on() => WhenFull::GoOn,
            Some(_) if !is_paired => WhenFull::Slide,
            _ => defaults.when_full,
        },
        reads_on: model.goes_on(),
        sampling: arguments.sampling.over(sampling),
        rules: arguments.sampling.rules_over(defaults.rules),
        beam,
        ending: defaults.ending,
        length_penalty: arguments.length_penalty.unwrap_or(defaults.length_penalty),
        stop: if arguments.sampling.stop.is_empty() { defaults.stop } else { arguments.sampling.stop.clone() },
        top_logprobs: arguments.logprobs.unwrap_or(0),
        system: arguments.system.clone(),
        reads_special: arguments.special,
        n_guesses: arguments.guess_ahead.map_or(if arguments.draft.is_some() { 4 } else { 0 }, usize::from),
    }
}

fn prompts(arguments: &Arguments, is_paired: bool, by_line: bool) -> Outcome<Prompts> {
    match (&arguments.prompt, &arguments.input) {
        (Some(prompt), _) => Ok(Prompts::one(prompt.clone())),
        (None, Some(path)) => Prompts::open(path, by_line),
        (None, None) if is_paired => {
            Err(Failure::new("a sequence-to-sequence model needs something to answer: --prompt TEXT or --input FILE"))
        }
        (None, None) if arguments.chat => {
            Err(Failure::new("--chat needs a message: --prompt TEXT or --input FILE (- reads the standard input)"))
        }
        (None, None) => Ok(Prompts::one("")),
    }
}

/// Whether two paths are the same file.
fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// What is said of options to a kind of model; nothing where all have an effect.
    fn said(kind: Kind, options: &[&str]) -> String {
        let line = Line::parse_from([&["generate", "--model", "run"], options].concat());
        refuse_ineffective(&line.arguments, kind).err().map_or_else(String::new, |failure| format!("{failure:?}"))
    }

    #[test]
    fn options_without_effect_beside_others_are_refused() {
        for options in
            [["--lines", "--prompt", "x"], ["--special", "--system", "x"], ["--special", "--chat-template", "x"]]
        {
            let line = [&["generate", "--model", "run"][..], &options].concat();
            let error = Line::try_parse_from(line).expect_err("one of both is ignored");
            assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict, "{options:?}");
        }
    }

    #[test]
    fn options_without_effect_are_refused_by_name() {
        let of_texts: [&[&str]; 11] = [
            &["--max-tokens", "9"],
            &["--min-tokens", "2"],
            &["--no-repeat-ngram-size", "3"],
            &["--stop", "x"],
            &["--chat"],
            &["--special"],
            &["--draft", "small"],
            &["--guess-ahead", "3"],
            &["--length-penalty", "1"],
            &["--logprobs", "2"],
            &["--lines", "--input", "x"],
        ];
        let of_sampling: [&[&str]; 3] =
            [&["--temperature", "0.5"], &["--top-k", "3"], &["--repetition-penalty", "1.1"]];
        for kind in [Kind::Gan, Kind::Table, Kind::Molecule] {
            for options in of_texts {
                let said = said(kind, options);
                assert!(said.contains(options[0]) && said.contains(": without effect"), "{kind:?}: {said}");
            }
            for options in of_sampling {
                assert_eq!(said(kind, options).is_empty(), kind != Kind::Gan, "{kind:?} {options:?}");
            }
        }
        assert!(
            said(Kind::Table, &["--beam", "3", "--prompt", "x"])
                .contains("--prompt, --beam: without effect on a table")
        );
        assert!(said(Kind::Molecule, &["--input", "x"]).contains("--prompt SMILES"));
        assert_eq!(said(Kind::Molecule, &["--prompt", "CC", "--property", "qed=0.9", "--no-grammar"]), "");
        assert_eq!(said(Kind::Gan, &["--where", "a = 1", "--no-copies", "--seed", "3", "--n", "2"]), "");
        for kind in [Kind::Gan, Kind::Table, Kind::Other] {
            for options in [&["--property", "qed=1"][..], &["--no-grammar"], &["--histograms", "x.svg"]] {
                assert!(said(kind, options).contains("for models of molecules"), "{kind:?} {options:?}");
            }
        }
        assert!(said(Kind::Molecule, &["--no-copies"]).contains("for models of tables"));
        assert_eq!(said(Kind::Other, &["--prompt", "x", "--max-tokens", "9", "--chat", "--stop", "y"]), "");
    }
}
