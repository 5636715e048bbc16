//! Where the hub is, where its files are kept, and who asks: from the variables that the Hugging Face library knows.

use crate::failure::{Failure, Outcome, While};
use std::fmt;
use std::path::{Path, PathBuf};

/// The hub that is meant when none is named.
pub const ENDPOINT: &str = "https://huggingface.co";
/// Longest token that is read from a file.
const MAX_TOKEN_BYTES: u64 = 4096;

/// How the hub is used.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The address of the hub, without a slash at its end: HF_ENDPOINT.
    pub endpoint: String,
    /// The directory of the cache: HF_HUB_CACHE or by its older name HUGGINGFACE_HUB_CACHE, or `hub` in HF_HOME.
    pub cache: PathBuf,
    /// What shows who asks: HF_TOKEN or by its older name HUGGING_FACE_HUB_TOKEN, or the file that `hf auth login` writes.
    pub token: Option<String>,
    /// The variable that forbids to fetch anything, if one does: HF_HUB_OFFLINE, or TRANSFORMERS_OFFLINE.
    pub offline_by: Option<&'static str>,
}

impl Settings {
    /// The settings that the environment asks for.
    ///
    /// # Errors
    /// When a variable has no meaning, or nothing says where a cache may be.
    pub fn of_environment() -> Outcome<Self> {
        Self::of(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn of(variable: &dyn Fn(&str) -> Option<String>) -> Outcome<Self> {
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            return Err(Failure::new(format!("HF_ENDPOINT is '{endpoint}'; expected an address such as {ENDPOINT}")));
        }
        let home = home(variable);
        let set = |name: &'static str| Some((name, variable(name)?));
        let cache = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(variable).map(PathBuf::from);
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub")));
        let cache =
            cache.ok_or_else(|| Failure::new("neither HF_HOME nor HOME says where models are kept; set HF_HOME"))?;
        let is_on = |value: &str| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str());
        // The first that is set decides, also where it says no.
        let offline_by = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find_map(set);
        let offline_by = offline_by.filter(|(_, value)| is_on(value)).map(|(name, _)| name);
        let token = match ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].into_iter().find_map(set) {
            Some((name, token)) => sound(&token, name)?,
            None => {
                let path = variable("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token")));
                path.as_deref().map_or(Ok(None), token_in)?
            }
        };
        Ok(Self { endpoint: endpoint.trim_end_matches('/').to_owned(), cache, token, offline_by })
    }
}

/// The directory of everything of the hub.
fn home(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let of_user = || {
        let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| {
            variable("HOME").or_else(|| variable("USERPROFILE")).map(|home| Path::new(&home).join(".cache"))
        });
        Some(cache?.join("huggingface"))
    };
    variable("HF_HOME").map(PathBuf::from).or_else(of_user)
}

fn token_in(path: &Path) -> Outcome<Option<String>> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() <= MAX_TOKEN_BYTES && found.is_file() => {
            let place = path.display();
            sound(&std::fs::read_to_string(path).during(format!("cannot read the token in {place}"))?, place)
        }
        _ => Ok(None),
    }
}

/// A token without what stands around it; `None` where nothing is left. `place` is where it was found.
fn sound(token: &str, place: impl fmt::Display) -> Outcome<Option<String>> {
    let token = token.trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(format!("the token in {place} has characters that no token has; copy it again")));
    }
    Ok(Some(token.to_owned()).filter(|token| !token.is_empty()))
}

impl fmt::Debug for Settings {
    /// A token must not end up in a message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({}, {}, offline: {:?})", self.endpoint, self.cache.display(), self.offline_by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Outcome<Settings> {
        let find = |name: &str| variables.iter().find(|(its, _)| *its == name).map(|(_, value)| (*value).to_owned());
        Settings::of(&find)
    }

    #[test]
    fn the_environment_decides() {
        let plain = settings(&[("HOME", "/none")]).unwrap();
        assert_eq!((plain.endpoint.as_str(), plain.token, plain.offline_by), (ENDPOINT, None, None));
        assert_eq!(plain.cache, Path::new("/none/.cache/huggingface/hub"));
        let cache = |variables: &[(&str, &str)]| settings(variables).unwrap().cache;
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HOME", "/none")]), Path::new("/hf/hub"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/hf")]), Path::new("/c"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/hf")]), Path::new("/old"));
        let older = [("HOME", "/"), ("HUGGING_FACE_HUB_TOKEN", "o"), ("TRANSFORMERS_OFFLINE", "1")];
        let older = settings(&older).unwrap();
        assert_eq!((older.token.as_deref(), older.offline_by), (Some("o"), Some("TRANSFORMERS_OFFLINE")));
        let all = settings(&[
            ("HF_HOME", "/hf"),
            ("HF_ENDPOINT", "http://h/"),
            ("HF_TOKEN", "t\n"),
            ("HF_HUB_OFFLINE", "ON"),
        ]);
        let all = all.unwrap();
        assert_eq!((all.endpoint.as_str(), all.token.as_deref()), ("http://h", Some("t")));
        assert_eq!(all.offline_by, Some("HF_HUB_OFFLINE"));
        assert!(!format!("{all:?}").contains("\"t\""));
        assert!(settings(&[]).is_err());
        assert!(settings(&[("HOME", "/"), ("HF_ENDPOINT", "huggingface.co")]).is_err());
    }

    /// As in the Hugging Face library.
    #[test]
    fn the_first_variable_that_is_set_says_whether_the_hub_is_asked() {
        for (hub, transformers, expected) in [("0", "1", None), ("1", "0", Some("HF_HUB_OFFLINE")), ("x", "1", None)] {
            let variables = [("HOME", "/"), ("HF_HUB_OFFLINE", hub), ("TRANSFORMERS_OFFLINE", transformers)];
            assert_eq!(settings(&variables).unwrap().offline_by, expected, "{variables:?}");
        }
    }

    #[test]
    fn a_token_that_is_none_is_named_by_its_place() {
        let home = tempfile::tempdir().unwrap();
        let (path, file) = (home.path().to_str().unwrap(), home.path().join("token"));
        std::fs::write(&file, "a b").unwrap();
        for (variable, place) in [
            (("HF_TOKEN", "a\r\nb"), "HF_TOKEN"),
            (("HUGGING_FACE_HUB_TOKEN", "a b"), "HUGGING_FACE_HUB_TOKEN"),
            (("HF_HOME", path), file.to_str().unwrap()),
        ] {
            let refused = settings(&[("HF_HOME", path), variable]).unwrap_err();
            assert!(refused.message().starts_with(&format!("the token in {place} has characters")), "{refused:?}");
        }
    }

    #[test]
    fn the_token_of_a_login_is_found() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_abc\n").unwrap();
        let path = home.path().to_str().unwrap();
        assert_eq!(settings(&[("HF_HOME", path)]).unwrap().token.as_deref(), Some("hf_abc"));
        assert_eq!(settings(&[("HF_HOME", path), ("HF_TOKEN", "x")]).unwrap().token.as_deref(), Some("x"));
    }
}
