//! Where large files go: whether they can be written there and have room, asked before the long work, and what becomes of them
//! when somebody ends the program.

use crate::failure::{Failure, Outcome};
use crate::model::check_gguf_name;
use crate::run::interrupt::Interrupt;
use crate::show::{number, word};
use genera_engine::weights::{hold_names, unfinished, unfinished_files};
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

/// A file or a directory that a model is to be written to.
pub struct Destination<'o> {
    output: &'o Path,
    /// The directory itself, or the one that the file is to be in.
    directory: &'o Path,
    /// Where its files are before they are whole.
    unfinished: Vec<PathBuf>,
}

impl<'o> Destination<'o> {
    /// A GGUF file.
    ///
    /// # Errors
    /// When it is there already or has another ending, or its directory is missing or cannot be written to.
    pub fn gguf(output: &'o Path) -> Outcome<Self> {
        refuse_taken(output, output.exists())?;
        check_gguf_name(output)?;
        Self::writable(output, directory_of(output)?, vec![unfinished(output)])
    }

    /// A directory in the Hugging Face layout. What an export left in it that was ended is gone over again.
    ///
    /// # Errors
    /// When it holds anything else, or cannot be written to.
    pub fn hf(output: &'o Path) -> Outcome<Self> {
        let unfinished = unfinished_files(output);
        let is_other = |entry: fs::DirEntry| !unfinished.contains(&entry.path());
        let holds_others = fs::read_dir(output).is_ok_and(|entries| entries.flatten().any(is_other));
        refuse_taken(output, output.is_file() || holds_others)?;
        Self::writable(output, output, unfinished)
    }

    fn writable(output: &'o Path, directory: &'o Path, unfinished: Vec<PathBuf>) -> Outcome<Self> {
        check_writable(directory)?;
        Ok(Self { output, directory, unfinished })
    }

    /// Before anything is written: refuses what there is no room for. From here on Ctrl-C or a signal removes what is unfinished
    /// and says what is left.
    ///
    /// # Errors
    /// When fewer than `n_needed` bytes are free, or the system does not let us listen.
    pub fn begin(self, n_needed: u64) -> Outcome<()> {
        check_room(self.directory, n_needed, "written", "name a place on another disk")?;
        clear_at_end(self.output, self.unfinished)
    }
}

fn refuse_taken(output: &Path, is_taken: bool) -> Outcome<()> {
    if is_taken {
        return Err(Failure::new(format!("{} is there already; name a new one", output.display())));
    }
    Ok(())
}

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
fn check_writable(directory: &Path) -> Outcome<()> {
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
fn directory_of(file: &Path) -> Outcome<&Path> {
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

/// Where Ctrl-C or a signal ends the program, removes what is `unfinished` then of `output`, a file or a directory, and says what
/// is left.
///
/// # Errors
/// When the system does not let us listen.
fn clear_at_end(output: &Path, unfinished: Vec<PathBuf>) -> Outcome<()> {
    let (output, was_there) = (output.to_owned(), output.exists());
    Interrupt::end_at_once(move || {
        // Never given back: who writes would begin the next file behind us, or end the process with an error about this one.
        mem::forget(hold_names());
        for path in &unfinished {
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

    /// What others left unfinished is theirs.
    #[test]
    fn a_directory_with_other_files_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        assert!(Destination::hf(&out).is_ok());
        fs::create_dir(&out).unwrap();
        fs::write(out.join("model.safetensors.part"), "").unwrap();
        let ours = Destination::hf(&out).map(|destination| destination.unfinished);
        assert!(ours.is_ok_and(|ours| ours.iter().all(|path| path.starts_with(&out))));
        for other in ["movie.mkv.part", "model.safetensors"] {
            fs::write(out.join(other), "").unwrap();
            let refused = Destination::hf(&out).err().expect("the directory holds another file");
            assert!(refused.message().contains("is there already"), "{refused:?}");
            fs::remove_file(out.join(other)).unwrap();
        }
        fs::write(directory.path().join("a.gguf"), "").unwrap();
        assert!(Destination::gguf(&directory.path().join("a.gguf")).is_err());
        assert!(Destination::gguf(&directory.path().join("a.bin")).is_err());
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
