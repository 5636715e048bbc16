//! Two files that belong together line by line, such as a text and its translation.

use super::input::{ByteCounter, open};
use super::text::Lines;
use super::{Corpus, Documents, describe};
use crate::{Document, Error, Origin, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Two aligned files: line i of the one is to be produced from line i of the other.
#[derive(Clone, Debug)]
pub struct Aligned {
    source: PathBuf,
    target: PathBuf,
    n_bytes: u64,
    fingerprint: String,
}

impl Aligned {
    /// Two files of one line for each example, plain or compressed.
    ///
    /// # Errors
    /// When one of them does not exist. That both have the same number of lines shows at the end of the documents.
    pub fn open(source: &Path, target: &Path) -> Result<Self> {
        let mut fingerprint = String::from("aligned\n");
        let n_bytes = describe(source, &mut fingerprint)? + describe(target, &mut fingerprint)?;
        Ok(Self { source: source.to_owned(), target: target.to_owned(), n_bytes, fingerprint })
    }
}

impl Corpus for Aligned {
    fn documents(&self, counter: &ByteCounter) -> Result<Documents> {
        Ok(Box::new(Pairs {
            paths: self.clone(),
            file: self.source.to_string_lossy().into(),
            source: Lines::new(&self.source, open(&self.source, counter)?),
            target: Lines::new(&self.target, open(&self.target, counter)?),
            n_read: 0,
            is_done: false,
        }))
    }

    fn n_bytes(&self) -> Option<u64> {
        Some(self.n_bytes)
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn name(&self) -> String {
        format!("{} with {}", self.source.display(), self.target.display())
    }
}

struct Pairs {
    paths: Aligned,
    file: Arc<str>,
    source: Lines,
    target: Lines,
    n_read: u64,
    is_done: bool,
}

impl Pairs {
    fn next_pair(&mut self) -> Result<Option<Document>> {
        match (self.source.next().transpose()?, self.target.next().transpose()?) {
            (Some(source), Some(target)) => {
                let origin = Origin::new(self.file.clone(), self.n_read);
                self.n_read += 1;
                Ok(Some(Document::pair(origin, source.text, target.text)))
            }
            (None, None) => Ok(None),
            (source, target) => {
                let rest = |lines: &mut Lines| lines.try_fold(0, |n, line| line.map(|_| n + 1));
                let n_source = self.n_read + u64::from(source.is_some()) + rest(&mut self.source)?;
                let n_target = self.n_read + u64::from(target.is_some()) + rest(&mut self.target)?;
                let paths = self.paths.clone();
                Err(Error::LengthMismatch { source: paths.source, n_source, target: paths.target, n_target })
            }
        }
    }
}

impl Iterator for Pairs {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let pair = self.next_pair().transpose();
        self.is_done = !matches!(pair, Some(Ok(_)));
        pair
    }
}
