//! A molecule that was read.

use crate::smiles::{Fault, Prefix};
use chematic::core::Molecule as Graph;
use chematic::smiles::{
    RdkitSmilesParams, SmilesParseLimits, parse_with_limits, rdkit_canonical_smiles, rdkit_random_smiles,
};
use std::fmt::{self, Debug, Formatter};

/// Longest SMILES that is read as a molecule.
const MAX_BYTES: usize = 1 << 12;

/// Branches within branches at most.
const MAX_DEPTH: usize = 128;

/// A molecule that RDKit would read: its symbols make sense, its valences are legal, its aromatic rings can be written with
/// alternating bonds.
#[derive(Clone)]
pub struct Molecule {
    graph: Graph,
    canonical: String,
}

impl Molecule {
    /// Reads SMILES; `None` where RDKit's `MolFromSmiles` would give none.
    pub fn parse(smiles: &str) -> Option<Self> {
        if smiles.is_empty() || smiles.len() > MAX_BYTES || depth(smiles) > MAX_DEPTH {
            return None;
        }
        // The parser behind this one lets some malformed lines pass, such as empty branches; the check sees no more of a line
        // than up to its first fault.
        if Prefix::check(smiles).is_err_and(Fault::is_of_form) || smiles.contains("()") {
            return None;
        }
        let limits = SmilesParseLimits { max_input_bytes: MAX_BYTES, max_atoms: MAX_BYTES, max_bonds: MAX_BYTES };
        let graph = parse_with_limits(smiles, &limits).ok()?;
        let canonical = rdkit_canonical_smiles(&graph).ok()?;
        Some(Self { graph, canonical })
    }

    /// The one SMILES that RDKit writes for this molecule, however it was given.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// So many other ways of writing it in SMILES, drawn by `seed`; fewer where it can be written in one way alone.
    pub fn random_smiles(&self, n: usize, seed: u32) -> Vec<String> {
        let lines = rdkit_random_smiles(&self.graph, n, seed.max(1), &RdkitSmilesParams::default());
        lines.unwrap_or_default()
    }

    /// Its atoms and bonds as they were written.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }
}

impl Debug for Molecule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Molecule({})", self.canonical)
    }
}

/// Whether RDKit reads it as a molecule.
pub fn is_valid(smiles: &str) -> bool {
    Molecule::parse(smiles).is_some()
}

/// How many branches are open at once at most.
fn depth(smiles: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in smiles.bytes() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_molecule_has_one_canonical_form() {
        let canonical = |smiles| Molecule::parse(smiles).map(|molecule| molecule.canonical().to_owned());
        assert_eq!(canonical("OCC"), canonical("CCO"));
        assert_eq!(canonical("C1=CC=CC=C1").as_deref(), Some("c1ccccc1"));
        assert_eq!(canonical("CN(=O)=O").as_deref(), Some("C[N+](=O)[O-]"));
    }

    #[test]
    fn what_is_no_molecule_gives_none_and_no_panic() {
        for smiles in
            ["", "C(", "c1cccc1", "C(C)(C)(C)(C)C", "[", "é", "\0", "C%", "[H", "1", "((((", "C1CC", "c1ccoc1:CN()C"]
        {
            assert!(!is_valid(smiles), "{smiles}");
        }
        assert!(!is_valid(&"C(".repeat(1000)));
        assert!(!is_valid(&format!("{}C{}", "C(".repeat(500), ")".repeat(500))));
        assert!(!is_valid(&"C".repeat(10_000_000)));
    }
}
