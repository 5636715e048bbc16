//! Weights in files: the layouts that other programs read and write.
//!
//! A model directory has a `config.json` ([`config_json`] reads it into our [`ModelConfig`](crate::ModelConfig)) and
//! safetensors files, or older ones of PyTorch ([`torch`]). Each published family of models is one file in [`family`]: how its `config.json` is written, and its
//! table of weight names. [`load`] and [`export`] walk over our own list of parameters and look each one up in the table,
//! so that neither knows any family.
//!
//! A model that is only written into other files leaves its numbers in its own ([`InFile`]); what a file is to hold fetches
//! them when it is written (`written`), so that the largest tensor has to fit into memory, not the model. [`Origin`] is where
//! a model comes from: licence, authors and base, as cards and GGUF files say it.

pub mod adapter;
mod card;
pub mod config_json;
pub(crate) mod content;
pub mod export;
mod express;
pub mod family;
mod generation;
pub mod gguf;
mod in_file;
pub mod load;
mod names;
mod origin;
mod pooling;
pub mod safetensors;
mod shards;
pub mod torch;
mod written;

pub use crate::disk::hold_names;
pub use adapter::{
    AdapterFacts, AdapterSummary, LoraSettings, SummaryConfig, TargetModules, attach_new, export_adapter, load_adapter,
};
pub use card::CardFacts;
pub use config_json::{PublishedConfig, SpecialIds, read_config, read_generation};
pub use export::{Exported, export_hf, unfinished, unfinished_files};
pub use express::architecture_of;
pub use family::{FAMILIES, Family};
pub use generation::PublishedGeneration;
pub use gguf::{GgufFacts, GgufFile, GgufModel, GgufTokenizer, TokenizerFiles, export_gguf};
pub use in_file::InFile;
pub use load::{Purpose, load_hf};
pub use origin::{Origin, license_files};
pub use written::{bytes_as, format_of_matrices};
