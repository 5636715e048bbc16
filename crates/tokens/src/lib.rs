//! The narrow waist: every kind of data becomes a [`TokenSeq`] over a [`Vocab`], and the engine sees only [`Batch`]es.
//!
//! Nothing in this crate knows a file format, a tensor or a kind of data. Start with [`TokenSeq`].

mod batch;
mod merges;
mod sequence;
mod vocab;

pub use batch::{Batch, IGNORE, Source};
pub use merges::{MAX_MERGES, MAX_PIECE_BYTES, merges_of_scores};
pub use sequence::{Role, Span, TokenSeq};
pub use vocab::{MAX_ADDED_TOKENS, Special, Vocab, VocabSpan};

/// One token: an index into a [`Vocab`].
pub type TokenId = u32;
