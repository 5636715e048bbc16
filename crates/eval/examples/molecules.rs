//! What is found of each molecule, as JSON lines, to be compared with RDKit: `benches/peers/rdkit_molecules.py`.
//!
//!     cargo run -p genera-eval --example molecules -- molsets/moses/metrics < lines.smi > found.jsonl

use genera_chemistry::smiles::Prefix;
use genera_chemistry::{Filters, FragmentScores, Molecule};
use genera_eval::molecule::{Chemistry, Features};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

fn main() {
    let folder = std::env::args().nth(1).expect("the folder with mcf.csv, wehi_pains.csv and SA_Score/");
    let chemistry = chemistry(&folder);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("lines of text");
        let row = match Features::of(&line, &chemistry) {
            Some(features) => serde_json::json!({
                "valid": true,
                "grammar": Prefix::check(&line).is_ok(),
                "smiles": features.smiles,
                "bits": features.fingerprint.set_bits().collect::<Vec<usize>>(),
                "fragments": features.fragments,
                "scaffold": features.scaffold,
                "filters": features.passes_filters,
                "logp": features.logp,
                "sa": features.sa,
                "qed": features.qed,
                "weight": features.weight,
                "rings": Molecule::parse(&line).map(|molecule| genera_chemistry::Property::Rings.of(&molecule)),
            }),
            None => serde_json::json!({ "valid": false, "grammar": Prefix::check(&line).is_ok() }),
        };
        writeln!(out, "{row}").expect("standard output takes lines");
    }
}

fn chemistry(folder: &str) -> Chemistry {
    // A small reader is enough here: the patterns are the part of a line that is in quotes, or behind the first comma.
    let mut patterns = Vec::new();
    for (name, place) in [("mcf.csv", 1), ("wehi_pains.csv", 0)] {
        let text = std::fs::read_to_string(format!("{folder}/{name}")).expect("the patterns");
        for line in text.lines().skip(place) {
            let cell = if place == 1 { line.split_once(',').map_or("", |(_, rest)| rest) } else { line };
            let cell = if let Some(quoted) = cell.trim().strip_prefix('"') {
                quoted.split('"').next().unwrap_or_default()
            } else {
                cell.split(',').next().unwrap_or_default()
            };
            patterns.push(cell.trim().to_owned());
        }
    }
    let filters = Filters::new(patterns.iter().map(String::as_str)).expect("SMARTS");
    let unpacked = Command::new("gzip")
        .args(["-dc", &format!("{folder}/SA_Score/fpscores.pkl.gz")])
        .stdout(Stdio::piped())
        .spawn();
    let scores =
        FragmentScores::read(BufReader::new(unpacked.expect("gzip").stdout.expect("its output"))).expect("scores");
    Chemistry { filters, fragment_scores: Some(scores) }
}
