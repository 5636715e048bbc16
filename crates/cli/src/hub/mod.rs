//! Models by name: `hf:ORG/NAME`, fetched from the Hugging Face hub into the cache that its own library uses.
//!
//! The client is a small one of our own over `ureq`. The `hf-hub` crate was looked at: it brings an asynchronous runtime
//! and a second HTTP stack (tokio, reqwest), and verifies no checksums. TLS is rustls with `graviola`, which is Rust and
//! needs no C compiler; the certificates that are trusted are the system's.
//!
//! `listing` asks what a repository holds, `selection` picks what a model needs, `download` fetches one file (resumed,
//! retried, verified), and `cache` knows where everything lies.

mod cache;
mod checksum;
mod client;
mod download;
mod listing;
mod name;
mod selection;
mod settings;
mod tls;

pub use cache::{Cache, matching};
pub use client::Client;
pub use download::{Target, fetch};
pub use listing::{Listing, RemoteFile};
pub use name::{ModelName, PREFIX};
pub use selection::{is_paper, select};
pub use settings::Settings;

use crate::failure::Outcome;
use std::borrow::Cow;
use std::path::Path;

/// What --model takes for a base that the Hugging Face library knows by this name: a path as it is, or a repository of the hub,
/// at a revision if one is named. A name without an organisation may be a directory that is elsewhere: it stays as it is.
pub fn as_model(name: &str, revision: Option<&str>) -> String {
    let at = revision.map_or_else(String::new, |revision| format!("@{revision}"));
    let is_repository = name.split('/').count() == 2 && !name.starts_with(PREFIX) && !Path::new(name).exists();
    let model = Some(format!("{PREFIX}{name}{at}")).filter(|_| is_repository);
    match model.and_then(|model| model.parse::<ModelName>().ok()) {
        Some(model) => model.to_string(),
        None => name.to_owned(),
    }
}

/// The name and the revision by which the Hugging Face library knows a base: the other way round than [`as_model`].
pub fn for_others(base: &str) -> (String, Option<String>) {
    match base.parse::<ModelName>() {
        Ok(model) => (model.repository.clone(), model.named_revision().map(str::to_owned)),
        Err(_) => (base.to_owned(), None),
    }
}

/// The repository of the hub that may be meant by a path at which nothing is, ORG/NAME without a directory ORG.
pub fn meant(path: &Path) -> Option<String> {
    let here = std::env::current_dir().ok();
    let name = here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path);
    let is_below = name.parent().is_some_and(Path::is_dir);
    let model = as_model(name.to_str()?, None);
    (!is_below && model.starts_with(PREFIX)).then_some(model)
}

/// The place of a model: a path as it is, and a name of the hub as the path where it was pulled to.
///
/// # Errors
/// When a name is malformed, or has not been pulled.
pub fn locate(model: &Path) -> Outcome<Cow<'_, Path>> {
    match model.to_str().filter(|text| text.starts_with(PREFIX)) {
        None => Ok(Cow::Borrowed(model)),
        Some(text) => {
            let name: ModelName = text.parse()?;
            Ok(Cow::Owned(Cache::new(&Settings::of_environment()?).find(&name)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_found_by_the_name_that_other_programs_know() {
        for (name, revision, expected) in [
            ("org/name", None, "hf:org/name"),
            ("org/name", Some("main"), "hf:org/name"),
            ("org/name", Some("refs/pr/1"), "hf:org/name@refs/pr/1"),
            ("gpt2", None, "gpt2"),
            // As adapters had it that were made before.
            ("hf:org/name@v1", None, "hf:org/name@v1"),
            ("/models/base", None, "/models/base"),
            ("../base", None, "../base"),
            ("src", None, "src"),
        ] {
            assert_eq!(as_model(name, revision), expected, "{name} {revision:?}");
            let (name, revision) = for_others(expected);
            assert_eq!(as_model(&name, revision.as_deref()), expected, "there and back");
        }
        assert_eq!(meant(Path::new("org/name")).as_deref(), Some("hf:org/name"));
        assert_eq!(meant(Path::new("name")), None);
    }
}
