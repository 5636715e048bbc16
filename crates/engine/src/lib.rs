//! One Transformer by configuration: token sequences in, tokens and gradients out; never a file format of data.
//!
//! `config` says what a model is, `params` what it has learned, `model` computes it. `train` and `generate` both use the
//! same forward pass and never each other. `gan` is the baseline of another family, for rows of tables. Start with [`model::Transformer`], then [`train::Trainer`] and
//! [`generate::Generator`].

pub mod checkpoint;
pub mod config;
mod disk;
mod error;
pub mod flops;
pub mod gan;
pub mod generate;
pub mod model;
pub mod params;
pub mod presets;
pub mod recipe;
pub mod train;
pub mod weights;

pub use config::ModelConfig;
pub use error::{Error, Result};
pub use params::Params;
