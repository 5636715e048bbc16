//! What an adapter in PEFT's layout is made of.

use crate::command::Common;
use crate::failure::{Outcome, While};
use crate::show::{number, word};
use genera_engine::weights::safetensors::Reader;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// Longest configuration that is read; it may list every module.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// What `adapter_config.json` says of an adapter.
#[derive(Deserialize, Serialize)]
struct Config {
    peft_type: Option<String>,
    base_model_name_or_path: Option<String>,
    r: Option<usize>,
    lora_alpha: Option<f64>,
    target_modules: Option<Targets>,
}

/// The modules that are adapted: a list of the ends of their names, or a pattern.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Targets {
    Pattern(String),
    Names(Vec<String>),
}

/// Whether a directory holds an adapter and no model.
pub(super) fn is_in(directory: &Path) -> bool {
    directory.join(CONFIG).is_file()
        && !["config.json", "recipe.toml"].iter().any(|file| directory.join(file).is_file())
}

/// Says what an adapter is made of.
///
/// # Errors
/// When its files cannot be read.
pub(super) fn describe(directory: &Path, common: Common) -> Outcome {
    let [config, weights] = [CONFIG, WEIGHTS].map(|file| directory.join(file));
    let mut json = Vec::new();
    let read = File::open(&config).and_then(|file| file.take(MAX_CONFIG_BYTES).read_to_end(&mut json));
    read.during(format!("cannot read {}", config.display()))?;
    let config: Config = serde_json::from_slice(&json).during(format!("{} is damaged", config.display()))?;
    let n_parameters: usize = Reader::open(&weights)?.entries().iter().map(|entry| entry.n_elements()).sum();
    let n_bytes = std::fs::metadata(&weights).during(format!("cannot look at {}", weights.display()))?.len();
    if common.json {
        println!("{}", serde_json::json!({ "adapter": config, "parameters": n_parameters, "bytes": n_bytes }));
        return Ok(ExitCode::SUCCESS);
    }
    let known = |value: Option<String>| value.unwrap_or_else(|| "not said".to_owned());
    let base = config.base_model_name_or_path.filter(|base| !base.is_empty());
    let modules = config.target_modules.map(|targets| match targets {
        Targets::Pattern(pattern) => pattern,
        Targets::Names(names) => names.join(", "),
    });
    println!("Adapter");
    for (name, value) in [
        ("kind", known(config.peft_type)),
        ("base", known(base.clone())),
        ("rank", known(config.r.map(|rank| rank.to_string()))),
        ("alpha", known(config.lora_alpha.map(|alpha| alpha.to_string()))),
        ("of the modules", known(modules)),
        ("learned parameters", format!("{}, {}", number::count(n_parameters as f64), number::bytes(n_bytes as usize))),
    ] {
        println!("  {name:<22} {value}");
    }
    let base = base.map_or_else(|| "BASE".to_owned(), |base| word(Path::new(&base)));
    println!("\nUse it: genera generate --model {base} --adapter {} --prompt TEXT", word(directory));
    Ok(ExitCode::SUCCESS)
}
