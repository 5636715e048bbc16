//! A tokenizer's file from anywhere, and a text given to it: a byte that says which file it is, the file, a zero, the text.
#![no_main]

mod seed;

use genera_data::load_tokenizer;
use libfuzzer_sys::fuzz_target;

/// The files of a tokenizer, and whose they are. `cargo xtask fuzz` starts from one of the first.
const KINDS: [(&str, &str); 8] = [
    ("tokenizer.json", ""),
    ("tokenizer.model", "LlamaTokenizer"),
    ("tokenizer.model", "GemmaTokenizer"),
    ("spiece.model", "T5Tokenizer"),
    ("spiece.model", "PegasusTokenizer"),
    ("vocab.txt", "BertTokenizer"),
    ("vocab.json", "GPT2Tokenizer"),
    ("source.spm", "MarianTokenizer"),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, rest)) = bytes.split_first() else { return };
    let (name, class) = KINDS[usize::from(kind) % KINDS.len()];
    let border = rest.iter().rposition(|&byte| byte == 0).unwrap_or(rest.len());
    let (file, text) = (&rest[..border], String::from_utf8_lossy(rest.get(border + 1..).unwrap_or_default()));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, content: &[u8]| {
        std::fs::write(directory.path().join(name), content).expect("a temporary file");
    };
    write(name, file);
    if !class.is_empty() {
        write("tokenizer_config.json", format!(r#"{{"tokenizer_class":"{class}"}}"#).as_bytes());
    }
    // What these classes have beside it.
    match name {
        "vocab.json" => write("merges.txt", b"#version: 0.2\na b\nab c\n"),
        "source.spm" => write("vocab.json", br#"{"<unk>":0,"</s>":1,"a":2,"<pad>":3}"#),
        _ => {}
    }
    let Some(tokenizer) = seed::read(load_tokenizer(directory.path())) else { return };
    if let Ok(ids) = tokenizer.encode(&text) {
        let _ = tokenizer.decode(&ids);
    }
});
