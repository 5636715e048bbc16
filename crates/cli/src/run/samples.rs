//! `samples/`: what the model made along the way, one file a time.

use crate::answers::{self, Answer, Settings, sampling_of};
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
    let max_tokens = recipe.generate.max_tokens.min(N_TOKENS);
    if model.modality.is_paired() {
        let sources = validation.map_or_else(|| Ok(Vec::new()), first_sources)?;
        let shown: Vec<String> =
            sources.iter().map(|source| model.modality.decode(model.codebook, source).as_text()).collect();
        let answers = answers::answer(model, sources, &Settings { max_tokens, ..Settings::greedy() })?;
        let pair = |(source, answer): (&String, &Answer)| format!("{source}\n  → {}", answer.text);
        return Ok(shown.iter().zip(answers.iter().flatten()).map(pair).collect::<Vec<_>>().join("\n"));
    }
    let prompts = validation.map_or_else(|| Ok(Vec::new()), first_prompts)?;
    if !prompts.is_empty() {
        let shown: Vec<String> = prompts.iter().map(|prompt| model.codebook.decode(prompt)).collect();
        let answers = answers::answer(model, prompts, &Settings { max_tokens, ..Settings::greedy() })?;
        let pair = |(prompt, answer): (&String, &Answer)| format!("{prompt}\n  → {}", answer.text);
        return Ok(shown.iter().zip(answers.iter().flatten()).map(pair).collect::<Vec<_>>().join("\n"));
    }
    let sampling = Sampling { seed: recipe.train.seed.wrapping_add(step), ..sampling_of(&recipe.generate) };
    if molecule::of(model.codebook).is_ok() {
        return molecules(model, sampling);
    }
    let settings = Settings { max_tokens, sampling, beam: None, ..Settings::of_recipe(&recipe.generate) };
    let answers = answers::answer(model, vec![model.encode("")?], &settings)?;
    Ok(answers.into_iter().flatten().map(|answer| answer.text).collect())
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
