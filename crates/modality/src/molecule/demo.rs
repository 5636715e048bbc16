//! Molecules made by rule.

use crate::demo::Dice;
use genera_data::{Document, Origin};

const RINGS: [&str; 6] = ["c1ccccc1", "c1ccncc1", "C1CCNCC1", "c1ccoc1", "c1cc[nH]c1", "C1CC1"];
const CHAINS: [&str; 6] = ["C", "CC", "CO", "C(=O)N", "C(C)(C)", "N"];
const ENDS: [&str; 6] = ["C", "O", "F", "Cl", "C#N", "C(=O)O"];

/// Molecule `index`: an end, a chain, a ring, and sometimes another chain and ring.
pub(super) fn molecule(seed: u64, index: u64) -> Document {
    let mut dice = Dice::new(seed, index);
    let mut line = ENDS[dice.below(2)].to_owned();
    for _ in 0..1 + dice.below(2) {
        line += CHAINS[dice.below(CHAINS.len())];
        line += RINGS[dice.below(RINGS.len())];
    }
    if dice.below(3) == 0 {
        line = format!("C({}){line}", ENDS[dice.below(ENDS.len())]);
    }
    Document::text(Origin::new("small-molecules", index), line)
}
