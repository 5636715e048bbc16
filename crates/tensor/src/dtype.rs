//! How a number is stored.

use half::bf16;
use std::fmt;

/// Storage type of a tensor's elements. Arithmetic always accumulates in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// The upper half of an [`F32`](DType::F32): 8 bits of exponent, 8 bits of significand.
    Bf16,
}

impl DType {
    /// Size of one element.
    ///
    /// # Units
    /// Bytes.
    pub fn size_bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::Bf16 => 2,
        }
    }

    /// The name used in recipes and messages.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Elements of one storage type, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [bf16]),
}

/// Elements of one storage type, borrowed for writing.
#[derive(Debug)]
pub enum ViewMut<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// bfloat16.
    Bf16(&'a mut [bf16]),
}

impl<'a> View<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            View::F32(data) => data.len(),
            View::Bf16(data) => data.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The storage type.
    pub fn dtype(&self) -> DType {
        match self {
            View::F32(_) => DType::F32,
            View::Bf16(_) => DType::Bf16,
        }
    }

    /// Element `i` as f32.
    pub fn get(&self, i: usize) -> f32 {
        match self {
            View::F32(data) => data[i],
            View::Bf16(data) => data[i].to_f32(),
        }
    }

    /// The elements from `range`.
    pub fn slice(&self, range: std::ops::Range<usize>) -> View<'a> {
        match self {
            View::F32(data) => View::F32(&data[range]),
            View::Bf16(data) => View::Bf16(&data[range]),
        }
    }

    /// The elements as single precision.
    ///
    /// # Panics
    /// When they are stored otherwise.
    pub fn f32(&self) -> &'a [f32] {
        match self {
            View::F32(data) => data,
            View::Bf16(_) => panic!("expected elements of type f32, found bf16; cast the tensor first"),
        }
    }
}

impl<'a> ViewMut<'a> {
    /// The elements as single precision, for as long as they were borrowed.
    ///
    /// # Panics
    /// When they are stored otherwise.
    pub fn into_f32(self) -> &'a mut [f32] {
        match self {
            ViewMut::F32(data) => data,
            ViewMut::Bf16(_) => panic!("expected elements of type f32, found bf16; cast the tensor first"),
        }
    }

    /// The elements from `range`.
    pub fn into_slice(self, range: std::ops::Range<usize>) -> ViewMut<'a> {
        match self {
            ViewMut::F32(data) => ViewMut::F32(&mut data[range]),
            ViewMut::Bf16(data) => ViewMut::Bf16(&mut data[range]),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.as_view().len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The storage type.
    pub fn dtype(&self) -> DType {
        self.as_view().dtype()
    }

    /// The same elements for reading.
    pub fn as_view(&self) -> View<'_> {
        match self {
            ViewMut::F32(data) => View::F32(data),
            ViewMut::Bf16(data) => View::Bf16(data),
        }
    }

    /// A shorter borrow of the same elements.
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        match self {
            ViewMut::F32(data) => ViewMut::F32(data),
            ViewMut::Bf16(data) => ViewMut::Bf16(data),
        }
    }

    /// Element `i` as f32.
    pub fn get(&self, i: usize) -> f32 {
        self.as_view().get(i)
    }

    /// Stores `value` at `i`, rounded to nearest even where the type is narrower.
    pub fn set(&mut self, i: usize, value: f32) {
        match self {
            ViewMut::F32(data) => data[i] = value,
            ViewMut::Bf16(data) => data[i] = bf16::from_f32(value),
        }
    }

    /// Makes every element 0.
    pub fn clear(&mut self) {
        match self {
            ViewMut::F32(data) => data.fill(0.0),
            ViewMut::Bf16(data) => data.fill(bf16::ZERO),
        }
    }

    /// Stores `value` at `i`, or adds it to what is there.
    pub fn put(&mut self, i: usize, value: f32, accumulate: bool) {
        let before = if accumulate { self.get(i) } else { 0.0 };
        self.set(i, if accumulate { before + value } else { value });
    }

    /// The elements as single precision.
    ///
    /// # Panics
    /// When they are stored otherwise.
    pub fn f32(&mut self) -> &mut [f32] {
        self.reborrow().into_f32()
    }
}
