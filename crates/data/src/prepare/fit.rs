//! Learning what must be known of values before they can be written as tokens: the columns of a table, the pitches of tunes.

use crate::{Document, Result, Tokenizer};
use std::path::Path;
use std::sync::Arc;

/// How a kind of data learns its values, and finds what it learned again.
pub trait Fit: Send + Sync {
    /// Begins to learn.
    fn begin(&self) -> Box<dyn Fitting>;

    /// What [`Tokenizer::save`] has left in `directory`.
    ///
    /// # Errors
    /// When there is nothing, or it is damaged.
    fn load(&self, directory: &Path) -> Result<Arc<dyn Tokenizer>>;

    /// Changes with anything that makes it learn otherwise.
    fn fingerprint(&self) -> String;
}

/// Learning under way.
pub trait Fitting: Send {
    /// Looks at one training document.
    ///
    /// # Errors
    /// When it is of another kind.
    ///
    /// # Cost
    /// Memory is bounded, however many documents come.
    fn add(&mut self, document: &Document) -> Result<()>;

    /// What was learned.
    ///
    /// # Errors
    /// When there was too little to learn from.
    fn finish(self: Box<Self>) -> Result<Arc<dyn Tokenizer>>;
}
