//! Molecules as RDKit understands them.
//!
//! The only crate that knows chemistry. What an established crate does right (`chematic`) is taken from there and wrapped here,
//! so that the rest of the program sees a handful of functions; what it does otherwise than RDKit is done here.
//! `benches/peers/rdkit_molecules.py` compares all of it with RDKit.
//!
//! Start at [`smiles`]: how a molecule is written, symbol by symbol, and what may come next. [`Molecule`] is one that was read.

mod accessibility;
mod drawing;
mod filters;
mod fingerprint;
mod fragments;
mod mol_file;
mod molecule;
mod property;
pub mod robust;
pub mod smiles;
mod structure;

pub use accessibility::FragmentScores;
pub use filters::Filters;
pub use fingerprint::{Fingerprint, N_BITS};
pub use mol_file::{is_v3000, smiles_of_block};
pub use molecule::{Molecule, is_valid};
pub use property::Property;
