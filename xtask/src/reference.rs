//! docs/reference: pages generated from the lists in the code, so that they cannot rot.

use crate::process::{output, root};
use std::path::PathBuf;

/// Writes the pages.
pub fn write() -> Result<(), String> {
    for (path, text) in pages()? {
        std::fs::create_dir_all(path.with_file_name("")).map_err(|error| format!("{}: {error}", path.display()))?;
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Fails when a page differs from what would be written.
pub fn check() -> Result<(), String> {
    println!("> reference pages up to date");
    let is_stale = |(path, text): &(PathBuf, String)| std::fs::read_to_string(path).ok().as_ref() != Some(text);
    let stale: Vec<String> =
        pages()?.iter().filter(|page| is_stale(page)).map(|(path, _)| path.display().to_string()).collect();
    if stale.is_empty() { Ok(()) } else { Err(format!("out of date, run `cargo xtask docs`:\n{}", stale.join("\n"))) }
}

/// The program itself writes them: `genera reference PAGE`, a hidden command.
fn pages() -> Result<Vec<(PathBuf, String)>, String> {
    ["commands", "recipe", "presets", "architectures", "modalities", "metrics", "api"]
        .iter()
        .map(|page| {
            let text = output("cargo", &["run", "--quiet", "--package", "genera", "--", "reference", page])?;
            Ok((root().join("docs/reference").join(format!("{page}.md")), text))
        })
        .collect()
}
