//! `cargo xtask check --full`: what needs PyTorch.

use crate::process::{output, root, run, run_with};
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

/// Runs the checks.
pub fn run_all() -> Result<(), String> {
    run("cargo", &["build", "--release", "--package", "genera"])?;
    let genera = root().join("target/release/genera");
    let genera = genera.to_str().ok_or("the repository's path is not UTF-8")?;
    run(genera, &["check"])?;
    EXPORTS.iter().try_for_each(|export| compare_with_transformers(genera, export))?;
    compare_published(genera)
}

/// Makes a tiny model of every published family and variant with transformers, and compares its logits, its continuations
/// and what comes back after an export.
fn compare_published(genera: &str) -> Result<(), String> {
    let models = root().join("target/full/published").display().to_string();
    run("python3", &["benches/peers/transformers_models.py", &models, "--genera", genera])?;
    run_with("cargo", &["test", "--package", "genera-engine", "--test", "golden"], &[("GENERA_MODELS", &models)])
}

/// Trains a little, exports, and compares the logits with those that transformers computes from the exported files.
fn compare_with_transformers(genera: &str, export: &Export) -> Result<(), String> {
    let directory = root().join("target/full").join(export.preset);
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let path = |part: &str| directory.join(part).display().to_string();
    let (run_directory, recipe) = (path(""), format!("recipes/{}.toml", export.recipe));
    let preset = format!("model.preset={}", export.preset);
    let mut arguments = vec!["train", &recipe, "--run", &run_directory, "--set", &preset];
    for set in ["data.n_examples=500", "train.steps=50", "train.dtype=f32"] {
        arguments.extend(["--set", set]);
    }
    run(genera, &arguments)?;
    let (model, logits) = (path("model"), path("logits.json"));
    let mut ask = vec!["--tokens", export.tokens];
    ask.extend(export.decoder_tokens.into_iter().flat_map(|tokens| ["--decoder-tokens", tokens]));
    let printed = output(genera, &[&["logits", "--model", &model, "--json"], &ask[..]].concat())?;
    fs::write(&logits, printed).map_err(|error| format!("{logits}: {error}"))?;
    run("python3", &[&["benches/peers/transformers_logits.py", &model, &logits], &ask[..]].concat())
}
