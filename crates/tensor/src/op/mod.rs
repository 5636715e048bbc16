//! The operations, one file each: formula, forward, backward, and the cases that check them.
//!
//! A gradient is not derived from smaller operations but written by hand, so that each file can be read against its
//! formula. [`ALL`] lists the checks that `genera check` and the tests run.

mod activation;
mod add;
mod attention;
mod cast;
pub mod check;
mod columns;
mod concat;
mod cross_entropy;
mod dropout;
mod embedding;
mod gated;
mod gather;
mod grouped_linear;
mod linear;
mod matmul;
mod mix;
mod multiply;
mod norm;
mod offset_bias;
mod paged_attention;
mod preference;
mod reduce;
mod rotary;
mod route;
mod soft_cap;
mod softmax;

pub use activation::activation;
pub use add::{add, scale};
pub use attention::{AttentionSpec, MaskSpec, Queries, attention};
pub use cast::cast;
pub use columns::columns;
pub use concat::concat;
pub use cross_entropy::{HeadLoss, LossSpec, cross_entropy, linear_cross_entropy, logits_block_rows};
pub use dropout::{dropout, dropout_add};
pub use embedding::{embedding, embedding_add};
pub use gated::gated;
pub use gather::gather_rows;
pub use grouped_linear::{Group, grouped_linear};
pub use linear::{Linear, linear};
pub use matmul::matmul;
pub use mix::mix;
pub use multiply::multiply;
pub use norm::{NormSpec, norm};
pub use offset_bias::offset_bias;
pub use paged_attention::{PagedRow, PagedSpec, paged_attention};
pub use preference::{Preference, preference};
pub use reduce::{mean_rows, sum};
pub use rotary::{RotarySpec, RotaryTable, rotary};
pub use route::{Routes, route};
pub use soft_cap::soft_cap;
pub use softmax::softmax;

/// Measures an operation's result and gradients against its formula.
pub type Check = fn(&mut check::Checker);

/// Every operation with the cases that check its result and its gradients.
pub const ALL: &[(&str, Check)] = &[
    ("activation", activation::check),
    ("add", add::check),
    ("attention", attention::check),
    ("cast", cast::check),
    ("columns", columns::check),
    ("concat", concat::check),
    ("cross_entropy", cross_entropy::check),
    ("dropout", dropout::check),
    ("embedding", embedding::check),
    ("gather", gather::check),
    ("gated", gated::check),
    ("grouped_linear", grouped_linear::check),
    ("linear", linear::check),
    ("matmul", matmul::check),
    ("mix", mix::check),
    ("multiply", multiply::check),
    ("norm", norm::check),
    ("offset_bias", offset_bias::check),
    ("preference", preference::check),
    ("reduce", reduce::check),
    ("rotary", rotary::check),
    ("route", route::check),
    ("soft_cap", soft_cap::check),
    ("softmax", softmax::check),
];
