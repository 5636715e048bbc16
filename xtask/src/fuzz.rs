//! `cargo xtask fuzz SECONDS [TARGET...]`: every reader of files from outside, given damaged ones.

use crate::process::{output, root, run, run_with};
use Part::{Bytes, Of};
use std::fs;
use std::path::{Path, PathBuf};

/// The targets, and what they start from: each the contents of a run's files and bytes, one behind the other.
const TARGETS: [(&str, &[&[Part]]); 16] = [
    ("recipe", &[&[Of("recipe.toml")]]),
    ("shard", &[&[Of("data/train.shard")], &[Of("data/validation.shard")]]),
    ("checkpoint", &[&[Of("checkpoints/step-000002/manifest.json")]]),
    ("tokenizer", &[&[Bytes(b"\0"), Of("data/tokenizer.json"), Bytes(b"\0a cat sat")]]),
    ("safetensors", &[&[Of("checkpoints/step-000002/model.safetensors")], &[Of("model/model.safetensors")]]),
    ("gguf", &[&[Of("model.gguf")], &[Of("small.gguf")]]),
    ("chat_template", &[]),
    ("torch", &[]),
    (
        "adapter",
        &[&[
            Bytes(br#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "bias": "none", "target_modules": ["q_proj"]}"#),
            Bytes(b"\0"),
            Of("model/model.safetensors"),
        ]],
    ),
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
    for (target, start) in TARGETS.into_iter().filter(|(target, _)| names.is_empty() || names.contains(target)) {
        let corpus = root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
        for (i, parts) in start.iter().enumerate() {
            let content: Result<Vec<Vec<u8>>, String> = parts.iter().map(|part| part.read(&seeds)).collect();
            let to = corpus.join(format!("seed-{i}"));
            fs::write(&to, content?.concat()).map_err(|error| format!("{}: {error}", to.display()))?;
        }
        let limit = format!("-max_total_time={seconds}");
        let arguments = ["fuzz", "run", "--sanitizer", "none", target, "--", &limit, "-max_len=65536", "-timeout=20"];
        run_with("cargo", &arguments, &[("RUSTC_BOOTSTRAP", "1")])?;
    }
    Ok(())
}

/// What a file that a target starts from is made of.
#[derive(Clone, Copy)]
enum Part {
    /// A file of the run.
    Of(&'static str),
    /// These bytes.
    Bytes(&'static [u8]),
}

impl Part {
    fn read(&self, run: &Path) -> Result<Vec<u8>, String> {
        match self {
            Of(file) => fs::read(run.join(file)).map_err(|error| format!("{file}: {error}")),
            Bytes(bytes) => Ok(bytes.to_vec()),
        }
    }
}

/// A run of two steps, whose files are whole, and its model in two GGUF files.
fn seed_run() -> Result<PathBuf, String> {
    let path = root().join("target/fuzz-seeds");
    let file = |name: &str| path.join(name).display().to_string();
    let genera =
        |arguments: &[&str]| run("cargo", &[&["run", "--quiet", "--package", "genera", "--"], arguments].concat());
    if !path.join("small.gguf").exists() {
        let set =
            ["data.n_examples=200", "tokenizer.vocab_size=300", "model.d_model=32", "model.n_heads=1", "train.steps=2"];
        let set = set.map(|set| ["--set", set]);
        let (run, model, small) = (path.display().to_string(), file("model.gguf"), file("small.gguf"));
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| format!("{run}: {error}"))?;
        }
        genera(&[&["train", "recipes/quickstart.toml", "--run", &run], set.as_flattened()].concat())?;
        genera(&["export", "--model", &run, "--to", "gguf", &model])?;
        genera(&["quantize", "--no-perplexity", "--model", &run, "--to", "q4_0", &small])?;
    }
    Ok(path)
}
