//! Matrix products: `c = activation(a·b + bias) + residual`.
//!
//! B is rearranged into *panels*, each a few vectors of columns wide and as long as K ([`pack`]); a tile of a few rows of A
//! and one panel is kept in registers while K runs ([`kernel`]); what comes after the sum is done while the tile is still
//! in the nearest cache ([`epilogue`]). The [`driver`] cuts the product into tasks for the threads.
//!
//! Every element is one chain of multiply-adds in the order of K, whatever the sizes, the cutting and the threads: the same
//! row of A times the same column of B gives the same bits in every product.

mod driver;
mod epilogue;
mod halves;
pub(super) mod kernel;
mod operands;
pub(super) mod pack;
mod panels;
mod plan;
pub(super) mod scratch;
#[cfg(test)]
mod tests;

pub(super) use driver::{Workspace, matmul};
pub(super) use epilogue::{Epilogue, Sums};
pub(super) use halves::{pack as pack_halves, pack_when_used as pack_halves_when_used};
pub(super) use panels::{pack, unpack};
pub use plan::stripe_rows;
