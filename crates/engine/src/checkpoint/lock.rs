//! One run directory, one process.

use crate::disk;
use crate::error::{Error, Result};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// The right to write into a run directory; given back when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock of a run directory, which is made if need be.
    ///
    /// # Errors
    /// When another process holds it, with its number; or when the directory cannot be written to.
    pub fn take(run_dir: &Path) -> Result<Self> {
        disk::make_dir(run_dir).map_err(|source| Error::io("cannot make the directory", run_dir, source))?;
        let path = run_dir.join("lock");
        let cannot_lock = |source| Error::io("cannot lock", &path, source);
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(cannot_lock)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::file(run_dir, held_by(&mut file))),
            Err(TryLockError::Error(source)) => return Err(cannot_lock(source)),
        }
        // Only for messages: that the file is locked counts, not what it says, so a dead process's number does no harm.
        let id = std::process::id().to_string();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(id.as_bytes()))
            .map_err(cannot_lock)?;
        Ok(Self { _file: file })
    }

    /// Whether some process holds the lock of a run directory, which says that it is at work there.
    pub fn is_held(run_dir: &Path) -> bool {
        let file = File::open(run_dir.join("lock"));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn held_by(file: &mut File) -> String {
    let mut text = String::new();
    let id = file.take(20).read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let holder = id.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"));
    format!("{holder} is training in this run directory; wait for it, stop it, or choose another directory with --run")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_run_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let first = RunLock::take(&run).unwrap();
        let error = RunLock::take(&run).unwrap_err().to_string();
        assert!(RunLock::is_held(&run) && !RunLock::is_held(dir.path()));
        assert!(error.contains(&format!("process {} is training", std::process::id())), "{error}");
        drop(first);
        assert!(!RunLock::is_held(&run));
        RunLock::take(&run).unwrap();
    }

    /// What a killed process leaves: the file, but no lock.
    #[test]
    fn the_lock_of_a_dead_process_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lock"), "4194304000").unwrap();
        RunLock::take(dir.path()).unwrap();
        let id = fs::read_to_string(dir.path().join("lock")).unwrap();
        assert_eq!(id, std::process::id().to_string());
    }
}
