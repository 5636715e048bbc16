//! Plain data from a NumPy file that holds a pickled object, as `np.savez_compressed(path, name=dictionary)` writes it: numbers,
//! texts, lists, tables and arrays. The instructions of a pickle are followed as far as they build such data; nothing is run,
//! and whatever else one asks for is an error.
//!
//! # Source
//! Python, `Lib/pickletools.py`, protocol 2; NumPy, `numpy/lib/format.py`; ZIP, PKWARE's APPNOTE 6.3, section 4.3.7.

use crate::{Error, Result};
use flate2::read::DeflateDecoder;
use std::io::{BufReader, Read};
use std::path::Path;

/// Unpacked bytes of a file at most.
const MAX_BYTES: u64 = 1 << 29;
/// Values at most, and containers that are open at once.
const MAX_VALUES: usize = 1 << 23;
const MAX_MARKS: usize = 64;
/// Longest header of an array, and longest name.
const MAX_HEADER_BYTES: usize = 1 << 12;

/// A value, or the place of one that takes more room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Nothing, or something without a meaning here.
    Nothing,
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A place in [`Pickled::object`].
    Object(usize),
}

/// What takes more room than a number.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A text; in a text that stands for bytes each character is one.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list or a tuple.
    List(Vec<Value>),
    /// Keys with values, in their order.
    Table(Vec<(Value, Value)>),
    /// An array: its shape, its type as NumPy names it (`f8`), its bytes or, of objects, a list.
    Array {
        /// Its sizes.
        shape: Vec<u64>,
        /// Such as `f4`, `f8`, `u1` or `O8`.
        element: String,
        /// Where its elements are.
        content: Value,
    },
    /// A name of Python.
    Name(Name),
    /// A type of elements.
    Element(String),
}

/// The names that are known; none is called but to build what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Begins an array.
    Reconstruct,
    /// The type of arrays.
    Array,
    /// A type of elements.
    Element,
    /// Bytes from a text.
    Encode,
    /// A table of counts.
    Counter,
}

const NAMES: [(&str, &str, Name); 7] = [
    ("numpy.core.multiarray", "_reconstruct", Name::Reconstruct),
    ("numpy._core.multiarray", "_reconstruct", Name::Reconstruct),
    ("numpy", "ndarray", Name::Array),
    ("numpy", "dtype", Name::Element),
    ("_codecs", "encode", Name::Encode),
    ("collections", "Counter", Name::Counter),
    ("collections", "OrderedDict", Name::Counter),
];

/// What a file holds.
#[derive(Debug)]
pub struct Pickled {
    objects: Vec<Object>,
    root: Value,
}

impl Pickled {
    /// Reads the first member of a `.npz` file.
    ///
    /// # Errors
    /// When it cannot be read, is no such file, or holds something else than plain data.
    pub fn open(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|source| Error::io(path, "open", source))?;
        Self::read(BufReader::new(file)).map_err(|problem| Error::bad_file(path, problem))
    }

    /// Reads the bytes of a `.npz` file.
    ///
    /// # Errors
    /// As [`Self::open`]: what is wrong.
    pub fn read(mut file: impl Read) -> Result<Self, String> {
        let mut header = [0; 30];
        file.read_exact(&mut header).map_err(|_| "is cut short in the header of its archive")?;
        let u16_at = |i: usize| u16::from_le_bytes([header[i], header[i + 1]]);
        if header[..4] != *b"PK\x03\x04" || ![0, 8].contains(&u16_at(8)) {
            return Err("is no .npz archive of NumPy".to_owned());
        }
        let n_skipped = u64::from(u16_at(26)) + u64::from(u16_at(28));
        let skipped = std::io::copy(&mut (&mut file).take(n_skipped), &mut std::io::sink());
        if skipped.map_err(|error| error.to_string())? != n_skipped {
            return Err("is cut short in the name of its member".to_owned());
        }
        let content: Box<dyn Read + '_> =
            if u16_at(8) == 8 { Box::new(DeflateDecoder::new(file)) } else { Box::new(file) };
        let mut machine = Machine::new(Box::new(BufReader::with_capacity(1 << 16, content.take(MAX_BYTES))));
        machine.array_header()?;
        machine.run()
    }

    /// The object at a place.
    pub fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(i) => self.objects.get(i),
            _ => None,
        }
    }

    /// What the file holds: of an array of one object, the object.
    pub fn root(&self) -> Value {
        let Some(Object::Array { shape, content, .. }) = self.object(self.root) else { return self.root };
        match self.object(*content) {
            Some(Object::List(values)) if shape.is_empty() && values.len() == 1 => values[0],
            _ => self.root,
        }
    }

    /// The value of a text key of a table.
    pub fn get(&self, table: Value, key: &str) -> Option<Value> {
        let Some(Object::Table(entries)) = self.object(table) else { return None };
        let is_key = |value: &Value| matches!(self.object(*value), Some(Object::Text(text)) if text == key);
        entries.iter().find(|(name, _)| is_key(name)).map(|(_, value)| *value)
    }

    /// The counts of a table of texts.
    pub fn counts(&self, table: Value) -> Option<Vec<(&str, u64)>> {
        let Some(Object::Table(entries)) = self.object(table) else { return None };
        let entry = |(name, n): &(Value, Value)| match (self.object(*name), n) {
            (Some(Object::Text(text)), Value::Integer(n)) => Some((text.as_str(), u64::try_from(*n).ok()?)),
            _ => None,
        };
        entries.iter().map(entry).collect()
    }

    /// The numbers of a list or an array of reals.
    pub fn numbers(&self, value: Value) -> Option<Vec<f64>> {
        match self.object(value)? {
            Object::List(values) => {
                let number = |value: &Value| match value {
                    Value::Real(x) => Some(*x),
                    Value::Integer(n) => Some(*n as f64),
                    _ => None,
                };
                values.iter().map(number).collect()
            }
            Object::Array { element, .. } => {
                let bytes = self.bytes(value)?;
                match element.as_str() {
                    "f4" => Some(bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()),
                    "f8" => Some(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The shape and the bytes of an array.
    pub fn array(&self, value: Value) -> Option<(&[u64], &[u8])> {
        let Some(Object::Array { shape, .. }) = self.object(value) else { return None };
        Some((shape, self.bytes(value)?))
    }

    fn bytes(&self, value: Value) -> Option<&[u8]> {
        let Some(Object::Array { content, .. }) = self.object(value) else { return None };
        match self.object(*content)? {
            Object::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Follows the instructions of a pickle.
struct Machine<'f> {
    file: Box<dyn Read + 'f>,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: Vec<Value>,
    objects: Vec<Object>,
}

impl<'f> Machine<'f> {
    fn new(file: Box<dyn Read + 'f>) -> Self {
        Self { file, stack: Vec::new(), marks: Vec::new(), memo: Vec::new(), objects: Vec::new() }
    }

    fn array_header(&mut self) -> Result<(), String> {
        let magic: [u8; 8] = self.take()?;
        if magic[..6] != *b"\x93NUMPY" {
            return Err("its member is no array of NumPy".to_owned());
        }
        let n = if magic[6] == 1 {
            u16::from_le_bytes(self.take()?) as usize
        } else {
            u32::from_le_bytes(self.take()?) as usize
        };
        if n > MAX_HEADER_BYTES {
            return Err(format!("the header of its array has {n} bytes; at most {MAX_HEADER_BYTES} are read"));
        }
        let header = self.many(n)?;
        let header = String::from_utf8_lossy(&header);
        if header.contains("'|O'") { Ok(()) } else { Err("its array holds no Python object".to_owned()) }
    }

    fn run(mut self) -> Result<Pickled, String> {
        loop {
            if self.stack.len() > MAX_VALUES || self.objects.len() > MAX_VALUES || self.memo.len() > MAX_VALUES {
                return Err(format!("its pickle holds more than {MAX_VALUES} values"));
            }
            let [code] = self.take()?;
            if code == b'.' {
                let root = self.pop()?;
                return Ok(Pickled { objects: self.objects, root });
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Result<(), String> {
        match code {
            0x80 => {
                self.take::<1>()?;
            }
            b'(' => {
                if self.marks.len() == MAX_MARKS {
                    return Err(format!("its pickle has more than {MAX_MARKS} containers inside of each other"));
                }
                self.marks.push(self.stack.len());
            }
            b'q' | b'r' => {
                // Places of the memo are counted up, as Python writes them.
                let at = if code == b'q' { self.take::<1>()?[0].into() } else { u32::from_le_bytes(self.take()?) };
                let value = *self.stack.last().ok_or("its pickle remembers nothing")?;
                match (at as usize).cmp(&self.memo.len()) {
                    std::cmp::Ordering::Less => self.memo[at as usize] = value,
                    std::cmp::Ordering::Equal => self.memo.push(value),
                    std::cmp::Ordering::Greater => return Err("its pickle leaves out places of the memo".to_owned()),
                }
            }
            b'a' => {
                let value = self.pop()?;
                self.extend_list(vec![value])?;
            }
            b'e' => {
                let values = self.pop_marked()?;
                self.extend_list(values)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_table(&[key, value])?;
            }
            b'u' => {
                let values = self.pop_marked()?;
                self.extend_table(&values)?;
            }
            b'b' => self.build()?,
            _ => {
                let value = self.value(code)?;
                self.stack.push(value);
            }
        }
        Ok(())
    }

    /// The value that an instruction pushes.
    fn value(&mut self, code: u8) -> Result<Value, String> {
        Ok(match code {
            b'N' | 0x88 | 0x89 => Value::Nothing,
            b'K' => Value::Integer(self.take::<1>()?[0].into()),
            b'M' => Value::Integer(u16::from_le_bytes(self.take()?).into()),
            b'J' => Value::Integer(i32::from_le_bytes(self.take()?).into()),
            b'G' => Value::Real(f64::from_be_bytes(self.take()?)),
            b'X' => {
                let n = u32::from_le_bytes(self.take()?) as usize;
                let text = String::from_utf8(self.many(n)?).map_err(|_| "a text of its pickle is not UTF-8")?;
                self.make(Object::Text(text))
            }
            b']' | b')' => self.make(Object::List(Vec::new())),
            b'}' => self.make(Object::Table(Vec::new())),
            b't' => {
                let values = self.pop_marked()?;
                self.make(Object::List(values))
            }
            0x85..=0x87 => {
                let mut values = (0..code - 0x84).map(|_| self.pop()).collect::<Result<Vec<Value>, String>>()?;
                values.reverse();
                self.make(Object::List(values))
            }
            b'h' => {
                let [at] = self.take()?;
                self.recall(at.into())?
            }
            b'j' => {
                let at = u32::from_le_bytes(self.take()?);
                self.recall(at as usize)?
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let known =
                    NAMES.iter().find(|(its_module, its_name, _)| (*its_module, *its_name) == (&*module, &*name));
                let (.., name) =
                    known.ok_or_else(|| format!("its pickle asks for '{module}.{name}', which is not plain data"))?;
                self.make(Object::Name(*name))
            }
            b'R' => self.call()?,
            _ => {
                return Err(format!(
                    "the instruction {code:#04x} of its pickle, which plain data do not need, is not followed"
                ));
            }
        })
    }

    fn call(&mut self) -> Result<Value, String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let arguments = match self.get(arguments)? {
            Object::List(values) => values.clone(),
            _ => return Err("its pickle calls something without arguments".to_owned()),
        };
        let Object::Name(name) = *self.get(function)? else {
            return Err("its pickle calls something that has no name".to_owned());
        };
        let object = match (name, arguments.first()) {
            (Name::Reconstruct, Some(_)) => {
                Object::Array { shape: Vec::new(), element: String::new(), content: Value::Nothing }
            }
            (Name::Element, Some(&first)) => match self.get(first)? {
                Object::Text(text) => Object::Element(text.clone()),
                _ => return Err("its pickle names no type of elements".to_owned()),
            },
            (Name::Encode, Some(&Value::Object(i))) => {
                // A text is used for its bytes once; a short one may come again.
                let text = match self.objects.get_mut(i) {
                    Some(Object::Text(text)) if text.len() > MAX_HEADER_BYTES => std::mem::take(text),
                    Some(Object::Text(text)) => text.clone(),
                    _ => return Err("its pickle makes bytes of something else than a text".to_owned()),
                };
                Object::Bytes(latin_1(&text)?)
            }
            (Name::Counter, Some(&first)) => return Ok(first),
            (Name::Counter, None) => Object::Table(Vec::new()),
            _ => return Err(format!("its pickle calls {name:?} with {} arguments", arguments.len())),
        };
        Ok(self.make(object))
    }

    /// Gives an array its shape, type and elements.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let state = match self.get(state)? {
            Object::List(values) => values.clone(),
            _ => return Err("its pickle gives attributes that are no tuple".to_owned()),
        };
        let Some(&Value::Object(i)) = self.stack.last() else {
            return Err("its pickle gives attributes to nothing".to_owned());
        };
        match (self.objects.get(i), state.as_slice()) {
            (Some(Object::Element(_)), _) => Ok(()),
            (Some(Object::Array { .. }), &[_, shape, element, _, content]) => {
                let size = |value: &Value| match value {
                    Value::Integer(n) => u64::try_from(*n).ok(),
                    _ => None,
                };
                let shape = match self.get(shape)? {
                    Object::List(sizes) => sizes.iter().map(size).collect::<Option<Vec<u64>>>(),
                    _ => None,
                };
                let shape = shape.ok_or("its pickle gives an array no shape")?;
                let element = match self.get(element)? {
                    Object::Element(name) => name.clone(),
                    _ => return Err("its pickle gives an array no type".to_owned()),
                };
                self.objects[i] = Object::Array { shape, element, content };
                Ok(())
            }
            _ => Err("its pickle gives attributes to something else than an array".to_owned()),
        }
    }

    fn get(&self, value: Value) -> Result<&Object, String> {
        match value {
            Value::Object(i) => self.objects.get(i).ok_or_else(|| "its pickle names nothing".to_owned()),
            _ => Err("its pickle takes a number for something else".to_owned()),
        }
    }

    fn make(&mut self, object: Object) -> Value {
        self.objects.push(object);
        Value::Object(self.objects.len() - 1)
    }

    fn recall(&self, at: usize) -> Result<Value, String> {
        self.memo.get(at).copied().ok_or_else(|| format!("its pickle remembered nothing at place {at}"))
    }

    fn pop(&mut self) -> Result<Value, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("an instruction of its pickle finds nothing".to_owned());
        }
        self.stack.pop().ok_or_else(|| "an instruction of its pickle finds nothing".to_owned())
    }

    fn pop_marked(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or("a container of its pickle ends that was not begun")?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&mut self) -> Result<&mut Object, String> {
        match self.stack.last() {
            Some(&Value::Object(i)) => Ok(&mut self.objects[i]),
            _ => Err("its pickle fills something that is no container".to_owned()),
        }
    }

    fn extend_list(&mut self, values: Vec<Value>) -> Result<(), String> {
        match self.top()? {
            Object::List(list) => list.extend(values),
            _ => return Err("its pickle appends to something that is no list".to_owned()),
        }
        Ok(())
    }

    fn extend_table(&mut self, values: &[Value]) -> Result<(), String> {
        let (pairs, rest) = values.as_chunks::<2>();
        match self.top()? {
            Object::Table(table) if rest.is_empty() => table.extend(pairs.iter().map(|&[key, value]| (key, value))),
            _ => return Err("its pickle sets keys of something that is no table".to_owned()),
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(|_| "is cut short, damaged, or too large")?;
        Ok(bytes)
    }

    /// So many bytes; memory grows with what is really there.
    fn many(&mut self, n: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let taken = (&mut self.file).take(n as u64).read_to_end(&mut bytes);
        if taken.is_ok_and(|taken| taken == n) {
            Ok(bytes)
        } else {
            Err("is cut short, damaged, or too large".to_owned())
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut bytes = Vec::new();
        loop {
            let [byte] = self.take()?;
            if byte == b'\n' {
                return String::from_utf8(bytes).map_err(|_| "a name of its pickle is not UTF-8".to_owned());
            }
            if bytes.len() == MAX_HEADER_BYTES {
                return Err("a name of its pickle is too long".to_owned());
            }
            bytes.push(byte);
        }
    }
}

/// A byte for each character.
fn latin_1(text: &str) -> Result<Vec<u8>, String> {
    let byte = |character: char| {
        u8::try_from(u32::from(character)).map_err(|_| "a text of its pickle holds no bytes".to_owned())
    };
    text.chars().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `np.array({"mu": np.array([1.5, -2.0]), "n": Counter({"C": 3}), "v": [1, 2.5]}, dtype=object)` in an archive that is not
    /// packed.
    fn sample() -> Vec<u8> {
        let mut pickle = b"\x80\x02}q\x00(X\x02\x00\x00\x00muq\x01".to_vec();
        pickle.extend(b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04");
        pickle.extend(
            b"c_codecs\nencode\nq\x05X\x01\x00\x00\x00bq\x06X\x06\x00\x00\x00latin1q\x07\x86q\x08Rq\x09\x87q\x0aRq\x0b",
        );
        pickle.extend(b"(K\x01K\x02\x85q\x0ccnumpy\ndtype\nq\x0dX\x02\x00\x00\x00f8q\x0eK\x00K\x01\x87q\x0fRq\x10");
        pickle.extend(b"(K\x03X\x01\x00\x00\x00<q\x11NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x12b\x89h\x05X");
        let bytes: Vec<u8> = [1.5_f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        pickle.extend((text.len() as u32).to_le_bytes());
        pickle.extend(text.as_bytes());
        pickle.extend(b"q\x13h\x07\x86q\x14Rq\x15tq\x16b");
        pickle.extend(
            b"X\x01\x00\x00\x00nq\x17ccollections\nCounter\nq\x18}q\x19X\x01\x00\x00\x00Cq\x1aK\x03s\x85q\x1bRq\x1c",
        );
        pickle.extend(b"X\x01\x00\x00\x00vq\x1d]q\x1e(K\x01G@\x04\x00\x00\x00\x00\x00\x00eu.");
        let mut file = b"PK\x03\x04\x14\x00\x00\x00\x00\x00".to_vec();
        file.extend([0; 16]);
        file.extend(5_u16.to_le_bytes());
        file.extend(0_u16.to_le_bytes());
        file.extend(b"s.npy\x93NUMPY\x01\x00");
        let header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }\n";
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header);
        file.extend(pickle);
        file
    }

    #[test]
    fn arrays_counts_and_lists_are_read() {
        let pickled = Pickled::read(sample().as_slice()).unwrap();
        let get = |key| pickled.get(pickled.root(), key).unwrap();
        assert_eq!(pickled.numbers(get("mu")), Some(vec![1.5, -2.0]));
        assert_eq!(pickled.array(get("mu")).unwrap().0, [2]);
        assert_eq!(pickled.counts(get("n")), Some(vec![("C", 3)]));
        assert_eq!(pickled.numbers(get("v")), Some(vec![1.0, 2.5]));
        assert!(pickled.get(pickled.root(), "other").is_none());
    }

    #[test]
    fn damaged_files_give_an_error() {
        let good = sample();
        for n in 0..good.len() {
            assert!(Pickled::read(&good[..n]).is_err(), "cut at {n}");
        }
        for at in 0..good.len() {
            for byte in [0, 1, b'R', b'b', b'e', 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = Pickled::read(bad.as_slice());
            }
        }
        let mut call = good;
        let at = call.windows(7).position(|window| window == b"Counter").unwrap();
        call[at..at + 7].copy_from_slice(b"system\n");
        assert!(Pickled::read(call.as_slice()).unwrap_err().contains("asks for 'collections.system'"));
    }
}
