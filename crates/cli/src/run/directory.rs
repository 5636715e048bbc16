//! The run directory: where everything of a run lies.

use crate::failure::{Failure, Outcome, While};
use std::path::{Path, PathBuf};

/// The directory of a run.
///
/// ```text
/// recipe.toml      everything that determines the run, every derived value with its reason
/// log.jsonl        a row a logged step or validation
/// events/          the same for TensorBoard
/// data/            the tokenised data and its tokenizer
/// checkpoints/     the last few and the best
/// samples/         what the model made along the way
/// model/           the trained model in the Hugging Face layout
/// ```
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// A new run directory.
    ///
    /// # Errors
    /// When there is a run in it already, or it cannot be made.
    pub fn create(path: &Path) -> Outcome<Self> {
        let run = Self { path: path.to_owned() };
        if run.recipe().exists() {
            return Err(Failure::new(format!(
                "{0} holds a run already; go on with it by `genera resume {0}`, or name another directory with --run",
                path.display()
            )));
        }
        if path.is_file() {
            return Err(Failure::new(format!("{} is a file; a run needs a directory", path.display())));
        }
        for part in [run.checkpoints(), run.samples(), run.data()] {
            std::fs::create_dir_all(&part).during(format!("cannot make {}", part.display()))?;
        }
        Ok(run)
    }

    /// Takes a directory away again in which nothing was trained yet, so that the name is free after a mistake.
    pub fn discard_if_empty(&self) {
        if self.log().exists() {
            return;
        }
        // What cannot be taken away stays; the error that led here matters more.
        for part in [self.checkpoints(), self.samples()] {
            let _ = std::fs::remove_dir(part);
        }
        let _ = std::fs::remove_dir_all(self.data());
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
