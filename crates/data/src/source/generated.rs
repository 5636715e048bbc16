//! Documents made by rule, so that a first run needs no files.

use super::{ByteCounter, Corpus, Documents};
use crate::{Document, Result};

type Make = dyn Fn() -> Box<dyn Iterator<Item = Document> + Send> + Send + Sync;

/// Documents that a function makes, the same each time it is called.
pub struct Generated {
    name: String,
    make: Box<Make>,
}

impl Generated {
    /// Documents from `make`. `name` must say everything that determines them (rule, seed, number), because a
    /// prepared corpus of the same name is taken to hold the same documents.
    pub fn new(
        name: impl Into<String>,
        make: impl Fn() -> Box<dyn Iterator<Item = Document> + Send> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), make: Box::new(make) }
    }
}

impl Corpus for Generated {
    fn documents(&self, _: &ByteCounter) -> Result<Documents> {
        Ok(Box::new((self.make)().map(Ok)))
    }

    fn n_bytes(&self) -> Option<u64> {
        None
    }

    fn fingerprint(&self) -> String {
        format!("generated\n{}\n", self.name)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
