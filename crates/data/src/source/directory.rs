//! All readable files below a directory, in an order that does not depend on the file system.

use super::Format;
use super::array::begins_as_objects;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Directories nested deeper than this are taken to be a loop of links.
const MAX_DEPTH: usize = 64;

/// Appends every file with a known extension below `root`, sorted by path; hidden and empty ones are passed over, and those in
/// .json that are something else than data, such as a description of it.
pub(crate) fn collect(root: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let n_before = found.len();
    let mut others = Vec::new();
    let mut pending = vec![(root.to_owned(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        if depth > MAX_DEPTH {
            return Err(Error::bad_file(&directory, "is nested too deep; is there a loop of links?"));
        }
        for path in entries(&directory)? {
            let metadata = path.metadata().map_err(|source| Error::io(&path, "read", source))?;
            match Format::of(&path) {
                _ if metadata.is_dir() => pending.push((path, depth + 1)),
                Some(Format::JsonArray) if metadata.len() > 0 && !begins_as_objects(&path) => others.push(path),
                Some(_) if metadata.len() > 0 => found.push(path),
                _ => others.push(path),
            }
        }
    }
    if found.len() == n_before {
        return Err(nothing_found(root, &others));
    }
    found[n_before..].sort();
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| Error::io(directory, "list", source);
    let mut paths = Vec::new();
    for entry in directory.read_dir().map_err(io)? {
        let entry = entry.map_err(io)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

fn nothing_found(root: &Path, others: &[PathBuf]) -> Error {
    let known: Vec<String> = Format::EXTENSIONS.iter().map(|(extension, _)| format!(".{extension}")).collect();
    let mut expected = format!("files that end in {} (plain, .gz or .zst)", known.join(", "));
    if let Some(other) = others.iter().min() {
        expected += &format!(
            "; it has {} others, such as {}; name one of them to read it as text",
            others.len(),
            other.display()
        );
    }
    Error::Empty { path: root.to_owned(), expected }
}
