//! Scores: what a model's output is worth, as a [`Figure`] that carries its interval, its sample size and its seed.
//!
//! Every metric works in two steps. It first turns each example into a row of numbers that may be added (the
//! [`Statistics`]), then turns the sum of the rows into a score. So the score of a whole corpus, of any part of it, and
//! of a thousand [bootstrap](Bootstrap) samples of it all come from the same rows, which are computed once.
//!
//! Start with [`metric::ALL`], the list of metrics; then [`Bootstrap::figure`], which makes a figure of one of them.
//! Nothing here trains, reads files or prints.
//!
//! ```
//! use genera_eval::{Bootstrap, Corpus, metric::{Bleu, TextMetric}};
//!
//! let corpus = Corpus::new(&["Two dogs run."], &[&["Two dogs are running."]])?;
//! let bleu = Bleu::default();
//! let figure = Bootstrap::default().figure(&bleu, &bleu.statistics(&corpus));
//! assert!(figure.signature.contains("case:mixed|eff:no|tok:13a|smooth:exp"));
//! # Ok::<(), genera_eval::Error>(())
//! ```

mod bootstrap;
mod corpus;
mod error;
pub mod metric;
pub mod molecule;
mod report;
mod rng;
mod statistics;
pub mod table;

pub use bootstrap::{Bootstrap, Comparison};
pub use corpus::Corpus;
pub use error::Error;
pub use report::{Better, Figure, Interval, Report, Unit};
pub use statistics::Statistics;
