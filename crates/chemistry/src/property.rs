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

    /// Whether a molecule can have this value.
    ///
    /// # Errors
    /// What values there are.
    pub fn check_value(self, value: f64) -> Result<(), String> {
        let (is_possible, values) = match self {
            Self::LogP => (value.is_finite(), "a number"),
            Self::Qed => ((0.0..=1.0).contains(&value), "a number from 0 to 1"),
            Self::Weight => (value.is_finite() && value > 0.0, "a number of g/mol, more than 0"),
            Self::Sa => ((1.0..=10.0).contains(&value), "a number from 1 to 10"),
            Self::Rings => (value >= 0.0 && value.fract() == 0.0, "a whole number, 0 or more"),
        };
        let name = self.name();
        if is_possible { Ok(()) } else { Err(format!("no molecule has {name} = {value}; {name} is {values}")) }
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
    fn values_that_no_molecule_has_are_told() {
        let said = |property: Property, value: f64| property.check_value(value).err().unwrap_or_default();
        assert_eq!(said(Property::Qed, 7.0), "no molecule has qed = 7; qed is a number from 0 to 1");
        assert_eq!(said(Property::Rings, 2.5), "no molecule has rings = 2.5; rings is a whole number, 0 or more");
        let impossible = [
            (Property::Qed, -0.1),
            (Property::Qed, f64::NAN),
            (Property::Weight, 0.0),
            (Property::Weight, f64::INFINITY),
            (Property::Sa, 0.0),
            (Property::Rings, -1.0),
            (Property::Rings, f64::INFINITY),
            (Property::LogP, f64::NAN),
        ];
        for (property, value) in impossible {
            assert!(said(property, value).contains(property.name()), "{property:?} {value}");
        }
        for smiles in ["C", "CC(=O)Oc1ccccc1C(=O)O", "c1ccc2ccccc2c1"] {
            let molecule = Molecule::parse(smiles).unwrap();
            for property in [Property::LogP, Property::Qed, Property::Weight, Property::Rings] {
                assert_eq!(said(property, property.of(&molecule)), "", "{smiles}");
            }
        }
    }

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
