//! Learning the symbols of molecules, and how their properties are distributed.

use super::codebook::MoleculeCodebook;
use super::property::PropertyBins;
use super::settings::{MoleculeSettings, settings};
use super::sieve::line_of;
use genera_chemistry::{Molecule, Property};
use genera_data::prepare::{Fit, Fitting};
use genera_data::{Document, Result, Tokenizer};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Molecules whose properties are looked at, at most: enough for every bin to hold some hundred.
const MOST_LOOKED_AT: usize = 20_000;

/// Learns symbols and properties.
#[derive(Clone, Debug)]
pub struct MoleculeFit {
    settings: MoleculeSettings,
}

impl MoleculeFit {
    /// Learns what a person wants of molecules.
    pub fn new(settings: MoleculeSettings) -> Self {
        Self { settings }
    }
}

impl Fit for MoleculeFit {
    fn begin(&self) -> Box<dyn Fitting> {
        Box::new(MoleculeFitting {
            settings: self.settings.clone(),
            symbols: BTreeSet::new(),
            sample: Vec::new(),
            every: 1,
            n_seen: 0,
        })
    }

    fn load(&self, directory: &Path) -> Result<Arc<dyn Tokenizer>> {
        Ok(Arc::new(MoleculeCodebook::load(directory)?))
    }

    fn fingerprint(&self) -> String {
        format!("molecule 1 {:?}", self.settings)
    }
}

struct MoleculeFitting {
    settings: MoleculeSettings,
    symbols: BTreeSet<String>,
    /// Every so many molecules.
    sample: Vec<String>,
    every: usize,
    n_seen: usize,
}

impl Fitting for MoleculeFitting {
    fn add(&mut self, document: &Document) -> Result<()> {
        let line = line_of(document).map_err(|reason| settings(format!("{}: {reason}", document.origin.place())))?;
        for symbol in self.settings.encoding.symbols(&line)? {
            if !self.symbols.contains(&*symbol) {
                self.symbols.insert(symbol.into_owned());
            }
        }
        if self.n_seen.is_multiple_of(self.every) && !self.settings.properties.is_empty() {
            self.sample.push(line.into_owned());
            if self.sample.len() >= 2 * MOST_LOOKED_AT {
                let mut i = 0;
                self.sample.retain(|_| {
                    i += 1;
                    i % 2 == 1
                });
                self.every *= 2;
            }
        }
        self.n_seen += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn Tokenizer>> {
        let structures: Vec<Molecule> = self.sample.iter().filter_map(|line| Molecule::parse(line)).collect();
        let bins = |property: Property| {
            let values = structures.iter().map(|structure| property.of(structure)).collect();
            PropertyBins::by_quantiles(property.name(), values, self.settings.n_bins)
        };
        let properties = self.settings.known_properties()?.into_iter().map(bins).collect::<Result<_>>()?;
        Ok(Arc::new(MoleculeCodebook::new(self.settings.encoding, self.symbols, properties)?))
    }
}
