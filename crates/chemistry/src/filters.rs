//! What a drug should not hold: groups that react, or that answer in every assay.

use crate::Molecule;
use crate::structure::Structure;
use chematic::smarts::{MatchConfig, QueryMolecule, has_match_with_config, parse_smarts};
use chematic::smiles::rdkit_added_hs_molecule;
use std::fmt::{self, Debug, Formatter};

/// Longest pattern that is read, and most of them.
const MAX_PATTERN_BYTES: usize = 1 << 12;
const MAX_PATTERNS: usize = 1 << 12;

/// Elements that may occur.
const ALLOWED: [u8; 8] = [1, 6, 7, 8, 9, 16, 17, 35];

/// Atoms of the largest ring that passes.
const LARGEST_RING: usize = 7;

/// Looked at places of a pattern at most, so that none takes for ever.
const MOST_VISITS: u64 = 5_000_000;

/// The filters of the MOSES benchmark: patterns, allowed elements, no charges, no ring of eight or more.
#[derive(Default)]
pub struct Filters {
    patterns: Vec<QueryMolecule>,
}

impl Filters {
    /// With these patterns (SMARTS): for MOSES, medicinal chemistry filters (MCF) and assay interference (PAINS).
    ///
    /// # Errors
    /// When one cannot be read: which.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, String> {
        let mut filters = Self::default();
        for pattern in patterns {
            if filters.patterns.len() == MAX_PATTERNS || pattern.len() > MAX_PATTERN_BYTES {
                return Err(format!(
                    "more than {MAX_PATTERNS} patterns, or one of more than {MAX_PATTERN_BYTES} bytes"
                ));
            }
            let query = parse_smarts(pattern.trim()).map_err(|error| format!("{pattern:?} is no SMARTS: {error}"))?;
            filters.patterns.push(query);
        }
        Ok(filters)
    }

    /// Whether a molecule passes all of them.
    pub fn passes(&self, molecule: &Molecule) -> bool {
        let structure = Structure::of(molecule);
        let is_fit = |atom| structure.charge(atom) == 0 && ALLOWED.contains(&structure.number(atom));
        if !(0..structure.n_atoms()).all(is_fit) || structure.ring_sizes().iter().any(|&size| size > LARGEST_RING) {
            return false;
        }
        let Some(with_hydrogens) = rdkit_added_hs_molecule(molecule.graph()) else { return false };
        let config = MatchConfig { max_visit_budget: Some(MOST_VISITS), ..MatchConfig::default() };
        !self.patterns.iter().any(|pattern| has_match_with_config(pattern, &with_hydrogens, &config))
    }
}

impl Debug for Filters {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Filters({} patterns)", self.patterns.len())
    }
}
