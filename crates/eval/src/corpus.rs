//! Hypotheses beside their references.

use crate::Error;

/// Texts to be scored, each beside one or more references; never empty, and every text has a reference.
#[derive(Clone, Debug)]
pub struct Corpus<'a> {
    hypotheses: Vec<&'a str>,
    references: Vec<Vec<&'a str>>,
}

impl<'a> Corpus<'a> {
    /// Aligns hypotheses with sets of references, one set a file: line i of each belongs to hypothesis i.
    ///
    /// # Errors
    /// When there is no hypothesis or no set, or a set does not have one reference for each hypothesis.
    pub fn new<S: AsRef<str>, R: AsRef<[T]>, T: AsRef<str> + 'a>(
        hypotheses: &'a [S],
        reference_sets: &'a [R],
    ) -> Result<Self, Error> {
        let n_hypotheses = hypotheses.len();
        for (reference_set, set) in reference_sets.iter().enumerate() {
            let n_references = set.as_ref().len();
            if n_references != n_hypotheses {
                return Err(Error::LengthMismatch { n_hypotheses, n_references, reference_set });
            }
        }
        let of_segment = |i: usize| reference_sets.iter().map(|set| set.as_ref()[i].as_ref()).collect();
        Self::from_segments(hypotheses.iter().enumerate().map(|(i, h)| (h.as_ref(), of_segment(i))))
    }

    /// Takes each hypothesis with its own references; their number may differ from one to the next.
    ///
    /// # Errors
    /// When there is no segment, or one has no reference.
    pub fn from_segments(segments: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>) -> Result<Self, Error> {
        let (hypotheses, references): (Vec<_>, Vec<_>) = segments.into_iter().unzip();
        if hypotheses.is_empty() {
            return Err(Error::EmptyCorpus);
        }
        match references.iter().position(Vec::is_empty) {
            Some(segment) => Err(Error::NoReference { segment }),
            None => Ok(Self { hypotheses, references }),
        }
    }

    /// Number of hypotheses.
    pub fn n_segments(&self) -> usize {
        self.hypotheses.len()
    }

    /// Each hypothesis with its references.
    pub fn segments(&self) -> impl Iterator<Item = (&'a str, &[&'a str])> {
        self.hypotheses.iter().copied().zip(self.references.iter().map(Vec::as_slice))
    }

    /// The number of references of each segment as a signature states it: `nrefs:1`, or `nrefs:var` when it varies.
    pub fn signature(&self) -> String {
        let n = self.references[0].len();
        if self.references.iter().all(|r| r.len() == n) { format!("nrefs:{n}") } else { "nrefs:var".to_owned() }
    }

    /// Whether a hundred hypotheses or more end in a full stop set apart by a space.
    ///
    /// Then they were most likely left tokenized, and their BLEU cannot be compared with that of plain text.
    pub fn looks_tokenized(&self) -> bool {
        self.hypotheses.iter().filter(|h| h.ends_with(" .")).take(100).count() == 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misaligned_material_is_refused_with_both_counts() {
        let error = Corpus::new(&["a", "b"], &[vec!["a", "b"], vec!["a"]]).unwrap_err();
        assert_eq!(error, Error::LengthMismatch { n_hypotheses: 2, n_references: 1, reference_set: 1 });
        assert_eq!(Corpus::new(&[""; 0], &[&[""; 0]]).unwrap_err(), Error::EmptyCorpus);
        assert_eq!(Corpus::new(&["a"], &[[""; 1]; 0]).unwrap_err(), Error::NoReference { segment: 0 });
    }

    #[test]
    fn signature_tells_whether_the_number_of_references_varies() {
        assert_eq!(Corpus::new(&["a"], &[["x"], ["y"]]).unwrap().signature(), "nrefs:2");
        let uneven = Corpus::from_segments([("a", vec!["x"]), ("b", vec!["x", "y"])]).unwrap();
        assert_eq!(uneven.signature(), "nrefs:var");
    }

    #[test]
    fn a_hundred_detached_full_stops_look_tokenized() {
        for (n, expect) in [(99, false), (100, true)] {
            let hypotheses = vec!["Two dogs ."; n];
            assert_eq!(Corpus::new(&hypotheses, &[&hypotheses]).unwrap().looks_tokenized(), expect);
        }
    }
}
