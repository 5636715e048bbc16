//! A structure file (SDF): its blocks, and the molecules in them.
#![no_main]

use genera_chemistry::{is_valid, smiles_of_block};
use genera_data::Columns;
use genera_data::source::{Format, read_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(blocks) = read_bytes(bytes.to_vec(), Format::Structures, &Columns::default()) else { return };
    for block in blocks.take(50).map_while(Result::ok) {
        if let Ok(smiles) = smiles_of_block(block.as_text().unwrap_or_default(), 1) {
            assert!(is_valid(&smiles), "{smiles}");
        }
    }
});
