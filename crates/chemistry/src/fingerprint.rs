//! Circular fingerprints: which neighbourhoods of atoms a molecule has.

use crate::Molecule;
use chematic::fp::{RdkitMorganConfig, RdkitMorganFpSize, RdkitMorganRadius, rdkit_morgan_bitvec};

/// Bits of a fingerprint.
pub const N_BITS: usize = 1024;

const N_WORDS: usize = N_BITS / 64;

/// A circular fingerprint of radius 2 in 1024 bits, RDKit's Morgan.
///
/// # Source
/// Rogers and Hahn, "Extended-Connectivity Fingerprints", 2010.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    words: [u64; N_WORDS],
    n_set: u32,
}

impl Fingerprint {
    /// From its bytes, the lowest bit first.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = [0_u64; N_WORDS];
        for (i, &byte) in bytes.iter().take(N_BITS / 8).enumerate() {
            words[i / 8] |= u64::from(byte) << (8 * (i % 8));
        }
        Self { n_set: words.iter().map(|word| word.count_ones()).sum(), words }
    }

    /// From one number for each bit, of which 0 is not set.
    pub fn from_bits(bits: &[u8]) -> Self {
        let mut words = [0_u64; N_WORDS];
        for (i, _) in bits.iter().take(N_BITS).enumerate().filter(|(_, bit)| **bit != 0) {
            words[i / 64] |= 1 << (i % 64);
        }
        Self { n_set: words.iter().map(|word| word.count_ones()).sum(), words }
    }

    /// The places of the bits that are set, ascending.
    pub fn set_bits(&self) -> impl Iterator<Item = usize> + '_ {
        (0..N_BITS).filter(|i| self.words[i / 64] >> (i % 64) & 1 == 1)
    }

    /// How many bits are set.
    pub fn n_bits(&self) -> u32 {
        self.n_set
    }
}

impl Molecule {
    /// Its circular fingerprint; empty for what has none.
    pub fn fingerprint(&self) -> Fingerprint {
        let config = RdkitMorganConfig {
            radius: RdkitMorganRadius::R2,
            fp_size: RdkitMorganFpSize::B1024,
            include_chirality: false,
        };
        let bytes = rdkit_morgan_bitvec(self.graph(), &config).map(|bits| bits.to_le_bytes());
        Fingerprint::from_bytes(&bytes.unwrap_or_default())
    }
}
