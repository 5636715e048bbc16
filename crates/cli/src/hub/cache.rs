//! The cache of the Hugging Face library, so that each program finds what the other fetched.
//!
//! `models--ORG--NAME/blobs/SUM` holds the content of files, `snapshots/COMMIT/PATH` links to it, and `refs/REVISION` says
//! which commit a branch or tag was at when it was last asked for.

use super::listing::{Listing, RemoteFile};
use super::name::ModelName;
use super::settings::Settings;
use crate::failure::{Failure, Outcome, While};
use crate::show::word;
use genera_engine::weights::gguf::PartName;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longest file in refs/ that is read: a commit has 40 digits.
const MAX_REF_BYTES: u64 = 100;

/// The models that were pulled.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    /// As in [`Settings`].
    offline_by: Option<&'static str>,
}

impl Cache {
    /// The cache that the settings name.
    pub fn new(settings: &Settings) -> Self {
        Self { directory: settings.cache.clone(), offline_by: settings.offline_by }
    }

    fn of_model(&self, name: &ModelName) -> PathBuf {
        self.directory.join(format!("models--{}", name.repository.replace('/', "--")))
    }

    /// Where the content of a file lies or will lie.
    pub fn blob(&self, name: &ModelName, file: &RemoteFile) -> PathBuf {
        self.of_model(name).join("blobs").join(file.checksum.digits())
    }

    /// The directory of a commit.
    pub fn snapshot(&self, name: &ModelName, commit: &str) -> PathBuf {
        self.of_model(name).join("snapshots").join(commit)
    }

    /// Gives a file that has arrived its name in the directory of its commit, where it does not have it. Who reads the
    /// directory meanwhile finds it under this name, before or after.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn link(&self, name: &ModelName, listing: &Listing, file: &RemoteFile) -> Outcome<()> {
        let link = self.snapshot(name, &listing.commit).join(&file.path);
        let blob = self.blob(name, file);
        // From snapshots/COMMIT/PATH up to the directory of the model.
        let up: PathBuf = std::iter::repeat_n("..", 2 + file.path.matches('/').count()).collect();
        let relative = up.join("blobs").join(file.checksum.digits());
        if leads_to(&link, &relative, &blob) {
            return Ok(());
        }
        let mut beside = link.file_name().unwrap_or_default().to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        let beside = link.with_file_name(beside);
        let make = || {
            fs::create_dir_all(link.parent().unwrap_or(&link))?;
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            link_file(&relative, &blob, &beside)?;
            fs::rename(&beside, &link).inspect_err(|_| drop(fs::remove_file(&beside)))
        };
        make().during(format!("cannot link {}", link.display()))
    }

    /// Notes that a revision stands for a commit, once all of its files are there.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn note(&self, name: &ModelName, commit: &str) -> Outcome<()> {
        if name.is_pinned() || self.commit_of(name).is_some_and(|known| known == commit) {
            return Ok(());
        }
        let path = self.of_model(name).join("refs").join(&name.revision);
        fs::create_dir_all(path.parent().unwrap_or(&path)).during(format!("cannot write {}", path.display()))?;
        Ok(genera_data::write_atomically(&path, commit.as_bytes())?)
    }

    /// The directory of a model that was pulled, or its only GGUF file; the file that the name asks for, where it asks for one.
    ///
    /// # Errors
    /// When it was not pulled, or has several files to choose from.
    pub fn find(&self, name: &ModelName) -> Outcome<PathBuf> {
        let snapshot = self.pulled(name).ok_or_else(|| {
            let place = self.directory.display();
            Failure::new(format!("{name} is not in {place}; {}", self.remedy(name)))
        })?;
        if name.file.is_none() && snapshot.join("config.json").exists() {
            return Ok(snapshot);
        }
        let gguf = gguf_files(&snapshot).during(format!("cannot read {}", snapshot.display()))?;
        let inside = |path: &PathBuf| {
            let steps = path.strip_prefix(&snapshot).unwrap_or(path).components();
            steps.map(|step| step.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
        };
        let files: Vec<String> = gguf.iter().map(inside).collect();
        let Some(wanted) = &name.file else {
            return match files.as_slice() {
                [] => Ok(snapshot),
                [only] => Ok(snapshot.join(only)),
                _ => Err(Failure::new(format!(
                    "{name} has several GGUF files; name one: --model\n{}",
                    forms(name, &files)
                ))),
            };
        };
        if snapshot.join(wanted).is_file() {
            return Ok(snapshot.join(wanted));
        }
        match matching(wanted, files.iter().map(String::as_str)).as_slice() {
            [file] => Ok(snapshot.join(file)),
            [] => Err(Failure::new(format!(
                "{name} was not pulled; {}{}",
                self.remedy(name),
                if files.is_empty() { String::new() } else { format!("\nThere are:\n{}", forms(name, &files)) }
            ))),
            _ => {
                Err(Failure::new(format!("{name} fits several GGUF files; name one: --model\n{}", forms(name, &files))))
            }
        }
    }

    /// What to do about a model that is not there.
    fn remedy(&self, name: &ModelName) -> String {
        let before = self.offline_by.map_or_else(String::new, |variable| {
            format!("{variable} forbids to ask the hub for it: unset it (unset {variable}), then ")
        });
        format!("{before}fetch it with: genera pull {}", word(Path::new(&name.to_string())))
    }

    /// The directory of a model's commit, where any file of it was pulled.
    pub fn pulled(&self, name: &ModelName) -> Option<PathBuf> {
        let commit = if name.is_pinned() { Some(name.revision.clone()) } else { self.commit_of(name) };
        commit.map(|commit| self.snapshot(name, &commit)).filter(|path| path.is_dir())
    }

    fn commit_of(&self, name: &ModelName) -> Option<String> {
        let path = self.of_model(name).join("refs").join(&name.revision);
        fs::metadata(&path).ok().filter(|found| found.len() <= MAX_REF_BYTES)?;
        let text = fs::read_to_string(&path).ok()?;
        let commit = text.trim();
        commit.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| commit.to_owned())
    }
}

/// The files that are meant: the one of this path or name, or those with this type in their names, as `Q4_0`.
pub fn matching<'f>(wanted: &str, files: impl Iterator<Item = &'f str>) -> Vec<&'f str> {
    let files: Vec<&str> = files.collect();
    let name = |file: &str| file.rsplit('/').next().unwrap_or(file).to_lowercase();
    let wanted = wanted.to_lowercase();
    let with = |fits: &dyn Fn(&str) -> bool| files.iter().copied().filter(|file| fits(file)).collect::<Vec<_>>();
    let exact = with(&|file| file.to_lowercase() == wanted || name(file) == wanted);
    if !exact.is_empty() {
        return exact;
    }
    // As llama.cpp has it: a part of the name, between points and hyphens.
    let is_whole = |part: Option<char>| part.is_none_or(|c| ".-/".contains(c));
    with(&|file| {
        let file = file.to_lowercase();
        let mut found = file.match_indices(&wanted);
        found.any(|(at, _)| {
            is_whole(file[..at].chars().next_back()) && is_whole(file[at + wanted.len()..].chars().next())
        })
    })
}

/// How files are named where a model is asked for, one a line.
fn forms(name: &ModelName, files: &[String]) -> String {
    let form = |file: &String| format!("  {}", word(Path::new(&name.with_file(file).to_string())));
    files.iter().map(form).collect::<Vec<_>>().join("\n")
}

/// The GGUF files of a directory and those in it, in order; of a model in several, the first.
fn gguf_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let inner = if path.is_dir() {
            fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?
        } else {
            vec![path]
        };
        found.extend(
            inner.into_iter().filter(|path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"))),
        );
    }
    let is_first = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(PartName::of);
        name.is_none_or(|name| name.number == 1)
    };
    found.retain(is_first);
    found.sort();
    Ok(found)
}

/// Whether a file has its name already.
#[cfg(unix)]
fn leads_to(link: &Path, relative: &Path, _blob: &Path) -> bool {
    fs::read_link(link).is_ok_and(|target| target == relative)
}

/// Whether a file has its name already; what is in it is looked at only by its length.
#[cfg(not(unix))]
fn leads_to(link: &Path, _relative: &Path, blob: &Path) -> bool {
    let n_bytes = |path| fs::metadata(path).map(|found| found.len()).ok();
    n_bytes(link).is_some_and(|n| Some(n) == n_bytes(blob))
}

#[cfg(unix)]
fn link_file(relative: &Path, _blob: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, link)
}

/// Links need a right that few have on other systems; a second name or a copy does as well.
#[cfg(not(unix))]
fn link_file(_relative: &Path, blob: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(blob, link).or_else(|_| fs::copy(blob, link).map(drop))
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::checksum::Checksum;
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn a_type_stands_for_a_file() {
        let files = ["a-Q4_0.gguf", "q/a-Q4_0.gguf", "b.Q4_K_M.gguf", "b.Q4_K_S.gguf", "b-IQ4_K_M.gguf"];
        for (wanted, expected) in [
            ("q4_k_m", &["b.Q4_K_M.gguf"][..]),
            ("Q4_K", &[]),
            ("Q4_0", &files[..2]),
            ("q/a-Q4_0.gguf", &files[1..2]),
            ("B.q4_k_s.gguf", &files[3..4]),
        ] {
            assert_eq!(matching(wanted, files.into_iter()), expected, "{wanted}");
        }
    }

    /// What is right is left alone, and what is not is never missing in between.
    #[test]
    fn names_are_given_once() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache { directory: directory.path().to_owned(), offline_by: None };
        let name: ModelName = "hf:org/name".parse().unwrap();
        let checksum = Checksum::GitBlob("0".repeat(40));
        let file = RemoteFile { path: "1_Pooling/config.json".to_owned(), n_bytes: 2, checksum };
        let listing = Listing { commit: COMMIT.to_owned(), files: Vec::new() };
        let link = cache.snapshot(&name, COMMIT).join(&file.path);
        let reference = cache.of_model(&name).join("refs/main");
        let make = || {
            cache.link(&name, &listing, &file).unwrap();
            cache.note(&name, COMMIT).unwrap();
            [&link, &reference].map(|path| fs::symlink_metadata(path).unwrap().ino())
        };
        fs::create_dir_all(cache.of_model(&name).join("blobs")).unwrap();
        fs::write(cache.blob(&name, &file), "{}").unwrap();
        let first = make();
        assert_eq!(
            (fs::read_to_string(&link).unwrap(), cache.commit_of(&name)),
            ("{}".to_owned(), Some(COMMIT.to_owned()))
        );
        assert_eq!(make(), first, "neither is written again");
        // A directory that cannot be written is enough for what is there.
        let parent = link.parent().unwrap();
        fs::set_permissions(parent, PermissionsExt::from_mode(0o555)).unwrap();
        assert_eq!(make(), first);
        fs::set_permissions(parent, PermissionsExt::from_mode(0o755)).unwrap();
        fs::remove_file(&link).unwrap();
        symlink("elsewhere", &link).unwrap();
        fs::write(&reference, "f".repeat(40)).unwrap();
        make();
        assert_eq!(
            (fs::read_to_string(&link).unwrap(), cache.commit_of(&name)),
            ("{}".to_owned(), Some(COMMIT.to_owned()))
        );
        assert_eq!(fs::read_dir(parent).unwrap().count(), 1, "nothing is left beside it");
    }
}
