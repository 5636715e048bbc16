//! Where large files go: whether they can be written there and have room, asked before the long work, and what becomes of them
//! when somebody ends the program.

use crate::failure::{Failure, Outcome};
use crate::run::interrupt::Interrupt;
use crate::show::{number, word};
use std::fs;
use std::path::{Path, PathBuf};

/// Refuses to begin with what the disk cannot hold.
///
/// `what` is to happen to the bytes, as in "fetched"; `remedy` says what else to do than to make room.
///
/// # Errors
/// When `n_needed` bytes are more than are free where `directory` is or will be. What cannot be found out is no reason.
pub fn check_room(directory: &Path, n_needed: u64, what: &str, remedy: &str) -> Outcome<()> {
    let Some(n_free) = lacking(directory, n_needed) else { return Ok(()) };
    let [needed, free] = [n_needed, n_free].map(number::bytes_of_file);
    Err(Failure::new(format!(
        "{needed} are to be {what}, but only {free} are free where {} is; make room, or {remedy}",
        directory.display()
    )))
}

/// What is free where a directory is or will be, if that is less than is needed.
///
/// # Units
/// Bytes.
pub fn lacking(directory: &Path, n_needed: u64) -> Option<u64> {
    free_bytes(standing(directory)).filter(|&n_free| n_free < n_needed)
}

/// Refuses to begin where nothing can be written: `directory` is there, or can be made.
///
/// # Errors
/// When the system does not let this user write.
pub fn check_writable(directory: &Path) -> Outcome<()> {
    let place = standing(directory);
    tempfile::tempfile_in(place).map(drop).map_err(|error| {
        let why = error.get_ref().map_or_else(|| error.kind().to_string(), ToString::to_string);
        Failure::new(format!("cannot write into {} ({why}); name a directory that you may write into", place.display()))
    })
}

/// The directory that holds a file to be.
///
/// # Errors
/// When it is not there.
pub fn directory_of(file: &Path) -> Outcome<&Path> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if directory.exists() {
        return Ok(directory);
    }
    Err(Failure::new(format!(
        "{} does not exist, and {} is to be made in it; make it first (mkdir -p {}), or name another place",
        directory.display(),
        file.display(),
        word(directory)
    )))
}

/// Where Ctrl-C or a signal ends the program, removes what of `output`, a file or a directory, is unfinished then, and says what
/// is left.
///
/// # Errors
/// When the system does not let us listen.
pub fn clear_at_end(output: &Path) -> Outcome<()> {
    let (output, was_there) = (output.to_owned(), output.exists());
    Interrupt::end_at_once(move || {
        for path in unfinished(&output) {
            // There is nothing left to do about errors.
            let _ = fs::remove_file(path);
        }
        if !was_there {
            // Only where it is empty.
            let _ = fs::remove_dir(&output);
        }
        let output_name = output.display();
        let is_empty = fs::read_dir(&output).map(|mut entries| entries.next().is_none());
        match is_empty {
            _ if output.is_file() => eprintln!("genera: stopped; {output_name} is whole"),
            Ok(false) => {
                eprintln!("genera: stopped; {output_name} lacks files; remove it before you repeat the command")
            }
            _ => eprintln!("genera: stopped; nothing of {output_name} is left"),
        }
    })
}

/// What is being written, or was when a program was killed, of a file or a directory.
fn unfinished(output: &Path) -> Vec<PathBuf> {
    let mut beside = output.to_owned();
    beside.as_mut_os_string().push(".part");
    let inside = fs::read_dir(output).into_iter().flatten().flatten().map(|entry| entry.path());
    inside.filter(|path| is_unfinished(path)).chain([beside]).collect()
}

/// Whether a file is one that is not finished, by its name.
pub fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "part")
}

/// The nearest of a path and what is above it that is there.
fn standing(path: &Path) -> &Path {
    path.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."))
}

/// Bytes that this user may still write to the disk of a place; `None` where that is not told.
#[cfg(unix)]
fn free_bytes(place: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(place).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(not(unix))]
fn free_bytes(_place: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_let_through() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("not/there/yet");
        check_room(&deep, 1, "written", "").unwrap();
        check_room(&deep, 0, "written", "").unwrap();
        check_writable(&deep).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let refused = check_room(&deep, u64::MAX, "fetched", "set HF_HOME").map_err(|failure| format!("{failure:?}"));
        assert_eq!(refused.is_err(), cfg!(unix));
        if let Err(message) = refused {
            assert!(message.contains("fetched, but only") && message.contains("set HF_HOME"), "{message}");
        }
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let message = |outcome: Outcome<()>| outcome.unwrap_err().message().to_owned();
        assert!(message(check_writable(&file.join("a"))).contains("cannot write into"));
        let missing = directory.path().join("not/a.gguf");
        assert!(message(directory_of(&missing).map(drop)).contains("mkdir -p"));
        assert_eq!(directory_of(Path::new("a.gguf")).unwrap(), Path::new("."));
    }
}
