//! Finding an earlier preparation of the same data.

use super::encode::{TRAIN_FILE, VALIDATION_FILE};
use super::{Fit, Preparation, Prepared, Summary};
use crate::tokenize::load_tokenizer;
use crate::write::atomically;
use crate::{Error, Result, Shard, TokenizerSpec};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

const SUMMARY_FILE: &str = "summary.json";

/// Changes with anything that makes an old preparation differ from a new one.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved {
    key: String,
    #[serde(flatten)]
    summary: Summary,
}

/// A hash of everything that determines the result.
pub(super) fn key(preparation: &Preparation) -> Result<String> {
    let mut inputs = format!("format {FORMAT}\n{}", preparation.corpus.fingerprint());
    if let Some(validation) = &preparation.validation {
        inputs += &format!("validation\n{}", validation.fingerprint());
    }
    if let TokenizerSpec::File(path) = &preparation.tokenizer {
        inputs += &format!("tokenizer {:016x}\n", load_tokenizer(path)?.fingerprint());
    }
    if let Some(fit) = &preparation.fit {
        inputs += &format!("fit {}\n", fit.fingerprint());
    }
    let Preparation { tokenizer, special, split, curation, .. } = preparation;
    inputs += &format!("{tokenizer:?}\n{special:?}\n{split:?}\n{curation:?}\n");
    Ok(Sha256::digest(inputs).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The preparation in `directory`, if there is one with this key.
///
/// # Errors
/// When there is, but its files are damaged.
pub(super) fn find(directory: &Path, key: &str, fit: Option<&dyn Fit>) -> Result<Option<Prepared>> {
    match read_summary(directory) {
        Ok(saved) if saved.key == key => Ok(Some(load_prepared(directory, fit)?)),
        // Absent, or of other data: prepare.
        _ => Ok(None),
    }
}

pub(super) fn save(directory: &Path, key: &str, summary: &Summary) -> Result<()> {
    let saved = Saved { key: key.to_owned(), summary: summary.clone() };
    let json = serde_json::to_string_pretty(&saved).expect("a summary is plain data");
    atomically(&directory.join(SUMMARY_FILE), json.as_bytes())
}

/// What [`prepare`](super::prepare) found, without opening the data itself.
///
/// # Errors
/// When nothing was prepared there, or the summary is damaged.
pub fn load_summary(directory: &Path) -> Result<Summary> {
    Ok(read_summary(directory)?.summary)
}

/// Opens what [`prepare`](super::prepare) has left in `directory`, without looking at the original files.
///
/// # Errors
/// When nothing was prepared there, or its files are damaged.
pub fn load_prepared(directory: &Path, fit: Option<&dyn Fit>) -> Result<Prepared> {
    let summary = load_summary(directory)?;
    let tokenizer = fit.map_or_else(|| load_tokenizer(directory), |fit| fit.load(directory))?;
    let train = open(directory, TRAIN_FILE, tokenizer.fingerprint())?;
    let validation = open(directory, VALIDATION_FILE, tokenizer.fingerprint())?;
    let validation = Some(validation).filter(|shard| shard.info().n_tokens > 0);
    Ok(Prepared { tokenizer, train, validation, summary, is_reused: true, notice: None })
}

fn open(directory: &Path, name: &str, tokenizer: u64) -> Result<Arc<Shard>> {
    let path = directory.join(name);
    let shard = Shard::open(&path)?;
    if shard.info().tokenizer != tokenizer {
        return Err(Error::bad_shard(&path, "was made with another tokenizer than the one beside it"));
    }
    Ok(Arc::new(shard))
}

fn read_summary(directory: &Path) -> Result<Saved> {
    let path = directory.join(SUMMARY_FILE);
    crate::source::open_file(&path)?;
    let json = std::fs::read(&path).map_err(|source| Error::io(&path, "read", source))?;
    serde_json::from_slice(&json)
        .map_err(|error| Error::bad_file(&path, format!("is not a summary of prepared data: {error}")))
}
