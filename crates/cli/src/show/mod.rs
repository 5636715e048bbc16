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
pub mod roofline;
pub mod status_line;
pub mod svg;

use genera_engine::recipe::{Reasons, Recipe};

/// Shows what was derived, each value with its reason.
pub fn plan(recipe: &Recipe, reasons: &Reasons) {
    println!("Derived from the data, the machine and the time:");
    let text = recipe.to_toml(reasons);
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut table);
        }
        let Some((key, value)) = line.split_once(" = ") else { continue };
        if let Some(reason) = reasons.get(&format!("{table}.{key}")) {
            let value = value.split("  # ").next().unwrap_or(value);
            println!("  {:<30} {value:<14} {reason}", format!("{table}.{key}"));
        }
    }
    println!();
}
