//! From files to the rows a training step consumes.
//!
//! The folders are stages in the order that data meets them: [`source`] reads documents → [`curate`] keeps, edits or
//! drops them with a reason → [`tokenize`] makes token ids → [`shard`] keeps them on disk → [`loader`] fills rows.
//! Start with [`prepare()`], which walks the whole way to the disk, and [`Loader`], which walks from there to a
//! [`Batch`](genera_tokens::Batch).
//!
//! Nothing here knows a tensor or a model. No source, shard or loader holds more than a bounded part of its data in
//! memory (pairs: 12 bytes each), and every order is a function of a seed and a number, so that a run can be resumed exactly.
//!
//! # Example
//! ```
//! use genera_data::{Document, Generated, Layout, Loader, LoaderSettings, Origin, Preparation, TokenizerSpec, prepare};
//! use std::sync::Arc;
//!
//! # fn main() -> genera_data::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let directory = directory.path();
//! let make = || -> Box<dyn Iterator<Item = Document> + Send> {
//!     Box::new((0..1000).map(|i| Document::text(Origin::new("numbers", i), format!("{i} and {}", i + 1))))
//! };
//! let corpus = Arc::new(Generated::new("the numbers below 1000", make));
//! let data = prepare(&Preparation::new(corpus, TokenizerSpec::Characters), directory, &mut |_| ())?;
//!
//! let settings = LoaderSettings {
//!     layout: Layout::Packed,
//!     rows: 4,
//!     context_len: 32,
//!     seed: 1,
//!     padding: 0,
//!     token_bytes: data.tokenizer.token_bytes(),
//!     vary: None,
//! };
//! let batch = Loader::new(vec![(data.train, 1.0)], settings)?.batch(0)?;
//! assert_eq!(batch.tokens.len(), 4 * 32);
//! # Ok(())
//! # }
//! ```

pub mod calendar;
pub mod chat;
pub mod curate;
mod document;
mod encode;
mod error;
pub mod loader;
mod mix;
mod order;
mod pack;
pub mod pickled;
pub mod prepare;
pub mod shard;
pub mod source;
mod split;
pub mod tokenize;
mod write;

pub use chat::{ChatMessage, ChatTemplate, encode_chat, encode_chat_with_tools};
pub use curate::CurationSettings;
pub use document::{Content, Document, Origin, Piece};
pub use encode::{Encode, TextEncoder};
pub use error::{Error, Result};
pub use loader::{
    Layout, Loader, LoaderSettings, Padded, Poisson, PreferenceRows, Preferences, Prefetch, Validation, Vary,
    n_packed_rows,
};
pub use prepare::{Preparation, Prepared, Progress, Stage, Summary, load_prepared, prepare};
pub use shard::{Shard, ShardInfo, ShardWriter};
pub use source::{Aligned, ByteCounter, Columns, Corpus, Documents, Files, Generated, ReadOptions};
pub use split::Split;
pub use tokenize::{
    Reads, SpecialTokens, TextStream, Tokenizer, TokenizerSpec, export_tokenizer, has_tokenizer, load_tokenizer,
    tokenizer_from_json,
};
pub use write::{atomically as write_atomically, clear_unfinished, is_unfinished};
