//! A checkpoint's manifest.
#![no_main]

use genera_engine::checkpoint::Manifest;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let _ = Manifest::parse(Path::new("fuzz"), bytes);
});
