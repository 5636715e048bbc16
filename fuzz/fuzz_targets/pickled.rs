//! A NumPy file with a pickled object.
#![no_main]

use genera_data::pickled::Pickled;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = Pickled::read(bytes) {
        let root = file.root();
        let _ = (file.numbers(root), file.counts(root), file.array(root));
    }
});
