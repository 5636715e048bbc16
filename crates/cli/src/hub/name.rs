//! The name of a model on the hub.

use crate::failure::Failure;
use std::fmt;
use std::str::FromStr;

/// What names of the hub begin with.
pub const PREFIX: &str = "hf:";
/// The revision that is meant when none is named.
const MAIN: &str = "main";
/// Longest part of a name; the hub allows 96.
const MAX_PART: usize = 96;
/// Longest revision.
const MAX_REVISION: usize = 256;

/// `hf:ORG/NAME[@REVISION][:FILE]`; a few old models have no organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// `ORG/NAME`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// A file of the repository, or the type in the name of one, as `Q4_0`.
    pub file: Option<String>,
}

impl ModelName {
    /// Whether the revision is a whole commit, which cannot change.
    pub fn is_pinned(&self) -> bool {
        self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// The revision, unless it is the one that is meant when none is named.
    pub fn named_revision(&self) -> Option<&str> {
        Some(self.revision.as_str()).filter(|revision| *revision != MAIN)
    }

    /// The name of a file of the same repository and revision.
    #[must_use]
    pub fn with_file(&self, file: &str) -> Self {
        Self { file: Some(file.to_owned()), ..self.clone() }
    }
}

impl FromStr for ModelName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let refuse = |what: &str| {
            Failure::new(format!(
                "'{text}' {what}; expected hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME:FILE, as on huggingface.co"
            ))
        };
        let Some(name) = text.strip_prefix(PREFIX) else {
            let meant = format!("{PREFIX}{text}");
            let is_name = !text.is_empty() && meant.parse::<Self>().is_ok();
            let question = if is_name { format!(" (did you mean {meant}?)") } else { String::new() };
            return Err(refuse(&format!("does not begin with 'hf:'{question}")));
        };
        let (name, file) = name.split_once(':').map_or((name, None), |(name, file)| (name, Some(file)));
        let (repository, revision) = name.split_once('@').unwrap_or((name, MAIN));
        let parts: Vec<&str> = repository.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_part(part)) {
            return Err(refuse("names no model"));
        }
        if !is_revision(revision) {
            return Err(refuse("names no revision"));
        }
        if file.is_some_and(|file| !is_file(file)) {
            return Err(refuse("names no file"));
        }
        let file = file.map(str::to_owned);
        Ok(Self { repository: repository.to_owned(), revision: revision.to_owned(), file })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.repository)?;
        if let Some(revision) = self.named_revision() {
            write!(f, "@{revision}")?;
        }
        self.file.as_ref().map_or(Ok(()), |file| write!(f, ":{file}"))
    }
}

fn is_part(part: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_PART).contains(&part.len())
        && part.bytes().all(is_allowed)
        && !part.starts_with(['.', '-'])
        && !part.contains("..")
        && !part.contains("--")
}

/// A revision may have slashes, as in refs/pr/1, but must not lead out of a directory.
fn is_revision(revision: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    let is_step = |step: &str| !step.is_empty() && step.bytes().all(is_allowed) && !step.starts_with('.');
    revision.len() <= MAX_REVISION && revision.split('/').all(is_step)
}

/// A path within a repository, which must not lead out of a directory on any system.
fn is_file(file: &str) -> bool {
    let is_step = |step: &str| !step.is_empty() && !step.starts_with('.') && !step.contains(['\\', ':']);
    !file.chars().any(char::is_control) && file.split('/').all(is_step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |text: &str, repository: &str, revision: &str| {
            let name: ModelName = text.parse().unwrap();
            assert_eq!((name.repository.as_str(), name.revision.as_str()), (repository, revision));
            assert_eq!(name.to_string(), text);
        };
        check("hf:HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M", "main");
        check("hf:gpt2", "gpt2", "main");
        check("hf:a/b.c_d@refs/pr/1", "a/b.c_d", "refs/pr/1");
        for (text, revision, file) in [("hf:a/b:Q4_0", "main", "Q4_0"), ("hf:a/b@v1:q/x y.gguf", "v1", "q/x y.gguf")] {
            check(text, "a/b", revision);
            assert_eq!(text.parse::<ModelName>().unwrap().file.as_deref(), Some(file));
        }
        assert!("hf:a/b@0123456789abcdef0123456789abcdef01234567".parse::<ModelName>().unwrap().is_pinned());
        assert!(!"hf:a/b@v1.0".parse::<ModelName>().unwrap().is_pinned());
        for text in [
            "a/b",
            "hf:",
            "hf:a/",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/..",
            "hf:a--b/c",
            "hf:a/b@",
            "hf:a/b@../x",
            "hf:a/b@x//y",
            "hf:a b",
            "hf:a/b:",
            "hf:a/b:../x",
            "hf:a/b:x//y",
            "hf:a/b:C:/x.gguf",
            "hf:a/b:q/x:y.gguf",
        ] {
            assert!(text.parse::<ModelName>().is_err(), "{text}");
        }
        for (text, meant) in [("a/b", true), ("a/b@v1:Q4_0", true), ("a/b/c", false), ("/a/b", false), ("", false)] {
            let message = text.parse::<ModelName>().unwrap_err().message().to_owned();
            assert_eq!(message.contains(&format!("did you mean hf:{text}?")), meant, "{message}");
        }
    }
}
