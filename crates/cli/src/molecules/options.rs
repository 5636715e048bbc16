//! What `genera generate` takes for molecules.

use super::drawings;
use super::maker::Maker;
use super::output::{Form, MoleculeWriter};
use crate::failure::{Failure, Outcome, While};
use crate::model::SpeakingModel;
use crate::run::directory::RunDirectory;
use crate::run::preparing::prepared_of;
use crate::show::number;
use crate::show::status_line::StatusLine;
use genera_chemistry::{Molecule, Property};
use genera_engine::generate::{MAX_GUIDANCE, Sampling};
use genera_engine::recipe::Recipe;
use genera_modality::molecule::{self, GUIDANCE};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Options for molecules.
#[derive(Debug, clap::Args)]
pub struct MoleculeOptions {
    /// Molecules that have about this property, such as "qed = 0.9"; may be given several times, or with commas between them.
    /// logp, qed, weight (g/mol), rings and sa are known, as far as the model learned them.
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',')]
    property: Vec<String>,
    /// How decidedly the molecules are to have the properties of --property: 1 is as the model learned it, more brings them closer
    /// to what is asked for, makes them less varied, and reads twice as much; 1 to about 5 is sensible [default: 2].
    #[arg(long, value_name = "W", allow_hyphen_values = true)]
    guidance: Option<f32>,
    /// Let the model write without the rules of SMILES, to see how many of its lines are molecules.
    #[arg(long)]
    no_grammar: bool,
    /// Write histograms of the properties of the made molecules beside those of the training data to this file (.svg).
    #[arg(long, value_name = "FILE")]
    histograms: Option<PathBuf>,
}

/// Molecules whose properties are compared at most.
const MOST_COMPARED: usize = 2000;

/// What is asked of molecules, beside their options.
pub struct Wanted<'w> {
    /// How each begins.
    pub prefix: &'w str,
    /// How many.
    pub n: usize,
    /// Where they are written; standard output where there is none.
    pub output: Option<&'w Path>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Whether each is a JSON object.
    pub json: bool,
}

impl MoleculeOptions {
    /// Refuses them for a model that makes no molecules.
    ///
    /// # Errors
    /// When any is given.
    pub fn refuse(&self, model: &Path) -> Outcome<()> {
        if self.property.is_empty() && self.guidance.is_none() && !self.no_grammar && self.histograms.is_none() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "--property, --guidance, --no-grammar and --histograms are for models of molecules, and {} is none; leave them out",
            model.display()
        )))
    }

    /// How decidedly properties are asked for.
    ///
    /// # Errors
    /// When it is no sensible number, or there is no property that it could lead to.
    fn guidance(&self) -> Outcome<f32> {
        let Some(guidance) = self.guidance else { return Ok(GUIDANCE) };
        if !(0.0..=MAX_GUIDANCE).contains(&guidance) {
            return Err(Failure::new(format!(
                "--guidance {guidance}: expected 0 to {MAX_GUIDANCE}; 1 is as the model learned it, {GUIDANCE} where \
                 nothing is said, and up to about 5 is sensible"
            )));
        }
        if self.property.is_empty() {
            return Err(Failure::new(
                "--guidance leads toward the properties of --property, and there is none; add one, such as --property \"qed = 0.9\", \
                 or leave --guidance out",
            ));
        }
        Ok(guidance)
    }

    /// Makes molecules and writes them; says how many are valid.
    ///
    /// # Errors
    /// When a property is unknown, no molecule begins as wanted, or the output cannot be written.
    pub fn write(&self, model: &SpeakingModel<'_>, path: &Path, wanted: Wanted<'_>) -> Outcome {
        let guidance = self.guidance()?;
        let properties = self.property.iter().map(|text| parse(text)).collect::<Outcome<Vec<_>>>()?;
        let form = Form::of(wanted.output, wanted.json)?;
        let training = self.histograms.as_ref().map(|_| training_molecules(path)).transpose()?;
        let mut maker =
            Maker::new(model.clone(), wanted.prefix, &properties, guidance, wanted.sampling, !self.no_grammar)?;
        let mut writer = MoleculeWriter::open(wanted.output, form)?;
        let (start, mut status, mut compared) = (Instant::now(), StatusLine::new(), Vec::new());
        let mut strayed = vec![0.0; properties.len()];
        while (writer.n_lines as usize) < wanted.n {
            let lines = maker.next(wanted.n - writer.n_lines as usize)?;
            if lines.is_empty() {
                break;
            }
            for (line, molecule) in lines {
                for ((property, value), strayed) in properties.iter().zip(&mut strayed) {
                    *strayed += molecule.as_ref().map_or(0.0, |molecule| (property.of(molecule) - value).abs());
                }
                if training.is_some() && compared.len() < MOST_COMPARED {
                    compared.extend(molecule.clone());
                }
                writer.write(&line, molecule)?;
            }
            status.show(|| {
                let left = start.elapsed().mul_f64(wanted.n as f64 / writer.n_lines as f64 - 1.0);
                format!("{} of {} molecules, {} left", writer.n_lines, wanted.n, number::duration(left))
            });
        }
        drop(status);
        writer.finish()?;
        if let (Some(path), Some(training)) = (&self.histograms, training) {
            let page = drawings::histograms(&training, &compared)?;
            std::fs::write(path, page).during(format!("cannot write {}", path.display()))?;
        }
        let seconds = start.elapsed().as_secs_f64();
        eprintln!(
            "genera: {} lines, {} of them molecules ({:.2} %), {:.0} a second",
            writer.n_lines,
            writer.n_valid,
            100.0 * writer.n_valid as f64 / writer.n_lines.max(1) as f64,
            writer.n_lines as f64 / seconds
        );
        if let Some(note) = wanted.output.and_then(|path| writer.note(path)) {
            eprintln!("genera: {note}");
        }
        for ((property, value), strayed) in properties.iter().zip(&strayed).filter(|(_, strayed)| strayed.is_finite()) {
            let mean = strayed / writer.n_valid.max(1) as f64;
            eprintln!("genera: {} is {mean:.3} from {value} on average", property.name());
        }
        if maker.n_lost > 0 {
            eprintln!(
                "genera: {} lines came to no end{}",
                maker.n_lost,
                if self.no_grammar { "" } else { " and were made again" }
            );
        }
        if (writer.n_lines as usize) < wanted.n {
            return Err(Failure::new("the model found no more molecules that begin so; ask for another beginning"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A property and the value that is wanted of it.
fn parse(text: &str) -> Outcome<(Property, f64)> {
    let known = || Property::ALL.map(Property::name).join(", ");
    let wrong =
        || Failure::new(format!("--property: {text:?} is not of the form \"name = number\"; names are {}", known()));
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let property = Property::by_name(name).ok_or_else(|| {
        Failure::new(format!("--property: unknown property {:?}; known are {}", name.trim(), known()))
    })?;
    let value: f64 = value.trim().parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(wrong)?;
    Ok((property, value))
}

/// Molecules that the model was trained on.
fn training_molecules(path: &Path) -> Outcome<Vec<Molecule>> {
    let run = RunDirectory::open(path).map_err(|failure| {
        failure.and("--histograms needs the training molecules, which only a run directory has; name one with --model")
    })?;
    let prepared = prepared_of(&run, &Recipe::load(&run.recipe())?)?;
    molecule::of(&prepared.tokenizer)?;
    let n = prepared.train.info().n_documents;
    let every = n.div_ceil(MOST_COMPARED as u64).max(1) as usize;
    let mut molecules = Vec::new();
    for i in (0..n).step_by(every) {
        molecules.extend(Molecule::parse(&prepared.tokenizer.decode(prepared.train.document(i)?.ids())));
    }
    Ok(molecules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: MoleculeOptions,
    }

    #[test]
    fn guidance_is_a_sensible_number_and_leads_to_a_property() {
        let guidance = |words: &[&str]| {
            let line = Line::try_parse_from([&["generate"], words].concat()).expect("what is wrong is said by us");
            line.options.guidance().map_err(|failure| format!("{failure:?}"))
        };
        assert_eq!(guidance(&[]), Ok(2.0));
        assert_eq!(guidance(&["--guidance", "3", "--property", "qed = 0.9"]), Ok(3.0));
        for wrong in ["-1", "nan", "inf", "-inf"] {
            let said = guidance(&["--property", "qed = 0.9", "--guidance", wrong]).unwrap_err();
            assert!(said.contains("up to about 5 is sensible"), "{said}");
        }
        let said = guidance(&["--guidance", "3"]).unwrap_err();
        assert!(said.contains("leads toward the properties of --property"), "{said}");
    }
}
