//! Names that last: what a crash may take is in a directory that was never forced to the disk.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held while something gets a name. It is one for the whole process, as is the end of it.
static NAMES: Mutex<()> = Mutex::new(());

/// As long as this is held, no export begins a file, gives one that is whole its name, or makes a directory; it waits. For who
/// clears away what is unfinished before the process ends.
pub fn hold_names() -> MutexGuard<'static, ()> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a directory and those above it, and forces their names to the disk.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    let _names = hold_names();
    let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let missing: Vec<&Path> = dir.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(dir)?;
    // One that was there may come from a program that was killed before it got here.
    let names = if missing.is_empty() { vec![dir] } else { missing };
    names.into_iter().for_each(|name| settle(holder(name)));
    Ok(())
}

/// The directory that holds the name of `path`.
pub(crate) fn holder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Forces the names in a directory to the disk where that works; where it does not, a new file is at worst missing, never
/// half there.
pub(crate) fn settle(dir: &Path) {
    let _ = sync_dir(dir);
}

/// Forces the names in a directory to the disk, where the system can.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("runs/first/checkpoints");
        make_dir(&deep).unwrap();
        make_dir(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        make_dir(&dir.path().join("file/run")).unwrap_err();
        assert!(sync_dir(&dir.path().join("missing")).is_err() == cfg!(unix));
    }

    #[test]
    fn a_bare_name_is_held_by_the_current_directory() {
        assert_eq!(holder(Path::new("run")), Path::new("."));
        assert_eq!(holder(Path::new("runs/first")), Path::new("runs"));
    }
}
