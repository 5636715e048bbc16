//! `cargo xtask fuzz SECONDS [TARGET...]`: every reader of files from outside, given damaged ones.

use crate::process::{output, root, run, run_with};
use std::fs;
use std::path::PathBuf;

/// The targets, and the files of a run that they start from.
const TARGETS: [(&str, &[&str]); 16] = [
    ("recipe", &["recipe.toml"]),
    ("shard", &["data/train.shard", "data/validation.shard"]),
    ("checkpoint", &["checkpoints/step-000002/manifest.json", "checkpoints/step-000002/model.safetensors"]),
    ("tokenizer", &["data/tokenizer.json"]),
    ("safetensors", &["checkpoints/step-000002/model.safetensors", "model/model.safetensors"]),
    ("gguf", &[]),
    ("chat_template", &[]),
    ("torch", &[]),
    ("adapter", &[]),
    ("messages", &[]),
    ("table", &[]),
    ("wire", &[]),
    ("gan", &[]),
    ("molecule", &[]),
    ("structures", &[]),
    ("pickled", &[]),
];

/// Runs each target, or those named, for `seconds`; the first that finds something ends it.
///
/// libFuzzer needs coverage flags that stable compilers hide, hence `RUSTC_BOOTSTRAP`; it needs no nightly compiler.
pub fn run_targets(seconds: &str, names: &[&str]) -> Result<(), String> {
    let seconds: u32 = seconds.parse().map_err(|_| format!("{seconds} is not a number of seconds"))?;
    if let Some(unknown) = names.iter().find(|name| TARGETS.iter().all(|(target, _)| target != *name)) {
        return Err(format!(
            "there is no fuzz target {unknown}; there are {}",
            TARGETS.map(|(target, _)| target).join(", ")
        ));
    }
    if output("cargo", &["fuzz", "--version"]).is_err() {
        return Err("cargo-fuzz is not installed; run: cargo install --locked cargo-fuzz".into());
    }
    let seeds = seed_run()?;
    for (target, files) in TARGETS.into_iter().filter(|(target, _)| names.is_empty() || names.contains(target)) {
        let corpus = root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
        for (i, file) in files.iter().enumerate() {
            let to = corpus.join(format!("seed-{i}"));
            fs::copy(seeds.join(file), &to).map_err(|error| format!("{file}: {error}"))?;
        }
        let limit = format!("-max_total_time={seconds}");
        let arguments = ["fuzz", "run", "--sanitizer", "none", target, "--", &limit, "-max_len=65536", "-timeout=20"];
        run_with("cargo", &arguments, &[("RUSTC_BOOTSTRAP", "1")])?;
    }
    Ok(())
}

/// A run of two steps, whose files are whole.
fn seed_run() -> Result<PathBuf, String> {
    let path = root().join("target/fuzz-seeds");
    if !path.exists() {
        let mut arguments = vec!["run", "--quiet", "--package", "genera", "--", "train", "recipes/copy.toml", "--run"];
        arguments.push(path.to_str().ok_or("the repository's path is not UTF-8")?);
        let set = ["data.n_examples=20", "model.d_model=8", "model.n_heads=1", "train.steps=2"];
        set.iter().for_each(|set| arguments.extend(["--set", set]));
        run("cargo", &arguments)?;
    }
    Ok(path)
}
