//! `cargo xtask check --full`: what needs PyTorch.

use crate::process::{output, root, run, run_with};
use crate::python;
use std::fs;

/// A family of architectures, the recipe it is tried with, and ids that its model is asked about.
struct Export {
    preset: &'static str,
    recipe: &'static str,
    tokens: &'static str,
    decoder_tokens: Option<&'static str>,
}

const EXPORTS: [Export; 4] = [
    Export { preset: "llama", recipe: "quickstart", tokens: "1,9,23,4,17,30", decoder_tokens: None },
    Export { preset: "gpt2", recipe: "quickstart", tokens: "1,9,23,4,17,30", decoder_tokens: None },
    Export { preset: "marian", recipe: "sort", tokens: "9,23,4,17,30,2", decoder_tokens: Some("0,30,17,4") },
    Export { preset: "t5", recipe: "sort", tokens: "9,23,4,17,30,2", decoder_tokens: Some("0,30,17,4") },
];

/// How they are trained. At higher rates than this the difference between two roundings grows tenfold every few steps, until
/// it says nothing of the programs.
const TRAINING: [&str; 8] = [
    "data.n_examples=500",
    "train.dtype=f32",
    "train.steps=50",
    "train.log_every=1",
    "train.optimizer=adamw",
    "train.schedule=cosine",
    "train.warmup_steps=10",
    "train.learning_rate=1e-3",
];

/// Runs the checks.
pub fn run_all() -> Result<(), String> {
    run("cargo", &["build", "--release", "--package", "genera"])?;
    let genera = root().join("target/release/genera");
    let genera = genera.to_str().ok_or("the repository's path is not UTF-8")?;
    run(genera, &["check"])?;
    let python = python::named(None)?;
    EXPORTS.iter().try_for_each(|export| {
        let run_directory = train(genera, export)?;
        compare_logits(genera, &python, export, &run_directory)?;
        compare_curve(genera, &python, &run_directory, &[])
    })?;
    compare_published(genera, &python)
}

/// Trains a model of a preset among [`EXPORTS`] and compares the loss of every step with PyTorch's.
pub fn compare_losses(genera: &str, python: &str, preset: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let export = EXPORTS.iter().find(|export| export.preset == preset);
    let export = export.ok_or_else(|| format!("there is no comparison of {preset}"))?;
    let run_directory = train(genera, export)?;
    compare_curve(genera, python, &run_directory, environment)
}

/// Makes a tiny model of every published family and variant with transformers, and compares its logits, its continuations
/// and what comes back after an export.
fn compare_published(genera: &str, python: &str) -> Result<(), String> {
    let models = root().join("target/full/published").display().to_string();
    run(python, &["benches/peers/transformers_models.py", &models, "--genera", genera])?;
    run_with("cargo", &["test", "--package", "genera-engine", "--test", "golden"], &[("GENERA_MODELS", &models)])
}

/// Trains a little, in the way that the script repeats, and returns the run directory.
fn train(genera: &str, export: &Export) -> Result<String, String> {
    let directory = root().join("target/full").join(export.preset);
    let path = directory.display().to_string();
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(|error| format!("{path}: {error}"))?;
    }
    let (recipe, preset) = (format!("recipes/{}.toml", export.recipe), format!("model.preset={}", export.preset));
    let mut arguments = vec!["train", &recipe, "--run", &path, "--set", &preset];
    arguments.extend(TRAINING.iter().flat_map(|set| ["--set", set]));
    run(genera, &arguments)?;
    Ok(path)
}

/// Compares the logits with those that transformers computes from the exported files.
fn compare_logits(genera: &str, python: &str, export: &Export, run_directory: &str) -> Result<(), String> {
    let (model, logits) = (format!("{run_directory}/model"), format!("{run_directory}/logits.json"));
    let mut ask = vec!["--tokens", export.tokens];
    ask.extend(export.decoder_tokens.into_iter().flat_map(|tokens| ["--decoder-tokens", tokens]));
    let printed = output(genera, &[&["logits", "--model", &model, "--json"], &ask[..]].concat())?;
    fs::write(&logits, printed).map_err(|error| format!("{logits}: {error}"))?;
    run(python, &[&["benches/peers/transformers_logits.py", &model, &logits], &ask[..]].concat())
}

/// Compares the loss of every step with PyTorch's, from the same first weights on the same batches.
fn compare_curve(genera: &str, python: &str, run_directory: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let replay = format!("{run_directory}/replay");
    run(genera, &["replay", run_directory, "--output", &replay])?;
    run_with(python, &["benches/peers/pytorch_curve.py", run_directory, &replay], environment)
}
