//! Distances between sets of molecules.

use genera_chemistry::{Fingerprint, N_BITS};
use std::collections::HashMap;

/// Cosine of the counts of names in two sets; NaN where a set has none.
///
/// # Range
/// 0 to 1.
pub fn cosine(a: &HashMap<String, u64>, b: &HashMap<String, u64>) -> f64 {
    if a.is_empty() || b.is_empty() {
        return f64::NAN;
    }
    // Whole numbers below 2⁵³ are exact in f64, so the order of a sum does not matter until it is larger.
    let norm = |counts: &HashMap<String, u64>| counts.values().map(|&n| (n as f64).powi(2)).sum::<f64>().sqrt();
    let product = a.iter().filter_map(|(name, &n)| Some(n as f64 * *b.get(name)? as f64)).fold(0.0, |sum, x| sum + x);
    product / norm(a) / norm(b)
}

/// Mean distance that values must be moved to make one set of numbers the other; NaN where a set is empty.
///
/// # Source
/// Ramdas et al., arXiv 1509.02237: the area between the two distribution functions.
pub fn wasserstein(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return f64::NAN;
    }
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values
    };
    let (a, b) = (sorted(a), sorted(b));
    let mut all: Vec<f64> = a.iter().chain(&b).copied().collect();
    all.sort_by(f64::total_cmp);
    let (mut i, mut j, mut area) = (0, 0, 0.0);
    for pair in all.windows(2) {
        while i < a.len() && a[i] <= pair[0] {
            i += 1;
        }
        while j < b.len() && b[j] <= pair[0] {
            j += 1;
        }
        area += (pair[1] - pair[0]) * (i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs();
    }
    area
}

/// Mean over `made` of the greatest Tanimoto similarity to any of `reference`; NaN where there is none.
///
/// # Cost
/// For each of `made` a look at every bit that it shares with another, on `n_threads` threads.
pub fn nearest_similarity(made: &[Fingerprint], reference: &[Fingerprint], n_threads: usize) -> f64 {
    let index = Index::of(reference);
    let nearest = |one: &Fingerprint| index.similarities(one).fold(0.0, f64::max);
    mean_of(made, n_threads, nearest)
}

/// 1 − the mean over `made` of (the mean of the p-th power of the similarity to all of them)^(1/p).
///
/// # Cost
/// As [`nearest_similarity`].
pub fn internal_diversity(made: &[Fingerprint], p: i32, n_threads: usize) -> f64 {
    let index = Index::of(made);
    let similarity = |one: &Fingerprint| {
        let sum: f64 = index.similarities(one).map(|similarity| similarity.powi(p)).sum();
        (sum / made.len() as f64).powf(1.0 / f64::from(p))
    };
    1.0 - mean_of(made, n_threads, similarity)
}

/// Fingerprints by their bits: of a thousand bits each has some fifty, so that far fewer places are looked at than there are.
struct Index {
    /// The fingerprints that have a bit, for each bit.
    having: Vec<Vec<u32>>,
    /// The number of bits of each fingerprint.
    n_bits: Vec<u16>,
}

impl Index {
    fn of(all: &[Fingerprint]) -> Self {
        let mut having = vec![Vec::new(); N_BITS];
        for (i, one) in (0..).zip(all) {
            one.set_bits().for_each(|bit| having[bit].push(i));
        }
        Self { having, n_bits: all.iter().map(|one| one.n_bits() as u16).collect() }
    }

    /// The Tanimoto similarity of one to each, in their order; 1 where neither has any bit.
    fn similarities(&self, one: &Fingerprint) -> impl Iterator<Item = f64> {
        let mut n_shared = vec![0_u16; self.n_bits.len()];
        for bit in one.set_bits() {
            self.having[bit].iter().for_each(|&i| n_shared[i as usize] += 1);
        }
        let n = one.n_bits() as u16;
        n_shared.into_iter().zip(&self.n_bits).map(move |(shared, &other)| match n + other - shared {
            0 => 1.0,
            either => f64::from(shared) / f64::from(either),
        })
    }
}

/// Mean of a function over fingerprints.
///
/// # Determinism
/// The values are summed in the order of the fingerprints.
fn mean_of(all: &[Fingerprint], n_threads: usize, f: impl Fn(&Fingerprint) -> f64 + Sync) -> f64 {
    let values = super::features::in_parallel(all, n_threads, |one| f(one));
    values.iter().sum::<f64>() / all.len() as f64
}
