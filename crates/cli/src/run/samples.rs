//! `samples/`: what the model made along the way, one file a time.

use crate::failure::Outcome;
use genera_data::Shard;
use genera_engine::generate::{Answer, Generator, Limits, Request, Sampling};
use genera_engine::model::Transformer;
use genera_engine::recipe::{GenerateRecipe, Recipe};
use genera_modality::{Codebook, Modality};
use genera_tokens::Role;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// Tokens of a sample at most: it is there to be glanced at.
const N_TOKENS: usize = 400;

/// Sources of the validation data that are answered.
const N_SOURCES: u64 = 4;

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

/// Makes a few samples: new texts, or answers to sources of the validation data.
///
/// # Errors
/// When the model cannot be asked.
pub fn make(
    model: &Transformer,
    codebook: &Codebook,
    modality: &dyn Modality,
    recipe: &Recipe,
    validation: Option<&Shard>,
    step: u64,
) -> Outcome<String> {
    let special = codebook.vocab().special;
    let start = special.begin.or(special.padding).unwrap_or(0);
    let sampling = Sampling { seed: recipe.train.seed.wrapping_add(step), ..sampling_of(&recipe.generate) };
    let settings = |mut request: Request, sampling: Sampling| {
        request.max_tokens = recipe.generate.max_tokens.min(N_TOKENS);
        request.stop = special.end.into_iter().collect();
        request.sampling = sampling;
        request
    };
    let requests: Vec<(String, Request)> = if modality.is_paired() {
        let sources = validation.map_or_else(|| Ok(Vec::new()), first_sources)?;
        let ask = |source: Vec<u32>| {
            let shown = modality.decode(codebook, &source).as_text();
            (format!("{shown}\n  → "), settings(Request::with_source(source, vec![start]), Sampling::greedy()))
        };
        sources.into_iter().map(ask).collect()
    } else {
        let prompt = match special.begin {
            Some(begin) => vec![begin],
            None => codebook.encode("\n").unwrap_or_else(|_| vec![start]),
        };
        vec![(String::new(), settings(Request::new(prompt), sampling))]
    };
    let mut generator = Generator::new(model, Limits::default());
    let mut leads = Vec::new();
    for (lead, request) in requests {
        generator.submit(request)?;
        leads.push(lead);
    }
    let answers = generator.run(|_| ControlFlow::Continue(()));
    let one = |(lead, answer): (String, Answer)| lead + &modality.decode(codebook, &answer.tokens).as_text();
    Ok(leads.into_iter().zip(answers).map(one).collect::<Vec<String>>().join("\n"))
}

fn first_sources(validation: &Shard) -> Outcome<Vec<Vec<u32>>> {
    let n = validation.info().n_documents.min(N_SOURCES);
    (0..n).map(|i| Ok(validation.document(i)?.ids_of(Role::Condition))).collect()
}

/// The settings of a recipe's `[generate]` table.
pub fn sampling_of(generate: &GenerateRecipe) -> Sampling {
    Sampling {
        temperature: generate.temperature as f32,
        top_k: generate.top_k,
        top_p: generate.top_p as f32,
        min_p: generate.min_p as f32,
        repetition_penalty: generate.repetition_penalty as f32,
        presence_penalty: generate.presence_penalty as f32,
        frequency_penalty: generate.frequency_penalty as f32,
        ..Sampling::default()
    }
}
