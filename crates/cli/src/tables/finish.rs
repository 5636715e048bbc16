//! What follows the training of a table: as many rows as were learned from, and their judgement.

use super::acceptance::RowSource;
use super::frame::Frames;
use super::judgement::Judgement;
use super::likelihood;
use super::maker::Maker;
use super::options::{RowWriter, make};
use super::page;
use crate::command::Common;
use crate::failure::{Outcome, While};
use crate::model;
use crate::run::directory::RunDirectory;
use crate::run::session::Session;
use genera_data::Shard;
use genera_data::prepare::Prepared;
use genera_engine::generate::Sampling;
use genera_engine::recipe::Recipe;
use genera_engine::weights::Purpose;
use genera_modality::table::{self, Conditions};
use genera_tensor::DType;

/// The file of made rows.
const SYNTHETIC: &str = "synthetic.csv";

/// Rows that are made at most.
const MOST_ROWS: u64 = 50_000;

/// Writes `synthetic.csv` and `report.html` into the run directory of a table; does nothing for other kinds of data. Prints
/// the figures for people, and gives them for machines.
///
/// # Errors
/// When a file cannot be written.
pub fn judge(session: &Session, common: Common) -> Outcome<Option<serde_json::Value>> {
    let (run, recipe, prepared) = (session.run(), session.recipe(), session.prepared());
    let Ok(table) = table::of(&prepared.tokenizer) else { return Ok(None) };
    let device = crate::machine::device(common.threads);
    let model = model::load(run.path(), None, Purpose::Use(DType::F32), &device)?;
    let speaking = model.speaking()?;
    let sampling = Sampling { seed: recipe.train.seed, ..recipe.generate.sampling() };
    let mut maker = Maker::new(speaking.clone(), Conditions::none(table), sampling)?;
    write_synthetic(&mut maker, run, prepared)?;
    let likelihood_auc = match &prepared.validation {
        None => None,
        Some(validation) => {
            let rows =
                |shard: &Shard| likelihood::drawn(shard.info().n_documents, |i| Ok(shard.document(i)?.ids().to_vec()));
            likelihood::membership_auc(speaking.transformer, table, &rows(&prepared.train)?, &rows(validation)?)
        }
    };
    Ok(Some(report(run, recipe, prepared, likelihood_auc, common)?))
}

/// Makes as many rows as were learned from, at most a bounded number, into `synthetic.csv` of a run.
///
/// # Errors
/// When they cannot be made or written.
pub fn write_synthetic(source: &mut dyn RowSource, run: &RunDirectory, prepared: &Prepared) -> Outcome<()> {
    let n_rows = prepared.summary.n_documents.min(MOST_ROWS) as usize;
    let path = run.path().join(SYNTHETIC);
    make(source, n_rows, &mut RowWriter::new(table::of(&prepared.tokenizer)?, Some(&path), false)?)
}

/// Judges `synthetic.csv` in a run directory and writes `report.html`. Prints the figures for people, and gives them for
/// machines.
///
/// # Errors
/// When a file cannot be read or written.
pub fn report(
    run: &RunDirectory,
    recipe: &Recipe,
    prepared: &Prepared,
    likelihood_auc: Option<f64>,
    common: Common,
) -> Outcome<serde_json::Value> {
    let table = table::of(&prepared.tokenizer)?;
    let path = run.path().join(SYNTHETIC);
    let mut frames = Frames::new(table);
    frames.add_shard(&prepared.train)?;
    frames.add_file(&path)?;
    if let Some(validation) = &prepared.validation {
        frames.add_shard(validation)?;
    }
    let tables = frames.finish()?;
    let mut judgement = Judgement::of(&tables[0], tables.get(2), &tables[1], recipe.table.target.as_deref())?;
    judgement.likelihood_auc = likelihood_auc;
    let title = format!("{} and its synthetic twin", prepared.summary.corpus);
    let report = run.path().join("report.html");
    std::fs::write(&report, page::html(&title, &judgement, &tables[0], &tables[1])?)
        .during(format!("cannot write {}", report.display()))?;
    if !common.json {
        print!("\n{judgement}");
        println!("{} rows in {}, pictures in {}", tables[1].n_rows(), path.display(), report.display());
    }
    Ok(judgement.to_json())
}
