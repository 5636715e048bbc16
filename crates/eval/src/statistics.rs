//! What a metric remembers of each example: numbers that may be added.

/// One row of numbers for each example, whose sum over examples determines a metric's score.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    values: Vec<f64>,
    n_columns: usize,
    evidence: String,
}

impl Statistics {
    /// Collects rows.
    ///
    /// `evidence` is what a signature says about the examples, such as `nrefs:1`; it may be empty.
    ///
    /// # Panics
    /// When there is no row, a row is empty, or rows differ in length.
    pub fn new<R: AsRef<[f64]>>(rows: impl IntoIterator<Item = R>, evidence: impl Into<String>) -> Self {
        let (mut values, mut n_columns) = (Vec::new(), 0);
        for row in rows {
            let row = row.as_ref();
            if values.is_empty() {
                n_columns = row.len();
            }
            assert_eq!(row.len(), n_columns, "rows of statistics differ in length: {} and {n_columns}", row.len());
            values.extend_from_slice(row);
        }
        assert!(!values.is_empty(), "statistics need at least one row with at least one number");
        Self { values, n_columns, evidence: evidence.into() }
    }

    /// Number of examples.
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.n_columns
    }

    /// The numbers of one example.
    ///
    /// # Panics
    /// When there is no such example.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.n_columns..][..self.n_columns]
    }

    /// The numbers of all examples, added up.
    pub fn sum(&self) -> Vec<f64> {
        self.sum_of(0..self.n_rows())
    }

    /// The numbers of the chosen examples, added up; an example chosen twice counts twice.
    ///
    /// # Panics
    /// When there is no such example.
    pub fn sum_of(&self, examples: impl IntoIterator<Item = usize>) -> Vec<f64> {
        let mut sums = vec![0.0; self.n_columns];
        for i in examples {
            sums.iter_mut().zip(self.row(i)).for_each(|(sum, x)| *sum += x);
        }
        sums
    }

    /// What a signature says about the examples.
    pub fn evidence(&self) -> &str {
        &self.evidence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_add_up() {
        let statistics = Statistics::new([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]], "");
        assert_eq!(statistics.n_rows(), 3);
        assert_eq!(statistics.sum(), [7.0, 70.0]);
        assert_eq!(statistics.sum_of([2, 2, 0]), [9.0, 90.0]);
    }

    #[test]
    #[should_panic(expected = "differ in length: 1 and 2")]
    fn uneven_rows_are_refused() {
        Statistics::new([vec![1.0, 2.0], vec![3.0]], "");
    }
}
