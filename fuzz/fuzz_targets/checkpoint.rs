//! A checkpoint's manifest, and its tensors in safetensors.
#![no_main]

use genera_engine::checkpoint::Manifest;
use genera_engine::weights::safetensors::Reader;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzz");
    let _ = Manifest::parse(path, bytes);
    let Ok(reader) = Reader::new(path, Box::new(Cursor::new(bytes.to_vec()))) else { return };
    let names: Vec<String> = reader.entries().iter().map(|entry| entry.name.clone()).collect();
    for name in names {
        let _ = reader.read_any(&name);
    }
});
