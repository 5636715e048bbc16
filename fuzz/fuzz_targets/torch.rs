//! A file of PyTorch: its archive or its old layout, its pickle, and its tensors.
#![no_main]

mod seed;

use genera_engine::weights::torch::Reader;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let reader = Reader::new(Path::new("fuzz"), Box::new(Cursor::new(bytes.to_vec())));
    let Some(reader) = seed::read(reader) else { return };
    let names: Vec<String> = reader.entries().iter().map(|entry| entry.name.clone()).collect();
    for name in names {
        let _ = reader.read(&name);
    }
});
