//! Where a model comes from: its licence, its authors and its base, as model cards and GGUF files say it.
//!
//! # Source
//! llama.cpp, `gguf-py/gguf/metadata.py` and `docs` of GGUF: which keys of a card become which of `general.`; the keys of
//! cards are those of <https://huggingface.co/docs/hub/model-cards>.

use super::gguf::{Reader, Value};
use crate::error::{Error, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const CARD: &str = "README.md";
/// Longest part of a card that is read: what stands before its text has some kilobytes.
const MAX_CARD_BYTES: u64 = 1 << 18;
/// Most entries of a list that are kept.
const MAX_LISTED: usize = 256;
/// Keys behind `general.` that tell of a file and not of its model.
const OF_FILES: [&str; 5] = ["architecture", "file_type", "quantization_version", "alignment", "quantized_by"];
/// Keys of cards, and of GGUF behind `general.`.
const TEXTS: [(&str, &str); 4] =
    [("license", "license"), ("license_name", "license.name"), ("license_link", "license.link"), ("author", "author")];
/// The same of lists.
const LISTS: [(&str, &str); 2] = [("language", "languages"), ("tags", "tags")];
/// The same of lists of repositories.
const REPOSITORIES: [(&str, &str); 2] = [("base_model", "base_model"), ("datasets", "dataset")];
/// Where repositories are.
const HUB: &str = "https://huggingface.co/";
/// What a tuned model has of its base.
const INHERITED: [&str; 4] = ["license", "license.name", "license.link", "languages"];

/// What is said of a model's origin, under the keys that follow `general.` in GGUF files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin(BTreeMap<String, Value>);

impl Origin {
    /// What a GGUF file says, or the card of a model directory; nothing where there is none.
    ///
    /// # Errors
    /// When the file or the card cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Ok(Self::of_gguf(Reader::open(path)?.metadata()));
        }
        let card = path.join(CARD);
        if !card.is_file() {
            return Ok(Self::default());
        }
        let mut bytes = Vec::new();
        let read = File::open(&card).and_then(|file| file.take(MAX_CARD_BYTES).read_to_end(&mut bytes));
        read.map_err(|source| Error::io("cannot read", &card, source))?;
        Ok(Self::of_card(&String::from_utf8_lossy(&bytes)))
    }

    fn of_gguf(metadata: &BTreeMap<String, Value>) -> Self {
        let kept = |(key, value): (&String, &Value)| {
            let key = key.strip_prefix("general.")?;
            let is_kept = matches!(value, Value::Text(_) | Value::Texts(_) | Value::Integer(_))
                && !OF_FILES.contains(&key)
                && !key.starts_with("sampling.");
            is_kept.then(|| (key.to_owned(), value.clone()))
        };
        Self(metadata.iter().filter_map(kept).collect())
    }

    fn of_card(text: &str) -> Self {
        let mut found = front_matter(text);
        let mut origin = Self::default();
        for (theirs, ours) in TEXTS {
            let text = found.remove(theirs).and_then(|texts| texts.into_iter().next());
            // Our own cards say so of what nobody has said.
            origin.0.extend(text.filter(|text| text != "unknown").map(|text| (ours.to_owned(), Value::Text(text))));
        }
        let task = found.remove("pipeline_tag").unwrap_or_default();
        if !task.is_empty() {
            found.entry("tags".to_owned()).or_default().extend(task);
        }
        for (theirs, ours) in LISTS {
            let texts = found.remove(theirs).filter(|texts| !texts.is_empty());
            origin.0.extend(texts.map(|texts| (ours.to_owned(), Value::Texts(texts.into_iter().collect()))));
        }
        for (theirs, ours) in REPOSITORIES {
            origin.set_repositories(ours, &found.remove(theirs).unwrap_or_default());
        }
        origin
    }

    /// What is said of a model that was tuned from this one: the licence and languages of its base, and which it is. `name`
    /// is that of the base where it says none itself; `repository` is `ORG/NAME` of one on the hub.
    #[must_use]
    pub fn tuned(mut self, name: &str, repository: Option<&str>) -> Self {
        let name = self.name().unwrap_or(name).to_owned();
        let organization = self.text("organization").map(str::to_owned);
        self.0.retain(|key, _| INHERITED.contains(&key.as_str()));
        let text = |key: &str, text: String| (format!("base_model.0.{key}"), Value::Text(text));
        match repository {
            Some(repository) => {
                self.set_repositories("base_model", &[repository.to_owned()]);
                // A few old ones have no organisation.
                self.0.extend([text("repo_url", format!("{HUB}{repository}"))]);
            }
            None => {
                self.0.insert("base_model.count".to_owned(), Value::Integer(1));
                self.0.extend([text("name", name)]);
                self.0.extend(organization.map(|organization| text("organization", organization)));
            }
        }
        self
    }

    /// Tells from which repository of the hub, `ORG/NAME`, the model was taken.
    #[must_use]
    pub fn from_repository(mut self, repository: &str) -> Self {
        self.0.entry("source.repo_url".to_owned()).or_insert_with(|| Value::Text(format!("{HUB}{repository}")));
        if let Some((organization, _)) = repository.split_once('/') {
            let organization = Value::Text(organization.to_owned());
            self.0.entry("organization".to_owned()).or_insert(organization);
        }
        self
    }

    /// What the model is called.
    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// Its licence, as the hub names it.
    pub fn license(&self) -> Option<&str> {
        self.text("license")
    }

    /// Its bases: `ORG/NAME` of those on the hub, and names.
    pub fn bases(&self) -> Vec<String> {
        self.repositories("base_model")
    }

    /// The metadata of a GGUF file.
    pub(super) fn metadata(&self) -> impl Iterator<Item = (String, Value)> + '_ {
        self.0.iter().map(|(key, value)| (format!("general.{key}"), value.clone()))
    }

    /// Lines of a card before its text, without licence and tags.
    pub(super) fn card_lines(&self) -> String {
        let mut lines = String::new();
        for (theirs, ours) in [("license_name", "license.name"), ("license_link", "license.link")] {
            if let Some(text) = self.text(ours) {
                let _ = writeln!(lines, "{theirs}: {}", json!(text));
            }
        }
        let languages = match self.0.get("languages") {
            Some(Value::Texts(texts)) => texts.iter().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        // The hub refuses a card that names a base which it cannot have.
        let bases = self.listed("base_model").filter(|(_, is_on_hub)| *is_on_hub).map(|(base, _)| base).collect();
        let lists = [("language", languages), ("base_model", bases), ("datasets", self.repositories("dataset"))];
        for (key, texts) in lists.into_iter().filter(|(_, texts)| !texts.is_empty()) {
            let _ = writeln!(lines, "{key}:");
            texts.iter().for_each(|text| lines += &format!("- {}\n", json!(text)));
        }
        lines
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn set_repositories(&mut self, key: &str, repositories: &[String]) {
        if repositories.is_empty() {
            return;
        }
        self.0.insert(format!("{key}.count"), Value::Integer(repositories.len() as i128));
        for (i, repository) in repositories.iter().enumerate() {
            let mut set = |what: &str, text: String| {
                self.0.insert(format!("{key}.{i}.{what}"), Value::Text(text));
            };
            let (organization, name) = match repository.split_once('/') {
                Some((organization, name)) => (Some(organization), name),
                None => (None, repository.as_str()),
            };
            set("name", name.replace('-', " "));
            if let Some(organization) = organization {
                set("organization", organization.to_owned());
                set("repo_url", format!("{HUB}{repository}"));
            }
        }
    }

    fn repositories(&self, key: &str) -> Vec<String> {
        self.listed(key).map(|(name, _)| name).collect()
    }

    /// `ORG/NAME` of repositories on the hub, and names; and whether it is the former.
    fn listed(&self, key: &str) -> impl Iterator<Item = (String, bool)> {
        (0..MAX_LISTED).map_while(move |i| {
            let text = |what: &str| self.text(&format!("{key}.{i}.{what}"));
            let on_hub = text("repo_url").and_then(|url| url.strip_prefix(HUB));
            on_hub.or_else(|| text("name")).map(|name| (name.to_owned(), on_hub.is_some()))
        })
    }
}

/// The files of a directory that hold the terms under which it may be used, in order.
pub fn license_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let is_of_terms = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        path.is_file() && ["license", "licence", "notice", "use_policy"].contains(&stem.as_str())
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_of_terms).collect();
    files.sort();
    files
}

/// The texts under each key of what stands between two lines `---` at the beginning of a card: as much of YAML as cards use.
fn front_matter(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_end);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if lines.next() != Some("---") {
        return found;
    }
    let mut key = None;
    for line in lines.take_while(|line| !["---", "..."].contains(line)) {
        let item = line.trim_start().strip_prefix("- ");
        if let Some((item, texts)) = item.zip(key.as_ref().and_then(|key| found.get_mut(key))) {
            texts.extend(scalar(item).filter(|_| texts.len() < MAX_LISTED));
        } else if let Some((name, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '#', '-'])) {
            let value = value.trim();
            let list = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let texts = match list {
                Some(list) => list.split(',').filter_map(scalar).take(MAX_LISTED).collect(),
                None => scalar(value).into_iter().collect(),
            };
            found.insert(name.trim().to_owned(), texts);
            key = value.is_empty().then(|| name.trim().to_owned());
        }
    }
    found
}

/// A text of YAML without its quotes or the remark behind it; none where there is none.
fn scalar(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(quoted) =
        text.strip_prefix('"').and_then(|_| serde_json::Deserializer::from_str(text).into_iter().next())
    {
        return quoted.ok();
    }
    if let Some(rest) = text.strip_prefix('\'') {
        return rest.split_once('\'').map(|(inner, _)| inner.to_owned());
    }
    let text = text.split(" #").next().unwrap_or_default().trim();
    (!text.is_empty() && !text.starts_with(['#', '|', '>', '{']) && text != "null").then(|| text.to_owned())
}

impl Origin {
    /// A text under a key, for tests.
    #[cfg(test)]
    fn shown(&self, key: &str) -> String {
        match self.0.get(key) {
            Some(Value::Text(text)) => text.clone(),
            Some(Value::Texts(texts)) => texts.iter().collect::<Vec<_>>().join(", "),
            Some(Value::Integer(n)) => n.to_string(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD_TEXT: &str = "---\nlicense: other # see below\nlicense_name: 'llama3'\nlicense_link: \"https://x.y/z#a\"\n\
        language:\n- en\n- \"de\"\ntags: [chat, small]\npipeline_tag: text-generation\nbase_model:\n  - org/Base-1\n\
        datasets:\n- a/b\nmodel-index:\n- name: x\n  results: []\n---\n# A model\nlicense: none\n";

    #[test]
    fn a_card_becomes_metadata_and_a_card_again() {
        let origin = Origin::of_card(CARD_TEXT);
        for (key, expected) in [
            ("license", "other"),
            ("license.name", "llama3"),
            ("license.link", "https://x.y/z#a"),
            ("languages", "en, de"),
            ("tags", "chat, small, text-generation"),
            ("base_model.count", "1"),
            ("base_model.0.name", "Base 1"),
            ("base_model.0.organization", "org"),
            ("base_model.0.repo_url", "https://huggingface.co/org/Base-1"),
            ("dataset.0.name", "b"),
        ] {
            assert_eq!(origin.shown(key), expected, "{key}");
        }
        let metadata: BTreeMap<String, Value> = origin.metadata().collect();
        assert_eq!(Origin::of_gguf(&metadata), origin);
        let card =
            format!("---\nlicense: other\ntags:\n- chat\n- small\n- text-generation\n{}---\n", origin.card_lines());
        assert_eq!(Origin::of_card(&card), origin);
        for nothing in ["", "# A model\nlicense: mit\n", "---\nlicense: unknown\n---\n", "---\nlicense:\n---\n"] {
            assert_eq!(Origin::of_card(nothing), Origin::default(), "{nothing}");
        }
    }

    #[test]
    fn what_tells_of_a_file_is_not_taken_over() {
        let text = |key: &str, text: &str| (key.to_owned(), Value::Text(text.to_owned()));
        let metadata = [
            text("general.architecture", "llama"),
            text("general.quantized_by", "someone"),
            text("llama.x", "y"),
            ("general.file_type".to_owned(), Value::Integer(3)),
            ("general.sampling.top_k".to_owned(), Value::Integer(3)),
            text("general.name", "A Model"),
            text("general.license", "mit"),
        ];
        let origin = Origin::of_gguf(&metadata.into_iter().collect());
        assert_eq!((origin.0.len(), origin.name(), origin.license()), (2, Some("A Model"), Some("mit")));
        let tuned = origin.clone().tuned("base", None);
        assert_eq!((tuned.license(), tuned.name(), tuned.bases()), (Some("mit"), None, vec!["A Model".to_owned()]));
        assert_eq!(tuned.card_lines(), "");
        for repository in ["org/b", "gpt2"] {
            let tuned = origin.clone().tuned("base", Some(repository));
            assert_eq!(tuned.bases(), [repository]);
            assert_eq!(tuned.card_lines(), format!("base_model:\n- \"{repository}\"\n"));
        }
    }
}
