//! `genera replay`: what another program needs to train as a run did, for comparison.

use super::Common;
use crate::failure::{Failure, Outcome, While};
use crate::machine;
use crate::run::directory::RunDirectory;
use crate::run::export;
use crate::run::preparing::prepared_of;
use crate::run::session::loader_settings;
use genera_data::Loader;
use genera_engine::model::{Transformer, initial_params};
use genera_engine::recipe::Recipe;
use genera_engine::weights::{PublishedGeneration, SpecialIds};
use genera_tensor::DType;
use genera_tokens::{Batch, IGNORE};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Write what a run began with, so that another program can train the same way: its first weights and all batches.
///
/// Makes initial/, the untrained model in the Hugging Face layout, and batches.jsonl, a batch a line in the order of training:
/// the rows of tokens, targets (-100 carries no loss), positions, segments (0 is padding; tokens see only their own segment),
/// and for an encoder-decoder the source and the length of each of its rows.
///
/// Example: genera replay runs/stories --output replay
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The run directory.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The directory to write into.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

/// A batch as others read it.
#[derive(Serialize)]
struct Written<'b> {
    tokens: Vec<&'b [u32]>,
    targets: Vec<Vec<i64>>,
    positions: Vec<&'b [u32]>,
    segments: Vec<&'b [u32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Vec<&'b [u32]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_lens: Option<&'b [u32]>,
}

/// Where others expect that nothing is to be predicted.
const NO_TARGET: i64 = -100;

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let run = RunDirectory::open(&arguments.run)?;
    let recipe = Recipe::load(&run.recipe())?;
    if recipe.base.path.is_some() {
        return Err(Failure::new(format!(
            "{} began with a base, whose weights are where base.path says; only runs that begin with new weights are replayed",
            arguments.run.display()
        )));
    }
    let prepared = prepared_of(&run, &recipe)?;
    let config = recipe.model.config(prepared.tokenizer.vocab().size)?;
    let device = machine::device(common.threads);
    let params = initial_params(&config, recipe.train.seed, DType::F32, &device);
    let special = SpecialIds::of(&prepared.tokenizer.vocab().special, &config);
    let model = Transformer::new(config, params, &device);
    let settings = loader_settings(&recipe, &prepared, &special, model.config().vocab_size)?;
    let loader = Loader::new(vec![(prepared.train.clone(), 1.0)], settings)?;
    let facts = export::Facts {
        recipe: &recipe,
        prepared: &prepared,
        special: &special,
        generation: &PublishedGeneration::default(),
        step: 0,
        n_tokens: 0,
        n_flops: 0.0,
        seconds: 0.0,
        validation: None,
    };
    export::write(&model, &arguments.output.join("initial"), &facts)?;
    let n_batches = recipe.train.steps.saturating_mul(recipe.train.accumulate.max(1) as u64);
    let path = arguments.output.join("batches.jsonl");
    let during = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(&path).during(during())?);
    for index in 0..n_batches {
        let line = serde_json::to_string(&written(&loader.batch(index)?))?;
        writeln!(file, "{line}").during(during())?;
    }
    file.flush().during(during())?;
    if common.json {
        println!("{}", serde_json::json!({ "output": arguments.output, "n_batches": n_batches }));
    } else {
        println!("wrote the first weights and {n_batches} batches to {}", arguments.output.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn written(batch: &Batch) -> Written<'_> {
    let target = |&id: &u32| if id == IGNORE { NO_TARGET } else { i64::from(id) };
    let source = batch.source.as_ref();
    Written {
        tokens: batch.tokens.chunks(batch.len).collect(),
        targets: batch.targets.chunks(batch.len).map(|row| row.iter().map(target).collect()).collect(),
        positions: batch.positions.chunks(batch.len).collect(),
        segments: batch.segments.chunks(batch.len).collect(),
        source: source.map(|source| source.tokens.chunks(source.len).collect()),
        source_lens: source.map(|source| &source.lens[..]),
    }
}
