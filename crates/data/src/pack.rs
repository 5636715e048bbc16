//! Packing documents into rows: as many whole documents as fit, each with a segment number of its own, so that none
//! sees another.

use crate::{Result, Shard};
use std::collections::BTreeSet;
use std::ops::Range;

/// Part of a document that stands in one row: the tokens at `start..start + len` are its inputs, and each predicts
/// the token after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The document it is part of.
    pub(crate) document: u64,
    /// Where its first input stands in the shard.
    pub(crate) start: u64,
    /// Number of inputs, and so of predictions.
    pub(crate) len: usize,
    /// The first so many predictions were made in another row already: they are context here.
    pub(crate) n_seen: usize,
}

/// Puts stretches into rows of `row_len`: the longest first, each where it leaves the least space.
pub(crate) fn best_fit(mut stretches: Vec<Stretch>, row_len: usize) -> Vec<Vec<Stretch>> {
    stretches.sort_by_key(|stretch| (std::cmp::Reverse(stretch.len), stretch.start));
    let mut rows: Vec<Vec<Stretch>> = Vec::new();
    let mut space: BTreeSet<(usize, usize)> = BTreeSet::new();
    for stretch in stretches {
        let found = space.range((stretch.len, 0)..).next().copied();
        let (n_free, row) = found.unwrap_or((row_len, rows.len()));
        space.remove(&(n_free, row));
        space.insert((n_free - stretch.len, row));
        if row == rows.len() {
            rows.push(Vec::new());
        }
        rows[row].push(stretch);
    }
    rows
}

/// The packed rows of a shard, found by number without a list of them.
///
/// Documents are packed in blocks of [`BLOCK`](Self::BLOCK); only the number of rows before each block is kept. A
/// document longer than a row fills rows of its own, and its rest is packed like a document.
#[derive(Clone, Debug)]
pub(crate) struct Packing {
    row_len: usize,
    /// Number of rows before each block, and of all.
    n_rows_before: Vec<u64>,
}

impl Packing {
    const BLOCK: u64 = 512;

    /// Counts the rows of every block.
    ///
    /// # Cost
    /// Reads where all documents end.
    pub(crate) fn new(shard: &Shard, row_len: usize) -> Result<Self> {
        let mut n_rows_before = vec![0];
        let mut n_rows = 0;
        for first in (0..shard.info().n_documents).step_by(Self::BLOCK as usize) {
            let block = Block::read(shard, first / Self::BLOCK, row_len)?;
            n_rows += block.full.iter().map(|full| full.n_rows).sum::<u64>() + block.rows.len() as u64;
            n_rows_before.push(n_rows);
        }
        Ok(Self { row_len, n_rows_before })
    }

    /// Number of rows.
    pub(crate) fn n_rows(&self) -> u64 {
        self.n_rows_before.last().copied().unwrap_or(0)
    }

    /// What stands in row number `row`.
    pub(crate) fn row(&self, shard: &Shard, row: u64) -> Result<Vec<Stretch>> {
        let block = self.n_rows_before.partition_point(|&before| before <= row) - 1;
        Ok(Block::read(shard, block as u64, self.row_len)?.row(row - self.n_rows_before[block], self.row_len))
    }
}

/// The rows that one long document fills alone.
struct FullRows {
    document: u64,
    start: u64,
    n_rows: u64,
}

struct Block {
    full: Vec<FullRows>,
    rows: Vec<Vec<Stretch>>,
}

impl Block {
    fn read(shard: &Shard, block: u64, row_len: usize) -> Result<Self> {
        let documents = block * Packing::BLOCK..((block + 1) * Packing::BLOCK).min(shard.info().n_documents);
        let bounds = shard.document_bounds(documents.clone())?;
        let (mut full, mut rests) = (Vec::new(), Vec::new());
        for (document, bounds) in documents.zip(bounds.windows(2)) {
            let Range { start, end } = bounds[0]..bounds[1];
            let n_predictions = (end - start).saturating_sub(1);
            let n_rows = n_predictions / row_len as u64;
            if n_rows > 0 {
                full.push(FullRows { document, start, n_rows });
            }
            let len = (n_predictions % row_len as u64) as usize;
            if len > 0 {
                rests.push(Stretch { document, start: start + n_rows * row_len as u64, len, n_seen: 0 });
            }
        }
        Ok(Self { full, rows: best_fit(rests, row_len) })
    }

    fn row(mut self, mut row: u64, row_len: usize) -> Vec<Stretch> {
        for full in &self.full {
            if row < full.n_rows {
                let start = full.start + row * row_len as u64;
                return vec![Stretch { document: full.document, start, len: row_len, n_seen: 0 }];
            }
            row -= full.n_rows;
        }
        self.rows.swap_remove(row as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_filled_and_nothing_is_lost() {
        let lens = [3, 8, 2, 5, 5, 1, 7, 6, 4, 4];
        let stretches: Vec<Stretch> =
            lens.iter().zip(0..).map(|(&len, i)| Stretch { document: i, start: 10 * i, len, n_seen: 0 }).collect();
        let rows = best_fit(stretches.clone(), 9);
        let mut all: Vec<Stretch> = rows.concat();
        all.sort_by_key(|stretch| stretch.document);
        assert_eq!(all, stretches);
        assert!(rows.iter().all(|row| row.iter().map(|stretch| stretch.len).sum::<usize>() <= 9));
        assert_eq!(rows.len(), 5, "45 tokens fit into five rows of nine");
    }
}
