//! The run directory: where everything of a run lies.

use crate::failure::{Failure, Outcome, While};
use crate::show::word;
use genera_engine::checkpoint::RunLock;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The directory of a run.
///
/// ```text
/// recipe.toml      everything that determines the run, every derived value with its reason
/// log.jsonl        a row a logged step or validation
/// events/          the same for TensorBoard
/// data/            the tokenised data and its tokenizer
/// base/            the tokenizer of the base, in fine-tuning
/// checkpoints/     the last few and the best
/// samples/         what the model made along the way
/// model/           the trained model in the Hugging Face layout
/// adapter/         instead of model/, the trained adapter in PEFT's layout
/// ```
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// A new run directory, and the lock on it. What a preparation that was cut off has left in it may stay and be used.
    ///
    /// # Errors
    /// When there is anything else in it, another process works in it, or it cannot be made.
    pub fn create(path: &Path) -> Outcome<(Self, RunLock)> {
        let run = Self { path: path.to_owned() };
        if run.recipe().exists() {
            return Err(Failure::new(format!(
                "{} holds a run already; go on with it by `genera resume {}`, or name another directory with --run",
                path.display(),
                word(path)
            )));
        }
        if path.is_file() {
            return Err(Failure::new(format!("{} is a file; a run needs a directory", path.display())));
        }
        if !run.is_free().during(format!("cannot look into {}", path.display()))? {
            return Err(Failure::new(format!(
                "{} holds other files; a run needs a directory of its own: name a new one, such as --run {}",
                path.display(),
                word(&path.join("run"))
            )));
        }
        let lock = RunLock::take(path)?;
        genera_data::clear_unfinished(&run.recipe());
        for part in [run.checkpoints(), run.samples(), run.data()] {
            std::fs::create_dir_all(&part).during(format!("cannot make {}", part.display()))?;
        }
        Ok((run, lock))
    }

    /// Whether there is nothing in the directory but what a preparation makes, the lock first.
    fn is_free(&self) -> io::Result<bool> {
        if !self.path.exists() {
            return Ok(true);
        }
        let names =
            std::fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        let is_ours = |name: &OsString| {
            ["lock", "data", "base", "checkpoints", "samples"].iter().any(|ours| name == ours)
                || genera_data::is_unfinished(&self.recipe(), name)
        };
        Ok(names.is_empty() || (names.iter().any(|name| name == "lock") && names.iter().all(is_ours)))
    }

    /// Takes the directory of a run away again in which nothing was trained yet, so that the name is free after a
    /// mistake. All that is in it was made by [`RunDirectory::create`] and after.
    pub fn discard(&self) {
        // What cannot be taken away stays; the error that led here matters more.
        for part in [self.checkpoints(), self.samples()] {
            let _ = std::fs::remove_dir(part);
        }
        let _ = std::fs::remove_dir_all(self.data());
        let _ = std::fs::remove_dir_all(self.base());
        let _ = std::fs::remove_file(self.recipe());
        let _ = std::fs::remove_file(self.path.join("lock"));
        let _ = std::fs::remove_dir(&self.path);
    }

    /// An existing run.
    ///
    /// # Errors
    /// When the directory holds no run.
    pub fn open(path: &Path) -> Outcome<Self> {
        let run = Self { path: path.to_owned() };
        if run.recipe().is_file() {
            return Ok(run);
        }
        let what = if path.exists() { "is not a run directory (it has no recipe.toml)" } else { "does not exist" };
        Err(Failure::new(format!("{} {what}; `genera train` makes one", path.display())))
    }

    /// A free name below `runs/`: the name itself, or with a number behind it.
    pub fn free_name(name: &str) -> PathBuf {
        let numbered =
            |i: u32| PathBuf::from("runs").join(if i == 1 { name.to_owned() } else { format!("{name}-{i}") });
        (1..).map(numbered).find(|path| !path.exists()).expect("there are endless numbers")
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `recipe.toml`
    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    /// `log.jsonl`
    pub fn log(&self) -> PathBuf {
        self.path.join("log.jsonl")
    }

    /// `events/`
    pub fn events(&self) -> PathBuf {
        self.path.join("events")
    }

    /// `data/`
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// `base/`
    pub fn base(&self) -> PathBuf {
        Self::base_of(&self.path)
    }

    /// `base/` of a run that may not be there yet.
    pub fn base_of(path: &Path) -> PathBuf {
        path.join("base")
    }

    /// `adapter/`
    pub fn adapter(&self) -> PathBuf {
        self.path.join("adapter")
    }

    /// `checkpoints/`
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `samples/`
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples")
    }

    /// `model/`
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }
}
