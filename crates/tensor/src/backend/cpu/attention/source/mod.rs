//! Where the keys and values of a block come from.

mod pages;
mod strided;

pub(super) use pages::InPages;
pub(super) use strided::Strided;

use super::inputs::Task;
use super::words::Rhs;
use crate::backend::cpu::lanes::Lanes;
use std::ops::Range;

/// Keys of a block. Blocks start at multiples of it, so that the arithmetic of a query does not depend on its call. With 64
/// keys it took a sixth longer, with 128 a twentieth.
pub(super) const BLOCK: usize = 256;

/// The keys and values of all rows of a call.
pub(super) trait Source: Sync {
    /// Reads those of one row and head.
    type Reader<'m>: Reader
    where
        Self: 'm;

    /// Words of memory that a reader needs.
    fn memory_len(&self) -> usize;

    /// What a task reads, no key beyond `n_keys`.
    fn reader<'m>(&'m self, task: &Task, n_keys: usize, memory: &'m mut [f32]) -> Self::Reader<'m>;
}

/// Gives the keys and values of one block after the other as words, in pieces of [`Reader::PIECE`] keys.
pub(super) trait Reader {
    /// Keys of a piece; divides [`BLOCK`].
    const PIECE: usize;

    /// Turns to a block.
    fn load<V: Lanes>(&mut self, v: V, block: &Range<usize>);

    /// The keys of a piece of the block, side by side.
    fn keys(&self, piece: usize) -> Rhs<'_>;

    /// The values of a piece of the block, one below the other, and the number of steps that there are.
    fn values(&self, piece: usize) -> (Rhs<'_>, usize);
}
