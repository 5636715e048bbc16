//! Molecules by a model.

use crate::failure::Outcome;
use crate::model::SpeakingModel;
use genera_chemistry::{Molecule, Property};
use genera_engine::generate::{
    Allowed, Answer, Constraint, Event, Finish, Generator, Guidance, Limits, Request, RequestId, Sampling,
};
use genera_modality::molecule::{self, MoleculeGrammar};
use std::collections::{HashMap, VecDeque};

/// Lines given at a time.
pub const GROUP: usize = 2048;

/// Molecules in progress at once: each step reads the weights once for all of them.
const N_RUNNING: usize = 512;

/// Lines in progress, waiting, or held back by one before them, at most.
const N_ASKED: usize = 8 * N_RUNNING;

/// Lines that may lead nowhere for each that is wanted, before it is given up.
const MOST_LOST: usize = 20;

/// Makes molecules.
pub struct Maker<'m> {
    model: SpeakingModel<'m>,
    generator: Generator<'m>,
    /// What each begins with.
    beginning: Vec<u32>,
    /// The beginning without properties, which the molecules are led away from.
    guidance: Option<Guidance>,
    sampling: Sampling,
    max_tokens: usize,
    /// The rules of SMILES behind the beginning, or no more than what no line may hold.
    rules: Rules,
    /// What was asked for and not given yet, in order, with the answers that are whole.
    asked: VecDeque<RequestId>,
    answers: HashMap<RequestId, Answer>,
    n_asked: u64,
    /// Lines that came to no end: the grammar left no way, or they became too long.
    pub n_lost: u64,
}

/// What lines keep to.
enum Rules {
    /// The grammar.
    Grammar(MoleculeGrammar),
    /// No other tokens than those of lines.
    Lines(Allowed),
}

impl<'m> Maker<'m> {
    /// A maker of molecules that begin so and are to have these properties, `guidance` times as decidedly as the model would; the
    /// rules of SMILES hold where `has_grammar`.
    ///
    /// # Errors
    /// When the model makes no molecules, did not learn a property, or no molecule begins so.
    pub fn new(
        model: SpeakingModel<'m>,
        prefix: &str,
        wanted: &[(Property, f64)],
        guidance: f32,
        sampling: Sampling,
        has_grammar: bool,
    ) -> Outcome<Self> {
        let codebook = molecule::of(model.codebook)?;
        let beginning = codebook.encode_beginning(prefix, wanted)?;
        let guidance = codebook.guidance(&beginning, prefix, guidance)?;
        let grammar = MoleculeGrammar::new(model.codebook, &beginning)?;
        let config = model.transformer.config();
        let rules = if has_grammar {
            Rules::Grammar(grammar)
        } else {
            let forbidden = model.modality.grammar(model.codebook).forbidden;
            Rules::Lines(Allowed::except(&forbidden, config.vocab_size))
        };
        Ok(Self {
            generator: Generator::new(model.transformer, Limits { n_running: N_RUNNING, ..Limits::default() }),
            max_tokens: config.context_len.saturating_sub(beginning.len()).max(1),
            model,
            guidance,
            beginning,
            sampling,
            rules,
            asked: VecDeque::new(),
            answers: HashMap::new(),
            n_asked: 0,
            n_lost: 0,
        })
    }

    /// The next lines with their molecules, as many as are wanted, at most [`GROUP`]. Without the grammar a line may be no
    /// molecule; one that came to no end is asked for again with the grammar, and is a line as it stands without.
    ///
    /// # Errors
    /// When the model cannot be asked.
    pub fn next(&mut self, n_wanted: usize) -> Outcome<Vec<(String, Option<Molecule>)>> {
        self.next_within(n_wanted, MOST_LOST * n_wanted.min(GROUP) + GROUP)
    }

    /// As [`Maker::next`], but gives up once `n_lost` more lines have led nowhere.
    ///
    /// # Errors
    /// When the model cannot be asked.
    pub fn next_within(&mut self, n_wanted: usize, n_lost: usize) -> Outcome<Vec<(String, Option<Molecule>)>> {
        let n = n_wanted.min(GROUP);
        let most_lost = self.n_lost + n_lost as u64;
        let mut lines = Vec::with_capacity(n);
        while lines.len() < n && self.n_lost < most_lost {
            self.ask_for(n_wanted - lines.len())?;
            let finished = self.generator.step().into_iter().filter_map(|event| match event {
                Event::Finished(answer) => Some((answer.id, answer)),
                Event::Begun { .. } | Event::Token { .. } => None,
            });
            self.answers.extend(finished);
            while lines.len() < n
                && let Some(answer) = self.asked.front().and_then(|id| self.answers.remove(id))
            {
                self.asked.pop_front();
                lines.extend(self.line(&answer));
            }
        }
        Ok(lines)
    }

    /// Asks for lines until so many, or as many as may be, are to come.
    fn ask_for(&mut self, n_wanted: usize) -> Outcome<()> {
        while self.asked.len() < n_wanted.min(N_ASKED) {
            let mut request = Request::new(self.beginning.clone());
            request.max_tokens = self.max_tokens;
            request.stop = self.model.stop_ids();
            request.sampling = self.sampling.clone();
            request.guidance = self.guidance.clone();
            request.sample = self.n_asked;
            request.constraint = Some(match &self.rules {
                Rules::Grammar(grammar) => Box::new(grammar.clone()) as Box<dyn Constraint>,
                Rules::Lines(allowed) => Box::new(allowed.clone()),
            });
            self.asked.push_back(self.generator.submit(request)?);
            self.n_asked += 1;
        }
        Ok(())
    }

    /// The line of an answer with its molecule, unless it is to be asked for again.
    fn line(&mut self, answer: &Answer) -> Option<(String, Option<Molecule>)> {
        // As a whole: what a symbol means may depend on those before it.
        let line = self.model.codebook.decode(&[&self.beginning[..], &answer.tokens].concat());
        let has_grammar = matches!(self.rules, Rules::Grammar(_));
        let molecule = Molecule::parse(&line);
        // The rules know what RDKit knows of usual molecules; unusual ones are looked at once more.
        let is_whole = matches!(answer.reason, Finish::Stop(_)) && (!has_grammar || molecule.is_some());
        self.n_lost += u64::from(!is_whole);
        (is_whole || !has_grammar).then_some((line, molecule))
    }
}
