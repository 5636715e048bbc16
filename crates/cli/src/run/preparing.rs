//! Preparing the data, with its progress shown.

use super::directory::RunDirectory;
use crate::failure::Outcome;
use crate::plan;
use crate::show::number;
use crate::show::prose::fitted;
use crate::show::status_line::StatusLine;
use genera_data::Error;
use genera_data::prepare::{Preparation, Prepared, Progress, Stage, load_prepared, prepare as prepare_data};
use genera_engine::recipe::Recipe;
use genera_modality::{molecule, table};
use std::path::{Path, PathBuf};

/// The data that a run was prepared with.
///
/// # Errors
/// When it is not there or damaged, or the recipe's settings for it are wrong.
pub fn prepared_of(run: &RunDirectory, recipe: &Recipe) -> Outcome<Prepared> {
    let fit = plan::table::fit(recipe)?;
    Ok(load_prepared(&run.data(), fit.as_deref())?)
}

/// Prepares the data of a run and says what was found in it. `template` is the file of the chat template, where its recipe names one.
///
/// # Errors
/// When a file is missing or damaged, or the disk is full.
pub fn prepare(preparation: &Preparation, directory: &Path, template: Option<&str>, json: bool) -> Outcome<Prepared> {
    let mut status = StatusLine::new();
    let prepared = prepare_data(preparation, directory, &mut |progress| status.show(|| line(progress)));
    // It is read from the run's own copy, of which the person knows nothing.
    let prepared = prepared.map_err(|error| match error {
        Error::Template { problem, .. } => Error::Template { file: template.map(PathBuf::from), problem },
        other => other,
    })?;
    drop(status);
    if let Some(notice) = &prepared.notice {
        eprintln!("genera: {notice}; the data was prepared again");
    }
    for example in &prepared.summary.dropped_examples {
        eprintln!("genera: dropped {example}");
    }
    if !json {
        println!("{}", fitted(&summary(&prepared), 0));
        if let Ok(table) = table::of(&prepared.tokenizer) {
            println!("{}", plan::table::describe(table));
        }
    }
    Ok(prepared)
}

fn line(progress: &Progress) -> String {
    let stage = match progress.stage {
        Stage::Survey => "reading the data",
        Stage::TrainTokenizer => "learning the vocabulary",
        Stage::Encode => "turning it into tokens",
    };
    let amount = match progress.n_bytes_total {
        Some(total) if total > 0 => {
            let share = progress.n_bytes as f64 / total as f64;
            let left = progress.elapsed.mul_f64((1.0 / share.max(1e-6) - 1.0).clamp(0.0, 1e6));
            format!("{:.0} % of {}, {} left", 100.0 * share, number::bytes(total as usize), number::duration(left))
        }
        _ => format!("{} documents", number::count(progress.n_documents as f64)),
    };
    let tokens = match progress.n_tokens {
        0 => String::new(),
        n => format!(", {} tokens, {}/s", number::count(n as f64), number::count(progress.tokens_per_s())),
    };
    format!("{stage}: {amount}{tokens}")
}

/// What the documents of the data are called.
fn noun(prepared: &Prepared) -> &'static str {
    match (table::of(&prepared.tokenizer), molecule::of(&prepared.tokenizer)) {
        (Ok(_), _) => "rows",
        (_, Ok(_)) => "molecules",
        _ => "documents",
    }
}

fn summary(prepared: &Prepared) -> String {
    let summary = &prepared.summary;
    let dropped: Vec<String> = summary.dropped.iter().map(|(reason, n)| format!("{n} dropped: {reason}")).collect();
    let dropped = if dropped.is_empty() { String::new() } else { format!(" ({})", dropped.join(", ")) };
    format!(
        "{}: {} {}{dropped}, {} tokens ({}, vocabulary {}), {} tokens for validation{}",
        summary.corpus,
        summary.n_documents,
        noun(prepared),
        number::count(summary.n_tokens as f64),
        // How it is called inside says nothing to a person.
        if summary.tokenizer == "foreign" { "published tokenizer" } else { &summary.tokenizer },
        summary.vocab_size,
        number::count(summary.n_validation_tokens as f64),
        if prepared.is_reused { "; prepared before" } else { "" },
    )
}
