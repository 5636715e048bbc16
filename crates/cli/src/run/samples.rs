//! `samples/`: what the model made along the way, one file a time.

use crate::answers::{self, Answer, Settings};
use crate::failure::Outcome;
use crate::model::SpeakingModel;
use crate::molecules::maker::Maker;
use genera_data::Shard;
use genera_engine::generate::Sampling;
use genera_engine::recipe::Recipe;
use genera_modality::molecule;
use genera_tokens::{Role, Span};
use std::io;
use std::path::Path;

/// Tokens of a sample at most: it is there to be glanced at.
const N_TOKENS: usize = 400;

/// Sources of the validation data that are answered.
const N_SOURCES: u64 = 4;

/// Molecules of a sample, and lines that may lead nowhere before fewer have to do.
const N_MOLECULES: usize = 5;
const N_TRIES: usize = 20;

/// Writes what was made at `step`.
///
/// # Errors
/// When the file cannot be written.
pub fn write(directory: &Path, step: u64, text: &str) -> io::Result<()> {
    std::fs::write(directory.join(format!("step-{step:08}.txt")), text)
}

/// Everything that was made, in order of the steps.
///
/// # Errors
/// When the directory or a file in it cannot be read.
pub fn read(directory: &Path) -> io::Result<Vec<(u64, String)>> {
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let step = name.strip_prefix("step-").and_then(|rest| rest.strip_suffix(".txt")).and_then(|n| n.parse().ok());
        if let Some(step) = step {
            samples.push((step, std::fs::read_to_string(&path)?));
        }
    }
    samples.sort();
    Ok(samples)
}

/// Makes a few samples: new texts, molecules, or answers to sources of the validation data.
///
/// # Errors
/// When the model cannot be asked.
pub fn make(model: &SpeakingModel<'_>, recipe: &Recipe, validation: Option<&Shard>, step: u64) -> Outcome<String> {
    let max_tokens = recipe.generate.max_tokens().min(N_TOKENS);
    let given = match (validation, model.modality.is_paired()) {
        (Some(validation), true) => first_sources(validation)?,
        (Some(validation), false) => first_prompts(validation)?,
        (None, _) => Vec::new(),
    };
    if model.modality.is_paired() || !given.is_empty() {
        return answered(model, given, max_tokens);
    }
    let sampling = Sampling { seed: recipe.train.seed.wrapping_add(step), ..recipe.generate.sampling() };
    if molecule::of(model.codebook).is_ok() {
        return molecules(model, sampling);
    }
    let settings = Settings { max_tokens, sampling, beam: None, ..Settings::of_recipe(&recipe.generate) };
    let answers = answers::answer(model, vec![model.encode("")?], &settings)?;
    Ok(answers.into_iter().flatten().map(|answer| answer.text).collect())
}

/// What is given of the validation data, each with its answer. What is too long for the model is not answered.
fn answered(model: &SpeakingModel<'_>, given: Vec<Vec<u32>>, max_tokens: usize) -> Outcome<String> {
    let context_len = model.transformer.config().context_len;
    let is_paired = model.modality.is_paired();
    // An encoder keeps no room for the answer.
    let fits = |ids: &Vec<u32>| ids.len() + usize::from(!is_paired) <= context_len;
    let (given, long): (Vec<Vec<u32>>, Vec<Vec<u32>>) = given.into_iter().partition(fits);
    let text = |ids: &Vec<u32>| match is_paired {
        true => model.modality.decode(model.codebook, ids).as_text(),
        false => model.codebook.decode(ids),
    };
    let shown: Vec<String> = given.iter().map(text).collect();
    let answers = answers::answer(model, given, &Settings { max_tokens, ..Settings::greedy() })?;
    let pair = |(given, answer): (&String, &Answer)| format!("{}\n  → {}", given.trim_end(), answer.text);
    let mut parts: Vec<String> = shown.iter().zip(answers.iter().flatten()).map(pair).collect();
    let note = |ids: &Vec<u32>| {
        format!("(not answered: {} tokens do not fit the model's context of {context_len})", ids.len())
    };
    parts.extend(long.iter().map(note));
    Ok(blocks(&parts))
}

/// Each of several under a line of its own.
fn blocks(parts: &[String]) -> String {
    let [_, _, ..] = parts else { return parts.concat() };
    let block = |(i, part): (usize, &String)| format!("── {} of {} ──\n{part}", i + 1, parts.len());
    parts.iter().enumerate().map(block).collect::<Vec<_>>().join("\n\n")
}

/// New molecules of any kind, a line each, as `genera generate` makes them: a line that the rules of SMILES leave no way to end is
/// made again.
fn molecules(model: &SpeakingModel<'_>, sampling: Sampling) -> Outcome<String> {
    let lines = Maker::new(model.clone(), "", &[], 1.0, sampling, true)?.next_within(N_MOLECULES, N_TRIES)?;
    if lines.is_empty() {
        return Ok(format!("no molecule yet: {N_TRIES} lines came to no end"));
    }
    Ok(lines.into_iter().map(|(line, _)| line).collect::<Vec<_>>().join("\n"))
}

/// What comes before the first answer in conversations of the validation data; none for plain texts.
fn first_prompts(validation: &Shard) -> Outcome<Vec<Vec<u32>>> {
    let mut prompts = Vec::new();
    for i in 0..validation.info().n_documents.min(N_SOURCES) {
        let document = validation.document(i)?;
        if let Some(Span { role: Role::Condition, range }) = document.spans().first() {
            prompts.push(document.ids()[range.clone()].to_vec());
        }
    }
    Ok(prompts)
}

fn first_sources(validation: &Shard) -> Outcome<Vec<Vec<u32>>> {
    let n = validation.info().n_documents.min(N_SOURCES);
    (0..n).map(|i| Ok(validation.document(i)?.ids_of(Role::Condition))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_do_not_run_into_each_other() {
        let parts = ["a\n  → b", "c"].map(str::to_owned);
        assert_eq!(blocks(&parts), "── 1 of 2 ──\na\n  → b\n\n── 2 of 2 ──\nc");
        assert_eq!(blocks(&parts[1..]), "c");
    }
}
