//! SMILES: molecules as lines of symbols.
//!
//! ```text
//! C C ( = O ) N c 1 c c c c c 1      an atom, a bond, a branch, a ring bond that is opened and closed
//! ```
//! [`symbols`] cuts a line into symbols; [`Prefix`] follows them and says which may come next, so that every line that it lets
//! end is a molecule: brackets closed, branches closed, ring bonds paired, valences legal, aromatic rings with alternating bonds.
//!
//! # Source
//! The OpenSMILES specification, chapters 3 and 4; which valences are legal is RDKit's choice.

mod aromatic;
mod element;
mod prefix;
mod symbol;

pub(crate) use element::hydrogens_of;
pub use prefix::{Fault, Prefix};
pub use symbol::{Atom, Bond, MAX_LINE_BYTES, Symbol, symbols};
