//! What made molecules are judged by: the files of the MOSES benchmark, as its package holds them.

use crate::failure::{Failure, Outcome, While};
use genera_chemistry::{Filters, Fingerprint, FragmentScores};
use genera_data::pickled::{Pickled, Value};
use genera_data::source::{column_names, decompressed};
use genera_data::{ByteCounter, Columns, Content, Corpus, Document, Files, ReadOptions};
use genera_engine::weights::torch;
use genera_eval::molecule::{ChemNet, Chemistry, Gaussian, N_ACTIVATIONS, Reference};
use genera_modality::molecule::line_of;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Folders below the one that is named in which files are looked for.
const FOLDERS: [&str; 5] = ["", "moses/dataset/data", "moses/metrics", "moses/metrics/SA_Score", "fcd_torch"];

/// Bits of a fingerprint as the benchmark keeps them.
const N_BITS: u64 = 1024;

/// The files of the benchmark.
pub struct Benchmark {
    /// What molecules are looked at with.
    pub chemistry: Chemistry,
    /// The test set.
    pub test: Reference,
    /// The scaffold test set.
    pub scaffolds: Reference,
    /// The canonical SMILES of the training set.
    pub train: HashSet<String>,
    /// The network for the Fréchet distance, where its weights are there.
    pub chemnet: Option<ChemNet>,
}

/// Lets synthetic accessibility be computed, where the table of it is named.
///
/// # Errors
/// When the named file is missing or damaged.
pub fn install_scores() -> Outcome<()> {
    let Some(path) = std::env::var_os("GENERA_SA_SCORES").map(PathBuf::from) else { return Ok(()) };
    fragment_scores(&path)?.install();
    Ok(())
}

fn fragment_scores(path: &Path) -> Outcome<FragmentScores> {
    let file = BufReader::new(decompressed(path)?);
    FragmentScores::read(file).map_err(|problem| Failure::new(format!("{}: {problem}", path.display())))
}

impl Benchmark {
    /// Reads them from the folder of the package, and ChemNet's weights from `chemnet` or the same folder.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn open(folder: &Path, chemnet: Option<&Path>) -> Outcome<Self> {
        let find = |name: &str| find(folder, name);
        let patterns = patterns(&find("mcf.csv")?, &find("wehi_pains.csv")?)?;
        let filters = Filters::new(patterns.iter().map(String::as_str)).map_err(Failure::new)?;
        let fragment_scores = fragment_scores(&find("fpscores.pkl.gz")?)?;
        let weights = match chemnet {
            Some(path) => Some(path.to_owned()),
            None => find("ChemNet_v0.13_pretrained.pt").ok(),
        };
        Ok(Self {
            chemistry: Chemistry { filters, fragment_scores: Some(fragment_scores) },
            test: reference(&find("test_stats.npz")?)?,
            scaffolds: reference(&find("test_scaffolds_stats.npz")?)?,
            train: lines(&find("train.csv.gz")?)?.into_iter().collect(),
            chemnet: weights.map(|path| network(&path)).transpose()?,
        })
    }
}

fn find(folder: &Path, name: &str) -> Outcome<PathBuf> {
    let places = FOLDERS.iter().map(|inner| folder.join(inner).join(name));
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Failure::new(format!(
            "{} has no {name}; --reference names the unpacked package molsets 0.3.1 (the folder with moses/ in it)",
            folder.display()
        ))
    })
}

/// The patterns of both filters, of which one file has a header and the other has none.
fn patterns(mcf: &Path, pains: &Path) -> Outcome<Vec<String>> {
    let mut patterns = column(mcf, "smarts")?;
    let first = column_names(pains)?.first().cloned().unwrap_or_default();
    patterns.extend(column(pains, &first)?);
    patterns.push(first);
    Ok(patterns)
}

/// The texts of a column.
fn column(path: &Path, name: &str) -> Outcome<Vec<String>> {
    let options = ReadOptions { columns: Columns::rows(vec![name.to_owned()]), ..ReadOptions::default() };
    let files = Files::open(&[path.to_owned()], options)?;
    let documents = files.documents(&ByteCounter::default())?;
    documents.map(|document| Ok(document?.as_row().and_then(|row| row.first().cloned()).unwrap_or_default())).collect()
}

/// The molecules of a file: of a table the column of SMILES, of structures what each block holds, else the first word of each
/// line.
///
/// # Errors
/// When the file cannot be read.
pub fn lines(path: &Path) -> Outcome<Vec<String>> {
    let files = [path.display().to_string()];
    let columns = crate::plan::molecule::columns(&files, None)?;
    let files = Files::open(&[path.to_owned()], ReadOptions { columns, lines: true })?;
    // What is no molecule stays, and is counted as none.
    let line = |document: &Document| match document.content {
        Content::Block { .. } => line_of(document).map(Cow::into_owned).unwrap_or_default(),
        _ => document.as_text().and_then(|text| text.split_whitespace().next()).unwrap_or_default().to_owned(),
    };
    let documents = files.documents(&ByteCounter::default())?;
    documents.map(|document| Ok(line(&document?))).collect()
}

/// The statistics of a set of molecules, as the package keeps them.
fn reference(path: &Path) -> Outcome<Reference> {
    let file = Pickled::open(path)?;
    let bad = |what: &str| {
        Failure::new(format!("{}: holds no {what}; expected the statistics of molsets 0.3.1", path.display()))
    };
    let get = |key: &str, inner: &str| -> Outcome<Value> {
        let of = file.get(file.root(), key).and_then(|table| file.get(table, inner));
        of.ok_or_else(|| bad(&format!("{key} {inner}")))
    };
    let numbers = |key, inner| -> Outcome<Vec<f64>> { file.numbers(get(key, inner)?).ok_or_else(|| bad(key)) };
    let counts = |key, inner| -> Outcome<HashMap<String, u64>> {
        let counts = file.counts(get(key, inner)?).ok_or_else(|| bad(key))?;
        Ok(counts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect())
    };
    let (mean, covariance) = (numbers("FCD", "mu")?, numbers("FCD", "sigma")?);
    if mean.len() != N_ACTIVATIONS || covariance.len() != N_ACTIVATIONS * N_ACTIVATIONS {
        return Err(bad("distribution of 512 activations"));
    }
    let (shape, bits) = file.array(get("SNN", "fps")?).ok_or_else(|| bad("fingerprints"))?;
    let [n, N_BITS] = *shape else { return Err(bad("fingerprints of 1024 bits")) };
    if n.checked_mul(N_BITS) != Some(bits.len() as u64) {
        return Err(bad("fingerprint for each molecule"));
    }
    let mut properties = [const { Vec::new() }; 4];
    for (values, key) in properties.iter_mut().zip(["logP", "SA", "QED", "weight"]) {
        *values = numbers(key, "values")?;
    }
    Ok(Reference {
        chemnet: Some(Gaussian { mean, covariance }),
        fingerprints: bits.chunks(N_BITS as usize).map(Fingerprint::from_bits).collect(),
        fragments: counts("Frag", "frag")?,
        scaffolds: counts("Scaf", "scaf")?,
        properties,
    })
}

/// ChemNet, from PyTorch's own file.
///
/// # Errors
/// When it cannot be read, or is another network.
fn network(path: &Path) -> Outcome<ChemNet> {
    let reader = torch::Reader::open(path)?;
    let mut weights = |name: &str| reader.read(name).map_err(|error| error.to_string());
    ChemNet::new(&mut weights).map_err(Failure::new).during(path.display())
}
