//! What a repository of the hub holds at a revision.

use super::checksum::Checksum;
use super::client::Client;
use super::name::ModelName;
use crate::failure::{Failure, Outcome, While};
use genera_engine::weights::gguf::PartName;
use serde::Deserialize;
use std::path::{Component, Path};

/// Longest answer that is read; that of a repository with 10,000 files has about 3 MB.
const MAX_BYTES: u64 = 16 << 20;

/// The files of a repository at one commit.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The commit that the revision stands for.
    pub commit: String,
    /// All files, in the hub's order; not all need to be what [`RemoteFile::check`] accepts.
    pub files: Vec<RemoteFile>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path in the repository, with slashes.
    pub path: String,
    /// Its size.
    pub n_bytes: u64,
    /// The sum of its content.
    pub checksum: Checksum,
}

/// An answer as it comes.
#[derive(Debug, Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Large>,
}

#[derive(Debug, Deserialize)]
struct Large {
    #[serde(alias = "oid")]
    sha256: String,
    size: u64,
}

impl Listing {
    /// Asks the hub.
    ///
    /// # Errors
    /// When it cannot be reached, knows no such model or revision, or answers what cannot be used.
    pub fn ask(client: &Client, name: &ModelName) -> Outcome<Self> {
        let revision = name.revision.replace('/', "%2F");
        let path = format!("api/models/{}/revision/{revision}?blobs=true", name.repository);
        let text = client.text(&path, MAX_BYTES).during(name)?;
        Self::parse(&text).during(format!("{name}: what the hub says of its files"))
    }

    fn parse(text: &str) -> Outcome<Self> {
        if !text.trim_start().starts_with('{') {
            let start: String = text.trim().chars().take(40).collect();
            return Err(Failure::new(format!(
                "is no list but {start:?}…; expected JSON, so HF_ENDPOINT must name a hub, and no page of one"
            )));
        }
        let Answer { sha, siblings } = serde_json::from_str(text)?;
        if sha.len() != 40 || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Failure::new(format!("the commit is {sha:?}; expected 40 hexadecimal digits")));
        }
        let files = siblings.into_iter().filter(|sibling| is_inside(&sibling.rfilename)).map(RemoteFile::of);
        let files: Vec<RemoteFile> = files.collect();
        if files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.n_bytes)).is_none() {
            let largest = files.iter().max_by_key(|file| file.n_bytes).map_or("", |file| &file.path);
            return Err(Failure::new(format!(
                "its files have more than 2^64 bytes together, '{largest}' the most; the answer is damaged, or HF_ENDPOINT names \
                 no hub"
            )));
        }
        Ok(Self { commit: sha, files })
    }

    /// The GGUF files; of a model in several, the first.
    pub fn gguf(&self) -> Vec<&RemoteFile> {
        let is_gguf = |file: &&RemoteFile| file.path.to_ascii_lowercase().ends_with(".gguf");
        let is_first = |file: &&RemoteFile| PartName::of(&file.path).is_none_or(|name| name.number == 1);
        self.files.iter().filter(is_gguf).filter(is_first).collect()
    }

    /// The file of a path.
    pub fn find(&self, path: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl RemoteFile {
    /// What an answer says of a file, without a checksum where it says too little.
    fn of(sibling: Sibling) -> Self {
        let Sibling { rfilename: path, size, blob_id, lfs } = sibling;
        let (n_bytes, checksum) = match (lfs, size, blob_id) {
            (Some(Large { sha256, size }), ..) => (size, Checksum::Sha256(sha256)),
            (None, Some(size), Some(id)) => (size, Checksum::GitBlob(id)),
            (None, ..) => (0, Checksum::GitBlob(String::new())),
        };
        Self { path, n_bytes, checksum }
    }

    /// Refuses a file that could not be verified.
    ///
    /// # Errors
    /// When the hub does not say its size or its checksum, or what it says is no such sum.
    pub fn check(&self) -> Outcome<()> {
        let Self { path, checksum, .. } = self;
        if checksum.is_sound() {
            return Ok(());
        }
        Err(Failure::new(match checksum.digits() {
            "" => format!("'{path}' has no checksum or no size; the hub at HF_ENDPOINT may be too old"),
            digits => format!("'{path}' has the {} {digits:?}, which is none", checksum.name()),
        }))
    }
}

/// Whether a path stays in the directory that it is put in, on every system.
fn is_inside(path: &str) -> bool {
    let is_plain = |component| matches!(component, Component::Normal(_));
    !path.is_empty() && !path.contains(['\\', ':', '\0']) && Path::new(path).components().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    fn listing(siblings: &str) -> Outcome<Listing> {
        Listing::parse(&format!(r#"{{"sha":"{SHA}","siblings":[{siblings}],"gated":false}}"#))
    }

    #[test]
    fn answers_of_the_hub_are_understood() {
        let sum = "ab".repeat(32);
        let files = format!(
            r#"{{"rfilename":"config.json","size":5,"blobId":"{SHA}"}},
            {{"rfilename":"model.safetensors","size":9,"blobId":"{SHA}","lfs":{{"sha256":"{sum}","size":9,"pointerSize":1}}}},
            {{"rfilename":"../x","size":5,"blobId":"{SHA}"}}, {{"rfilename":"/x","size":5,"blobId":"{SHA}"}}"#
        );
        let listing = listing(&files).unwrap();
        assert_eq!((listing.commit.as_str(), listing.files.len()), (SHA, 2));
        assert_eq!(listing.find("model.safetensors").unwrap().checksum, Checksum::Sha256(sum));
        assert_eq!(listing.find("config.json").unwrap().n_bytes, 5);
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        let check = |siblings: &str, expect: &str| {
            let failure = listing(siblings).unwrap().files[0].check().unwrap_err();
            assert!(failure.message().contains(expect), "{failure:?}");
        };
        check(r#"{"rfilename":"a","size":5}"#, "no checksum");
        check(&format!(r#"{{"rfilename":"a","blobId":"{SHA}"}}"#), "no size");
        check(r#"{"rfilename":"a","size":5,"blobId":"../../x"}"#, "which is none");
        assert!(listing(r#"{"rfilename":"a","size":-5}"#).is_err());
        let huge = |name: &str| format!(r#"{{"rfilename":"{name}","size":10000000000000000000,"blobId":"{SHA}"}}"#);
        let failure = listing(&format!("{},{}", huge("a"), huge("b"))).unwrap_err();
        assert!(failure.message().contains("2^64"), "{failure:?}");
        assert!(Listing::parse(r#"{"sha":"../..","siblings":[]}"#).is_err());
        let page = format!("{:?}", Listing::parse("<!doctype html><title>Hub</title>").unwrap_err());
        assert!(page.contains("<!doctype html>") && page.contains("HF_ENDPOINT"), "{page}");
    }
}
