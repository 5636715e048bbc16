//! Sizes of a tensor's axes, outermost first, contiguous in memory.

use std::fmt;

/// Most axes a tensor may have.
pub const MAX_AXES: usize = 5;

/// Sizes of a tensor's axes, outermost first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    sizes: [usize; MAX_AXES],
    n_axes: usize,
}

impl Shape {
    /// The shape with these sizes.
    ///
    /// # Panics
    /// When there are more than [`MAX_AXES`].
    pub fn new(sizes: &[usize]) -> Self {
        assert!(sizes.len() <= MAX_AXES, "a tensor has at most {MAX_AXES} axes, not {}: {sizes:?}", sizes.len());
        let mut padded = [1; MAX_AXES];
        padded[..sizes.len()].copy_from_slice(sizes);
        Self { sizes: padded, n_axes: sizes.len() }
    }

    /// The sizes.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes[..self.n_axes]
    }

    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.sizes().iter().product()
    }

    /// Size of the innermost axis; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.sizes().last().copied().unwrap_or(1)
    }

    /// Product of all sizes but the innermost: the number of rows when seen as a matrix.
    pub fn n_rows(&self) -> usize {
        self.sizes().split_last().map_or(1, |(_, outer)| outer.iter().product())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Self::new(&sizes)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.sizes())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.sizes())
    }
}
