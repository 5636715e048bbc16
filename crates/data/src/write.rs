//! Files that are either whole or not there.

use crate::{Error, Result};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where the file that will be `path` is written first.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Whether the file named `left` is what a process that was killed left of the file that would have become `path`.
pub fn is_unfinished(path: &Path, left: &OsStr) -> bool {
    let (Some(name), Some(left)) = (path.file_name().and_then(OsStr::to_str), left.to_str()) else {
        return false;
    };
    let rest = left.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    let id = rest.and_then(|rest| rest.split_once('.')).filter(|(_, end)| ["tmp", "documents", "spans"].contains(end));
    id.is_some_and(|(id, _)| id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Clears away what processes that were killed left of the file that would have become `path`. Whoever calls this makes
/// sure that no other process is writing it.
pub fn clear_unfinished(path: &Path) {
    let entries = path.parent().and_then(|directory| std::fs::read_dir(directory).ok()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_unfinished(path, &entry.file_name())) {
        // What stays takes room, no more.
        let _ = std::fs::remove_file(entry.path());
    }
}

/// Writes `path` under another name, makes sure that it is on the disk, and renames it: the file is whole or not there.
///
/// # Errors
/// When it cannot be written, as on a full disk; an earlier file of that name is then left as it was.
pub fn atomically(path: &Path, contents: &[u8]) -> Result<()> {
    let unfinished = temporary(path);
    let written = File::create(&unfinished).and_then(|mut file| file.write_all(contents).map(|()| file));
    let file = written.map_err(|source| fail(&unfinished, path, source))?;
    publish(&file, &unfinished, path)
}

/// Makes sure that `file`, written as `unfinished`, is on the disk, and names it `path`.
pub(crate) fn publish(file: &File, unfinished: &Path, path: &Path) -> Result<()> {
    let renamed = file.sync_all().and_then(|()| std::fs::rename(unfinished, path));
    renamed.map_err(|source| fail(unfinished, path, source))?;
    // The new name itself lasts only once the directory is on the disk; where directories cannot be synced, the
    // file is at worst missing, never half there.
    if let Some(directory) = path.parent().and_then(|directory| File::open(directory).ok()) {
        let _ = directory.sync_all();
    }
    Ok(())
}

fn fail(unfinished: &Path, path: &Path, source: std::io::Error) -> Error {
    // The write has failed already; what matters is to say so, and to leave the disk as it was where that works.
    let _ = std::fs::remove_file(unfinished);
    Error::io(path, "write", source)
}
