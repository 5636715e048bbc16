//! Molecules by a model.

use crate::failure::Outcome;
use crate::model::SpeakingModel;
use genera_chemistry::{Property, is_valid};
use genera_engine::generate::{Answer, Constraint, Finish, Generator, Limits, Request, Sampling};
use genera_modality::molecule::{self, MoleculeGrammar};
use std::ops::ControlFlow;

/// Molecules asked for at a time.
pub const GROUP: usize = 2048;

/// Molecules in progress at once: each step reads the weights once for all of them.
const N_RUNNING: usize = 512;

/// Lines that may lead nowhere for each that is wanted, before it is given up.
const MOST_LOST: usize = 20;

/// Makes molecules.
pub struct Maker<'m> {
    model: SpeakingModel<'m>,
    /// What each begins with, in tokens and as it is written.
    beginning: Vec<u32>,
    prefix: String,
    sampling: Sampling,
    max_tokens: usize,
    has_grammar: bool,
    n_asked: u64,
    /// Lines that came to no end: the grammar left no way, or they became too long.
    pub n_lost: u64,
}

impl<'m> Maker<'m> {
    /// A maker of molecules that begin so and are to have these properties; the rules of SMILES hold where `has_grammar`.
    ///
    /// # Errors
    /// When the model makes no molecules, did not learn a property, or no molecule begins so.
    pub fn new(
        model: SpeakingModel<'m>,
        prefix: &str,
        wanted: &[(Property, f64)],
        sampling: Sampling,
        has_grammar: bool,
    ) -> Outcome<Self> {
        let beginning = molecule::of(model.codebook)?.encode_beginning(prefix, wanted)?;
        MoleculeGrammar::new(model.codebook, &beginning)?;
        let room = model.transformer.config().context_len.saturating_sub(beginning.len());
        let prefix = prefix.to_owned();
        Ok(Self { model, beginning, prefix, sampling, max_tokens: room.max(1), has_grammar, n_asked: 0, n_lost: 0 })
    }

    /// The next lines, as many as are wanted, at most [`GROUP`]. Without the grammar a line may be no molecule; one that came to
    /// no end is asked for again with the grammar, and is a line as it stands without.
    ///
    /// # Errors
    /// When the model cannot be asked.
    pub fn next(&mut self, n_wanted: usize) -> Outcome<Vec<String>> {
        let n = n_wanted.min(GROUP);
        let (mut lines, mut n_tried) = (Vec::with_capacity(n), 0);
        while lines.len() < n && n_tried < MOST_LOST * n + GROUP {
            let n_missing = n - lines.len();
            n_tried += n_missing;
            for answer in self.ask(n_missing)? {
                let line = format!("{}{}", self.prefix, self.model.codebook.decode(&answer.tokens));
                // The rules know what RDKit knows of usual molecules; unusual ones are looked at once more.
                let is_whole = matches!(answer.reason, Finish::Stop(_)) && (!self.has_grammar || is_valid(&line));
                self.n_lost += u64::from(!is_whole);
                if is_whole || !self.has_grammar {
                    lines.push(line);
                }
            }
        }
        Ok(lines)
    }

    /// Answers of the model, with their tokens.
    ///
    /// # Errors
    /// When the model cannot be asked.
    fn ask(&mut self, n: usize) -> Outcome<Vec<Answer>> {
        let limits = Limits { n_running: N_RUNNING, ..Limits::default() };
        let mut generator = Generator::new(self.model.transformer, limits);
        let grammar = MoleculeGrammar::new(self.model.codebook, &self.beginning)?;
        let forbidden = self.model.modality.grammar(self.model.codebook).forbidden;
        for _ in 0..n {
            let mut request = Request::new(self.beginning.clone());
            request.max_tokens = self.max_tokens;
            request.stop = self.model.stop_ids();
            request.sampling = self.sampling.clone();
            request.sample = self.n_asked;
            request.constraint = Some(if self.has_grammar {
                Box::new(grammar.clone()) as Box<dyn Constraint>
            } else {
                Box::new(genera_engine::generate::Allowed::except(
                    &forbidden,
                    self.model.transformer.config().vocab_size,
                ))
            });
            generator.submit(request)?;
            self.n_asked += 1;
        }
        Ok(generator.run(|_| ControlFlow::Continue(())))
    }
}
