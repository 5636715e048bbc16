//! What is not new: what the model was trained on, and what it made before.

use super::external::one_line;
use crate::failure::Outcome;
use crate::plan;
use crate::run::directory::RunDirectory;
use crate::run::preparing::prepared_of;
use crate::show::number;
use crate::show::status_line::StatusLine;
use genera_data::prepare::Prepared;
use genera_engine::recipe::Recipe;
use genera_modality::Modality;
use genera_tokens::Role;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::thread;
use std::time::Instant;

/// Documents of the training data that are known at most; of larger ones the first.
const MOST: u64 = 1 << 24;

/// Documents that a thread reads at a time.
const STRIDE: u64 = 1 << 12;

/// Fingerprints of what is known.
#[derive(Clone, Debug, Default)]
pub struct Known(HashSet<u64>);

impl Known {
    /// Takes a key in; whether it is new.
    pub fn insert(&mut self, key: &str) -> bool {
        self.0.insert(fingerprint(key))
    }

    /// What a run was trained on. Nothing where it was trained with privacy: what is missing among the candidates would tell
    /// who is in the data.
    ///
    /// # Errors
    /// When its data cannot be read.
    pub fn of_run(run: &RunDirectory, modality: &dyn Modality, n_threads: usize) -> Outcome<Self> {
        let recipe = Recipe::load(&run.recipe())?;
        if plan::privacy::is_on(&recipe) {
            eprintln!("genera: the model was trained with privacy, so the training data is not looked at");
            return Ok(Self::default());
        }
        let prepared = prepared_of(run, &recipe)?;
        let n = prepared.train.info().n_documents.min(MOST);
        let (mut known, mut status, start) = (HashSet::new(), StatusLine::new(), Instant::now());
        let group = STRIDE * n_threads as u64;
        for first in (0..n).step_by(group as usize) {
            let parts = thread::scope(|scope| {
                let part = |i: u64| {
                    let from = first + i * STRIDE;
                    let prepared = &prepared;
                    scope.spawn(move || keys(prepared, modality, from..(from + STRIDE).min(n)))
                };
                let threads: Vec<_> = (0..n_threads as u64).map(part).collect();
                threads.into_iter().map(|thread| thread.join().expect("reading does not panic")).collect::<Vec<_>>()
            });
            for part in parts {
                known.extend(part?);
            }
            status.show(|| {
                let done = (first + group).min(n);
                let left = start.elapsed().mul_f64(n as f64 / done as f64 - 1.0);
                format!("reading what the model was trained on: {done} of {n}, {} left", number::duration(left))
            });
        }
        Ok(Self(known))
    }
}

fn keys(prepared: &Prepared, modality: &dyn Modality, documents: std::ops::Range<u64>) -> Outcome<Vec<u64>> {
    let key = |i: u64| {
        let target = prepared.train.document(i)?;
        let text = one_line(&modality.decode(&prepared.tokenizer, &target.ids_of(Role::Target)).as_text());
        Ok(fingerprint(&modality.key(&text)))
    };
    documents.map(key).collect()
}

fn fingerprint(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
