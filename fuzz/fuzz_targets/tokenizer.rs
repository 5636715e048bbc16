//! A tokenizer.json from anywhere, and a text given to it.
#![no_main]

use genera_data::load_tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (file, text) = input;
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("tokenizer.json"), file).expect("a temporary file");
    let Ok(tokenizer) = load_tokenizer(directory.path()) else { return };
    if let Ok(ids) = tokenizer.encode(text) {
        let _ = tokenizer.decode(&ids);
    }
});
