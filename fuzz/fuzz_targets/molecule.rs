//! Lines of SMILES: their symbols, what the grammar says of them, the molecule that they are, and what is found of it.
#![no_main]

use genera_chemistry::smiles::{Prefix, Symbol, symbols};
use genera_chemistry::{Molecule, Property, robust};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let line = text.lines().next().unwrap_or_default();
    let mut prefix = Prefix::new();
    for symbol in symbols(line).map_while(Result::ok).take(80).filter_map(Symbol::parse) {
        let is_allowed = prefix.allows(symbol);
        let is_taken = prefix.push(symbol).is_ok();
        assert!(is_taken || !is_allowed, "{line}");
        if !is_taken {
            break;
        }
    }
    let _ = Prefix::check(line);
    let decoded = robust::decode(line.split(' ').take(80));
    assert!(genera_chemistry::is_valid(&decoded), "{line} gave {decoded}");
    if line.len() > 200 {
        return;
    }
    if let Some(molecule) = Molecule::parse(line) {
        let _ = (molecule.fragments(), molecule.scaffold(0), molecule.fingerprint(), molecule.mol_block("x"));
        let _ = Property::ALL.map(|property| property.of(&molecule));
        let _ = molecule.drawing([0.0, 0.0], [100.0, 100.0]);
    }
});
