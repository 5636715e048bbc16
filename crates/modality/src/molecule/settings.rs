//! What a person says about molecules beyond their file.

use genera_chemistry::smiles::symbols;
use genera_chemistry::{Molecule, Property, robust};
use genera_data::{Error, Result};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How molecules are written as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoleculeSettings {
    /// How they become symbols.
    pub encoding: Encoding,
    /// Properties that a model learns to be asked for, by name.
    pub properties: Vec<String>,
    /// Bins of a property at most.
    pub n_bins: usize,
}

/// How molecules become symbols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// SMILES.
    #[default]
    Smiles,
    /// Symbols of which every line is a molecule (`genera_chemistry::robust`).
    Robust,
}

impl Encoding {
    /// The symbols of a line of SMILES.
    ///
    /// # Errors
    /// When it is no line of symbols, or no molecule that can be written so.
    pub(super) fn symbols(self, line: &str) -> Result<Vec<Cow<'_, str>>> {
        match self {
            Self::Smiles => {
                symbols(line).map(|symbol| symbol.map(Cow::Borrowed).map_err(|at| no_symbol(line, at))).collect()
            }
            Self::Robust => {
                let written = Molecule::parse(line).and_then(|molecule| robust::encode(&molecule));
                let written = written
                    .ok_or_else(|| settings(format!("{line:?} is no molecule that can be written by symbols")))?;
                Ok(written.into_iter().map(Cow::Owned).collect())
            }
        }
    }

    /// The SMILES of symbols.
    pub(super) fn line<'s>(self, symbols: impl Iterator<Item = &'s str>) -> String {
        match self {
            Self::Smiles => symbols.collect(),
            Self::Robust => robust::decode(symbols),
        }
    }
}

fn no_symbol(line: &str, at: usize) -> Error {
    settings(format!("{line:?} is no SMILES: byte {} begins no symbol", at + 1))
}

impl Default for MoleculeSettings {
    fn default() -> Self {
        Self { encoding: Encoding::Smiles, properties: Vec::new(), n_bins: 64 }
    }
}

impl MoleculeSettings {
    /// The properties.
    ///
    /// # Errors
    /// When one is unknown or stands there twice; the known ones are listed.
    pub(super) fn known_properties(&self) -> Result<Vec<Property>> {
        let mut found = Vec::new();
        for name in &self.properties {
            let property = property(name)?;
            property.check().map_err(settings)?;
            if found.contains(&property) {
                return Err(settings(format!("molecule.properties names {name:?} twice")));
            }
            found.push(property);
        }
        Ok(found)
    }
}

/// The property of this name.
///
/// # Errors
/// When there is none; the known ones are listed.
pub(super) fn property(name: &str) -> Result<Property> {
    Property::by_name(name).ok_or_else(|| {
        let known = Property::ALL.map(Property::name).join(", ");
        settings(format!("unknown property {name:?} of molecules; known are {known}"))
    })
}

pub(super) fn settings(problem: impl Into<String>) -> Error {
    Error::Settings { problem: problem.into() }
}
