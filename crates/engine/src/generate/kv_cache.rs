//! Rows of keys and values that come, grow and go.

use crate::model::{CrossCache, StackCache};

/// The caches of all rows in progress: the decoder's own, and that of the source where there is an encoder.
#[derive(Debug)]
pub(super) struct KvCache {
    /// `None` while there is no row.
    rows: Option<Rows>,
    /// Tokens that a row can ever hold.
    context_len: usize,
}

/// Caches with at least one row.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) own: StackCache,
    pub(super) cross: Option<CrossCache>,
}

/// Room that a row starts with.
const MIN_CAPACITY: usize = 16;

impl KvCache {
    /// No rows, which may grow to `context_len` tokens each.
    pub(super) fn new(context_len: usize) -> Self {
        Self { rows: None, context_len }
    }

    /// Tokens that every row can still take.
    pub(super) fn room(&self) -> usize {
        let longest = self.rows.as_ref().map_or(0, |rows| longest(rows.own.lens()));
        self.context_len.saturating_sub(longest)
    }

    /// Takes back the newest tokens of a row, down to `len`.
    pub(super) fn truncate(&mut self, row: usize, len: u32) {
        if let Some(rows) = &mut self.rows {
            rows.own.truncate(row, len);
        }
    }

    /// The rows, with room for `n` more tokens in each.
    ///
    /// # Panics
    /// When there is none, or one is full.
    pub(super) fn reserved(&mut self, n: usize) -> &mut Rows {
        let rows = self.rows.as_mut().expect("only a cache that has rows can be extended");
        let longest = longest(rows.own.lens());
        assert!(longest + n <= self.context_len, "a row that fills the context of {} cannot go on", self.context_len);
        if longest + n > rows.own.capacity() {
            let all: Vec<usize> = (0..rows.own.n_rows()).collect();
            rows.own = rows.own.rearranged(&all, capacity_for(longest + n, self.context_len));
        }
        rows
    }

    /// Makes row `from[i]` row i; the others leave, and one may be taken several times.
    pub(super) fn rearrange(&mut self, from: &[usize]) {
        let Some(rows) = self.rows.take() else { return };
        let is_unchanged = from.len() == rows.own.n_rows() && from.iter().enumerate().all(|(to, &row)| to == row);
        if is_unchanged {
            self.rows = Some(rows);
        } else if !from.is_empty() {
            let longest = from.iter().map(|&row| rows.own.lens()[row] as usize).max().unwrap_or(0);
            let capacity = capacity_for(longest + 1, self.context_len);
            let own = rows.own.rearranged(from, capacity);
            self.rows = Some(Rows { own, cross: rows.cross.map(|cross| cross.rearranged(from)) });
        }
    }

    /// Adds row `from[i]` of `new` behind the rows that there are, for every i.
    pub(super) fn join(&mut self, new: &Rows, from: &[usize]) {
        let old = self.rows.take();
        let mut own: Vec<(&StackCache, usize)> = Vec::new();
        let mut cross: Vec<(&CrossCache, usize)> = Vec::new();
        if let Some(old) = &old {
            own.extend((0..old.own.n_rows()).map(|row| (&old.own, row)));
            cross.extend(old.cross.iter().flat_map(|cross| (0..old.own.n_rows()).map(move |row| (cross, row))));
        }
        own.extend(from.iter().map(|&row| (&new.own, row)));
        cross.extend(new.cross.iter().flat_map(|cross| from.iter().map(move |&row| (cross, row))));
        let longest = own.iter().map(|(cache, row)| cache.lens()[*row] as usize).max().unwrap_or(0);
        let own = StackCache::gathered(&own, capacity_for(longest + 1, self.context_len));
        let cross = (!cross.is_empty()).then(|| CrossCache::gathered(&cross));
        self.rows = Some(Rows { own, cross });
    }
}

fn longest(lens: &[u32]) -> usize {
    lens.iter().copied().max().unwrap_or(0) as usize
}

/// Room for `n_tokens`, in powers of two, so that a growing row is copied seldom.
pub(super) fn capacity_for(n_tokens: usize, context_len: usize) -> usize {
    n_tokens.next_power_of_two().max(MIN_CAPACITY).min(context_len.max(n_tokens))
}
