//! The Transformer: from token ids to hidden states, logits and losses.
//!
//! Read `transformer` first; then data goes through `embedding`, `stack`, `block`, `attention` and `feed_forward`,
//! `norm`, and `head`. `visibility` says who sees whom, `position` how a token knows where it stands, `init` how the
//! numbers start.

mod attention;
mod block;
mod cache;
mod embedding;
mod feed_forward;
mod head;
mod init;
mod norm;
mod pooling;
mod position;
mod projection;
mod stack;
#[cfg(test)]
mod tests;
mod transformer;
mod visibility;

pub use attention::{Captured, Probe};
pub use cache::{CacheRow, Page, PageCount};
pub use init::initial_params;
pub use pooling::{Pooling, Taken};
pub use position::Switch;
pub(crate) use position::sinusoid;
pub use stack::{Context, Memory};
pub use transformer::{Loss, Mode, Rows, Transformer};
