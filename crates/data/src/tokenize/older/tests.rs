//! What is expected is what transformers 5 makes of the same files.

use super::*;
use crate::tokenize::{Tokenizer, load_tokenizer};
use std::sync::Arc;

/// Loads a tokenizer from files with these contents.
fn load(files: &[(&str, &[u8])]) -> Result<Arc<dyn Tokenizer>> {
    let directory = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(directory.path().join(name), bytes).unwrap());
    load_tokenizer(directory.path())
}

const VOCAB: &[u8] = br#"{"<s>":0,"<pad>":1,"</s>":2,"<unk>":3,"a":4,"b":5,"\u0120":6,"ab":7,"\u0120ab":8,"<mask>":9}"#;
const MERGES: &[u8] = b"#version: 0.2\na b\n\xc4\xa0 ab\n";

#[test]
fn byte_pairs_of_bart_and_opt() {
    let bart = br#"{"tokenizer_class": "BartTokenizer"}"#;
    let bart = load(&[("vocab.json", VOCAB), ("merges.txt", MERGES), ("tokenizer_config.json", bart)]).unwrap();
    assert_eq!(bart.encode_framed("ab ab a").unwrap(), [0, 7, 8, 6, 4, 2]);
    assert_eq!(bart.decode(&[0, 7, 8, 6, 4, 2]), "ab ab a");
    let special = bart.vocab().special;
    assert_eq!((special.begin, special.end, special.padding, special.unknown), (Some(0), Some(2), Some(1), Some(3)));
    let opt = br#"{"add_bos_token": true, "bos_token": {"content": "</s>"}, "eos_token": "</s>", "unk_token": "</s>"}"#;
    let model = br#"{"model_type": "opt"}"#;
    let files =
        [("vocab.json", VOCAB), ("merges.txt", MERGES), ("tokenizer_config.json", &opt[..]), ("config.json", model)];
    let opt = load(&files).unwrap();
    assert_eq!((opt.encode("ab ab a").unwrap(), opt.vocab().special.begin), (vec![7, 8, 6, 4], Some(2)));
    let gpt_2 = load(&[files[0], files[1], ("config.json", br#"{"model_type": "gpt2"}"#)]).unwrap();
    assert_eq!(gpt_2.vocab().special.begin, None);
}

/// What is said of white space around a token holds.
#[test]
fn tokens_take_white_space_as_their_files_say() {
    let load = |config: &str| {
        let config = ("tokenizer_config.json", config.as_bytes());
        load(&[("vocab.json", VOCAB), ("merges.txt", MERGES), ("config.json", br#"{"model_type": "opt"}"#), config])
            .unwrap()
    };
    let decoder = |flags: &str| {
        load(&format!(r#"{{"added_tokens_decoder": {{"2": {{"content": "</s>", "special": true{flags}}}}}}}"#))
    };
    assert_eq!(decoder("").encode_with_special("a </s> b").unwrap(), [4, 6, 2, 6, 5]);
    assert_eq!(decoder(r#", "rstrip": true"#).encode_with_special("a </s> b").unwrap(), [4, 6, 2, 5]);
    assert_eq!(decoder(r#", "lstrip": true"#).encode_with_special("a </s> b").unwrap(), [4, 2, 6, 5]);
    let word = r#"{"added_tokens_decoder": {"7": {"content": "ab", "special": false, "single_word": true}}}"#;
    assert_eq!(load(word).encode("ab abb").unwrap(), [7, 8, 5]);
    let role = load(r#"{"eos_token": {"content": "</s>", "rstrip": true}}"#);
    assert_eq!(role.encode_with_special("a</s> b").unwrap(), [4, 2, 5]);
    let bart = load(r#"{"tokenizer_class": "BartTokenizer", "mask_token": "<mask>"}"#);
    assert_eq!(bart.encode_with_special("a <mask> b").unwrap(), [4, 9, 6, 5]);
}

#[test]
fn words_of_bert() {
    const LINES: &[u8] = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nab\n##c\nAB\n!\n";
    let model = ("config.json", &br#"{"model_type": "bert"}"#[..]);
    let lower = load(&[("vocab.txt", LINES), model]).unwrap();
    assert_eq!(lower.encode_framed("\u{c1}Bc! AB").unwrap(), [2, 5, 6, 8, 5, 3]);
    let cased =
        load(&[("vocab.txt", LINES), model, ("tokenizer_config.json", br#"{"do_lower_case": false}"#)]).unwrap();
    assert_eq!(cased.encode_framed("ABc! ab").unwrap(), [2, 7, 6, 8, 5, 3]);
    assert_eq!(cased.vocab().special.padding, Some(0));
}

/// A field of a protocol buffer that holds `bytes`.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let n = bytes.len();
    let len = if n < 128 { vec![n as u8] } else { vec![n as u8 | 128, (n >> 7) as u8] };
    [vec![number << 3 | 2], len, bytes.to_vec()].concat()
}

/// A model of these pieces, each with its score and kind, and of these settings as they are written.
fn model(pieces: &[(String, f32, u8)], trainer: &[u8], normalizer: &[u8]) -> Vec<u8> {
    let piece = |(text, score, kind): &(String, f32, u8)| {
        field(1, &[field(1, text.as_bytes()), vec![0x15], score.to_le_bytes().to_vec(), vec![0x18, *kind]].concat())
    };
    let pieces = pieces.iter().map(piece).collect::<Vec<_>>().concat();
    [pieces, field(2, trainer), field(3, normalizer)].concat()
}

fn pieces(list: &[(&str, f32, u8)]) -> Vec<(String, f32, u8)> {
    list.iter().map(|&(text, score, kind)| (text.to_owned(), score, kind)).collect()
}

const LETTERS: [(&str, f32, u8); 5] =
    [("▁", -2.0, 1), ("▁ab", -1.0, 1), ("a", -3.0, 1), ("b", -3.0, 1), ("c", -4.0, 1)];

#[test]
fn pieces_of_t5_with_marks_behind() {
    let all = [&[("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2)], &LETTERS[..]].concat();
    // Unigram (field 3), and the unknown piece is the third (field 40).
    let spiece = model(&pieces(&all), &[0x18, 1, 0xc0, 0x02, 2], &[]);
    let (class, extra) = (br#"{"model_type": "t5"}"#, br#"{"extra_ids": 2}"#);
    let files = [("spiece.model", &spiece[..]), ("config.json", class), ("tokenizer_config.json", extra)];
    let t5 = load(&files).unwrap();
    assert_eq!(t5.encode_framed(" ab  cab\tx").unwrap(), [4, 3, 7, 5, 6, 3, 2, 1]);
    assert_eq!(t5.decode(&[4, 3, 7, 5, 6, 1]), "ab cab");
    assert_eq!((t5.vocab().size, t5.token_text(8).as_str(), t5.vocab().special.begin), (10, "<extra_id_1>", None));
}

#[test]
fn marks_of_pegasus_come_before_its_pieces() {
    let all = [&[("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2)], &LETTERS[..]].concat();
    let spiece = model(&pieces(&all), &[0x18, 1, 0xc0, 0x02, 2], &[]);
    let load = |config: &str| {
        let (class, config) = (br#"{"model_type": "pegasus"}"#, config.as_bytes());
        load(&[("spiece.model", &spiece[..]), ("config.json", class), ("tokenizer_config.json", config)])
    };
    let pegasus = load(r#"{"tokenizer_class": "PegasusTokenizerFast"}"#).unwrap();
    assert_eq!(pegasus.encode_framed(" ab  cab\tx").unwrap(), [107, 106, 110, 108, 109, 106, 105, 1]);
    assert_eq!(pegasus.decode(&[107, 106, 110, 108, 109, 1]), "ab cab");
    let marks = [2, 3, 4, 104, 105].map(|id| pegasus.token_text(id));
    assert_eq!(marks, ["<mask_1>", "<mask_2>", "<unk_2>", "<unk_102>", "<unk>"]);
    let special = pegasus.vocab().special;
    assert_eq!((pegasus.vocab().size, special.padding, special.end, special.begin), (111, Some(0), Some(1), None));
    let other = load(r#"{"offset": 0}"#).err().expect("it is not read").to_string();
    assert!(other.contains("PegasusTokenizer with other marks"), "{other}");
}

#[test]
fn merges_of_llama_by_scores() {
    let bytes = (0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6));
    let mut all = pieces(&[("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]);
    all.extend(bytes);
    all.extend(pieces(&[("ab", 0.0, 1), ("▁ab", -1.0, 1), ("▁", -2.0, 1), ("a", -3.0, 1), ("b", -4.0, 1)]));
    // Byte pairs, with bytes for what the pieces lack (field 35); spaces are not taken away (field 4).
    let file = model(&all, &[0x18, 2, 0x98, 0x02, 1, 0xc0, 0x02, 0], &[0x20, 0]);
    let llama = load(&[("tokenizer.model", &file), ("config.json", br#"{"model_type": "llama"}"#)]).unwrap();
    assert_eq!(llama.encode("ab  ab\u{e9}").unwrap(), [260, 261, 260, 198, 172]);
    assert_eq!(llama.decode(&[1, 260, 261, 260, 198, 172]), "ab  ab\u{e9}");
    assert_eq!((llama.vocab().special.begin, llama.vocab().special.end), (Some(1), Some(2)));
}

/// Gemma's runs of spaces are user-defined, and texts have them only when their spaces are written as the pieces have them.
#[test]
fn runs_of_spaces_of_gemma() {
    let bytes = (0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6));
    let mut all = pieces(&[("<unk>", 0.0, 2), ("<bos>", 0.0, 3), ("<eos>", 0.0, 3), ("▁▁", 0.0, 4), ("▁▁▁", 0.0, 4)]);
    all.extend(bytes);
    all.extend(pieces(&[("▁a", -0.0, 1), ("▁", -1.0, 1), ("a", -2.0, 1), ("<i>", 0.0, 4), ("<e", -3.0, 1)]));
    // As for Llama, without a space before the text (field 3).
    let file = model(&all, &[0x18, 2, 0x98, 0x02, 1, 0xc0, 0x02, 0], &[0x18, 0, 0x20, 0]);
    let gemma = load(&[("tokenizer.model", &file), ("config.json", br#"{"model_type": "gemma2"}"#)]).unwrap();
    assert_eq!(gemma.encode("a a  a   a<i>").unwrap(), [263, 261, 3, 263, 4, 263, 264]);
    assert_eq!(gemma.decode(&[263, 261, 3, 263, 4, 263]), "a a  a   a");
    assert!(!gemma.encode("<eos>").unwrap().contains(&2));
}

#[test]
fn sources_and_answers_of_marian() {
    let all = [&[("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)], &LETTERS[..]].concat();
    let source = model(&pieces(&all), &[0x18, 1, 0xc0, 0x02, 0], &[]);
    let vocab = r#"{"</s>":0,"<unk>":1,"▁ab":2,"a":3,"b":4,"c":5,"▁":6,"▁abc":7,">>fr<<":8,"<pad>":9}"#;
    let load = |vocab: &str| {
        load(&[
            ("source.spm", &source),
            ("vocab.json", vocab.as_bytes()),
            ("config.json", br#"{"model_type": "marian"}"#),
        ])
    };
    let marian = load(vocab).unwrap();
    assert_eq!(marian.encode_framed("abc  ab z").unwrap(), [2, 5, 2, 6, 1, 0]);
    assert_eq!(marian.encode_framed(">>fr<< ab").unwrap(), [8, 2, 0]);
    assert_eq!(marian.decode(&[7, 2, 4, 0]), "abc abb");
    assert_eq!((marian.vocab().special.padding, marian.vocab().special.begin), (Some(9), None));
    let gap = load(&vocab.replace("\"a\":3", "\"a\":30")).err().expect("there is a gap").to_string();
    assert!(gap.contains("the id 30 twice, or leaves one out"), "{gap}");
}

#[test]
fn what_is_not_read_is_said() {
    let refusal = |files: &[(&str, &[u8])]| load(files).err().expect("it is not read").to_string();
    let class = |name: &str| format!(r#"{{"tokenizer_class": "{name}"}}"#).into_bytes();
    let clip = refusal(&[("vocab.json", VOCAB), ("tokenizer_config.json", &class("CLIPTokenizer"))]);
    assert!(clip.contains("of the class CLIPTokenizer; read are those of GPT2Tokenizer"), "{clip}");
    let alone = refusal(&[("vocab.json", VOCAB), ("tokenizer_config.json", &class("GPT2TokenizerFast"))]);
    assert!(alone.contains("beside vocab.json no merges.txt"), "{alone}");
    let other = refusal(&[("vocab.txt", b"a\n"), ("config.json", br#"{"model_type": "whale"}"#)]);
    assert!(other.contains("a model of the kind 'whale'"), "{other}");
    let none = refusal(&[]);
    assert!(none.contains("tokenizer.json"), "{none}");
}
