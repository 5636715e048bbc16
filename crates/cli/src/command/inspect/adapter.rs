//! What an adapter in PEFT's layout is made of.

use super::MAX_SHOWN;
use crate::base;
use crate::command::Common;
use crate::failure::{Outcome, printable};
use crate::show::prose::fitted;
use crate::show::{number, row, word};
use genera_engine::weights::{AdapterSummary, TargetModules};
use std::path::Path;
use std::process::ExitCode;

/// Whether a directory holds an adapter and no model.
pub(super) fn is_in(directory: &Path) -> bool {
    AdapterSummary::is_in(directory)
        && !["config.json", "recipe.toml"].iter().any(|file| directory.join(file).is_file())
}

/// Says what an adapter is made of.
///
/// # Errors
/// When its files cannot be read.
pub(super) fn describe(directory: &Path, common: Common) -> Outcome {
    let summary = AdapterSummary::read(directory)?;
    let AdapterSummary { config, n_parameters, n_bytes } = &summary;
    if common.json {
        println!("{}", serde_json::json!({ "adapter": config, "parameters": n_parameters, "bytes": n_bytes }));
        return Ok(ExitCode::SUCCESS);
    }
    let known = |value: Option<String>| value.map_or("not said".to_owned(), |value| printable(&value, MAX_SHOWN));
    let base = base::of_adapter(config).map(|base| printable(&base, MAX_SHOWN));
    let modules = config.target_modules.as_ref().map(|targets| match targets {
        TargetModules::Pattern(pattern) => pattern.clone(),
        TargetModules::Names(names) => names.join(", "),
    });
    println!("Adapter");
    for (name, value) in [
        ("kind", known(config.peft_type.clone())),
        ("base", known(base.clone())),
        ("rank", known(config.r.map(|rank| rank.to_string()))),
        ("alpha", known(config.lora_alpha.map(|alpha| alpha.to_string()))),
        ("of the modules", known(modules)),
        ("learned parameters", format!("{}, {}", number::count(*n_parameters as f64), number::bytes_of_file(*n_bytes))),
    ] {
        row(name, value);
    }
    if summary.is_of_known_kind() {
        let base = base.map_or_else(|| "BASE".to_owned(), |base| word(Path::new(&base)));
        println!("\nUse it: genera generate --model {base} --adapter {} --prompt TEXT", word(directory));
    } else {
        println!("\n{}", fitted("Only LoRA is used here: merge it in PEFT, and use the model that comes of it", 0));
    }
    Ok(ExitCode::SUCCESS)
}
