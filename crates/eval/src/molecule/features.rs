//! What is looked at of each molecule.

use genera_chemistry::{Filters, Fingerprint, FragmentScores, Molecule, Property};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a molecule is looked at with.
#[derive(Debug, Default)]
pub struct Chemistry {
    /// What a drug should not hold.
    pub filters: Filters,
    /// How common the parts of molecules are; without them the synthetic accessibility is not known.
    pub fragment_scores: Option<FragmentScores>,
}

/// What is looked at of a molecule.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Its canonical SMILES.
    pub smiles: String,
    /// Its circular fingerprint.
    pub fingerprint: Fingerprint,
    /// Its parts, by BRICS.
    pub fragments: Vec<String>,
    /// Its scaffold, where that has at least two rings.
    pub scaffold: Option<String>,
    /// Whether it passes all filters.
    pub passes_filters: bool,
    /// Crippen's logP.
    pub logp: f64,
    /// Synthetic accessibility; NaN where it is not known.
    pub sa: f64,
    /// Drug-likeness.
    pub qed: f64,
    /// Molecular weight, g/mol.
    pub weight: f64,
}

/// Rings that a scaffold must have to count.
const LEAST_RINGS: usize = 2;

impl Features {
    /// Looks at a line of SMILES; `None` where it is no molecule.
    pub fn of(line: &str, chemistry: &Chemistry) -> Option<Self> {
        // As the benchmark does: of the canonical form, read anew.
        let smiles = Molecule::parse(line)?.canonical().to_owned();
        let molecule = Molecule::parse(&smiles)?;
        Some(Self {
            fingerprint: molecule.fingerprint(),
            fragments: molecule.fragments(),
            scaffold: molecule.scaffold(LEAST_RINGS),
            passes_filters: chemistry.filters.passes(&molecule),
            logp: Property::LogP.of(&molecule),
            sa: chemistry.fragment_scores.as_ref().map_or(f64::NAN, |scores| scores.accessibility(&molecule)),
            qed: Property::Qed.of(&molecule),
            weight: Property::Weight.of(&molecule),
            smiles,
        })
    }

    /// Looks at many lines on several threads.
    pub fn of_all(lines: &[String], chemistry: &Chemistry, n_threads: usize) -> Vec<Option<Self>> {
        in_parallel(lines, n_threads, |line| Self::of(line, chemistry))
    }
}

/// Items that a thread takes at a time.
const PART: usize = 64;

/// A function of every item, on several threads; the results are in the order of the items.
pub(super) fn in_parallel<T: Sync, R: Send>(items: &[T], n_threads: usize, f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            let Some(items) = items.chunks(PART).nth(part) else { return done };
            done.push((part, items.iter().map(&f).collect::<Vec<R>>()));
        }
    };
    let mut parts: Vec<(usize, Vec<R>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads.max(1)).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().flat_map(join).collect()
    });
    parts.sort_by_key(|(part, _)| *part);
    parts.into_iter().flat_map(|(_, results)| results).collect()
}
