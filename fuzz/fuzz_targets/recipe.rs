//! A recipe, as a person might write it or a file might be damaged.
#![no_main]

mod seed;

use genera_engine::recipe::{Reasons, Recipe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(mut recipe) = seed::read(Recipe::parse(text)) else { return };
    let mut reasons = Reasons::default();
    if recipe.complete(&mut reasons).is_err() {
        return;
    }
    // What was completed and written is read back as the same.
    let written = recipe.to_toml(&reasons);
    let again = Recipe::parse(&written).unwrap_or_else(|error| panic!("{error} in\n{written}"));
    assert_eq!(again.to_toml(&reasons), written);
    let _ = recipe.model.config(100);
});
