//! One tensor of a file: its elements in a storage, a stride apart on each axis.

use crate::weights::safetensors::StoredType;

/// Where a tensor lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its storage type.
    pub stored: StoredType,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Elements from one to the next on each axis.
    pub(super) strides: Vec<usize>,
    /// The byte of the file at which its first element is.
    pub(super) start: u64,
    /// Elements of its storage from its first to its last.
    pub(super) n_spanned: usize,
    /// Elements of its whole storage.
    pub(super) n_stored: usize,
}

impl Entry {
    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether its elements lie one behind the other, row by row.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected *= size;
            fits
        })
    }

    /// Its elements row by row, from those of its span.
    pub(super) fn in_order(&self, spanned: Vec<f32>) -> Vec<f32> {
        if self.n_elements() == 0 || self.is_contiguous() {
            return spanned;
        }
        let mut values = Vec::with_capacity(self.n_elements());
        let mut index = vec![0; self.shape.len()];
        let mut at = 0;
        loop {
            values.push(spanned[at]);
            // Counts the index up, the last axis fastest, and moves in the storage with it.
            let Some(axis) = (0..index.len()).rev().find(|&axis| index[axis] + 1 < self.shape[axis]) else {
                return values;
            };
            for (index, stride) in index[axis + 1..].iter_mut().zip(&self.strides[axis + 1..]) {
                at -= *index * stride;
                *index = 0;
            }
            index[axis] += 1;
            at += self.strides[axis];
        }
    }
}
