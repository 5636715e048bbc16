use super::pickle::Pickle;
use super::*;
use crate::generate::tests::models::{model, plain};
use crate::weights::safetensors::{self, StoredType};
use crate::weights::{CardFacts, PublishedGeneration, Purpose, SpecialIds, export_hf, load_hf};
use genera_tensor::{DType, Device, Key};
use half::{bf16, f16};
use std::io::Cursor;
use writer::{File as Saved, Layout, Tensor, object};

mod writer;

fn open(bytes: Vec<u8>) -> Result<Reader> {
    Reader::new(Path::new("m.bin"), Box::new(Cursor::new(bytes)))
}

fn refusal(bytes: Vec<u8>) -> String {
    open(bytes).expect_err("a file that is refused").to_string()
}

fn f32_bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// Two tensors of one storage, one of them a transposed view from its middle, and one in every other type.
fn sound() -> Saved {
    let numbers = [1.5_f32, -2.0];
    let shared = Saved::default().storage("0", "FloatStorage", 12, f32_bytes((0..12).map(|i| i as f32)));
    shared
        .storage("1", "HalfStorage", 2, numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect())
        .storage("2", "BFloat16Storage", 2, numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect())
        .storage("3", "DoubleStorage", 2, numbers.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect())
        .storage("4", "LongStorage", 1, 7_i64.to_le_bytes().to_vec())
        .tensor(Tensor::new("whole", "0", &[3, 4], &[4, 1]))
        .tensor(Tensor { offset: 5, ..Tensor::new("part", "0", &[2, 3], &[1, 2]) })
        .tensor(Tensor::new("half", "1", &[2], &[1]))
        .tensor(Tensor::new("bf16", "2", &[1, 2, 1], &[9, 1, 1]))
        .tensor(Tensor::new("double", "3", &[2], &[1]))
        .tensor(Tensor { offset: 3, ..Tensor::new("scalar", "0", &[], &[]) })
        .tensor(Tensor::new("empty", "0", &[0, 3], &[3, 1]))
        .tensor(Tensor::new("count", "4", &[1], &[1]))
        .tensor(Tensor::new("repeated", "1", &[5, 2], &[0, 1]))
}

const LAYOUTS: [Layout; 3] = [Layout::Archive, Layout::Archive64, Layout::Legacy];

#[test]
fn tensors_are_read_wherever_they_lie() {
    for layout in LAYOUTS {
        let reader = open(sound().bytes(layout)).unwrap();
        assert_eq!(reader.entries().len(), 9);
        assert_eq!(reader.find("part").map(|entry| entry.shape.clone()), Some(vec![2, 3]));
        let whole: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(reader.read("whole").unwrap(), whole, "{layout:?}");
        assert_eq!(reader.read("part").unwrap(), [5.0, 7.0, 9.0, 6.0, 8.0, 10.0]);
        for name in ["half", "bf16", "double"] {
            assert_eq!(reader.read(name).unwrap(), [1.5, -2.0], "{name}");
        }
        assert_eq!(reader.read("scalar").unwrap(), [3.0]);
        assert!(reader.read("empty").unwrap().is_empty());
        assert!(reader.read("none").unwrap_err().to_string().contains("no tensor 'none'"));
        assert!(reader.read("count").unwrap_err().to_string().contains("stored as I64"));
        assert!(reader.read("repeated").unwrap_err().to_string().contains(".contiguous()"));
    }
}

/// A tensor of a storage that only counts bytes, a trained one, and a table inside of another.
#[test]
fn other_spellings_are_read() {
    let typed = sound().storage("9", "UntypedStorage", 8, f32_bytes([4.0, 5.0]));
    let typed = typed.tensor(Tensor { stored: Some("float32"), ..Tensor::new("typed", "9", &[2], &[1]) });
    assert_eq!(open(typed.bytes(Layout::Archive)).unwrap().read("typed").unwrap(), [4.0, 5.0]);
    let trained = Saved { as_parameters: true, ..sound() };
    assert_eq!(open(trained.bytes(Layout::Archive)).unwrap().read("half").unwrap(), [1.5, -2.0]);
    for name in ["model", "state_dict"] {
        let nested = Saved { nested: Some(name), ..sound() };
        assert_eq!(open(nested.bytes(Layout::Legacy)).unwrap().read("half").unwrap(), [1.5, -2.0]);
    }
    assert!(
        refusal(Saved { nested: Some("optimizer"), ..sound() }.bytes(Layout::Archive)).contains("holds no tensors")
    );
}

/// Cut off anywhere, a file is refused; it is never read as if it were whole.
#[test]
fn files_cut_short_are_refused() {
    for layout in LAYOUTS {
        let whole = sound().bytes(layout);
        for n in 0..whole.len() {
            let error = open(whole[..n].to_vec()).expect_err("a file cut short").to_string();
            assert!(error.contains("not a sound PyTorch file"), "{layout:?}, {n}: {error}");
        }
        assert!(open([whole, vec![0]].concat()).is_err(), "{layout:?}: a byte too many");
    }
}

#[test]
fn impossible_claims_are_refused() {
    let check = |change: &dyn Fn(Saved) -> Saved, expect: &str| {
        for layout in LAYOUTS {
            let error = refusal(change(sound()).bytes(layout));
            assert!(error.contains(expect), "{layout:?}: expected '{expect}', found '{error}'");
        }
    };
    let tensor = |tensor: Tensor| move |file: Saved| file.tensor(tensor.clone());
    check(&tensor(Tensor::new("x", "0", &[13], &[1])), "goes beyond its storage of 12 elements");
    check(&tensor(Tensor { offset: 12, ..Tensor::new("x", "0", &[1], &[1]) }), "goes beyond");
    check(&tensor(Tensor::new("x", "0", &[2, 2], &[11, 1])), "goes beyond");
    check(&tensor(Tensor::new("x", "0", &[2], &[i64::MAX])), "goes beyond");
    check(&tensor(Tensor::new("x", "0", &[1 << 40, 1 << 40], &[0, 0])), "goes beyond");
    check(&tensor(Tensor::new("x", "0", &[-1], &[1])), "expected a whole number of at least 0");
    check(&tensor(Tensor { offset: -1, ..Tensor::new("x", "0", &[1], &[1]) }), "expected a whole number");
    check(&tensor(Tensor::new("x", "0", &[1; 9], &[1; 9])), "9 axes");
    check(&tensor(Tensor::new("x", "0", &[1, 1], &[1])), "2 axes and 1 strides");
    check(&tensor(Tensor::new("half", "0", &[1], &[1])), "has 'half' twice");
    let long = "x".repeat(257);
    check(&tensor(Tensor::new(&long, "0", &[1], &[1])), "the name of a tensor has 257 bytes; at most 256");
    let stored = |file: Saved| file.storage(&long, "FloatStorage", 1, vec![0; 4]);
    check(
        &|file| stored(file).tensor(Tensor::new("x", &long, &[1], &[1])),
        "the key of a storage has 257 bytes; at most 256",
    );
    check(
        &tensor(Tensor { stored: Some("float32"), ..Tensor::new("x", "0", &[1], &[1]) }),
        "lies in a storage of type",
    );
    for n in [3, i64::MAX] {
        let tensor = Tensor::new("x", "5", &[1], &[1]);
        check(
            &|file| file.storage("5", "FloatStorage", n, vec![0; 8]).tensor(tensor.clone()),
            &format!("expected {n}"),
        );
    }
    let missing = Saved { omitted: Some("1"), ..sound() };
    assert!(refusal(missing.bytes(Layout::Archive)).contains("has no 'm/data/1'"));
    assert!(refusal(missing.bytes(Layout::Legacy)).contains("storage"));
    let big = Saved { is_big_endian: true, ..sound() };
    assert!(refusal(big.bytes(Layout::Archive)).contains("'big'"));
    assert!(refusal(big.bytes(Layout::Legacy)).contains("big-endian"));
}

/// Every instruction and name that could run something is refused by what it is.
#[test]
fn nothing_is_run() {
    let check = |program: &[u8], expect: &str| {
        let file = Saved { program: Some([b"\x80\x02", program].concat()), ..sound() };
        for layout in LAYOUTS {
            let error = refusal(file.bytes(layout));
            assert!(error.contains(expect), "{program:?}: expected '{expect}', found '{error}'");
        }
    };
    check(b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "asks for 'os.system'");
    check(b"cbuiltins\neval\n.", "'builtins.eval'");
    check(b"c__builtin__\ngetattr\n.", "'__builtin__.getattr'");
    check(b"ctorch._utils\n_rebuild_qtensor\n.", "'torch._utils._rebuild_qtensor'");
    check(b"ctorch.nn.modules.linear\nLinear\n)\x81.", "'torch.nn.modules.linear.Linear'");
    check(b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.", "0x93");
    for code in [b'i', b'o', b'P', b'I', b'S', b'V', b'2', b'0', 0x81, 0x82, 0x8f, 0x92, 0x97, 0xff] {
        check(&[code, b'.'], &format!("the instruction {code:#04x}"));
    }
    check(b"\x80\x05N.", "protocol 5");
    check(b"N)R.", "called that is no function");
    check(b"ccollections\nOrderedDict\nNR.", "expected a tuple");
    check(b"ccollections\nOrderedDict\nN\x85R.", "OrderedDict is called with 1 arguments");
    check(b"ctorch\nFloatStorage\n)R.", "is called with 0 arguments");
    check(b"K\x01NNs.", "used as a container");
    check(b"}(Nu.", "a key without a value");
    check(b"]NNs.", "expected a table");
    check(b"}Na.", "expected a list");
    check(b"]Nb.", "expected a table");
    check(b"t.", "ends that was not begun");
    check(b"(\x85.", "no 1 values");
    check(b".", "nothing on the stack");
    check(b"h\x05.", "nothing was remembered at place 5");
    check(b"Nr\xff\xff\xff\x7f.", "it remembers something at place");
    check(b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x01.", "9 bytes is larger than any size");
    check(b"X\xff\xff\xff\xffabc", "claims too much");
    check(b"X\x01\x00\x00\x00\xff.", "not UTF-8");
    check(&[&b"c"[..], &[b'a'; 4000], b"\n.\n"].concat(), "has no end within 256 bytes");
    check(&[b'('; 300], "more than 256 containers");
    check(b"NQ.", "expected a tuple");
    check(b"X\x01\x00\x00\x00x\x85Q.", "does not begin with 'storage'");
    for (program, expect) in [(&b"\x80\x02N."[..], "holds no table of tensors"), (b"\x80\x02}.", "holds no tensors")] {
        let file = Saved { program: Some(program.to_vec()), ..Saved::default() };
        LAYOUTS.iter().for_each(|&layout| assert!(refusal(file.bytes(layout)).contains(expect)));
    }
}

/// However deep or long: an error or an answer, soon, and without much memory.
#[test]
fn programs_have_limits() {
    let program = |body: &[u8], n: usize| [&b"\x80\x02"[..], &body.repeat(n), b"."].concat();
    let check = |program: Vec<u8>, expect: &str| {
        let error = refusal(Saved { program: Some(program), ..sound() }.bytes(Layout::Archive));
        assert!(error.contains(expect), "expected '{expect}', found '{error}'");
    };
    check([&b"\x80\x02N"[..], &b"\x85".repeat(500_000), b"."].concat(), "holds no table");
    check(program(b"]", 600_000), "more than 524288 objects");
    check(program(b"N", 3_000_000), "more than 1048576 instructions");
    check(program(b"N", 9 << 20), "at most 8388608 are read");
    let named_often = |object: &[u8], n: usize, end: &[u8]| [&b"("[..], &object.repeat(n), end].concat();
    let layers = [
        &b"\x80\x02]("[..],
        &[b"}", &named_often(b"\x88N", 1024, b"uq\x01")[..]].concat(),
        &named_often(b"h\x01", 1024, b"tq\x02"),
        &b"h\x02".repeat(1022),
        b"e.",
    ];
    check(layers.concat(), "its list of layers names more than 65536 values");
    let storage = [object::text("storage"), object::global("torch", "FloatStorage"), object::text("0")];
    let storage = [&storage[..], &[object::text("cpu"), object::number(12)]].concat();
    let arguments =
        [[object::tuple(&storage), b"Q".to_vec()].concat(), object::number(0), b")".to_vec(), b")".to_vec()];
    let tensor = object::call("torch._utils", "_rebuild_tensor_v2", &arguments);
    let names: Vec<u8> =
        (0..=1 << 16).flat_map(|i| [object::text(&i.to_string()), b"h\x03".to_vec()].concat()).collect();
    check([&b"\x80\x02"[..], &tensor, b"q\x03}(", &names, b"u."].concat(), "it has 65537 tensors; at most 65536");
}

/// Bytes of a sound file changed at random: an error or a file, never a panic.
#[test]
fn damaged_files_are_survived() {
    for (layout, case) in LAYOUTS.into_iter().flat_map(|layout| (0..10_000).map(move |case| (layout, case))) {
        let key = Key::new(7).fold(case);
        let mut bytes = sound().bytes(layout);
        for i in 0..1 + key.below(0, 3) {
            let at = key.below(2 * i + 1, bytes.len() as u64) as usize;
            bytes[at] = key.below(2 * i + 2, 256) as u8;
        }
        if let Ok(reader) = open(bytes) {
            let names: Vec<String> = reader.entries().iter().map(|entry| entry.name.clone()).collect();
            names.iter().for_each(|name| drop(reader.read(name)));
        }
    }
}

#[test]
fn archives_that_torch_does_not_write() {
    let bytes = sound().bytes(Layout::Archive);
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        bytes
    };
    assert!(refusal(changed(directory + 10, 8)).contains("compressed"));
    assert!(refusal(changed(directory + 8, 1)).contains("encrypted"));
    assert!(refusal(changed(directory + 20, 1)).contains("stored in"));
    assert!(refusal(changed(directory + 45, 0x7f)).contains("goes beyond the directory"));
    assert!(refusal(changed(directory + 42, 1)).contains("where the directory says"));
    let n = bytes.len();
    assert!(refusal(changed(n - 18, 1)).contains("several parts"));
    assert!(refusal(changed(n - 6, 0xff)).contains("directory"));
    assert!(refusal(b"PK\x05\x06".repeat(10)).contains("neither"));
    assert!(refusal(b"version https://git-lfs.github.com/spec/v1".to_vec()).contains("pointer"));
}

/// A directory whose weights are PyTorch's loads as one with safetensors, whole and in parts.
#[test]
fn a_directory_loads_with_either() {
    let device = Device::cpu(1);
    let original = model(&plain(), DType::F32, &device);
    let dir = tempfile::tempdir().unwrap();
    export_hf(
        &original,
        dir.path(),
        &SpecialIds::default(),
        &PublishedGeneration::default(),
        &CardFacts::default(),
        None,
    )
    .unwrap();
    let file = dir.path().join("model.safetensors");
    let saved = resaved(&file);
    std::fs::remove_file(&file).unwrap();
    assert!(
        load_hf(dir.path(), &device, Purpose::Training(DType::F32))
            .unwrap_err()
            .to_string()
            .contains("pytorch_model.bin")
    );
    std::fs::write(dir.path().join("pytorch_model.bin"), saved.bytes(Layout::Archive64)).unwrap();
    assert_same(&original, dir.path(), &device);

    let names: Vec<&str> = saved.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let (first, second) = names.split_at(names.len() / 2);
    let mut map = serde_json::Map::new();
    for (file, names) in [("pytorch_model-1.bin", first), ("pytorch_model-2.bin", second)] {
        names.iter().for_each(|name| drop(map.insert((*name).to_owned(), file.into())));
        std::fs::write(dir.path().join(file), saved.only(names).bytes(Layout::Legacy)).unwrap();
    }
    std::fs::remove_file(dir.path().join("pytorch_model.bin")).unwrap();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    std::fs::write(dir.path().join("pytorch_model.bin.index.json"), index).unwrap();
    assert_same(&original, dir.path(), &device);
    std::fs::remove_file(dir.path().join("pytorch_model-2.bin")).unwrap();
    let error = load_hf(dir.path(), &device, Purpose::Training(DType::F32)).unwrap_err().to_string();
    assert!(error.contains("pytorch_model-2.bin, which is missing"), "{error}");
}

/// The tensors of a safetensors file as `torch.save` would write them.
fn resaved(path: &Path) -> Saved {
    let reader = safetensors::Reader::open(path).unwrap();
    let entries = reader.entries().to_vec();
    entries.iter().enumerate().fold(Saved::default(), |saved, (i, entry)| {
        assert_eq!(entry.stored, StoredType::F32);
        let values = reader.read_any(&entry.name).unwrap();
        let sizes: Vec<i64> = entry.shape.iter().map(|&size| size as i64).collect();
        let strides: Vec<i64> = (0..sizes.len()).map(|axis| sizes[axis + 1..].iter().product()).collect();
        let key = i.to_string();
        saved.storage(&key, "FloatStorage", values.len() as i64, f32_bytes(values)).tensor(Tensor::new(
            &entry.name,
            &key,
            &sizes,
            &strides,
        ))
    })
}

fn assert_same(original: &crate::model::Transformer, dir: &Path, device: &Device) {
    let loaded = load_hf(dir, device, Purpose::Training(DType::F32)).unwrap();
    for spec in original.params().specs() {
        let [a, b] = [original, &loaded].map(|model| model.params().master(model.params().id(&spec.name)).to_vec());
        assert!(a == b, "{} differs", spec.name);
    }
}

#[test]
fn texts_of_old_pythons_are_texts() {
    let (pickle, n_bytes) = Pickle::load(&[&b"\x80\x02"[..], &object::short_text("key"), b"."].concat()).unwrap();
    assert_eq!((pickle.text(pickle.root), n_bytes), (Some("key"), 8));
}
