//! Files of molecules: lines, tables with properties, structures, drawings.

use super::drawings;
use crate::failure::{Failure, Outcome, While};
use genera_chemistry::{Molecule, Property};
use genera_modality::table::csv_line;
use serde_json::Number;
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
    /// Structures written.
    n_structures: u64,
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
        Ok(Self { out, form, drawn: Vec::new(), n_structures: 0, n_lines: 0, n_valid: 0 })
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
                    object[property.name()] = molecule.as_ref().and_then(|of| number(property, of)).into();
                }
                writeln!(self.out, "{object}")?;
            }
            (Form::Structures, Some(molecule)) => {
                let Some(block) = molecule.mol_block(line) else { return Ok(()) };
                self.n_structures += 1;
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

    /// What a person may miss in the file at `path`; `None` where all is there.
    pub fn note(&self, path: &Path) -> Option<String> {
        let n_held = match self.form {
            Form::Lines | Form::Csv | Form::Json => return None,
            Form::Structures => self.n_structures,
            Form::Drawings => self.drawn.len() as u64,
        };
        let (n_valid, path) = (self.n_valid, path.display());
        match self.form {
            _ if n_valid == 0 => Some(format!("no line was a molecule, so {path} holds none")),
            _ if n_held == n_valid => None,
            Form::Drawings => Some(format!(
                "the first {n_held} of {n_valid} are drawn in {path}; a file .smi, .csv or .sdf holds all of them"
            )),
            _ => Some(format!(
                "{path} holds {n_held} of {n_valid} molecules: for the atoms of the others no places in the plane were found"
            )),
        }
    }
}

/// A property as JSON, with the places of [`written`]; `None` where it is no number.
fn number(property: Property, molecule: &Molecule) -> Option<Number> {
    written(property, molecule).parse().ok()
}

/// A property with as many places as it is known to.
fn written(property: Property, molecule: &Molecule) -> String {
    match property {
        Property::Rings => format!("{:.0}", property.of(molecule)),
        _ => format!("{:.3}", property.of(molecule)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written of lines, and what is said beside it.
    fn written_as(name: &str, json: bool, lines: &[&str]) -> (String, Option<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        let mut writer = MoleculeWriter::open(Some(&path), Form::of(Some(&path), json).unwrap()).unwrap();
        lines.iter().for_each(|line| writer.write(line, Molecule::parse(line)).unwrap());
        writer.finish().unwrap();
        (std::fs::read_to_string(&path).unwrap(), writer.note(Path::new(name)))
    }

    #[test]
    fn numbers_of_json_are_those_of_the_table() {
        let line = "Cc1ccc(NC2CCOCC2)cc1";
        let (table, _) = written_as("x.csv", false, &[line]);
        let (json, _) = written_as("x.json", true, &[line, "C1CC"]);
        let cells: Vec<&str> = table.lines().nth(1).unwrap().split(',').collect();
        let (object, none) = json.split_once('\n').unwrap();
        let object: serde_json::Value = serde_json::from_str(object).unwrap();
        for (name, cell) in table.lines().next().unwrap().split(',').zip(&cells).skip(2) {
            assert_eq!(object[name].as_f64(), cell.parse().ok(), "{name} of {object}");
        }
        assert!(json.contains("\"rings\":2}") || json.contains("\"rings\":2,"), "{json}");
        assert!(none.contains("\"valid\":false,\"logp\":null"), "{none}");
    }

    #[test]
    fn what_a_file_does_not_hold_is_said() {
        let note = |name: &str, lines: &[&str]| written_as(name, false, lines).1;
        assert_eq!(note("b.sdf", &["C1CC", "hello"]).as_deref(), Some("no line was a molecule, so b.sdf holds none"));
        assert_eq!(note("b.svg", &["C1CC"]).as_deref(), Some("no line was a molecule, so b.svg holds none"));
        assert_eq!(note("b.smi", &["C1CC"]), None);
        assert_eq!(note("b.sdf", &["CCO", "hello"]), None);
        assert_eq!(note("b.svg", &["CCO"; 100]), None);
        let said = note("b.svg", &["CCO"; 150]).unwrap();
        assert!(said.starts_with("the first 100 of 150 are drawn in b.svg"), "{said}");
    }
}
