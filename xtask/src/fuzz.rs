//! `cargo xtask fuzz SECONDS [TARGET...]`: every reader of files from outside, given damaged ones.

mod seeds;

use crate::process::{output, root, run, run_with};
use seeds::{Part, TARGETS};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest input, in bytes. Of a longer file the fuzzer would take the beginning alone, which ends at its header.
const MAX_LEN: usize = 1 << 16;

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
    let runs = seed_runs()?;
    for (target, start) in TARGETS.into_iter().filter(|(target, _)| names.is_empty() || names.contains(target)) {
        let seeds = write_seeds(target, start, &runs)?;
        let fuzz = |more: &[&str], environment: &[(&str, &str)]| {
            let arguments = [&["fuzz", "run", "--sanitizer", "none", target], more, &["-timeout=20"]].concat();
            run_with("cargo", &arguments, &[&[("RUSTC_BOOTSTRAP", "1")], environment].concat())
        };
        if !seeds.is_empty() {
            // Each is read once, and must be sound.
            let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
            fuzz(&[&seeds[..], &["--"]].concat(), &[("FUZZ_SEEDS", "1")])?;
        }
        fuzz(&["--", &format!("-max_total_time={seconds}"), &format!("-max_len={MAX_LEN}")], &[])?;
    }
    Ok(())
}

/// Puts what a target starts from into its corpus; gives the paths.
fn write_seeds(target: &str, start: &[&[Part]], runs: &Path) -> Result<Vec<String>, String> {
    let corpus = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let write = |(i, parts): (usize, &&[Part])| {
        let (to, content) = (corpus.join(format!("seed-{i}")), Part::joined(parts, runs)?);
        if content.len() > MAX_LEN {
            let n = content.len();
            return Err(format!(
                "seed {i} of {target} has {n} bytes, and an input has at most {MAX_LEN}; make the model in fuzz.rs smaller"
            ));
        }
        fs::write(&to, content).map_err(|error| format!("{}: {error}", to.display()))?;
        Ok(to.display().to_string())
    };
    start.iter().enumerate().map(write).collect()
}

/// A run of two steps, `first`, whose files are whole, its model in two GGUF files, and `tuned`, which learned an adapter to it. The
/// sizes of the model are also those in the target `adapter`.
fn seed_runs() -> Result<PathBuf, String> {
    let path = root().join("target/fuzz-seeds");
    if path.join("tuned/adapter").exists() {
        return Ok(path);
    }
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    if path.exists() {
        fs::remove_dir_all(&path).map_err(fail)?;
    }
    fs::create_dir_all(&path).map_err(fail)?;
    fs::write(path.join("tune.txt"), "A cat sat, and a dog ran after it.\n".repeat(200)).map_err(fail)?;
    let genera =
        |arguments: &[&str]| run("cargo", &[&["run", "--quiet", "--package", "genera", "--"], arguments].concat());
    let [first, tuned, text, model, small] =
        ["first", "tuned", "tune.txt", "model.gguf", "small.gguf"].map(|name| path.join(name).display().to_string());
    // Rows of d_ff are whole blocks of q4_0.
    let sizes =
        ["model.n_layers=1", "model.d_model=16", "model.n_heads=1", "model.d_ff=32", "tokenizer.vocab_size=300"];
    let sizes = [&sizes[..], &["data.n_examples=100", "train.steps=2"]].concat();
    let sizes: Vec<&str> = sizes.into_iter().flat_map(|size| ["--set", size]).collect();
    genera(&[&["train", "recipes/quickstart.toml", "--run", &first], &sizes[..]].concat())?;
    genera(&["export", "--model", &first, "--to", "gguf", &model])?;
    genera(&["quantize", "--no-perplexity", "--model", &first, "--to", "q4_0", &small])?;
    let steps = ["--lora", "1", "--set", "train.steps=2", "--run", &tuned];
    genera(&[&["train", "--base", &first, "--data", &text], &steps[..]].concat())?;
    Ok(path)
}
