//! What follows the training of a table: as many rows as were learned from, and their judgement.

use super::frame::Frames;
use super::judgement::Judgement;
use super::likelihood;
use super::maker::Maker;
use super::options::{RowWriter, make};
use super::page;
use crate::answers::sampling_of;
use crate::command::Common;
use crate::failure::{Outcome, While};
use crate::model;
use crate::run::session::Session;
use genera_data::Shard;
use genera_engine::generate::Sampling;
use genera_engine::weights::Purpose;
use genera_modality::table::{self, Conditions};
use genera_tensor::DType;

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
    let sampling = Sampling { seed: recipe.train.seed, ..sampling_of(&recipe.generate) };
    let mut maker = Maker::new(speaking.clone(), Conditions::none(table), sampling)?;
    let path = run.path().join("synthetic.csv");
    let n_rows = prepared.summary.n_documents.min(MOST_ROWS) as usize;
    make(&mut maker, n_rows, &mut RowWriter::open(table, Some(&path), false)?)?;
    let mut frames = Frames::new(table);
    frames.add_shard(&prepared.train)?;
    frames.add_file(&path)?;
    if let Some(validation) = &prepared.validation {
        frames.add_shard(validation)?;
    }
    let tables = frames.finish()?;
    let mut judgement = Judgement::of(&tables[0], tables.get(2), &tables[1], recipe.table.target.as_deref())?;
    if let Some(validation) = &prepared.validation {
        let rows = |shard: &Shard| likelihood::drawn(shard.info().n_documents, |i| Ok(shard.document(i)?.ids().to_vec()));
        judgement.likelihood_auc =
            likelihood::membership_auc(speaking.transformer, table, &rows(&prepared.train)?, &rows(validation)?);
    }
    let title = format!("{} and its synthetic twin", prepared.summary.corpus);
    let report = run.path().join("report.html");
    std::fs::write(&report, page::html(&title, &judgement, &tables[0], &tables[1])?)
        .during(format!("cannot write {}", report.display()))?;
    if !common.json {
        print!("\n{judgement}");
        println!("{n_rows} rows in {}, pictures in {}", path.display(), report.display());
    }
    Ok(Some(judgement.to_json()))
}
