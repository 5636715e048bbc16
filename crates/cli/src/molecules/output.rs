//! Files of molecules: lines, tables with properties, structures, drawings.

use super::drawings;
use crate::failure::{Failure, Outcome, While};
use genera_chemistry::{Molecule, Property};
use genera_modality::table::csv_line;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// In which form molecules are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line each, also of what is no molecule.
    Lines,
    /// A table with properties, also of what is no molecule.
    Csv,
    /// Structures with coordinates in the plane.
    Structures,
    /// A page of drawings.
    Drawings,
    /// A JSON object a line.
    Json,
}

impl Form {
    /// The form that the name of a file asks for; lines where there is none.
    ///
    /// # Errors
    /// When the end of the name is unknown; the known ones are listed.
    pub fn of(path: Option<&Path>, json: bool) -> Outcome<Self> {
        let Some(path) = path.filter(|_| !json) else { return Ok(if json { Self::Json } else { Self::Lines }) };
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        Ok(match extension.to_ascii_lowercase().as_str() {
            "smi" | "smiles" | "txt" | "" => Self::Lines,
            "csv" => Self::Csv,
            "sdf" | "sd" | "mol" => Self::Structures,
            "svg" => Self::Drawings,
            other => {
                return Err(Failure::new(format!(
                    "molecules are not written as .{other}; expected .smi (a line each), .csv (with properties), .sdf \
                     (structures) or .svg (drawings)"
                )));
            }
        })
    }
}

/// Molecules drawn on one page at most.
const MOST_DRAWN: usize = 100;

/// Writes molecules one after the other, and counts what is none.
pub struct MoleculeWriter {
    out: Box<dyn Write>,
    form: Form,
    drawn: Vec<(String, Molecule)>,
    /// Lines written.
    pub n_lines: u64,
    /// Those that are molecules.
    pub n_valid: u64,
}

impl MoleculeWriter {
    /// To a file, or to standard output.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn open(path: Option<&Path>, form: Form) -> Outcome<Self> {
        let mut out: Box<dyn Write> = match path {
            Some(path) => {
                Box::new(BufWriter::new(File::create(path).during(format!("cannot write {}", path.display()))?))
            }
            None => Box::new(BufWriter::new(std::io::stdout())),
        };
        if form == Form::Csv {
            let names = ["smiles", "valid"].into_iter().chain(Property::known().map(Property::name));
            let names: Vec<String> = names.map(str::to_owned).collect();
            writeln!(out, "{}", csv_line(&names)).during("cannot write the molecules")?;
        }
        Ok(Self { out, form, drawn: Vec::new(), n_lines: 0, n_valid: 0 })
    }

    /// Writes a line that a model made, and the molecule that it is.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn write(&mut self, line: &str, molecule: Option<Molecule>) -> Outcome<()> {
        self.n_lines += 1;
        self.n_valid += u64::from(molecule.is_some());
        self.put(line, molecule).during("cannot write the molecules")
    }

    fn put(&mut self, line: &str, molecule: Option<Molecule>) -> Outcome<()> {
        match (self.form, molecule) {
            (Form::Lines, _) => writeln!(self.out, "{line}")?,
            (Form::Csv, molecule) => {
                let mut cells = vec![line.to_owned(), molecule.is_some().to_string()];
                let value = |property: Property| molecule.as_ref().map_or_else(String::new, |of| written(property, of));
                cells.extend(Property::known().map(value));
                writeln!(self.out, "{}", csv_line(&cells))?;
            }
            (Form::Json, molecule) => {
                let mut object = serde_json::json!({ "smiles": line, "valid": molecule.is_some() });
                for property in Property::known() {
                    object[property.name()] = molecule.as_ref().map(|of| property.of(of)).into();
                }
                writeln!(self.out, "{object}")?;
            }
            (Form::Structures, Some(molecule)) => {
                let Some(block) = molecule.mol_block(line) else { return Ok(()) };
                write!(self.out, "{}", block.trim_end())?;
                writeln!(self.out)?;
                for property in Property::known() {
                    writeln!(self.out, ">  <{}>\n{}\n", property.name(), written(property, &molecule))?;
                }
                writeln!(self.out, ">  <smiles>\n{line}\n\n$$$$")?;
            }
            (Form::Drawings, Some(molecule)) if self.drawn.len() < MOST_DRAWN => {
                self.drawn.push((line.to_owned(), molecule));
            }
            (Form::Structures | Form::Drawings, _) => {}
        }
        Ok(())
    }

    /// Ends the output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self) -> Outcome<()> {
        if self.form == Form::Drawings {
            write!(self.out, "{}", drawings::page(&self.drawn)).during("cannot write the drawings")?;
        }
        self.out.flush().during("cannot finish the molecules")
    }
}

/// A property with as many places as it is known to.
fn written(property: Property, molecule: &Molecule) -> String {
    match property {
        Property::Rings => format!("{:.0}", property.of(molecule)),
        _ => format!("{:.3}", property.of(molecule)),
    }
}
