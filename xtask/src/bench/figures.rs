//! The table at the end of a comparison: every figure that is asked for, and what was reached.

use crate::process::root;
use serde::Deserialize;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

/// Names the file that the scripts add their figures to (`record` in benches/peers/programs.py).
pub const VARIABLE: &str = "GENERA_FIGURES";

/// A line of the table.
#[derive(Debug, Deserialize)]
struct Figure {
    what: String,
    asked: String,
    reached: String,
    /// None where it was not measured.
    is_reached: Option<bool>,
}

/// Where the figures of a comparison are collected.
pub struct Figures {
    path: PathBuf,
}

impl Figures {
    /// Begins an empty collection.
    pub fn begin() -> Result<Self, String> {
        let path = root().join("target/peers/figures.jsonl");
        let written = fs::create_dir_all(root().join("target/peers")).and_then(|()| fs::write(&path, ""));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path })
    }

    /// The file's name.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Lets a comparison add its figures; where it fails, the table says that some may lack.
    pub fn collect(&self, comparison: &str, compare: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        let outcome = compare();
        if outcome.is_err() {
            let reached = "it failed, so figures may lack: the error is above";
            let line = serde_json::json!({ "what": comparison, "asked": "", "reached": reached, "is_reached": null });
            let file = fs::OpenOptions::new().append(true).open(&self.path);
            file.and_then(|mut file| writeln!(file, "{line}")).map_err(|error| format!("{}: {error}", self.path()))?;
        }
        outcome
    }

    /// The table of what was collected.
    pub fn table(&self) -> Result<String, String> {
        Ok(table(&self.read()?))
    }

    fn read(&self) -> Result<Vec<Figure>, String> {
        let path = self.path();
        let text = fs::read_to_string(&self.path).map_err(|error| format!("{path}: {error}"))?;
        let figures: Result<Vec<_>, _> = text.lines().map(serde_json::from_str).collect();
        figures.map_err(|error| format!("{path}: {error}"))
    }
}

fn table(figures: &[Figure]) -> String {
    let width = |of: fn(&Figure) -> &str, title: &str| {
        let widths = figures.iter().map(|figure| of(figure).chars().count());
        widths.chain([title.chars().count()]).max().unwrap_or(0)
    };
    let (first, second) = (width(|figure| &figure.what, "figure"), width(|figure| &figure.asked, "asked"));
    let mut table = format!("{:<first$}  {:<second$}  reached\n", "figure", "asked");
    for Figure { what, asked, reached, is_reached } in figures {
        let verdict = match is_reached {
            Some(true) => "",
            Some(false) => "  NOT REACHED",
            None => "  NOT MEASURED",
        };
        writeln!(table, "{what:<first$}  {asked:<second$}  {reached}{verdict}").expect("a text takes all");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_reached_or_not_measured_is_said() {
        let line = |what: &str, is_reached: &str| {
            let text = format!(r#"{{"what":"{what}","asked":"≥ 1.8","reached":"1.98","is_reached":{is_reached}}}"#);
            serde_json::from_str(&text).expect("a figure")
        };
        let figures = [line("scaling of a", "true"), line("of b", "false"), line("of c", "null")];
        let lines = "figure        asked  reached\nscaling of a  ≥ 1.8  1.98\n\
                     of b          ≥ 1.8  1.98  NOT REACHED\nof c          ≥ 1.8  1.98  NOT MEASURED\n";
        assert_eq!(table(&figures), lines);
    }
}
