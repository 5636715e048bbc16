//! What a run is to do, and why: fills what a recipe leaves open from the data, the machine and the time.

pub mod data;
pub mod memory;
pub mod molecule;
pub mod notices;
pub mod overrides;
pub mod privacy;
pub mod records;
pub mod serving;
pub mod sizes;
pub mod table;
pub mod trial;
pub mod tuning;

use genera_engine::recipe::Recipe;
use genera_modality::{Modality, Preference};

/// Whether pairs of answers are learned from.
pub fn has_pairs(recipe: &Recipe) -> bool {
    recipe.data.kind == Preference.name()
}
