//! `genera resume`: go on with a run.

use super::{Common, train};
use crate::failure::Outcome;
use crate::run::adversarial;
use crate::run::directory::RunDirectory;
use crate::run::session::{Session, Surroundings};
use crate::show::prose::fitted;
use crate::{machine, output};
use genera_engine::recipe::Recipe;
use std::path::PathBuf;
use std::process::ExitCode;

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
    output::make_dispensable();
    let run = RunDirectory::open(&arguments.run)?;
    if adversarial::is_asked(&Recipe::load(&run.recipe())?) {
        return adversarial::resume(run, common);
    }
    let device = machine::device(common.threads);
    let mut session = Session::resume(run, Surroundings { device, json: common.json })?;
    if session.is_complete() && !common.json {
        // A kill after the last checkpoint leaves the model to be exported.
        session.train()?;
        let told = format!(
            "{0} is complete: all its {1} steps are done. For more, raise train.steps in {0}/recipe.toml and resume again.",
            arguments.run.display(),
            session.n_steps()
        );
        println!("{}", fitted(&told, 0));
        return Ok(ExitCode::SUCCESS);
    }
    train::finish(session, common)
}
