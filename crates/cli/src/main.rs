//! Genera: learns what a data set is made of and makes new things like it.
//!
//! This file is the table of contents: one command, one file. A command parses its arguments, composes the crates, and
//! prints. What several commands share lives in [`run`] (the run directory), [`plan`] (what a run is to do and why) and
//! [`show`] (the terminal and the pictures); [`hub`] knows where models by name
//! come from, [`talk`] holds conversations.

// First, as its macros are those of all others.
#[macro_use]
mod output;

mod answer_writer;
mod answers;
mod base;
mod checks;
mod command;
mod destination;
mod failure;
mod goal;
mod hub;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod large_pages;
mod machine;
mod model;
mod molecules;
mod plan;
mod prompts;
mod provenance;
mod rates;
mod run;
mod scoring;
mod show;
mod stories;
mod tables;
mod talk;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use command::*;
use failure::Outcome;
use genera_tensor::backend::cpu::Isa;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
use std::process::ExitCode;

/// Learns what a data set is made of and makes new things like it.
///
/// Start with `genera quickstart`: it trains a small model on built-in stories and shows what it learned.
#[derive(Parser)]
#[command(name = "genera", version, arg_required_else_help = true, max_term_width = 110)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Settings that every command takes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Common {
    /// Print one JSON object to standard output instead of text; progress goes to standard error.
    #[arg(long, global = true)]
    json: bool,
    /// Number of threads to compute with [default: all cores].
    #[arg(long, global = true, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    Quickstart(quickstart::Arguments),
    Train(train::Arguments),
    Resume(resume::Arguments),
    Pull(pull::Arguments),
    Generate(generate::Arguments),
    Chat(chat::Arguments),
    Serve(serve::Arguments),
    Score(score::Arguments),
    Optimize(optimize::Arguments),
    Evaluate(evaluate::Arguments),
    Logits(logits::Arguments),
    Export(export::Arguments),
    Quantize(quantize::Arguments),
    Replay(replay::Arguments),
    Inspect(inspect::Arguments),
    Report(report::Arguments),
    Check(check::Arguments),
    Bench(bench::Arguments),
    #[command(hide = true)]
    Reference(reference::Arguments),
}

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    large_pages::ask_for();
    let Arguments { common, command } = parsed();
    failure::end_by_panic_hook();
    let outcome = check_environment().and_then(|()| dispatch(command, common));
    output::code(outcome.unwrap_or_else(|failure| failure.report()))
}

/// What was asked for; wrong usage ends here.
fn parsed() -> Arguments {
    let matches = command().try_get_matches().unwrap_or_else(|error| with_expectation(error).exit());
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command()).exit())
}

/// A wrong value with what was expected, where the parser of numbers only says what it found.
fn with_expectation(error: clap::Error) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let source = std::error::Error::source(&error);
    let whole = source.and_then(|source| source.downcast_ref::<ParseIntError>()).map(ParseIntError::kind);
    let (Some(argument), Some(value)) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) else {
        return error;
    };
    let expected = match whole {
        Some(IntErrorKind::PosOverflow) => "the number is too large",
        Some(_) if value.starts_with('-') => "expected a whole number of at least 0",
        Some(_) => "expected a whole number",
        None if source.is_some_and(|source| source.is::<ParseFloatError>()) => "expected a number",
        None => return error,
    };
    let message =
        format!("invalid value '{value}' for '{argument}': {expected}\n\nFor more information, try '--help'.\n");
    clap::Error::raw(error.kind(), message).with_cmd(&command())
}

/// The commands, with texts that are broken into lines by the terminal's width alone.
fn command() -> clap::Command {
    with_paragraphs(Arguments::command())
}

/// Takes the breaks out of the paragraphs that the code has on several lines: they are kept as they stand there for the sake of
/// the examples, and would be broken once more in a narrow terminal.
fn with_paragraphs(command: clap::Command) -> clap::Command {
    let about = command.get_long_about().map(|about| paragraphs(&about.to_string()));
    let command = about.into_iter().fold(command, clap::Command::long_about);
    command.mut_subcommands(with_paragraphs)
}

/// A text with each paragraph on one line; indented lines stay lines.
fn paragraphs(text: &str) -> String {
    let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match lines.last_mut().filter(|last| is_prose(last) && is_prose(line)) {
            Some(last) => *last += &format!(" {line}"),
            None => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// Refuses what environment variables ask for and cannot be had, before anything is done.
fn check_environment() -> Outcome<()> {
    Isa::asked()?;
    molecules::reference::install_scores()
}

fn dispatch(command: Command, common: Common) -> Outcome {
    match command {
        Command::Quickstart(arguments) => quickstart::run(arguments, common),
        Command::Train(arguments) => train::run(arguments, common),
        Command::Resume(arguments) => resume::run(arguments, common),
        Command::Pull(arguments) => pull::run(arguments, common),
        Command::Generate(arguments) => generate::run(arguments, common),
        Command::Chat(arguments) => chat::run(arguments, common),
        Command::Serve(arguments) => serve::run(&arguments, common),
        Command::Score(arguments) => score::run(arguments, common),
        Command::Optimize(arguments) => optimize::run(arguments, common),
        Command::Evaluate(arguments) => evaluate::run(arguments, common),
        Command::Logits(arguments) => logits::run(arguments, common),
        Command::Export(arguments) => export::run(arguments, common),
        Command::Quantize(arguments) => quantize::run(&arguments, common),
        Command::Replay(arguments) => replay::run(arguments, common),
        Command::Inspect(arguments) => inspect::run(arguments, common),
        Command::Report(arguments) => report::run(arguments, common),
        Command::Check(arguments) => check::run(arguments, common),
        Command::Bench(arguments) => bench::run(arguments, common),
        Command::Reference(arguments) => reference::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_numbers_are_told_what_is_expected() {
        for (option, value, expected) in [
            ("--top-k", "-1", "expected a whole number of at least 0"),
            ("--max-tokens", "abc", "expected a whole number"),
            ("--seed", "1.5", "expected a whole number"),
            ("--seed", "99999999999999999999", "the number is too large"),
            ("--top-p", "half", "expected a number"),
            ("--max-tokens", "0", "0 is not in 1..=4294967295"),
        ] {
            let error = command().try_get_matches_from(["genera", "chat", "--model", "m", option, value]).unwrap_err();
            let (kind, text) = (error.kind(), with_expectation(error).to_string());
            assert_eq!(kind, clap::error::ErrorKind::ValueValidation);
            assert!(text.contains(&format!("'{value}' for '{option}")) && text.contains(expected), "{text}");
            assert!(text.trim_end().ends_with("For more information, try '--help'."), "{text}");
        }
    }

    /// A line is only short where the next word would not have fitted.
    #[test]
    fn help_is_broken_by_the_width_alone() {
        const WIDTH: usize = 50;
        let mut root = command().term_width(WIDTH);
        root.build();
        let mut n_checked = 0;
        for command in root.get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            let about: Vec<&str> = help.lines().take_while(|line| !line.starts_with("Usage:")).collect();
            for pair in about.windows(2) {
                let [line, next] = pair else { unreachable!("two lines") };
                if line.is_empty() || next.is_empty() || line.starts_with(' ') || next.starts_with(' ') {
                    continue;
                }
                let word = next.split(' ').next().unwrap_or_default();
                let would_fit = line.chars().count() + 1 + word.chars().count() <= WIDTH;
                assert!(!would_fit, "{}: '{line}' could take '{word}'", command.get_name());
                n_checked += 1;
            }
        }
        assert!(n_checked > 30, "{n_checked}");
        assert_eq!(paragraphs("a\nb\n\nExamples:\n  c\n  d\ne"), "a b\n\nExamples:\n  c\n  d\ne");
    }
}
