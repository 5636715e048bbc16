//! `genera resume`: go on with a run.

use super::{Common, train};
use crate::failure::Outcome;
use crate::machine;
use crate::run::directory::RunDirectory;
use crate::run::session::{Session, Surroundings};
use std::path::PathBuf;

/// Go on with a run from its latest checkpoint, to the same weights as if it had never stopped.
///
/// Example: genera resume runs/stories
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The run directory.
    #[arg(value_name = "RUN")]
    run: PathBuf,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let run = RunDirectory::open(&arguments.run)?;
    let device = machine::device(common.threads);
    train::finish(Session::resume(run, Surroundings { device, json: common.json })?, common)
}
