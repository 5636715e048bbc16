//! Room on the disk, asked for before gigabytes are fetched or made.

use crate::failure::{Failure, Outcome};
use crate::show::number;
use std::path::Path;

/// Refuses to begin with what the disk cannot hold.
///
/// # Errors
/// When `n_needed` bytes are more than are free where `directory` is or will be. What cannot be found out is no reason.
pub fn check(directory: &Path, n_needed: u64) -> Outcome<()> {
    let place = directory.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("."));
    match free_bytes(place) {
        Some(n_free) if n_needed > n_free => {
            let [needed, free] = [n_needed, n_free].map(|n| number::bytes(usize::try_from(n).unwrap_or(usize::MAX)));
            Err(Failure::new(format!(
                "{needed} are to be fetched, but only {free} are free where {} is; make room, or name a directory on \
                 another disk (OUT, or HF_HOME for the cache)",
                directory.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Bytes that this user may still write to the disk of a directory; `None` where that is not told.
#[cfg(unix)]
pub fn free_bytes(place: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(place).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(not(unix))]
pub fn free_bytes(_place: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_let_through() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("not/there/yet");
        check(&deep, 1).unwrap();
        check(&deep, 0).unwrap();
        let refused = check(&deep, u64::MAX).map_err(|failure| format!("{failure:?}"));
        assert_eq!(refused.is_err(), cfg!(unix));
        if let Err(message) = refused {
            assert!(message.contains("are free where") && message.contains("HF_HOME"), "{message}");
        }
    }
}
