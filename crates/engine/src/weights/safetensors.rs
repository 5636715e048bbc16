//! Safetensors files: a JSON header that says where each tensor lies, then the tensors, little-endian, without gaps.
//!
//! The header of a file from elsewhere is hostile until proven otherwise: every size is checked against the bytes that
//! are there before anything is allocated.
//!
//! # Source
//! <https://github.com/huggingface/safetensors>, section "Format".

use super::content::{Content, RowsInPlace, StoredRows};
use super::load::{Store, cut_entry};
use crate::error::{Error, Result};
use genera_tensor::quant::Format;
use genera_tensor::{DType, View};
use half::{bf16, f16};
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest header that is read: that of a file with as many tensors, each in 256 bytes. Published files have a few megabytes.
const MAX_HEADER_BYTES: u64 = 32 << 20;
/// Most tensors of a file; published models of more are in many files.
const MAX_TENSORS: usize = 1 << 17;
/// Most texts about a file.
const MAX_TEXTS: usize = 1 << 14;
/// Most axes of a tensor.
const MAX_AXES: usize = 8;
const METADATA: &str = "__metadata__";

/// Storage type of a tensor in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the format")]
#[expect(non_camel_case_types, reason = "the names are those of the format")]
pub enum StoredType {
    F64,
    F32,
    F16,
    BF16,
    F8_E4M3,
    F8_E5M2,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    BOOL,
}

impl StoredType {
    /// Size of one element.
    ///
    /// # Units
    /// Bytes.
    pub fn size_bytes(self) -> usize {
        use StoredType::{BF16, BOOL, F8_E4M3, F8_E5M2, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        match self {
            F64 | I64 | U64 => 8,
            F32 | I32 | U32 => 4,
            F16 | BF16 | I16 | U16 => 2,
            F8_E4M3 | F8_E5M2 | I8 | U8 | BOOL => 1,
        }
    }

    /// The format of numbers of 32 and 16 bits.
    pub(super) fn format(self) -> Option<Format> {
        match self {
            StoredType::F32 => Some(Format::F32),
            StoredType::F16 => Some(Format::F16),
            StoredType::BF16 => Some(Format::Bf16),
            _ => None,
        }
    }

    /// The type of numbers in such a format, if they are not in blocks.
    pub(super) fn of_format(format: Format) -> Option<Self> {
        match format {
            Format::F32 => Some(StoredType::F32),
            Format::F16 => Some(StoredType::F16),
            Format::Bf16 => Some(StoredType::BF16),
            _ => None,
        }
    }
}

impl From<DType> for StoredType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => StoredType::F32,
            DType::Bf16 => StoredType::BF16,
        }
    }
}

/// Where a tensor lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its storage type.
    pub stored: StoredType,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its bytes, counted from the end of the header.
    range: Range<u64>,
}

impl Entry {
    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A file that is being read.
pub struct Reader {
    path: PathBuf,
    content: Arc<dyn Content>,
    data_start: u64,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

impl Reader {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// When it cannot be read, or when its header does not describe it byte for byte.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::io("cannot open", path, source))?;
        Self::new(path, Box::new(file))
    }

    /// Checks the header of `content`; `path` is for messages.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn new(path: &Path, mut content: Box<dyn Content>) -> Result<Self> {
        let (json, data_len) = read_header(path, content.as_mut())?;
        let malformed = |message: String| Error::file(path, format!("not a sound safetensors file: {message}"));
        let header: RawHeader = serde_json::from_slice(&json).map_err(|e| malformed(format!("its header: {e}")))?;
        let entries = checked_entries(header.tensors, data_len).map_err(malformed)?;
        let by_name: HashMap<_, _> = entries.iter().enumerate().map(|(i, entry)| (entry.name.clone(), i)).collect();
        if by_name.len() < entries.len() {
            return Err(malformed("two tensors have the same name".to_owned()));
        }
        let data_start = 8 + json.len() as u64;
        Ok(Self {
            path: path.to_owned(),
            content: content.into(),
            data_start,
            entries,
            by_name,
            metadata: header.metadata,
        })
    }

    /// The tensors, in the order in which they lie in the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The tensor of a name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|&i| &self.entries[i])
    }

    /// Free texts about the file.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The elements of a tensor that must be there, as f32.
    ///
    /// # Errors
    /// When there is no such tensor, when its shape is another, when its type holds no real numbers, or when the file
    /// cannot be read.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let entry = self.find(name).ok_or_else(|| Error::file(&self.path, format!("has no tensor '{name}'")))?;
        if entry.shape != shape {
            let message = format!("tensor '{name}' has shape {:?}, expected {shape:?}", entry.shape);
            return Err(Error::file(&self.path, message));
        }
        self.read_any(name)
    }

    /// The elements of a tensor of whatever shape, as f32.
    ///
    /// # Errors
    /// As [`Reader::read`], but for the shape.
    pub fn read_any(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self.find(name).ok_or_else(|| Error::file(&self.path, format!("has no tensor '{name}'")))?;
        let (stored, n, range) = (entry.stored, entry.n_elements(), entry.range.clone());
        let decode = decoder(stored).ok_or_else(|| {
            let message = format!("tensor '{name}' is stored as {stored:?}; only F64, F32, F16 and BF16 are read");
            Error::file(&self.path, message)
        })?;
        let read = read_elements(&*self.content, self.data_start + range.start, decode, stored, n);
        read.map_err(|source| Error::io("cannot read", &self.path, source))
    }
}

impl Store for Reader {
    fn place(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|entry| entry.shape.as_slice())
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        self.read_any(name)
    }

    fn stored(&self, name: &str) -> Option<Format> {
        self.find(name)?.stored.format()
    }

    fn rows(&self, name: &str) -> Result<StoredRows> {
        let entry = self.find(name).ok_or_else(|| Error::file(&self.path, format!("has no tensor '{name}'")))?;
        let (start, n_bytes) = (self.data_start + entry.range.start, entry.range.end - entry.range.start);
        Ok(StoredRows::InPlace(RowsInPlace::new(&self.path, self.content.clone(), start, n_bytes as usize)))
    }

    fn cut(&mut self, name: &str, parts: &[String]) -> bool {
        let part = |whole: &Entry, i: usize, name: String, shape: Vec<usize>| {
            let len = (whole.range.end - whole.range.start) / parts.len() as u64;
            let start = whole.range.start + i as u64 * len;
            Entry { name, stored: whole.stored, shape, range: start..start + len }
        };
        cut_entry(&mut self.entries, &mut self.by_name, name, parts, |entry| &entry.shape, part)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({}, {} tensors)", self.path.display(), self.entries.len())
    }
}

/// Elements converted at a time.
const CHUNK_ELEMENTS: usize = 1 << 16;

/// Appends the elements that bytes hold.
pub(super) type Decode = fn(&[u8], &mut Vec<f32>);

/// How elements of a type become f32; none for those that are no real numbers.
pub(super) fn decoder(stored: StoredType) -> Option<Decode> {
    let decode: Decode = match stored {
        StoredType::F32 => |bytes, out| out.extend(words(bytes).map(f32::from_le_bytes)),
        StoredType::F64 => |bytes, out| out.extend(words(bytes).map(|word| f64::from_le_bytes(word) as f32)),
        StoredType::BF16 => |bytes, out| out.extend(words(bytes).map(|word| bf16::from_le_bytes(word).to_f32())),
        StoredType::F16 => |bytes, out| out.extend(words(bytes).map(|word| f16::from_le_bytes(word).to_f32())),
        _ => return None,
    };
    Some(decode)
}

/// Reads `n` elements from byte `at` on.
pub(super) fn read_elements(
    content: &dyn Content,
    mut at: u64,
    decode: Decode,
    stored: StoredType,
    n: usize,
) -> io::Result<Vec<f32>> {
    let mut values = Vec::with_capacity(n);
    let mut chunk = vec![0; CHUNK_ELEMENTS.min(n) * stored.size_bytes()];
    while values.len() < n {
        let n_bytes = (n - values.len()).min(CHUNK_ELEMENTS) * stored.size_bytes();
        content.read_at(at, &mut chunk[..n_bytes])?;
        at += n_bytes as u64;
        decode(&chunk[..n_bytes], &mut values);
    }
    Ok(values)
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// The header's JSON, and how many bytes come after it.
fn read_header(path: &Path, content: &mut dyn Content) -> Result<(Vec<u8>, u64)> {
    let cannot_read = |source| Error::io("cannot read", path, source);
    let len = content.seek(SeekFrom::End(0)).map_err(cannot_read)?;
    let too_short = |expected: &str| Error::file(path, format!("is cut short: {len} bytes, expected {expected}"));
    if len < 8 {
        return Err(too_short("at least 8"));
    }
    content.seek(SeekFrom::Start(0)).map_err(cannot_read)?;
    let mut word = [0; 8];
    content.read_exact(&mut word).map_err(cannot_read)?;
    let header_len = u64::from_le_bytes(word);
    if header_len > MAX_HEADER_BYTES {
        let message = format!(
            "is not a safetensors file: it would begin with a header of {header_len} bytes; at most {MAX_HEADER_BYTES} are read"
        );
        return Err(Error::file(path, message));
    }
    let Some(data_len) = (len - 8).checked_sub(header_len) else {
        return Err(too_short(&format!("a header of {header_len} after the first 8")));
    };
    let mut json = vec![0; header_len as usize];
    content.read_exact(&mut json).map_err(cannot_read)?;
    Ok((json, data_len))
}

/// A header as it stands in the file.
#[derive(Debug, Default)]
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, RawEntry)>,
}

/// Sizes of a tensor, no more than there may be axes.
#[derive(Debug)]
struct Axes(Vec<usize>);

/// Texts about a file, no more than there may be.
struct Texts(BTreeMap<String, String>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: StoredType,
    shape: Axes,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for Axes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Axes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Axes, A::Error> {
                let mut sizes = Vec::new();
                while let Some(size) = list.next_element()? {
                    if sizes.len() == MAX_AXES {
                        return Err(A::Error::custom(format!("more than {MAX_AXES} axes, the most that are read")));
                    }
                    sizes.push(size);
                }
                Ok(Axes(sizes))
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Texts, A::Error> {
                let mut texts = BTreeMap::new();
                while let Some((key, text)) = map.next_entry()? {
                    texts.insert(key, text);
                    if texts.len() > MAX_TEXTS {
                        return Err(A::Error::custom(format!("more than {MAX_TEXTS} texts, the most that are read")));
                    }
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Header;
        impl<'de> Visitor<'de> for Header {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of tensors")
            }

            /// Unlike a map, keeps both of two equal names, so that they can be refused.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawHeader, A::Error> {
                let mut header = RawHeader::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        header.metadata = map.next_value::<Texts>()?.0;
                    } else {
                        if header.tensors.len() == MAX_TENSORS {
                            let message = format!("more than {MAX_TENSORS} tensors, the most that are read");
                            return Err(A::Error::custom(message));
                        }
                        let entry = map.next_value().map_err(|e| A::Error::custom(format!("tensor '{name}': {e}")))?;
                        header.tensors.push((name, entry));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Header)
    }
}

/// A part of a header, or what is wrong with it.
type Sound<T> = std::result::Result<T, String>;

/// The entries in the order of their bytes, which must follow one another from 0 to `data_len`.
fn checked_entries(tensors: Vec<(String, RawEntry)>, data_len: u64) -> Sound<Vec<Entry>> {
    let mut entries = tensors.into_iter().map(|(name, raw)| checked_entry(name, raw)).collect::<Sound<Vec<_>>>()?;
    entries.sort_by_key(|entry| (entry.range.start, entry.range.end));
    let mut end = 0;
    for Entry { name, range, .. } in &entries {
        if range.start != end {
            let what = if range.start < end { "overlaps the one before it" } else { "leaves a hole before it" };
            return Err(format!("tensor '{name}' starts at byte {}, expected {end}: it {what}", range.start));
        }
        end = range.end;
    }
    if end != data_len {
        return Err(format!("its tensors take {end} bytes, but {data_len} follow the header; it may be cut short"));
    }
    Ok(entries)
}

fn checked_entry(name: String, raw: RawEntry) -> Sound<Entry> {
    let RawEntry { dtype: stored, shape: Axes(shape), data_offsets: [start, end] } = raw;
    let element = stored.size_bytes() as u64;
    let n_bytes = shape.iter().try_fold(element, |product, &size| product.checked_mul(size as u64));
    match (n_bytes, end.checked_sub(start)) {
        (Some(needed), Some(found)) if needed == found => Ok(Entry { name, stored, shape, range: start..end }),
        (Some(needed), Some(found)) => {
            Err(format!("tensor '{name}' of shape {shape:?} in {stored:?} takes {needed} bytes, but {found} are given"))
        }
        (None, _) => Err(format!("tensor '{name}' of shape {shape:?} is larger than any file")),
        (_, None) => Err(format!("tensor '{name}' ends at byte {end}, before its start {start}")),
    }
}

/// A tensor to be written: a whole one, or rows of one.
#[derive(Clone, Debug)]
pub struct NamedView<'a> {
    /// Its name in the file.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: View<'a>,
}

/// Writes tensors one after another, in the order given, with free texts about the file.
///
/// # Errors
/// What `out` reports.
///
/// # Panics
/// When a tensor's elements are not as many as its shape says.
pub fn write(out: &mut dyn Write, metadata: &BTreeMap<String, String>, tensors: &[NamedView<'_>]) -> io::Result<()> {
    let described = |tensor: &NamedView<'_>| {
        let NamedView { name, shape, data } = tensor;
        assert_eq!(shape.iter().product::<usize>(), data.len(), "tensor '{name}' of shape {shape:?}");
        (name.clone(), shape.clone(), StoredType::from(data.dtype()))
    };
    write_header(out, metadata, tensors.iter().map(described))?;
    let mut buffer = Vec::with_capacity(4 * CHUNK_ELEMENTS);
    for tensor in tensors {
        for start in (0..tensor.data.len()).step_by(CHUNK_ELEMENTS) {
            buffer.clear();
            match tensor.data.slice(start..tensor.data.len().min(start + CHUNK_ELEMENTS)) {
                View::F32(values) => buffer.extend(values.iter().flat_map(|value| value.to_le_bytes())),
                View::Bf16(values) => buffer.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            }
            out.write_all(&buffer)?;
        }
    }
    Ok(())
}

/// Writes what stands before the tensors: the name, sizes and storage type of each, in the order in which they follow.
///
/// # Errors
/// What `out` reports.
pub(super) fn write_header(
    out: &mut dyn Write,
    metadata: &BTreeMap<String, String>,
    tensors: impl Iterator<Item = (String, Vec<usize>, StoredType)>,
) -> io::Result<()> {
    let mut map = serde_json::Map::new();
    if !metadata.is_empty() {
        map.insert(METADATA.to_owned(), serde_json::json!(metadata));
    }
    let mut start = 0;
    for (name, shape, stored) in tensors {
        let end = start + shape.iter().product::<usize>() * stored.size_bytes();
        map.insert(name, serde_json::json!({"dtype": stored, "shape": shape, "data_offsets": [start, end]}));
        start = end;
    }
    let mut header = serde_json::Value::Object(map).to_string().into_bytes();
    // So that the tensors start at a multiple of 8 bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn read(bytes: Vec<u8>) -> Result<Reader> {
        Reader::new(Path::new("test.safetensors"), Box::new(Cursor::new(bytes)))
    }

    fn file(header: &str, n_data_bytes: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + n_data_bytes, 0);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let (long, half) = ((0..70_000).map(|i| i as f32).collect::<Vec<_>>(), [1.5, -2.0].map(bf16::from_f32));
        let tensors = [
            NamedView { name: "half".into(), shape: vec![2], data: View::Bf16(&half) },
            NamedView { name: "long".into(), shape: vec![7, 10_000], data: View::F32(&long) },
            NamedView { name: "none".into(), shape: vec![0, 3], data: View::F32(&[]) },
        ];
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let mut bytes = Vec::new();
        write(&mut bytes, &metadata, &tensors).unwrap();
        let reader = read(bytes).unwrap();
        assert_eq!(reader.metadata(), &metadata);
        assert_eq!(
            reader.entries().iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(),
            ["half", "long", "none"]
        );
        assert_eq!(reader.read("half", &[2]).unwrap(), [1.5, -2.0]);
        assert_eq!(reader.read("long", &[7, 10_000]).unwrap(), long);
        assert!(reader.read_any("none").unwrap().is_empty());
        assert!(reader.read("long", &[10_000, 7]).unwrap_err().to_string().contains("expected [10000, 7]"));
        assert!(reader.read("other", &[2]).unwrap_err().to_string().contains("has no tensor 'other'"));
    }

    /// A single byte in front of an f32 tensor: nothing in the format forbids it.
    #[test]
    fn tensors_need_no_alignment() {
        let header = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}"#;
        let mut bytes = file(header, 1);
        bytes.extend_from_slice(&2.5_f32.to_le_bytes());
        let reader = read(bytes).unwrap();
        assert_eq!(reader.read_any("b").unwrap(), [2.5]);
        assert!(reader.read_any("a").unwrap_err().to_string().contains("stored as U8"));
    }

    /// Bytes of a sound file changed at random: an error or tensors, never a panic.
    #[test]
    fn damaged_files_are_survived() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let tensor = |name: &str, shape: &[usize]| NamedView {
            name: name.into(),
            shape: shape.into(),
            data: View::F32(&values),
        };
        let mut sound = Vec::new();
        write(&mut sound, &BTreeMap::new(), &[tensor("a", &[2, 2]), tensor("b", &[4])]).unwrap();
        for case in 0..5_000 {
            let key = genera_tensor::Key::new(7).fold(case);
            let mut bytes = sound.clone();
            for change in 0..1 + key.below(0, 3) {
                let at = key.below(2 * change + 1, bytes.len() as u64) as usize;
                bytes[at] = key.below(2 * change + 2, 256) as u8;
            }
            bytes.truncate(if case % 3 == 0 { key.below(9, bytes.len() as u64) as usize } else { bytes.len() });
            let Ok(reader) = read(bytes) else { continue };
            let names: Vec<String> = reader.entries().iter().map(|entry| entry.name.clone()).collect();
            names.iter().for_each(|name| drop(reader.read_any(name)));
        }
    }

    #[test]
    fn attacks_are_refused() {
        let entry = |fields: &str| format!(r#"{{"a":{{{fields}}}}}"#);
        let two = |second: &str| {
            format!(
                r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"F32","shape":[1],"data_offsets":{second}}}}}"#
            )
        };
        let check = |bytes: Vec<u8>, expect: &str| {
            let error = read(bytes).expect_err(expect).to_string();
            assert!(
                error.contains(expect) && error.contains("test.safetensors"),
                "expected '{expect}', found '{error}'"
            );
        };
        check(vec![], "cut short: 0 bytes");
        check(vec![1; 7], "cut short");
        check(u64::MAX.to_le_bytes().to_vec(), "at most");
        check(1000_u64.to_le_bytes().to_vec(), "a header of 1000");
        check(file("[1]", 0), "a table of tensors");
        check(file("{}", 3), "3 follow the header");
        check(file(&two("[4,8]"), 8), "overlaps");
        check(file(&two("[12,16]"), 16), "hole");
        check(file(&two("[8,12]"), 11), "11 follow");
        check(file(&two("[8,12]"), 13), "13 follow");
        check(file(&entry(r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#), 4), "takes 8 bytes, but 4");
        check(file(&entry(r#""dtype":"BF16","shape":[1],"data_offsets":[0,4]"#), 4), "takes 2 bytes, but 4");
        check(file(&entry(r#""dtype":"F32","shape":[1],"data_offsets":[4,0]"#), 4), "before its start");
        check(file(&entry(r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#), 4), "invalid value");
        check(file(&entry(r#""dtype":"F31","shape":[1],"data_offsets":[0,4]"#), 4), "unknown variant");
        check(file(&entry(r#""dtype":"F32","shape":[1],"data_offsets":[0,4],"x":0"#), 4), "unknown field");
        check(file(&entry(r#""dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]"#), 1), "more than 8 axes");
        let huge = format!(r#""dtype":"F32","shape":[{0},{0}],"data_offsets":[0,4]"#, u64::MAX);
        check(file(&entry(&huge), 4), "larger than any file");
        let twice = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
        check(file(twice, 2), "same name");
        let many = |n: usize, entry: &str| (0..n).map(|i| format!("\"{i}\":{entry}")).collect::<Vec<_>>().join(",");
        let empty = many(MAX_TENSORS + 1, r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#);
        check(file(&format!("{{{empty}}}"), 0), "more than 131072 tensors");
        check(file(&format!(r#"{{"__metadata__":{{{}}}}}"#, many(MAX_TEXTS + 1, "\"\"")), 0), "more than 16384 texts");
    }
}
