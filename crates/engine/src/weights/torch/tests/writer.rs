//! Writes files as `torch.save` does, or with any mistake that a test wants.

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// A ZIP archive.
    Archive,
    /// One with 64-bit sizes, as PyTorch writes it.
    Archive64,
    /// As before 2020.
    Legacy,
}

/// A tensor of a file.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) storage: String,
    pub(super) offset: i64,
    pub(super) shape: Vec<i64>,
    pub(super) strides: Vec<i64>,
    /// Its type, when the storage has none.
    pub(super) stored: Option<&'static str>,
}

impl Tensor {
    pub(super) fn new(name: &str, storage: &str, shape: &[i64], strides: &[i64]) -> Self {
        let (name, storage) = (name.to_owned(), storage.to_owned());
        Self { name, storage, offset: 0, shape: shape.to_vec(), strides: strides.to_vec(), stored: None }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Storage {
    key: String,
    kind: &'static str,
    n: i64,
    bytes: Vec<u8>,
}

/// A file to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<Tensor>,
    /// The table is inside of another, under this key.
    pub(super) nested: Option<&'static str>,
    pub(super) as_parameters: bool,
    pub(super) is_big_endian: bool,
    /// A storage that is not written.
    pub(super) omitted: Option<&'static str>,
    /// A pickle in place of the table.
    pub(super) program: Option<Vec<u8>>,
}

impl File {
    pub(super) fn storage(mut self, key: &str, kind: &'static str, n: i64, bytes: Vec<u8>) -> Self {
        self.storages.push(Storage { key: key.to_owned(), kind, n, bytes });
        self
    }

    pub(super) fn tensor(mut self, tensor: Tensor) -> Self {
        self.tensors.push(tensor);
        self
    }

    /// The same with these tensors only.
    pub(super) fn only(&self, names: &[&str]) -> Self {
        let tensors: Vec<Tensor> =
            self.tensors.iter().filter(|tensor| names.contains(&tensor.name.as_str())).cloned().collect();
        let is_used = |storage: &&Storage| tensors.iter().any(|tensor| tensor.storage == storage.key);
        Self { storages: self.storages.iter().filter(is_used).cloned().collect(), tensors, ..self.clone() }
    }

    pub(super) fn bytes(&self, layout: Layout) -> Vec<u8> {
        match layout {
            Layout::Legacy => self.legacy(),
            Layout::Archive => self.archive(false),
            Layout::Archive64 => self.archive(true),
        }
    }

    fn written(&self) -> impl Iterator<Item = &Storage> {
        self.storages.iter().filter(|storage| Some(storage.key.as_str()) != self.omitted)
    }

    fn pickle(&self, is_legacy: bool) -> Vec<u8> {
        if let Some(program) = &self.program {
            return program.clone();
        }
        let tensors = self.tensors.iter().map(|tensor| {
            let value = self.tensor_object(tensor, is_legacy);
            (tensor.name.as_str(), if self.as_parameters { object::parameter(&value) } else { value })
        });
        let table = [object::ordered_table(tensors), object::metadata()].concat();
        let root = match self.nested {
            Some(key) => object::ordered_table([("step", object::number(1 << 40)), (key, table)].into_iter()),
            None => table,
        };
        object::pickle(&root)
    }

    fn tensor_object(&self, tensor: &Tensor, is_legacy: bool) -> Vec<u8> {
        let storage = self.storages.iter().find(|storage| storage.key == tensor.storage).unwrap();
        let mut id = vec![
            object::text("storage"),
            object::global("torch", storage.kind),
            object::text(&storage.key),
            object::text("cpu"),
            object::number(storage.n),
        ];
        if is_legacy {
            id.push(b"N".to_vec());
        }
        let mut arguments = vec![
            [object::tuple(&id), b"Q".to_vec()].concat(),
            object::number(tensor.offset),
            object::numbers(&tensor.shape),
            object::numbers(&tensor.strides),
            b"\x89".to_vec(),
            object::ordered_table([].into_iter()),
        ];
        arguments.extend(tensor.stored.map(|stored| object::global("torch", stored)));
        let has_own_type = tensor.stored.is_some();
        let function = if has_own_type { "_rebuild_tensor_v3" } else { "_rebuild_tensor_v2" };
        object::call("torch._utils", function, &arguments)
    }

    fn legacy(&self) -> Vec<u8> {
        let mut bytes = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec();
        let flag = if self.is_big_endian { b"\x89" } else { b"\x88" };
        let system = object::ordered_table([("little_endian", flag.to_vec())].into_iter());
        let keys: Vec<Vec<u8>> = self.written().map(|storage| object::text(&storage.key)).collect();
        let keys = [&b"](".to_vec()[..], &keys.concat(), b"e"].concat();
        for pickle in
            [object::pickle(&object::number(1001)), object::pickle(&system), self.pickle(true), object::pickle(&keys)]
        {
            bytes.extend(pickle);
        }
        for storage in self.written() {
            let element = match storage.kind {
                "HalfStorage" | "BFloat16Storage" => 2,
                "FloatStorage" => 4,
                "UntypedStorage" => 1,
                _ => 8,
            };
            bytes.extend((storage.bytes.len() as i64 / element).to_le_bytes());
            bytes.extend(&storage.bytes);
        }
        bytes
    }

    fn archive(&self, is_64: bool) -> Vec<u8> {
        let order = if self.is_big_endian { "big" } else { "little" };
        let mut members = vec![
            ("m/data.pkl".to_owned(), self.pickle(false)),
            ("m/byteorder".to_owned(), order.into()),
            ("m/version".to_owned(), b"3\n".to_vec()),
        ];
        members.extend(self.written().map(|storage| (format!("m/data/{}", storage.key), storage.bytes.clone())));
        zip(&members, is_64)
    }
}

/// An archive of members that are stored as they are, each padded by an extra field.
fn zip(members: &[(String, Vec<u8>)], is_64: bool) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let (at, n) = (bytes.len() as u64, content.len() as u64);
        let (narrow_at, narrow_n) = if is_64 { (u32::MAX, u32::MAX) } else { (at as u32, n as u32) };
        let wide = [&[1, 0, 24, 0][..], &n.to_le_bytes(), &n.to_le_bytes(), &at.to_le_bytes()].concat();
        let padding = b"FB\x03\x00ZZZ".to_vec();
        let extra = if is_64 { [padding.clone(), wide].concat() } else { padding.clone() };
        let sizes = |n: u32| [[0; 12].to_vec(), n.to_le_bytes().to_vec(), n.to_le_bytes().to_vec()].concat();
        let lens = |extra: &[u8]| [(name.len() as u16).to_le_bytes(), (extra.len() as u16).to_le_bytes()].concat();
        directory.extend([b"PK\x01\x02\0\0".to_vec(), [0; 2].to_vec(), sizes(narrow_n), lens(&extra)].concat());
        directory.extend([0; 10]);
        directory.extend(narrow_at.to_le_bytes());
        directory.extend([name.as_bytes(), &extra].concat());
        bytes.extend([b"PK\x03\x04\0\0".to_vec(), sizes(n as u32), lens(&padding)].concat());
        bytes.extend([name.as_bytes(), &padding, content].concat());
    }
    let (at, n) = (bytes.len() as u64, directory.len() as u64);
    bytes.extend(&directory);
    let count = members.len() as u64;
    if is_64 {
        let end_at = bytes.len() as u64;
        bytes.extend([b"PK\x06\x06".to_vec(), 44_u64.to_le_bytes().to_vec(), vec![0; 12]].concat());
        [count, count, n, at].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend([b"PK\x06\x07".to_vec(), vec![0; 4], end_at.to_le_bytes().to_vec(), vec![1, 0, 0, 0]].concat());
    }
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    let count = if is_64 { u16::MAX } else { count as u16 };
    [count, count].iter().for_each(|count| bytes.extend(count.to_le_bytes()));
    let words = if is_64 { [u32::MAX; 2] } else { [n as u32, at as u32] };
    words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes.extend([0; 2]);
    bytes
}

/// Instructions that make objects.
pub(super) mod object {
    pub(in super::super) fn pickle(root: &[u8]) -> Vec<u8> {
        [b"\x80\x02", root, b"."].concat()
    }

    pub(in super::super) fn text(text: &str) -> Vec<u8> {
        [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    pub(in super::super) fn short_text(text: &str) -> Vec<u8> {
        [&[b'U', text.len() as u8], text.as_bytes()].concat()
    }

    pub(in super::super) fn number(n: i64) -> Vec<u8> {
        match n {
            0..256 => vec![b'K', n as u8],
            256..65_536 => [&b"M"[..], &(n as u16).to_le_bytes()].concat(),
            _ if i32::try_from(n).is_ok() => [&b"J"[..], &(n as i32).to_le_bytes()].concat(),
            _ => [&[0x8a, 8][..], &n.to_le_bytes()].concat(),
        }
    }

    pub(in super::super) fn global(module: &str, name: &str) -> Vec<u8> {
        format!("c{module}\n{name}\n").into_bytes()
    }

    pub(in super::super) fn tuple(values: &[Vec<u8>]) -> Vec<u8> {
        [b"(", &values.concat()[..], b"t"].concat()
    }

    pub(super) fn numbers(numbers: &[i64]) -> Vec<u8> {
        let values: Vec<Vec<u8>> = numbers.iter().map(|&n| number(n)).collect();
        match values.len() {
            n @ 1..=3 => [&values.concat()[..], &[0x84 + n as u8]].concat(),
            _ => tuple(&values),
        }
    }

    pub(in super::super) fn call(module: &str, name: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
        [global(module, name), tuple(arguments), b"R".to_vec()].concat()
    }

    /// The table is remembered, and the keys are set in what was remembered.
    pub(super) fn ordered_table<'t>(entries: impl Iterator<Item = (&'t str, Vec<u8>)>) -> Vec<u8> {
        let entries: Vec<u8> = entries.flat_map(|(key, value)| [text(key), value].concat()).collect();
        [global("collections", "OrderedDict"), b")Rq\x00(".to_vec(), entries, b"u".to_vec()].concat()
    }

    /// What a module says of its versions.
    pub(super) fn metadata() -> Vec<u8> {
        [b"}", &text("_metadata")[..], b"}sb"].concat()
    }

    pub(super) fn parameter(tensor: &[u8]) -> Vec<u8> {
        let hooks = ordered_table([].into_iter());
        call("torch._utils", "_rebuild_parameter", &[tensor.to_vec(), b"\x88".to_vec(), hooks])
    }
}
