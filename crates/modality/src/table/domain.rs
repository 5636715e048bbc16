//! What a cell may hold: an interval of codes, perhaps only some of them, and perhaps a gap.

use super::column::{Bin, Column};
use std::sync::Arc;

/// What one cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cell {
    /// Nothing.
    Missing,
    /// A value by its code.
    Code(i64),
}

/// What a cell may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The least code.
    pub low: i64,
    /// The greatest code.
    pub high: i64,
    /// The codes themselves in ascending order, where not all of the interval may come.
    pub only: Option<Arc<[i64]>>,
    /// Whether it may be missing.
    pub missing: bool,
}

impl Domain {
    /// All that a column can hold.
    pub fn all(column: &Column) -> Self {
        let (low, high) = column.range().unwrap_or((0, -1));
        Self { low, high, only: None, missing: column.missing.is_some() }
    }

    /// One cell alone.
    pub fn exactly(cell: Cell) -> Self {
        match cell {
            Cell::Missing => Self { low: 0, high: -1, only: None, missing: true },
            Cell::Code(code) => Self { low: code, high: code, only: None, missing: false },
        }
    }

    /// Some codes, given in any order.
    pub fn some(mut codes: Vec<i64>) -> Self {
        codes.sort_unstable();
        codes.dedup();
        let (low, high) = (codes.first().copied().unwrap_or(0), codes.last().copied().unwrap_or(-1));
        Self { low, high, only: Some(codes.into()), missing: false }
    }

    /// Whether any of the codes may come.
    pub fn meets(&self, bin: Bin) -> bool {
        let (low, high) = (self.low.max(bin.low), self.high.min(bin.high));
        if low > high {
            return false;
        }
        let Some(only) = &self.only else { return true };
        only.get(only.partition_point(|&code| code < low)).is_some_and(|&code| code <= high)
    }

    /// Whether this cell may come.
    pub fn allows(&self, cell: Cell) -> bool {
        match cell {
            Cell::Missing => self.missing,
            Cell::Code(code) => self.meets(Bin { low: code, high: code }),
        }
    }

    /// What may come in both.
    pub fn both(&self, other: &Self) -> Self {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        let only = match (&self.only, &other.only) {
            (Some(a), Some(b)) => Some(a.iter().copied().filter(|code| b.binary_search(code).is_ok()).collect()),
            (Some(only), None) | (None, Some(only)) => Some(only.clone()),
            (None, None) => None,
        };
        Self { low, high, only, missing: self.missing && other.missing }
    }

    /// How many codes of a column may come.
    pub fn n_codes(&self, column: &Column) -> u64 {
        let of_bin = |bin: &Bin| {
            let (low, high) = (self.low.max(bin.low), self.high.min(bin.high));
            match &self.only {
                _ if low > high => 0,
                None => Bin { low, high }.width(),
                Some(only) => {
                    (only.partition_point(|&code| code <= high) - only.partition_point(|&code| code < low)) as u64
                }
            }
        };
        column.bins.iter().map(of_bin).fold(0, u64::saturating_add)
    }

    /// Whether nothing of a column may come.
    pub fn is_empty_for(&self, column: &Column) -> bool {
        !self.missing && !column.bins.iter().any(|&bin| self.meets(bin))
    }
}

#[cfg(test)]
mod tests {
    use super::super::column::Kind;
    use super::*;

    #[test]
    fn codes_are_counted_without_walking_them() {
        let bins = vec![Bin { low: 0, high: 299_999_999_999 }, Bin { low: i64::MAX - 9, high: i64::MAX }];
        let column = Column { name: String::new(), kind: Kind::Empty, bins, missing: None };
        let of = |low, high| Domain { low, high, only: None, missing: false };
        assert_eq!(of(7, 7).n_codes(&column), 1);
        assert_eq!(of(299_999_999_999, i64::MAX - 9).n_codes(&column), 2);
        assert_eq!(of(i64::MIN, i64::MAX).n_codes(&column), 300_000_000_010);
        assert_eq!((of(3, 2).n_codes(&column), Domain::exactly(Cell::Missing).n_codes(&column)), (0, 0));
        assert_eq!(Domain::some(vec![-1, 5, 6, i64::MAX]).n_codes(&column), 3);
    }

    #[test]
    fn domains_are_sets_of_codes() {
        let some = Domain::some(vec![9, 3, 5, 3]);
        assert!(some.meets(Bin { low: 4, high: 5 }) && !some.meets(Bin { low: 6, high: 8 }));
        let part = some.both(&Domain { low: 4, high: 20, only: None, missing: true });
        assert!(!part.allows(Cell::Code(3)) && part.allows(Cell::Code(9)) && !part.allows(Cell::Missing));
        assert!(Domain::exactly(Cell::Missing).allows(Cell::Missing));
        assert!(!Domain::exactly(Cell::Missing).allows(Cell::Code(0)));
        assert!(!Domain::some(Vec::new()).meets(Bin { low: i64::MIN, high: i64::MAX }));
    }
}
