//! Properties of molecules that chemists ask for.

use crate::{FragmentScores, Molecule};
use chematic::chem;
use chematic::smiles::rdkit_crippen_logp_mr;

/// A property of a molecule, as RDKit computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Property {
    /// Logarithm of the partition coefficient between octanol and water, by Crippen's contributions of atoms.
    LogP,
    /// Quantitative estimate of drug-likeness, from 0 to 1.
    Qed,
    /// Molecular weight in g/mol.
    Weight,
    /// How hard it is to make, from 1 (easy) to 10, by Ertl and Schuffenhauer; known once their table is
    /// [installed](FragmentScores::install).
    Sa,
    /// Number of rings.
    Rings,
}

impl Property {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::LogP, Self::Qed, Self::Weight, Self::Sa, Self::Rings];

    /// Its name in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogP => "logp",
            Self::Qed => "qed",
            Self::Weight => "weight",
            Self::Sa => "sa",
            Self::Rings => "rings",
        }
    }

    /// What it says, in a few words.
    pub fn about(self) -> &'static str {
        match self {
            Self::LogP => "partition between octanol and water, as a logarithm",
            Self::Qed => "drug-likeness, 0 to 1",
            Self::Weight => "molecular weight in g/mol",
            Self::Sa => "how hard it is to make, 1 to 10",
            Self::Rings => "number of rings",
        }
    }

    /// Those that can be computed.
    pub fn known() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|property| property.check().is_ok())
    }

    /// Whether it can be computed.
    ///
    /// # Errors
    /// What is missing, and where to find it.
    pub fn check(self) -> Result<(), &'static str> {
        match self {
            Self::Sa if FragmentScores::installed().is_none() => Err(
                "sa needs the table of Ertl and Schuffenhauer: name its file fpscores.pkl.gz in the variable GENERA_SA_SCORES (it \
                 lies in the Python package molsets and in RDKit's Contrib/SA_Score)",
            ),
            _ => Ok(()),
        }
    }

    /// The property of this name, disregarding case.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|property| property.name().eq_ignore_ascii_case(name.trim()))
    }

    /// Its value for a molecule; not a number where it cannot be computed.
    pub fn of(self, molecule: &Molecule) -> f64 {
        let graph = molecule.graph();
        match self {
            Self::LogP => rdkit_crippen_logp_mr(graph).map_or_else(|| chem::logp_crippen(graph), |(logp, _)| logp),
            Self::Qed => chem::qed(graph),
            Self::Weight => chem::rdkit_molecular_weight(graph),
            Self::Sa => FragmentScores::installed().map_or(f64::NAN, |scores| scores.accessibility(molecule)),
            Self::Rings => chem::rdkit_num_rings(graph) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accessibility_is_known_once_its_table_is() {
        let ethanol = Molecule::parse("CCO").unwrap();
        assert!(Property::Sa.check().unwrap_err().contains("GENERA_SA_SCORES"));
        assert!(Property::Sa.of(&ethanol).is_nan() && Property::known().count() == 4);
        FragmentScores::read(&b"F1.5\nI7\n"[..]).unwrap().install();
        assert_eq!(Property::known().collect::<Vec<_>>(), Property::ALL);
        assert!((1.0..=10.0).contains(&Property::Sa.of(&ethanol)));
    }
}
