//! What made molecules are worth beside real ones: the columns of the MOSES benchmark.
//!
//! [`Features`] looks at a molecule once; [`MosesRow::of`] makes the whole row of the table of many. [`ChemNet`] is the network
//! whose activations the Fréchet distance compares.
//!
//! # Source
//! Polykovskiy et al., "Molecular Sets (MOSES)", arXiv 1811.12823, section 4; definitions as in the package `molsets` 0.3.1.

mod chemnet;
mod distance;
mod features;
mod frechet;
mod moses;
#[cfg(test)]
mod tests;

pub use chemnet::{ChemNet, ChemNetWeights, N_ACTIVATIONS};
pub use distance::{cosine, internal_diversity, nearest_similarity, wasserstein};
pub use features::{Chemistry, Features};
pub use frechet::{Gaussian, frechet_distance};
pub use moses::{Judged, MosesRow, PUBLISHED, Reference};
