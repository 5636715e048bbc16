//! A checkpoint's manifest.
#![no_main]

mod seed;

use genera_engine::checkpoint::Manifest;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let _ = seed::read(Manifest::parse(Path::new("fuzz"), bytes));
});
