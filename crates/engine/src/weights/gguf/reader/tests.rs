use super::*;
use crate::weights::GgufFile;
use std::io::Cursor;

/// Builds files byte by byte.
#[derive(Clone)]
struct File {
    values: Vec<(String, u32, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, u64)>,
    data: Vec<u8>,
    version: u32,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn texts(list: &[&str]) -> Vec<u8> {
    let head = [&8_u32.to_le_bytes()[..], &(list.len() as u64).to_le_bytes()].concat();
    list.iter().fold(head, |bytes, item| [bytes, text(item)].concat())
}

impl File {
    /// A matrix in f32 and one in Q8_0, with a value of each kind.
    fn sound() -> Self {
        let value = |key: &str, kind, bytes| (key.to_owned(), kind, bytes);
        let mut q8_0 = vec![0x00, 0x3c];
        q8_0.extend((0..32).map(|i: i8| (i - 16) as u8));
        let mut data: Vec<u8> = [1.0_f32, -2.0, 3.0, 4.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        data.resize(32, 0);
        data.extend(q8_0);
        Self {
            values: vec![
                value("general.architecture", 8, text("llama")),
                value("small", 1, vec![0xff]),
                value("theta", 6, 1e5_f32.to_le_bytes().to_vec()),
                value("flag", 7, vec![1]),
                value("tokens", 9, texts(&["a", "bc"])),
                value("types", 9, [&5_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &3_i32.to_le_bytes()].concat()),
            ],
            tensors: vec![("a".to_owned(), vec![2, 2], 0, 0), ("b".to_owned(), vec![32], 8, 32)],
            data,
            version: 3,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.values {
            bytes.extend(text(key));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        }
        for (name, sizes, format, offset) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend((sizes.len() as u32).to_le_bytes());
            sizes.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
            bytes.extend(format.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn open(bytes: Vec<u8>) -> Result<Reader> {
    Reader::new(Path::new("m.gguf"), Box::new(Cursor::new(bytes)))
}

#[test]
fn what_is_written_is_read() {
    let reader = open(File::sound().bytes()).unwrap();
    let values: Vec<_> = reader.metadata().iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let expected = [
        ("flag", Value::Flag(true)),
        ("general.architecture", Value::Text("llama".to_owned())),
        ("small", Value::Integer(-1)),
        ("theta", Value::Float(1e5)),
        ("tokens", Value::Texts(["a", "bc"].into_iter().collect())),
        ("types", Value::Integers(vec![3])),
    ];
    assert_eq!(values, expected);
    assert_eq!(reader.find("a").map(|entry| entry.shape.clone()), Some(vec![2, 2]));
    assert_eq!(reader.read("a").unwrap(), [1.0, -2.0, 3.0, 4.5]);
    let b: Vec<f32> = (-16..16).map(|i| i as f32).collect();
    assert_eq!(reader.read("b").unwrap(), b);
    assert!(reader.read("c").unwrap_err().to_string().contains("no tensor 'c'"));
}

/// Long lists are read under the keys of a tokenizer alone, and others passed over.
#[test]
fn long_lists_that_nobody_asks_for_take_no_memory() {
    let n = 5000_u64;
    let empty = [&8_u32.to_le_bytes()[..], &n.to_le_bytes(), &vec![0; 8 * n as usize]].concat();
    let bytes = [&0_u32.to_le_bytes()[..], &n.to_le_bytes(), &vec![7; n as usize]].concat();
    let mut file = File::sound();
    for (key, value) in [("tokenizer.ggml.tokens", &empty), ("texts", &empty), ("bytes", &bytes)] {
        file.values.push((key.to_owned(), 9, value.clone()));
    }
    file.values.push(("last".to_owned(), 7, vec![1]));
    let reader = open(file.bytes()).unwrap();
    let Some(Value::Texts(tokens)) = reader.metadata().get("tokenizer.ggml.tokens") else { panic!("it is read") };
    assert_eq!((tokens.len(), tokens.get(4999), tokens.get(5000)), (5000, Some(""), None));
    assert_eq!(reader.metadata().get("last"), Some(&Value::Flag(true)));
    assert!(!reader.metadata().contains_key("texts") && !reader.metadata().contains_key("bytes"));
    file.values.truncate(6);
    for i in 0..3000 {
        let short = [&0_u32.to_le_bytes()[..], &4096_u64.to_le_bytes(), &[7; 4096]].concat();
        file.values.push((format!("list {i}"), 9, short));
    }
    assert!(open(file.bytes()).unwrap_err().to_string().contains("lists take more than 67108864 bytes"));
}

/// Cut off anywhere, a file is refused; it is never read as if it were whole.
#[test]
fn files_cut_short_are_refused() {
    let whole = File::sound().bytes();
    for n in 0..whole.len() {
        let error = open(whole[..n].to_vec()).expect_err("a file cut short").to_string();
        assert!(error.contains("not a sound GGUF file") && error.contains("fetch it again"), "{n}: {error}");
        let expect = format!("it has {n} bytes, and its tensors end at byte {}", whole.len());
        assert!(error.contains(&expect) || n < whole.len() - File::sound().data.len(), "{n}: {error}");
        assert_eq!(error.contains("the file is empty"), n == 0, "{n}: {error}");
    }
}

#[test]
fn impossible_claims_are_refused() {
    let check = |change: &dyn Fn(&mut File), expect: &str| {
        let mut file = File::sound();
        change(&mut file);
        let error = open(file.bytes()).expect_err(expect).to_string();
        assert!(error.contains(expect), "expected '{expect}', found '{error}'");
    };
    check(&|file| file.version = 1, "version 1; 2 and 3 are read");
    check(&|file| file.version = 3_u32.swap_bytes(), "big-endian");
    check(
        &|file| file.tensors[0].1 = vec![1 << 40, 1 << 40],
        "of shape [1099511627776, 1099511627776] in f32 at byte 0",
    );
    check(&|file| file.tensors[0].1 = vec![1 << 40, 1 << 19], "not whole is 'a' of shape [524288, ");
    check(&|file| file.tensors[0].1 = vec![0, 1 << 63, 1 << 63], "has no elements");
    check(&|file| file.tensors[0].1 = vec![2, 6], "tensors 'a' and 'b' overlap");
    check(&|file| file.tensors[1].1 = vec![31], "not whole blocks of 32 (q8_0)");
    check(&|file| file.tensors[1].2 = 99, "format 99, which is not known; known are f32, f16");
    check(&|file| file.tensors[1].3 = 33, "not a multiple of 32");
    check(&|file| file.tensors[1].3 = u64::MAX - 31, "goes beyond 2^64 bytes");
    check(&|file| file.tensors[1].3 = u64::MAX - 63, "its tensors end at byte 18446744073709551615");
    check(&|file| file.tensors[0].1 = vec![1; 5], "has 5 axes");
    check(&|file| file.tensors[1].0 = "a".to_owned(), "the same name");
    check(&|file| file.values[3].2 = vec![2], "is the byte 2");
    check(&|file| file.values[1].1 = 13, "unknown type 13");
    check(&|file| file.values[1].0 = "flag".to_owned(), "has 'flag' twice");
    let list = |kind: u32, n: u64| [&kind.to_le_bytes()[..], &n.to_le_bytes()].concat();
    check(&|file| file.values[4].2 = list(8, 1 << 63), "claims 9223372036854775808 elements");
    check(&|file| file.values[4].2 = list(8, 1 << 20), "cut short, or claims too much");
    check(&|file| file.values[4].2 = list(9, 1), "a list of lists");
    check(&|file| file.values[0].2 = (1_u64 << 40).to_le_bytes().to_vec(), "is longer than");
    check(&|file| file.values[0].2 = [&2_u64.to_le_bytes()[..], &[0xff, 0xff]].concat(), "is not UTF-8");
    let alignment = |n: u32| ("general.alignment".to_owned(), 4, n.to_le_bytes().to_vec());
    check(&|file| file.values.push(alignment(3)), "expected a power of two");
    let mut bytes = File::sound().bytes();
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(open(bytes).unwrap_err().to_string().contains("claims 18446744073709551615 tensors"));
}

/// What a file says of its architecture by its tensors is looked at before it is used.
#[test]
fn tensors_that_cannot_be_an_architectures_are_named() {
    let check = |name: &str, sizes: &[u64], expect: &str| {
        let whole = |key: &str| (format!("llama.{key}"), 4, 8_u32.to_le_bytes().to_vec());
        let keys = ["embedding_length", "block_count", "feed_forward_length", "attention.head_count", "context_length"];
        let mut file = File::sound();
        file.values.extend(keys.map(whole));
        file.tensors = vec![(name.to_owned(), sizes.to_vec(), 0, 0)];
        file.data = vec![0; 4 * sizes.iter().product::<u64>() as usize];
        let error = GgufFile::new(open(file.bytes()).unwrap()).expect_err(expect).to_string();
        assert!(error.contains(expect), "expected '{expect}', found '{error}'");
    };
    check("token_embd.weight", &[], "tensor 'token_embd.weight' has shape [], expected a matrix");
    check("token_embd.weight", &[2, 2, 2], "has shape [2, 2, 2], expected a matrix");
    for name in ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"] {
        check(name, &[64, 65], &format!("tensor '{name}' has shape [65, 64]; at most 4096 factors"));
    }
}

/// Bytes of a sound file changed at random: an error or a file, never a panic.
#[test]
fn damaged_files_are_survived() {
    let sound = File::sound().bytes();
    for case in 0..20_000 {
        let key = genera_tensor::Key::new(7).fold(case);
        let mut bytes = sound.clone();
        for i in 0..1 + key.below(0, 3) {
            bytes[key.below(2 * i + 1, sound.len() as u64) as usize] = key.below(2 * i + 2, 256) as u8;
        }
        if let Ok(reader) = open(bytes) {
            let names: Vec<String> = reader.entries().iter().map(|entry| entry.name.clone()).collect();
            names.iter().for_each(|name| assert!(reader.read(name).is_ok()));
        }
    }
}
