//! The beginning of a GGUF file: metadata by key, and where each tensor lies.
//!
//! Everything is counted against the length of the file before memory is asked for, and lists that nobody asks for are passed
//! over, so that a file cannot make its reader take more memory than its metadata have bytes.

use crate::weights::content::Content;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, BufReader, Read};
use std::ops::Index;

/// Most bytes of metadata and names: a vocabulary of 256,000 tokens takes about 10 MB.
const MAX_HEADER_BYTES: u64 = 48 << 20;
/// Most entries of metadata, and most tensors.
const MAX_ENTRIES: u64 = 1 << 16;
/// Most axes of a tensor.
const MAX_AXES: u32 = 4;
/// Most elements of a list; the largest vocabularies have 262,144 tokens.
const MAX_LIST: u64 = 1 << 20;
/// The long lists that are read: those of a tokenizer.
const ASKED: [&str; 4] =
    ["tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores", "tokenizer.ggml.merges"];
/// Most elements of a list under another key, such as one with a number for each layer; longer ones are passed over.
const MAX_SHORT_LIST: u64 = 1 << 12;
/// Most memory for lists, in bytes.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// Longest key or name.
const MAX_NAME_BYTES: u64 = 1 << 12;
/// Where tensors begin, when the metadata does not say.
const ALIGNMENT: u64 = 32;

/// A part of a header, or what is wrong with it.
pub(super) type Sound<T> = Result<T, String>;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any whole number.
    Integer(i128),
    /// A number.
    Float(f64),
    /// True or false.
    Flag(bool),
    /// A text.
    Text(String),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Flags.
    Flags(Vec<bool>),
    /// Texts.
    Texts(Texts),
}

/// Texts one behind another, so that a short one takes little more than its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    joined: String,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Texts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One of them.
    pub fn get(&self, i: usize) -> Option<&str> {
        let end = *self.ends.get(i)? as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        self.joined.get(start..end)
    }

    /// All of them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|i| &self[i])
    }

    /// # Panics
    /// When all together have 4 GiB.
    fn push(&mut self, text: &str) {
        self.joined.push_str(text);
        self.ends.push(u32::try_from(self.joined.len()).expect("the texts of a header have less than 4 GiB"));
    }
}

impl Index<usize> for Texts {
    type Output = str;

    /// # Panics
    /// When there are not that many.
    fn index(&self, i: usize) -> &str {
        self.get(i).expect("an index within the list")
    }
}

impl<T: AsRef<str>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(list: I) -> Self {
        let mut texts = Self::default();
        list.into_iter().for_each(|text| texts.push(text.as_ref()));
        texts
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Flag(_) => "true or false",
            Value::Text(_) => "a text",
            Value::Integers(_) => "a list of whole numbers",
            Value::Floats(_) => "a list of numbers",
            Value::Flags(_) => "a list of flags",
            Value::Texts(_) => "a list of texts",
        }
    }
}

/// A tensor as the header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawEntry {
    pub(super) name: String,
    /// The last axis first.
    pub(super) sizes: Vec<u64>,
    pub(super) format: u32,
    pub(super) offset: u64,
}

/// The beginning of a file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: Vec<RawEntry>,
    /// Where the tensors' bytes begin in the file.
    pub(super) data_start: u64,
    pub(super) alignment: u64,
}

/// Reads the beginning of a file of `file_len` bytes.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(content: &mut dyn Content, file_len: u64) -> Sound<Header> {
    let mut bytes = Bytes {
        reader: BufReader::new(content),
        position: 0,
        end: file_len.min(MAX_HEADER_BYTES),
        file_len,
        list_bytes: MAX_LIST_BYTES,
    };
    if file_len == 0 {
        return Err("the file is empty; fetch it again".to_owned());
    }
    if &bytes.array::<4>("the first four bytes")? != b"GGUF" {
        return Err("it does not begin with 'GGUF'".to_owned());
    }
    let version = bytes.u32("the version")?;
    if !(2..=3).contains(&version) {
        let hint = if version.swap_bytes() <= 3 { " (it is written for a big-endian machine)" } else { "" };
        return Err(format!("it has version {version}; 2 and 3 are read{hint}"));
    }
    let [n_tensors, n_values] = [bytes.count("tensors", 24)?, bytes.count("entries of metadata", 13)?];
    let mut metadata = BTreeMap::new();
    for _ in 0..n_values {
        let key = bytes.text("a key", MAX_NAME_BYTES)?;
        let kind = bytes.u32(format_args!("the type of '{key}'"))?;
        let Some(value) = bytes.value(&key, kind)? else { continue };
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("the metadata has '{key}' twice"));
        }
    }
    let tensors = (0..n_tensors).map(|_| bytes.entry()).collect::<Sound<Vec<_>>>()?;
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(&Value::Integer(n)) if (1..=1 << 16).contains(&n) && (n as u64).is_power_of_two() => n as u64,
        Some(value) => return Err(format!("'general.alignment' is {value:?}; expected a power of two up to 65,536")),
    };
    Ok(Header { metadata, tensors, data_start: bytes.position.next_multiple_of(alignment), alignment })
}

/// What is left of a header.
struct Bytes<'c> {
    reader: BufReader<&'c mut dyn Content>,
    position: u64,
    /// Where reading stops: the end of the file, or of what is read of it.
    end: u64,
    file_len: u64,
    /// Memory that is left for lists.
    list_bytes: u64,
}

impl Bytes<'_> {
    /// Fails when fewer than `n` bytes are left.
    fn reserve(&self, n: u64, what: impl Display) -> Sound<()> {
        if n <= self.end - self.position {
            return Ok(());
        }
        if self.end < self.file_len {
            return Err(format!("its metadata goes beyond {MAX_HEADER_BYTES} bytes, the most that is read, at {what}"));
        }
        let left = self.file_len - self.position;
        Err(format!(
            "the file is cut short, or claims too much: {what} needs {n} bytes at byte {}, {left} are left; fetch it again",
            self.position
        ))
    }

    fn read(&mut self, n: u64, what: impl Display) -> Sound<Vec<u8>> {
        self.reserve(n, &what)?;
        let mut bytes = vec![0; n as usize];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// Reads what has been reserved.
    fn fill(&mut self, bytes: &mut [u8], what: impl Display) -> Sound<()> {
        self.reader.read_exact(bytes).map_err(|error| format!("{what} cannot be read: {error}"))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: impl Display) -> Sound<[u8; N]> {
        self.reserve(N as u64, &what)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn u32(&mut self, what: impl Display) -> Sound<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: impl Display) -> Sound<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of things that take at least `least_bytes` each.
    fn count(&mut self, what: &str, least_bytes: u64) -> Sound<u64> {
        let n = self.u64(format_args!("the number of {what}"))?;
        if n > MAX_ENTRIES {
            return Err(format!("it claims {n} {what}; at most {MAX_ENTRIES} are read"));
        }
        self.reserve(n * least_bytes, format_args!("{n} {what}"))?;
        Ok(n)
    }

    fn text(&mut self, what: &str, most: u64) -> Sound<String> {
        let n = self.u64(format_args!("the length of {what}"))?;
        if n > most {
            return Err(format!("{what} of {n} bytes at byte {} is longer than {most}", self.position));
        }
        let bytes = self.read(n, what)?;
        String::from_utf8(bytes).map_err(|_| format!("{what} that ends at byte {} is not UTF-8", self.position))
    }

    /// A value; `None` for a long list that nobody asks for.
    fn value(&mut self, key: &str, kind: u32) -> Sound<Option<Value>> {
        let what = format!("the value of '{key}'");
        Ok(Some(match kind {
            ARRAY => {
                let kind = self.u32(&what)?;
                let n = self.u64(&what)?;
                let is_kept = n <= MAX_SHORT_LIST || ASKED.contains(&key);
                return self.list(&what, kind, n, is_kept);
            }
            TEXT => Value::Text(self.text(&what, MAX_HEADER_BYTES)?),
            FLAG => Value::Flag(flag(self.array::<1>(&what)?[0], &what)?),
            _ => match number_type(kind).ok_or_else(|| unknown_type(&what, kind))? {
                NumberType::Whole { n_bytes, signed } => Value::Integer(whole(&self.read(n_bytes, &what)?, signed)),
                NumberType::Real { n_bytes } => Value::Float(real(&self.read(n_bytes, &what)?)),
            },
        }))
    }

    fn list(&mut self, what: &str, kind: u32, n: u64, is_kept: bool) -> Sound<Option<Value>> {
        let element_bytes = match kind {
            TEXT => 8,
            FLAG => 1,
            ARRAY => return Err(format!("{what} is a list of lists, which no known model has")),
            _ => number_type(kind).ok_or_else(|| unknown_type(what, kind))?.n_bytes(),
        };
        if n > MAX_LIST {
            return Err(format!("{what} claims {n} elements; at most {MAX_LIST} are read"));
        }
        let n_bytes = n * element_bytes;
        self.reserve(n_bytes, what)?;
        if !is_kept {
            return self.pass_over(what, kind, n, n_bytes).map(|()| None);
        }
        if kind == TEXT {
            return self.texts(what, n).map(|texts| Some(Value::Texts(texts)));
        }
        // Whole numbers are kept in 8 bytes.
        self.take_memory(8 * n, what)?;
        let bytes = self.read(n_bytes, what)?;
        let elements = bytes.chunks_exact(element_bytes as usize);
        Ok(Some(match number_type(kind) {
            None => Value::Flags(bytes.iter().map(|&byte| flag(byte, what)).collect::<Sound<_>>()?),
            Some(NumberType::Whole { signed, .. }) => {
                let small = |element: &[u8]| {
                    let value = whole(element, signed);
                    i64::try_from(value).map_err(|_| format!("{what} holds {value}, which is too large"))
                };
                Value::Integers(elements.map(small).collect::<Sound<_>>()?)
            }
            Some(NumberType::Real { .. }) => Value::Floats(elements.map(|element| real(element) as f32).collect()),
        }))
    }

    fn texts(&mut self, what: &str, n: u64) -> Sound<Texts> {
        self.take_memory(4 * n, what)?;
        let mut texts = Texts { joined: String::new(), ends: Vec::with_capacity(n as usize) };
        let mut bytes = Vec::new();
        for _ in 0..n {
            let len = self.u64(what)?;
            self.reserve(len, what)?;
            self.take_memory(len, what)?;
            bytes.resize(len as usize, 0);
            self.fill(&mut bytes, what)?;
            let text = str::from_utf8(&bytes);
            texts.push(text.map_err(|_| format!("{what} that ends at byte {} is not UTF-8", self.position))?);
        }
        Ok(texts)
    }

    /// Leaves out a list of `n` elements, which take `n_bytes` where they are numbers.
    fn pass_over(&mut self, what: &str, kind: u32, n: u64, n_bytes: u64) -> Sound<()> {
        if kind != TEXT {
            return self.skip(n_bytes, what);
        }
        for _ in 0..n {
            let len = self.u64(what)?;
            self.skip(len, what)?;
        }
        Ok(())
    }

    fn skip(&mut self, n: u64, what: &str) -> Sound<()> {
        self.reserve(n, what)?;
        let passed = io::copy(&mut self.reader.by_ref().take(n), &mut io::sink());
        match passed.map_err(|error| format!("{what} cannot be read: {error}"))? {
            passed if passed == n => self.position += n,
            passed => return Err(format!("{what} ends after {passed} of {n} bytes")),
        }
        Ok(())
    }

    /// Counts memory for a list against what all of them may take.
    fn take_memory(&mut self, n: u64, what: &str) -> Sound<()> {
        self.list_bytes = self.list_bytes.checked_sub(n).ok_or_else(|| {
            format!("its lists take more than {MAX_LIST_BYTES} bytes of memory, the most that is spent, at {what}")
        })?;
        Ok(())
    }

    fn entry(&mut self) -> Sound<RawEntry> {
        let name = self.text("the name of a tensor", MAX_NAME_BYTES)?;
        let what = format!("the entry of tensor '{name}'");
        let n_axes = self.u32(&what)?;
        if n_axes > MAX_AXES {
            return Err(format!("tensor '{name}' has {n_axes} axes; at most {MAX_AXES} are read"));
        }
        let sizes = (0..n_axes).map(|_| self.u64(&what)).collect::<Sound<Vec<_>>>()?;
        Ok(RawEntry { sizes, format: self.u32(&what)?, offset: self.u64(&what)?, name })
    }
}

const FLAG: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// How a number is stored.
#[derive(Clone, Copy)]
enum NumberType {
    Whole { n_bytes: u64, signed: bool },
    Real { n_bytes: u64 },
}

impl NumberType {
    fn n_bytes(self) -> u64 {
        match self {
            NumberType::Whole { n_bytes, .. } | NumberType::Real { n_bytes } => n_bytes,
        }
    }
}

fn number_type(kind: u32) -> Option<NumberType> {
    let whole = |n_bytes, signed| Some(NumberType::Whole { n_bytes, signed });
    match kind {
        0 => whole(1, false),
        1 => whole(1, true),
        2 => whole(2, false),
        3 => whole(2, true),
        4 => whole(4, false),
        5 => whole(4, true),
        6 => Some(NumberType::Real { n_bytes: 4 }),
        10 => whole(8, false),
        11 => whole(8, true),
        12 => Some(NumberType::Real { n_bytes: 8 }),
        _ => None,
    }
}

fn unknown_type(what: &str, kind: u32) -> String {
    format!("{what} is of the unknown type {kind}")
}

fn flag(byte: u8, what: &str) -> Sound<bool> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(format!("{what} is the byte {byte}, expected 0 or 1")),
    }
}

/// A whole number of up to 8 bytes.
fn whole(bytes: &[u8], signed: bool) -> i128 {
    let is_negative = signed && bytes.last().is_some_and(|byte| byte >> 7 == 1);
    let mut wide = [if is_negative { 0xff } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    i128::from_le_bytes(wide)
}

/// A number of 4 or 8 bytes.
fn real(bytes: &[u8]) -> f64 {
    match bytes.try_into() {
        Ok(four) => f64::from(f32::from_le_bytes(four)),
        Err(_) => f64::from_le_bytes(bytes.try_into().expect("4 or 8 bytes")),
    }
}
