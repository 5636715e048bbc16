//! How hard a molecule is to make.

use crate::Molecule;
use crate::structure::Structure;
use chematic::chem::{num_bridgehead_atoms, num_spiro_atoms};
use chematic::fp::{RdkitMorganConfig, rdkit_morgan_fingerprint};
use chematic::smiles::rdkit_chiral_centers;
use std::collections::HashMap;
use std::io::BufRead;
use std::sync::OnceLock;

/// Score of a part that no known molecule has.
const UNKNOWN: f64 = -4.0;

/// Longest line of the file of scores, and most scores.
const MAX_LINE_BYTES: u64 = 64;
const MAX_SCORES: usize = 1 << 22;

/// Atoms of the largest ring that is no macrocycle.
const LARGEST_RING: usize = 8;

/// How common each part of a molecule is among known ones.
#[derive(Clone, Debug, Default)]
pub struct FragmentScores {
    scores: HashMap<u32, f32>,
}

/// Those that [`Property::Sa`](crate::Property::Sa) is computed by, once there are any.
static INSTALLED: OnceLock<FragmentScores> = OnceLock::new();

impl FragmentScores {
    /// Lets [`Property::Sa`](crate::Property::Sa) be computed by these, in all of the program; the first ones stay.
    pub fn install(self) {
        INSTALLED.get_or_init(|| self);
    }

    /// Those that were installed.
    pub(crate) fn installed() -> Option<&'static Self> {
        INSTALLED.get()
    }

    /// Reads the file `fpscores` of the published program, unpacked: lists of a score and the numbers of the parts that have
    /// it, as Python's first protocol of pickles writes them. It is taken as lines of text; nothing in it is run.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub fn read(mut file: impl BufRead) -> Result<Self, String> {
        let (mut scores, mut score, mut line) = (HashMap::new(), None, Vec::new());
        loop {
            line.clear();
            let n = std::io::Read::take(&mut file, MAX_LINE_BYTES).read_until(b'\n', &mut line);
            if n.map_err(|error| error.to_string())? == 0 {
                break;
            }
            let text = std::str::from_utf8(&line).map_err(|_| "is not the table of fragment scores")?.trim_end();
            // An instruction "append" may stand before a number.
            let text = text.trim_start_matches('a');
            if let Some(number) = text.strip_prefix('F') {
                score = Some(number.parse::<f32>().map_err(|_| format!("{number:?} is no score"))?);
            } else if let Some(number) = text.strip_prefix('I') {
                let number: i64 = number.trim_end_matches('L').parse().map_err(|_| format!("{number:?} is no part"))?;
                scores.insert(number as u32, score.ok_or("a part stands before the first score")?);
            }
            if scores.len() > MAX_SCORES {
                return Err(format!("more than {MAX_SCORES} parts"));
            }
        }
        if scores.is_empty() { Err("holds no scores".to_owned()) } else { Ok(Self { scores }) }
    }

    /// From 1, easy to make, to 10.
    ///
    /// # Source
    /// Ertl and Schuffenhauer, "Estimation of synthetic accessibility score of drug-like molecules", 2009, with the changes of
    /// RDKit's `sascorer.py`.
    pub fn accessibility(&self, molecule: &Molecule) -> f64 {
        let graph = molecule.graph();
        let structure = Structure::of(molecule);
        let Ok(parts) = rdkit_morgan_fingerprint(graph, &RdkitMorganConfig::default()) else { return f64::NAN };
        let score = |part: &u32| self.scores.get(part).map_or(UNKNOWN, |&score| f64::from(score));
        let mut counts: Vec<(u32, u32)> = parts.sparse_counts.into_iter().collect();
        counts.sort_unstable();
        let n_parts: f64 = counts.iter().map(|(_, n)| f64::from(*n)).sum();
        let familiar = counts.iter().map(|(part, n)| score(part) * f64::from(*n)).sum::<f64>() / n_parts;
        let n_atoms = structure.n_atoms() as f64;
        let n_centres = rdkit_chiral_centers(graph, true).map_or(0, |centres| centres.len());
        let has_macrocycle = structure.ring_sizes().iter().any(|&size| size > LARGEST_RING);
        let log = |n: usize| ((n + 1) as f64).log10();
        let complexity = n_atoms.powf(1.005) - n_atoms
            + log(n_centres)
            + log(num_spiro_atoms(graph))
            + log(num_bridgehead_atoms(graph))
            + if has_macrocycle { 2_f64.log10() } else { 0.0 };
        let n_kinds = counts.len() as f64;
        let symmetry = if n_atoms > n_kinds { 0.5 * (n_atoms / n_kinds).ln() } else { 0.0 };
        scaled(familiar - complexity + symmetry)
    }
}

/// From the raw score to 1 … 10, with a smooth upper end.
fn scaled(raw: f64) -> f64 {
    let (least, most) = (-4.0, 2.5);
    let score = 11.0 - (raw - least + 1.0) / (most - least) * 9.0;
    let score = if score > 8.0 { 8.0 + (score + 1.0 - 9.0).ln() } else { score };
    score.clamp(1.0, 10.0)
}
