//! What a person sees: numbers, the terminal while a run goes on, and pictures.

pub mod attention;
pub mod bars;
pub mod dashboard;
pub mod heat_map;
pub mod histogram;
pub mod html;
pub mod label;
pub mod lines;
pub mod monitor;
pub mod number;
pub mod prose;
pub mod roofline;
pub mod status_line;
pub mod svg;

use genera_engine::recipe::{Reasons, Recipe};
use prose::fitted;
use std::fmt::Display;
use std::path::Path;

/// A path as a word of a command for the shell.
pub fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |character: char| character.is_alphanumeric() || "/._-+=:@,%".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Shows what something is, beside its name.
pub fn row(name: &str, value: impl Display) {
    println!("{}", fitted(&format!("  {name:<22} {value}"), 25));
}

/// Shows what was derived, each value with its reason.
pub fn plan(recipe: &Recipe, reasons: &Reasons) {
    println!("{}", fitted("Derived from the data, the machine and the time:", 0));
    let text = recipe.to_toml(reasons);
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut table);
        }
        let Some((key, value)) = line.split_once(" = ") else { continue };
        if let Some(reason) = reasons.get(&format!("{table}.{key}")) {
            let value = value.split("  # ").next().unwrap_or(value);
            let key = format!("{table}.{key}");
            println!("{}", fitted(&format!("  {key:<30} {value:<14} {reason}"), 6));
        }
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_words() {
        for (path, expect) in
            [("runs/a-1.b", "runs/a-1.b"), ("my dir", "'my dir'"), ("it's", "'it'\\''s'"), ("a;b", "'a;b'")]
        {
            assert_eq!(word(Path::new(path)), expect);
        }
    }
}
