//! What a checkpoint says about itself, and the checksums that it is held to.

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The format written today.
pub(super) const FORMAT: u32 = 1;
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const MANIFEST_SUM: &str = "manifest.sha256";
/// Longest manifest that is read; it holds a recipe of at most 1 MiB, escaped.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// What a checkpoint says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Steps done.
    pub step: u64,
    /// Tokens read.
    pub n_tokens: u64,
    /// Index of the next micro-batch of the data.
    pub cursor: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Loss on the validation data, in nats a token.
    pub validation_loss: Option<f64>,
    /// The architecture.
    pub config: ModelConfig,
    /// `model_type` of the published files that the run began with; older manifests do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_type: Option<String>,
    /// The recipe, complete.
    pub recipe: String,
    /// The other files.
    pub files: Vec<FileSum>,
}

/// A file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSum {
    /// Its name in the directory.
    pub name: String,
    /// Its size.
    pub n_bytes: u64,
    /// Its checksum, in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Reads the manifest of a checkpoint and compares it with its checksum.
    ///
    /// # Errors
    /// When it is missing, altered, or of a format that this program does not know.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST);
        let bytes = read_bounded(&path)?;
        let sum = String::from_utf8(read_bounded(&dir.join(MANIFEST_SUM))?).unwrap_or_default();
        if sum.split_whitespace().next() != Some(&hex(&Sha256::digest(&bytes))) {
            return Err(Error::file(
                &path,
                format!("is not what was written: its checksum differs from {MANIFEST_SUM}"),
            ));
        }
        Self::parse(&path, &bytes)
    }

    /// The manifest in `bytes`; `path` is for messages.
    ///
    /// # Errors
    /// When it is no manifest, or holds an architecture that does not fit together.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let malformed = |error| Error::file(path, format!("is not a checkpoint's manifest: {error}"));
        let Version { format } = serde_json::from_slice(bytes).map_err(malformed)?;
        if format != FORMAT {
            let message =
                format!("has format {format}, but this program reads format {FORMAT}; use the program that wrote it");
            return Err(Error::file(path, message));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        manifest.config.validate().map_err(|error| Error::file(path, error.to_string()))?;
        let is_plain = |name: &str| !name.is_empty() && !name.contains(['/', '\\']) && name != "..";
        if let Some(file) = manifest.files.iter().find(|file| !is_plain(&file.name)) {
            return Err(Error::file(path, format!("names the file '{}', which is not in its directory", file.name)));
        }
        Ok(manifest)
    }
}

impl FileSum {
    /// Compares the file in `dir` with what was written.
    pub(super) fn verify(&self, dir: &Path) -> Result<()> {
        let path = dir.join(&self.name);
        let cannot_read = |source| Error::io("cannot read", &path, source);
        let n_bytes = fs::metadata(&path).map_err(cannot_read)?.len();
        if n_bytes != self.n_bytes {
            let how = if n_bytes < self.n_bytes { "cut short" } else { "altered" };
            return Err(Error::file(&path, format!("is {how}: {n_bytes} bytes, but {} were written", self.n_bytes)));
        }
        let found = checksum(File::open(&path).map_err(cannot_read)?).map_err(cannot_read)?;
        if found != self.sha256 {
            let message = format!("is altered: its SHA-256 is {found}, but {} was written", self.sha256);
            return Err(Error::file(&path, message));
        }
        Ok(())
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let cannot_read = |source| Error::io("cannot read", path, source);
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot_read)?.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(Error::file(path, format!("is longer than {MAX_MANIFEST_BYTES} bytes")));
    }
    Ok(bytes)
}

fn checksum(mut file: File) -> io::Result<String> {
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&chunk[..n]),
        }
    }
}

/// The digits of a checksum.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
