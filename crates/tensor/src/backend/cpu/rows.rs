//! How the row kernels cut their work into chunks, by shape alone.

use crate::dtype::View;
use std::cell::Cell;

/// Elements in a chunk: handing one out costs nothing beside the work, and it lies in the second-level cache.
pub(super) const CHUNK_LEN: usize = 16_384;

/// Most chunks of rows whose sums are kept apart and then added in order.
const MAX_PARTIAL_SUMS: usize = 32;

/// Rows of `width` elements in a chunk.
pub(super) fn rows_per_chunk(width: usize) -> usize {
    (CHUNK_LEN / width.max(1)).max(1)
}

/// Rows in a chunk for a kernel that sums over the rows: there are few chunks, as each has sums of its own.
pub(super) fn rows_per_partial_sum(rows: usize, width: usize) -> usize {
    rows.div_ceil(MAX_PARTIAL_SUMS).max(rows_per_chunk(width))
}

/// Chunk `i` of `chunk_len` elements; the last may be shorter.
pub(super) fn chunk(view: View<'_>, i: usize, chunk_len: usize) -> View<'_> {
    view.slice(i * chunk_len..view.len().min((i + 1) * chunk_len))
}

/// As [`chunk`], of a slice.
pub(super) fn slice_chunk<T>(slice: &[T], i: usize, chunk_len: usize) -> &[T] {
    &slice[i * chunk_len..slice.len().min((i + 1) * chunk_len)]
}

/// Calls `work` with `len` numbers to use as it likes; what they hold is left from an earlier use.
pub(super) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    // Taken out, not borrowed: work inside work gets a vector of its own.
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    let result = work(&mut scratch[..len]);
    SCRATCH.set(scratch);
    result
}
