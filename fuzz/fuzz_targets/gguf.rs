//! A GGUF file: its header, what it says of its architecture and its tokenizer, and its tensors.
#![no_main]

mod seed;

use genera_data::tokenizer_from_json;
use genera_engine::weights::gguf::{GgufFile, Reader};
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
    let Some(mut file) = seed::read(GgufFile::new(reader)) else { return };
    let Some(Some(files)) = seed::read(file.take_tokenizer().files()) else { return };
    if let Some(tokenizer) = seed::read(tokenizer_from_json(&files.tokenizer, Some(&files.config))) {
        let _ = tokenizer.encode("a text: 12 of them");
    }
});
