//! `genera evaluate --task moses`: the row of a file of molecules in the table of the benchmark.

use super::reference::{Benchmark, lines};
use crate::command::Common;
use crate::failure::{Failure, Outcome};
use crate::machine;
use crate::show::status_line::StatusLine;
use genera_eval::molecule::{Features, Gaussian, Judged, MosesRow, PUBLISHED};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

/// Judges the molecules of a file by the benchmark's files in a folder.
///
/// # Errors
/// When a file cannot be read, or holds no molecules.
pub fn judge(samples: &Path, folder: &Path, chemnet: Option<&Path>, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let n_threads = device.kernels().n_threads();
    let made = lines(samples)?;
    let mut status = StatusLine::new();
    status.show(|| "reading the benchmark's files".to_owned());
    let benchmark = Benchmark::open(folder, chemnet)?;
    status.show(|| format!("looking at {} molecules", made.len()));
    let molecules: Vec<Features> =
        Features::of_all(&made, &benchmark.chemistry, n_threads).into_iter().flatten().collect();
    if molecules.is_empty() {
        return Err(Failure::new(format!("{} holds no molecule that could be judged", samples.display())));
    }
    let smiles: Vec<String> = molecules.iter().map(|molecule| molecule.smiles.clone()).collect();
    let gaussian = benchmark.chemnet.as_ref().filter(|_| smiles.len() > 1).map(|network| {
        let activations = network.activations(&smiles, &device, &mut |n| {
            status.show(|| format!("ChemNet: {n} of {} molecules", smiles.len()));
        });
        Gaussian::of(&activations, genera_eval::molecule::N_ACTIVATIONS)
    });
    status.show(|| "comparing".to_owned());
    let judged = Judged { n_lines: made.len(), molecules: &molecules, chemnet: gaussian.as_ref() };
    let name = samples.display().to_string();
    let row = MosesRow::of(&name, judged, &benchmark.test, &benchmark.scaffolds, &benchmark.train, n_threads);
    drop(status);
    if benchmark.chemnet.is_none() {
        eprintln!("genera: without ChemNet's weights (--chemnet FILE) there is no Fréchet distance");
    }
    if common.json {
        println!("{}", serde_json::to_string(&row)?);
    } else {
        print!("{}", table(&row)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// The row beside the published ones.
fn table(row: &MosesRow) -> Outcome<String> {
    let columns = row.columns();
    let mut text = format!("{:<14}", "");
    for (name, _) in columns {
        write!(text, " {name:>10}")?;
    }
    for (name, values) in PUBLISHED.iter().map(|(name, values)| (*name, values.to_vec())) {
        line(&mut text, name, &values)?;
    }
    line(&mut text, "these", &columns.map(|(_, value)| value))?;
    writeln!(text)?;
    writeln!(
        text,
        "{} lines of {}; distances to the test set: logP {:.4}, SA {:.4}, QED {:.5}, weight {:.3} g/mol",
        row.n, row.model, row.logp, row.sa, row.qed, row.weight
    )?;
    Ok(text)
}

fn line(text: &mut String, name: &str, values: &[f64]) -> Outcome<()> {
    write!(text, "\n{name:<14}")?;
    for value in values {
        write!(text, " {value:>10.4}")?;
    }
    Ok(())
}
