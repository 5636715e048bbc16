//! A parameter whose numbers stay in their file until someone asks for them.

use super::load::{Found, Store};
use super::names::Lie;
use crate::error::{Error, Result};
use crate::params::ParamSpec;
use genera_tensor::quant::Format;
use genera_tensor::{DType, Device, Tensor};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Elements that are decoded at a time: a multiple of every block.
pub(super) const CHUNK: usize = 1 << 16;

/// What takes numbers, some at a time.
pub(super) type Sink<'s> = dyn FnMut(&[f32]) -> io::Result<()> + 's;

/// Where the numbers of a parameter are.
pub struct InFile {
    store: Arc<dyn Store>,
    found: Found,
    spec: ParamSpec,
    device: Device,
}

impl InFile {
    pub(super) fn new(store: Arc<dyn Store>, found: Found, spec: ParamSpec, device: Device) -> Self {
        Self { store, found, spec, device }
    }

    /// Where they go when they are read.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// All numbers.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        let mut tensor = Tensor::scratch(&self.device, self.spec.shape, DType::F32);
        self.found.read(&*self.store, &self.spec, tensor.view_mut().into_f32())?;
        Ok(tensor)
    }

    /// Some of the numbers.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn read(&self, range: &Range<usize>) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(range.len());
        let read = self.each_chunk(range, &mut |chunk| {
            values.extend_from_slice(chunk);
            Ok(())
        });
        let place = self.store.place();
        let error = |error| error_inside(error).unwrap_or_else(|source| Error::io("cannot read", place, source));
        read.map_err(error)?;
        Ok(values)
    }

    /// How some of the numbers are stored, if all alike.
    pub(crate) fn format(&self, range: &Range<usize>) -> Option<Format> {
        let is_asked = |of_tensor: &Range<usize>| of_tensor.start < range.end && range.start < of_tensor.end;
        let parts = self.parts();
        let asked = self.found.names.iter().zip(&parts).filter(|(_, part)| !self.is_plain() || is_asked(part));
        let mut formats = asked.map(|(name, _)| self.store.stored(name));
        let first = formats.next()??;
        formats.all(|format| format == Some(first)).then_some(first)
    }

    /// Hands out some of the numbers in their order.
    ///
    /// # Errors
    /// When they cannot be read, with an [`Error`] inside, or are not taken.
    ///
    /// # Cost
    /// Memory: a chunk, where they lie in the file as they do here; else the whole parameter.
    pub(super) fn each_chunk(&self, range: &Range<usize>, sink: &mut Sink<'_>) -> io::Result<()> {
        if !self.is_plain() {
            let tensor = self.tensor().map_err(io::Error::other)?;
            return tensor.view().f32()[range.clone()].chunks(CHUNK).try_for_each(sink);
        }
        for (name, part) in self.found.names.iter().zip(self.parts()) {
            let (start, end) = (range.start.max(part.start), range.end.min(part.end));
            if start < end {
                self.each_chunk_of(name, start - part.start..end - part.start, sink)?;
            }
        }
        Ok(())
    }

    fn each_chunk_of(&self, name: &str, range: Range<usize>, sink: &mut Sink<'_>) -> io::Result<()> {
        let Some(format) = self.store.stored(name) else {
            let values = self.store.read(name).map_err(io::Error::other)?;
            return values[range].chunks(CHUNK).try_for_each(sink);
        };
        let rows = self.store.rows(name).map_err(io::Error::other)?;
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        for start in range.clone().step_by(CHUNK) {
            let n = CHUNK.min(range.end - start);
            bytes.resize(format.bytes_of(n), 0);
            values.resize(n, 0.0);
            rows.bytes().read(format.bytes_of(start), &mut bytes);
            format.decode(&bytes, &mut values);
            sink(&values)?;
        }
        rows.finish().map_err(io::Error::other)
    }

    /// Whether the numbers of the tensors, one behind the other, are those of the parameter.
    fn is_plain(&self) -> bool {
        matches!(self.found.lie, Lie::Plain | Lie::OneRow)
    }

    /// Which numbers of the parameter each tensor has.
    fn parts(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        let part = |name: &String| {
            let n: usize = self.store.shape(name).unwrap_or_default().iter().product();
            start += n;
            start - n..start
        };
        self.found.names.iter().map(part).collect()
    }
}

impl fmt::Debug for InFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.spec.name, self.store.place().display())
    }
}

/// What went wrong while a file was written from another: the [`Error`] of reading, where there is one inside.
pub(super) fn error_inside(error: io::Error) -> std::result::Result<Error, io::Error> {
    error.downcast::<Error>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Role;
    use crate::weights::safetensors::{NamedView, Reader, write};
    use genera_tensor::{Shape, View};
    use std::collections::BTreeMap;
    use std::io::Cursor;
    use std::path::Path;

    /// Two tensors on top of each other, the first longer than a chunk.
    #[test]
    fn any_rows_can_be_read() {
        let numbers: Vec<f32> = (0..4 * 50_000).map(|i| i as f32).collect();
        let (first, second) = numbers.split_at(3 * 50_000);
        let view =
            |name: &str, n, data| NamedView { name: name.to_owned(), shape: vec![n, 50_000], data: View::F32(data) };
        let mut bytes = Vec::new();
        write(&mut bytes, &BTreeMap::new(), &[view("a", 3, first), view("b", 1, second)]).unwrap();
        let store = Arc::new(Reader::new(Path::new("x"), Box::new(Cursor::new(bytes))).unwrap());
        let found = Found { names: vec!["a".to_owned(), "b".to_owned()], lie: Lie::Plain, repeated: Vec::new() };
        let spec = ParamSpec { name: "ab".to_owned(), shape: Shape::new(&[4, 50_000]), role: Role::Matrix };
        let in_file = InFile::new(store, found, spec, Device::cpu(1));
        for range in [0..numbers.len(), 50_000..200_000, 100_000..150_000, 150_000..200_000, 50_000..100_000] {
            assert_eq!(in_file.read(&range).unwrap(), &numbers[range.clone()], "{range:?}");
            assert_eq!(in_file.format(&range), Some(Format::F32));
        }
        assert_eq!(in_file.tensor().unwrap().to_vec(), numbers);
    }
}
