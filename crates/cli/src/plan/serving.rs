//! The memory that served models need, as far as their files say before they are read.

use crate::failure::{Failure, Outcome};
use crate::hub;
use crate::machine;
use crate::show::number;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Files that hold weights.
const WEIGHTS: [&str; 4] = ["safetensors", "gguf", "bin", "pt"];
/// What the program takes besides weights and cache: connections, tokenizers, what a step computes with.
const BESIDES: usize = 64 << 20;

/// Refuses to serve models whose weights and caches do not fit into the memory that there is. A lower bound: what weights take
/// when they are widened is found out while they are read.
///
/// # Errors
/// When they do not fit: the plan, and what would make it smaller.
pub fn check(models: &[(String, PathBuf)], cache_bytes: usize) -> Outcome<()> {
    let Some(available) = machine::available_bytes() else { return Ok(()) };
    let plan: Vec<(&str, usize)> =
        models.iter().map(|(name, path)| (name.as_str(), weight_bytes(path).unwrap_or(0))).collect();
    let weights: usize = plan.iter().map(|(_, bytes)| bytes).sum();
    let total = cache_bytes.saturating_mul(models.len()).saturating_add(weights).saturating_add(BESIDES);
    if total <= available {
        return Ok(());
    }
    let mut lines = String::new();
    for (name, bytes) in plan {
        let cache = number::bytes(cache_bytes);
        // Writing to a text cannot fail.
        let _ = writeln!(lines, "  {name:<24} {:>10} weights, {cache:>10} keys and values", number::bytes(bytes));
    }
    Err(Failure::new(format!(
        "serving needs {} of memory at least, and {} can be had\n{lines}To make it fit: a smaller --cache-memory, a smaller \
         file (genera quantize), or fewer models",
        number::bytes(total),
        number::bytes(available)
    )))
}

/// Bytes of the weights of a model; `None` where its place or its files cannot be looked at, of which loading will say more.
fn weight_bytes(path: &Path) -> Option<usize> {
    let path = &*hub::locate(path).ok()?;
    if path.is_file() {
        return size(path);
    }
    let checkpoints = std::fs::read_dir(path.join("checkpoints")).into_iter().flatten().flatten();
    let newest = checkpoints.map(|entry| entry.path()).filter(|path| path.join("model.safetensors").is_file()).max();
    match newest {
        // Averages of the weights take the place of the weights, and the optimizer is not read.
        Some(checkpoint) => size(&checkpoint.join("model.safetensors")),
        None => Some(std::fs::read_dir(path).ok()?.flatten().filter_map(|entry| size(&entry.path())).sum()),
    }
}

fn size(path: &Path) -> Option<usize> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    WEIGHTS.contains(&extension.as_str()).then_some(metadata.len() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_found_wherever_they_lie() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, n: usize| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; n]).unwrap();
        };
        write("hf/model-1.safetensors", 100);
        write("hf/model-2.safetensors", 50);
        write("hf/config.json", 1000);
        write("one.gguf", 70);
        write("run/checkpoints/step-000001/model.safetensors", 30);
        write("run/checkpoints/step-000002/model.safetensors", 31);
        write("run/checkpoints/step-000002/optimizer.safetensors", 99);
        for (name, expect) in [("hf", 150), ("one.gguf", 70), ("run", 31)] {
            assert_eq!(weight_bytes(&directory.path().join(name)), Some(expect), "{name}");
        }
        assert_eq!(weight_bytes(&directory.path().join("nowhere")), None);
        let models = [("a".to_owned(), directory.path().join("hf"))];
        check(&models, 1 << 20).unwrap();
        let error = format!("{:?}", check(&models, usize::MAX / 2).unwrap_err());
        assert!(error.contains("--cache-memory") && error.contains("  a "), "{error}");
    }
}
