//! The row of a model in the table of MOSES.

use super::distance::{cosine, internal_diversity, nearest_similarity, wasserstein};
use super::features::Features;
use super::frechet::{Gaussian, frechet_distance};
use genera_chemistry::Fingerprint;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// What made molecules are compared with.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// How the activations of ChemNet are distributed.
    pub chemnet: Option<Gaussian>,
    /// A fingerprint for each molecule.
    pub fingerprints: Vec<Fingerprint>,
    /// How often each part occurs.
    pub fragments: HashMap<String, u64>,
    /// How often each scaffold of two or more rings occurs.
    pub scaffolds: HashMap<String, u64>,
    /// logP, synthetic accessibility, drug-likeness and weight of each molecule; may be empty.
    pub properties: [Vec<f64>; 4],
}

/// A row of the table: the columns of the package `molsets`; NaN stands for what could not be computed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MosesRow {
    /// Who made the molecules.
    pub model: String,
    /// Lines that were judged.
    pub n: usize,
    /// Share of the lines that are molecules.
    pub valid: f64,
    /// Share of different ones among the first thousand valid ones.
    #[serde(rename = "unique@1000")]
    pub unique_1k: f64,
    /// The same among the first ten thousand.
    #[serde(rename = "unique@10000")]
    pub unique_10k: f64,
    /// Fréchet ChemNet distance to the test set.
    #[serde(rename = "FCD/Test")]
    pub fcd_test: f64,
    /// The same to the scaffold test set.
    #[serde(rename = "FCD/TestSF")]
    pub fcd_scaffolds: f64,
    /// Mean similarity to the nearest molecule of the test set.
    #[serde(rename = "SNN/Test")]
    pub snn_test: f64,
    /// The same of the scaffold test set.
    #[serde(rename = "SNN/TestSF")]
    pub snn_scaffolds: f64,
    /// Cosine of the counts of fragments.
    #[serde(rename = "Frag/Test")]
    pub frag_test: f64,
    /// The same with the scaffold test set.
    #[serde(rename = "Frag/TestSF")]
    pub frag_scaffolds: f64,
    /// Cosine of the counts of scaffolds.
    #[serde(rename = "Scaf/Test")]
    pub scaf_test: f64,
    /// The same with the scaffold test set.
    #[serde(rename = "Scaf/TestSF")]
    pub scaf_scaffolds: f64,
    /// Internal diversity.
    #[serde(rename = "IntDiv")]
    pub int_div: f64,
    /// The same by mean squares.
    #[serde(rename = "IntDiv2")]
    pub int_div_2: f64,
    /// Share that passes the filters.
    #[serde(rename = "Filters")]
    pub filters: f64,
    /// Wasserstein distance of logP to the test set.
    #[serde(rename = "logP")]
    pub logp: f64,
    /// The same of synthetic accessibility.
    #[serde(rename = "SA")]
    pub sa: f64,
    /// The same of drug-likeness.
    #[serde(rename = "QED")]
    pub qed: f64,
    /// The same of weight.
    pub weight: f64,
    /// Share of the different ones that the training set does not have.
    #[serde(rename = "Novelty")]
    pub novelty: f64,
}

/// What a set of made molecules is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'j> {
    /// Number of lines, molecules or not.
    pub n_lines: usize,
    /// The molecules among them, in their order.
    pub molecules: &'j [Features],
    /// How their activations of ChemNet are distributed.
    pub chemnet: Option<&'j Gaussian>,
}

impl MosesRow {
    /// The row of the molecules a model made, beside the test set, the scaffold test set, and the canonical SMILES of the
    /// training set.
    ///
    /// # Cost
    /// A comparison of every made molecule with every one of the two test sets, on `n_threads` threads.
    pub fn of(
        model: &str,
        judged: Judged<'_>,
        test: &Reference,
        scaffolds: &Reference,
        train: &HashSet<String>,
        n_threads: usize,
    ) -> Self {
        let all = judged.molecules;
        let smiles: Vec<&str> = all.iter().map(|molecule| molecule.smiles.as_str()).collect();
        let prints: Vec<Fingerprint> = all.iter().map(|molecule| molecule.fingerprint.clone()).collect();
        let fragments = counts(all.iter().flat_map(|molecule| &molecule.fragments));
        let of_scaffolds = counts(all.iter().filter_map(|molecule| molecule.scaffold.as_ref()));
        let fcd = |reference: &Reference| match (judged.chemnet, &reference.chemnet) {
            (Some(a), Some(b)) => frechet_distance(a, b),
            _ => f64::NAN,
        };
        let nearest = |reference: &Reference| match (prints.is_empty(), reference.fingerprints.is_empty()) {
            (false, false) => nearest_similarity(&prints, &reference.fingerprints, n_threads),
            _ => f64::NAN,
        };
        let moved = |i: usize, value: fn(&Features) -> f64| {
            let values: Vec<f64> = all.iter().map(value).filter(|value| value.is_finite()).collect();
            wasserstein(&values, &test.properties[i])
        };
        let different: HashSet<&str> = smiles.iter().copied().collect();
        let n_new = different.iter().filter(|smiles| !train.contains(**smiles)).count();
        let n_passing = all.iter().filter(|molecule| molecule.passes_filters).count();
        Self {
            model: model.to_owned(),
            n: judged.n_lines,
            valid: share(all.len(), judged.n_lines),
            unique_1k: unique(&smiles, 1000),
            unique_10k: unique(&smiles, 10_000),
            fcd_test: fcd(test),
            fcd_scaffolds: fcd(scaffolds),
            snn_test: nearest(test),
            snn_scaffolds: nearest(scaffolds),
            frag_test: cosine(&fragments, &test.fragments),
            frag_scaffolds: cosine(&fragments, &scaffolds.fragments),
            scaf_test: cosine(&of_scaffolds, &test.scaffolds),
            scaf_scaffolds: cosine(&of_scaffolds, &scaffolds.scaffolds),
            int_div: internal_diversity(&prints, 1, n_threads),
            int_div_2: internal_diversity(&prints, 2, n_threads),
            filters: share(n_passing, all.len()),
            logp: moved(0, |molecule| molecule.logp),
            sa: moved(1, |molecule| molecule.sa),
            qed: moved(2, |molecule| molecule.qed),
            weight: moved(3, |molecule| molecule.weight),
            novelty: share(n_new, different.len()),
        }
    }

    /// The columns of the published table, by name.
    pub fn columns(&self) -> [(&'static str, f64); 15] {
        [
            ("valid", self.valid),
            ("unique@1k", self.unique_1k),
            ("unique@10k", self.unique_10k),
            ("FCD test", self.fcd_test),
            ("FCD scaf", self.fcd_scaffolds),
            ("SNN test", self.snn_test),
            ("SNN scaf", self.snn_scaffolds),
            ("Frag test", self.frag_test),
            ("Frag scaf", self.frag_scaffolds),
            ("Scaf test", self.scaf_test),
            ("Scaf scaf", self.scaf_scaffolds),
            ("IntDiv", self.int_div),
            ("IntDiv2", self.int_div_2),
            ("filters", self.filters),
            ("novelty", self.novelty),
        ]
    }
}

/// Rows of the published table, by the columns of [`MosesRow::columns`].
///
/// # Source
/// The README of the package `molsets`, 2020.
pub const PUBLISHED: [(&str, [f64; 15]); 7] = [
    (
        "training set",
        [1.0, 1.0, 1.0, 0.008, 0.4755, 0.6419, 0.5859, 1.0, 0.9986, 0.9907, 0.0, 0.8567, 0.8508, 1.0, 0.0],
    ),
    ("NGram", [0.238, 0.974, 0.922, 5.507, 6.231, 0.521, 0.5, 0.985, 0.982, 0.53, 0.098, 0.874, 0.864, 0.958, 0.969]),
    (
        "CharRNN",
        [
            0.9748, 1.0, 0.9994, 0.0732, 0.5204, 0.6015, 0.5649, 0.9998, 0.9983, 0.9242, 0.1101, 0.8562, 0.8503,
            0.9943, 0.8419,
        ],
    ),
    (
        "AAE",
        [
            0.9368, 1.0, 0.9973, 0.5555, 1.0572, 0.6081, 0.5677, 0.991, 0.9905, 0.9022, 0.0789, 0.8557, 0.8499, 0.996,
            0.7931,
        ],
    ),
    (
        "VAE",
        [
            0.9767, 1.0, 0.9984, 0.099, 0.567, 0.6257, 0.5783, 0.9994, 0.9984, 0.9386, 0.0588, 0.8558, 0.8498, 0.997,
            0.6949,
        ],
    ),
    (
        "JTN-VAE",
        [
            1.0, 1.0, 0.9996, 0.3954, 0.9382, 0.5477, 0.5194, 0.9965, 0.9947, 0.8964, 0.1009, 0.8551, 0.8493, 0.976,
            0.9143,
        ],
    ),
    (
        "LatentGAN",
        [
            0.8966, 1.0, 0.9968, 0.2968, 0.8281, 0.5371, 0.5132, 0.9986, 0.9972, 0.8867, 0.1072, 0.8565, 0.8505,
            0.9735, 0.9498,
        ],
    ),
];

fn share(n: usize, of: usize) -> f64 {
    if of == 0 { f64::NAN } else { n as f64 / of as f64 }
}

/// Share of different ones among the first `n`.
fn unique(smiles: &[&str], n: usize) -> f64 {
    let first = &smiles[..n.min(smiles.len())];
    share(first.iter().collect::<HashSet<_>>().len(), first.len())
}

fn counts<'n>(names: impl Iterator<Item = &'n String>) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    for name in names {
        *counts.entry(name.clone()).or_default() += 1;
    }
    counts
}
