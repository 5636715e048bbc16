//! Properties of molecules as tokens: bins by the quantiles of the training data.

use super::codebook::{ANY, BEGIN, MoleculeCodebook};
use super::settings::settings;
use genera_data::{Result, Vary};
use genera_tokens::TokenId;
use serde::{Deserialize, Serialize};

/// The bins of a property.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PropertyBins {
    /// The name of the property.
    pub property: String,
    /// Where bins end, ascending: bin i holds values up to `edges[i]`, the last all beyond.
    pub edges: Vec<f64>,
    /// The least value of the molecules that were looked at, which of large data are some ten thousand; older codebooks do not
    /// have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// The greatest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greatest: Option<f64>,
}

impl PropertyBins {
    /// Bins that hold about as many of these values each, at most `n_bins`.
    ///
    /// # Errors
    /// When there is no value.
    pub fn by_quantiles(property: &str, mut values: Vec<f64>, n_bins: usize) -> Result<Self> {
        values.retain(|value| value.is_finite());
        if values.is_empty() {
            return Err(settings(format!("no molecule of the data has a {property}")));
        }
        values.sort_by(f64::total_cmp);
        let n_bins = n_bins.clamp(1, MAX_BINS);
        // Few places, so that what is written is read again to the bit.
        let round = |value: f64| (value * 1e4).round() / 1e4;
        let (least, greatest) = (values.first().copied(), values.last().copied());
        let least = least.map(|value| (value * 1e4).floor() / 1e4);
        let greatest = greatest.map(|value| (value * 1e4).ceil() / 1e4);
        let mut edges: Vec<f64> = (1..n_bins).map(|i| round(values[i * (values.len() - 1) / n_bins])).collect();
        edges.dedup();
        // What all values reach is no edge between two bins.
        while edges.last().is_some_and(|edge| values.last().is_some_and(|last| edge >= last)) {
            edges.pop();
        }
        Ok(Self { property: property.to_owned(), edges, least, greatest })
    }

    /// Number of bins.
    pub fn n_bins(&self) -> usize {
        self.edges.len() + 1
    }

    /// The bin of a value.
    pub fn bin(&self, value: f64) -> usize {
        self.edges.partition_point(|&edge| edge < value)
    }

    /// From the least to the greatest value that can be asked for: those that were seen. Older codebooks do not know them, so that
    /// anything can be asked for: beyond the outer edges lies one part in `n_bins` of the molecules.
    pub fn range(&self) -> (f64, f64) {
        (self.least.unwrap_or(f64::NEG_INFINITY), self.greatest.unwrap_or(f64::INFINITY))
    }

    pub(super) fn is_sound(&self) -> bool {
        self.edges.len() < MAX_BINS
            && self.edges.iter().all(|edge| edge.is_finite())
            && self.edges.windows(2).all(|pair| pair[0] < pair[1])
            && self.least.into_iter().chain(self.greatest).all(f64::is_finite)
            && self.range().0 <= self.range().1
    }
}

/// Bins of a property at most.
pub(super) const MAX_BINS: usize = 1 << 12;

/// Share of readings at which a molecule is learned without any property.
const NONE_OF: u64 = 4;

/// Leaves out any of the properties, another choice at each reading, so that a model learns to be asked for any of them.
#[derive(Clone, Copy, Debug)]
pub struct PropertyChoice {
    n_properties: usize,
    /// The first id that is no property's.
    first_symbol: TokenId,
}

impl PropertyChoice {
    /// For the molecules of a codebook; `None` where it has no properties.
    pub fn new(codebook: &MoleculeCodebook) -> Option<Self> {
        let n_properties = codebook.properties().len();
        (n_properties > 0).then(|| Self { n_properties, first_symbol: codebook.first_symbol() })
    }
}

impl Vary for PropertyChoice {
    fn vary(&self, tokens: &mut [TokenId], key: u64) {
        if tokens.len() <= self.n_properties || tokens[0] != BEGIN {
            return;
        }
        let (takes_none, choice) = (key.is_multiple_of(NONE_OF), key / NONE_OF);
        for (i, token) in tokens[1..=self.n_properties].iter_mut().enumerate() {
            if takes_none || choice >> (i % 60) & 1 == 0 {
                *token = ANY;
            }
        }
    }

    fn is_learned(&self, token: TokenId) -> bool {
        token < ANY || token >= self.first_symbol
    }
}
