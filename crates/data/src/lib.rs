//! From files to the rows a training step consumes.
//!
//! The folders are stages in the order that data meets them: [`source`] reads documents → [`curate`] keeps, edits or
//! drops them with a reason → [`tokenize`] makes token ids → [`shard`] keeps them on disk → [`loader`] fills rows.
//! Start with [`prepare()`], which walks the whole way to the disk, and [`Loader`], which walks from there to a
//! [`Batch`](genera_tokens::Batch).

pub mod curate;
mod document;
mod encode;
mod error;
pub mod loader;
mod mix;
mod order;
mod pack;
pub mod prepare;
pub mod shard;
pub mod source;
mod split;
pub mod tokenize;
mod write;

pub use curate::CurationSettings;
pub use document::{Content, Document, Origin, Piece};
pub use encode::{Encode, TextEncoder};
pub use error::{Error, Result};
pub use loader::{Layout, Loader, LoaderSettings, Padded, Prefetch, Validation};
pub use prepare::{Preparation, Prepared, Progress, Stage, Summary, load_prepared, prepare};
pub use shard::{Shard, ShardInfo, ShardWriter};
pub use source::{Aligned, ByteCounter, Columns, Corpus, Documents, Files, Generated, ReadOptions};
pub use split::Split;
pub use tokenize::{SpecialTokens, TextStream, Tokenizer, TokenizerSpec, load_tokenizer};
