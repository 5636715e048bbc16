//! A GGUF file from its metadata and tensors, version 3.

use super::header::Value;
use crate::error::Result;
use crate::weights::written::Data;
use genera_tensor::quant::Format;
use std::io::{self, Write};
use std::path::Path;

/// Where tensors begin: at multiples of this.
const ALIGNMENT: u64 = 32;

/// A tensor to be written.
pub(super) struct Planned<'a> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) format: Format,
    /// The numbers, one part behind the other.
    pub(super) parts: Vec<Data<'a>>,
}

impl Planned<'_> {
    fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Writes a file, complete before it takes the place of an older one.
///
/// # Errors
/// When it cannot be written, or the numbers cannot be read.
pub(super) fn write(path: &Path, metadata: &[(String, Value)], tensors: &[Planned<'_>]) -> Result<()> {
    crate::weights::export::write_file(path, |out| {
        let mut out = Counted { out, n: 0 };
        header(&mut out, metadata, tensors)?;
        for tensor in tensors {
            out.align()?;
            body(&mut out, tensor)?;
        }
        out.align()?;
        out.flush()
    })
}

fn header(out: &mut dyn Write, metadata: &[(String, Value)], tensors: &[Planned<'_>]) -> io::Result<()> {
    out.write_all(b"GGUF")?;
    out.write_all(&3_u32.to_le_bytes())?;
    out.write_all(&(tensors.len() as u64).to_le_bytes())?;
    out.write_all(&(metadata.len() as u64).to_le_bytes())?;
    for (key, value) in metadata {
        text(out, key)?;
        self::value(out, value)?;
    }
    let mut offset = 0_u64;
    for tensor in tensors {
        let Planned { name, shape, format, .. } = tensor;
        text(out, name)?;
        out.write_all(&(shape.len() as u32).to_le_bytes())?;
        for &size in shape.iter().rev() {
            out.write_all(&(size as u64).to_le_bytes())?;
        }
        out.write_all(&format.number().to_le_bytes())?;
        out.write_all(&offset.to_le_bytes())?;
        offset += (format.bytes_of(tensor.n_elements()) as u64).next_multiple_of(ALIGNMENT);
    }
    Ok(())
}

fn body(out: &mut dyn Write, tensor: &Planned<'_>) -> io::Result<()> {
    tensor.parts.iter().try_for_each(|part| part.encode(&tensor.name, tensor.format, out))
}

fn text(out: &mut dyn Write, text: &str) -> io::Result<()> {
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(text.as_bytes())
}

/// A value with its type before it: whole numbers as u32 where they fit, others as 64 bits, numbers as f32.
fn value(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    let mut kind = |kind: u32| out.write_all(&kind.to_le_bytes());
    match value {
        Value::Integer(n) => match (u32::try_from(*n), i64::try_from(*n)) {
            (Ok(n), _) => {
                kind(4)?;
                out.write_all(&n.to_le_bytes())
            }
            (_, Ok(n)) => {
                kind(11)?;
                out.write_all(&n.to_le_bytes())
            }
            _ => {
                kind(10)?;
                out.write_all(&(*n as u64).to_le_bytes())
            }
        },
        Value::Float(x) => {
            kind(6)?;
            out.write_all(&(*x as f32).to_le_bytes())
        }
        Value::Flag(flag) => {
            kind(7)?;
            out.write_all(&[u8::from(*flag)])
        }
        Value::Text(content) => {
            kind(8)?;
            text(out, content)
        }
        Value::Integers(list) => {
            array(out, 5, list.len())?;
            list.iter().try_for_each(|&n| out.write_all(&(n as i32).to_le_bytes()))
        }
        Value::Floats(list) => {
            array(out, 6, list.len())?;
            list.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))
        }
        Value::Flags(list) => {
            array(out, 7, list.len())?;
            list.iter().try_for_each(|&flag| out.write_all(&[u8::from(flag)]))
        }
        Value::Texts(list) => {
            array(out, 8, list.len())?;
            list.iter().try_for_each(|content| text(out, content))
        }
    }
}

fn array(out: &mut dyn Write, kind: u32, len: usize) -> io::Result<()> {
    out.write_all(&9_u32.to_le_bytes())?;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&(len as u64).to_le_bytes())
}

/// Knows how much was written.
struct Counted<W> {
    out: W,
    n: u64,
}

impl<W: Write> Counted<W> {
    fn align(&mut self) -> io::Result<()> {
        let n = self.n.next_multiple_of(ALIGNMENT) - self.n;
        self.write_all(&[0; ALIGNMENT as usize][..n as usize])
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.n += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
