//! What a recipe says about molecules, and whether a file holds some.

use crate::failure::{Failure, Outcome};
use genera_chemistry::Molecule;
use genera_data::source::{Format, column_names, first_fields};
use genera_data::{ByteCounter, Columns, Corpus, Document, Documents};
use genera_engine::recipe::{Layout, MoleculeEncoding, MoleculeRecipe, Reasons, Recipe};
use genera_modality::molecule::{Encoding, MoleculeSettings, line_of};
use std::path::Path;
use std::sync::Arc;

/// What a column of molecules is usually called, disregarding case.
const COLUMN_NAMES: [&str; 3] = ["smiles", "canonical_smiles", "isomeric_smiles"];

/// Ends of the names of files that hold molecules and nothing else.
const EXTENSIONS: [&str; 4] = ["smi", "smiles", "sdf", "sd"];

/// Share of the molecules that is kept aside, and how many tokens of them are enough.
const VALIDATION_FRACTION: f64 = 0.01;

/// Why a file holds molecules; `None` when it does not.
///
/// # Errors
/// When the file cannot be read.
pub fn recognised(path: &Path) -> Outcome<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    if genera_data::source::extension_within(path).is_some_and(|extension| EXTENSIONS.contains(&&*extension)) {
        return Ok(Some("each line of SMILES, or block of structures, is a molecule".to_owned()));
    }
    Ok(column_of(path)?.map(|name| format!("its column {name:?} holds molecules (whole rows: --set data.kind=table)")))
}

/// The column of a table, or field of JSON objects, that holds molecules by its name.
fn column_of(path: &Path) -> Outcome<Option<String>> {
    let names = match Format::of(path) {
        Some(Format::Csv { .. } | Format::Parquet) => column_names(path)?,
        Some(format) if format.holds_objects() => first_fields(path)?,
        _ => return Ok(None),
    };
    Ok(names.into_iter().find(|name| COLUMN_NAMES.contains(&name.trim().to_ascii_lowercase().as_str())))
}

/// Which column of the files holds the molecules.
///
/// # Errors
/// When a file cannot be read.
pub fn columns(files: &[String], given: Option<String>) -> Outcome<Columns> {
    let first = files.first().map(Path::new).filter(|path| path.is_file() && given.is_none());
    let found = first.map_or(Ok(None), column_of)?;
    Ok(Columns { text: given.or(found), ..Columns::default() })
}

/// How molecules are to be written.
pub fn settings(recipe: &MoleculeRecipe) -> MoleculeSettings {
    let encoding = match recipe.encoding {
        MoleculeEncoding::Smiles => Encoding::Smiles,
        MoleculeEncoding::Robust => Encoding::Robust,
    };
    MoleculeSettings { encoding, properties: recipe.properties.clone(), n_bins: recipe.bins }
}

/// Molecules with other ways of writing them behind each, which are variants: no molecule is learned in one way and measured in
/// another.
pub struct Randomised {
    inner: Arc<dyn Corpus>,
    n: usize,
    seed: u64,
}

impl Randomised {
    /// `n` other ways of writing each molecule of `inner`, drawn by `seed`.
    pub fn new(inner: Arc<dyn Corpus>, n: usize, seed: u64) -> Self {
        Self { inner, n, seed }
    }
}

impl Corpus for Randomised {
    fn documents(&self, counter: &ByteCounter) -> genera_data::Result<Documents> {
        let (n, seed) = (self.n, self.seed);
        let others = move |document: &Document| {
            let molecule = line_of(document).ok().and_then(|line| Molecule::parse(&line));
            let of = (seed ^ document.origin.index.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 33;
            molecule.map(|molecule| molecule.random_smiles(n, of as u32)).unwrap_or_default()
        };
        let all = move |document: genera_data::Result<Document>| -> Documents {
            let lines = document.as_ref().map(others).unwrap_or_default();
            let origin = document.as_ref().map(|document| document.origin.clone()).ok();
            let others = lines.into_iter().zip(std::iter::repeat(origin));
            let others = others
                .filter_map(|(line, origin)| Some(Ok(Document { is_variant: true, ..Document::text(origin?, line) })));
            Box::new(std::iter::once(document).chain(others.collect::<Vec<_>>()))
        };
        Ok(Box::new(self.inner.documents(counter)?.flat_map(all)))
    }

    fn n_bytes(&self) -> Option<u64> {
        self.inner.n_bytes()
    }

    fn fingerprint(&self) -> String {
        format!("{} randomised, split by molecule, {} {}", self.inner.fingerprint(), self.n, self.seed)
    }

    fn name(&self) -> String {
        format!("{}, each in {} ways", self.inner.name(), self.n + 1)
    }
}

/// Decides what the recipe of molecules leaves open.
///
/// # Errors
/// When it goes on with a base, which knows no molecules.
pub fn settle(recipe: &mut Recipe, reasons: &mut Reasons, has_base: bool) -> Outcome<()> {
    if has_base {
        return Err(Failure::new("molecules are learned from nothing, not from a base of texts; leave out --base"));
    }
    if recipe.data.layout.is_none() {
        recipe.data.layout = Some(Layout::Packed);
        reasons.add("data.layout", "molecules, which must not see each other");
    }
    Ok(())
}

/// Where a person has said nothing, keeps a few molecules aside.
pub fn keep_aside(recipe: &mut Recipe, reasons: &mut Reasons) {
    recipe.data.validation_fraction = VALIDATION_FRACTION;
    reasons.add("data.validation_fraction", "molecules to measure by that are not learned");
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_data::{Generated, Origin};

    #[test]
    fn other_ways_of_writing_a_molecule_are_its_variants() {
        let documents = || -> Box<dyn Iterator<Item = Document> + Send> {
            let lines = ["CC(=O)Oc1ccccc1C(=O)O aspirin", "none", "CN1CCC[C@H]1c1cccnc1"];
            Box::new((0..).zip(lines).map(|(i, line)| Document::text(Origin::new("rule", i), line)))
        };
        let randomised = Randomised::new(Arc::new(Generated::new("three", documents)), 4, 1);
        let all: Vec<Document> =
            randomised.documents(&ByteCounter::default()).unwrap().map(|document| document.unwrap()).collect();
        assert_eq!(all.iter().filter(|document| !document.is_variant).count(), 3);
        for pair in all.windows(2).filter(|pair| pair[1].is_variant) {
            assert_eq!(pair[0].origin, pair[1].origin, "a variant stands behind its molecule");
            let canonical = |document: &Document| {
                let line = line_of(document).unwrap().into_owned();
                Molecule::parse(&line).unwrap().canonical().to_owned()
            };
            assert_eq!(canonical(&pair[0]), canonical(&pair[1]));
        }
        assert!(all.len() > 6, "{}", all.len());
    }
}
