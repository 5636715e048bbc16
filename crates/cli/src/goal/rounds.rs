//! Rounds of making candidates, scoring them, and learning from the best.

use super::external::one_line;
use super::objective::Objective;
use crate::answers::{self, Settings};
use crate::failure::{Failure, Outcome};
use crate::model::{ModelFacts, SpeakingModel};
use genera_chemistry::Molecule;
use genera_engine::generate::{Finish, Generator, Limits};
use genera_engine::train::{Expert, Experts, Trainer};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// How far and how fast.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Candidates that are scored in all.
    pub n_calls: usize,
    /// Candidates of a round.
    pub n_per_round: usize,
    /// Best candidates that are learned from.
    pub n_experts: usize,
    /// Passes over them after each round.
    pub n_passes: usize,
    /// Decides the random choices.
    pub sampling_seed: u64,
    /// Tokens of a candidate at most.
    pub n_max_tokens: usize,
}

/// Rows of a batch.
const N_ROWS: usize = 8;

/// Candidates in progress at once.
const N_RUNNING: usize = 256;

/// Answers that may repeat known ones for each new one that is wanted.
const MOST_REPEATED: usize = 40;

/// What came of a round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Candidates scored so far.
    pub n_calls: usize,
    /// Mean score of this round's candidates, of those that could be scored.
    pub mean: f64,
    /// Mean score of the best hundred so far.
    pub best: f64,
    /// Share of this round's answers that had come before.
    pub repeated: f64,
    /// Mean loss of the last pass, in nats a token.
    pub loss: f64,
}

/// A model that is being improved.
pub struct Rounds<'r> {
    facts: &'r ModelFacts,
    trainer: Trainer,
    /// The best candidates.
    pub experts: Experts,
    /// Every candidate that was scored, with its score, in order.
    pub scored: Vec<(String, f64)>,
    known: HashSet<String>,
    plan: Plan,
    settings: Settings,
    n_asked: u64,
}

/// A candidate under way.
struct Candidate {
    key: String,
    tokens: Vec<u32>,
    n_given: usize,
}

impl<'r> Rounds<'r> {
    /// Begins with a model; `facts` says how it speaks.
    pub fn new(facts: &'r ModelFacts, trainer: Trainer, plan: Plan) -> Self {
        let mut settings = Settings::of_recipe(&facts.defaults);
        settings.sampling.seed = plan.sampling_seed;
        settings.max_tokens = settings.max_tokens.min(plan.n_max_tokens);
        Self {
            facts,
            trainer,
            experts: Experts::new(plan.n_experts),
            scored: Vec::new(),
            known: HashSet::new(),
            plan,
            settings,
            n_asked: 0,
        }
    }

    /// Whether all candidates were scored.
    pub fn is_done(&self) -> bool {
        self.scored.len() >= self.plan.n_calls
    }

    /// The next round: makes candidates, scores them, and learns from the best so far.
    ///
    /// # Errors
    /// When the model makes no new candidates, the objective fails, or training goes wrong; what was scored before stays.
    pub fn next(&mut self, objective: &Objective) -> Outcome<Round> {
        let n = self.plan.n_per_round.min(self.plan.n_calls - self.scored.len());
        let (candidates, repeated) = self.candidates(n)?;
        let keys: Vec<String> = candidates.iter().map(|candidate| candidate.key.clone()).collect();
        let scores = objective.scores(&keys)?;
        let of_round: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
        for (Candidate { key, tokens, n_given }, score) in candidates.into_iter().zip(scores) {
            self.scored.push((key.clone(), score));
            self.experts.consider(Expert { key, tokens, n_given, score });
        }
        let loss = self.learn()?;
        Ok(Round { n_calls: self.scored.len(), mean: mean(&of_round), best: self.best_score(100), repeated, loss })
    }

    /// Mean score of the best so many.
    pub fn best_score(&self, n: usize) -> f64 {
        let best: Vec<f64> = self.experts.best().iter().take(n).map(|expert| expert.score).collect();
        mean(&best)
    }

    /// New candidates, and the share of answers that had come before.
    fn candidates(&mut self, n: usize) -> Outcome<(Vec<Candidate>, f64)> {
        let (mut candidates, mut n_answers) = (Vec::new(), 0);
        while candidates.len() < n {
            if n_answers > MOST_REPEATED * n {
                return Err(Failure::new(format!(
                    "of {n_answers} answers only {} were new: the model has nothing new to say; take more candidates a round, a \
                     higher temperature, or fewer calls",
                    candidates.len()
                )));
            }
            for candidate in self.ask(n - candidates.len())? {
                n_answers += 1;
                if self.known.insert(candidate.key.clone()) {
                    candidates.push(candidate);
                }
            }
        }
        Ok((candidates, 1.0 - n as f64 / n_answers.max(1) as f64))
    }

    fn ask(&mut self, n: usize) -> Outcome<Vec<Candidate>> {
        let codebook = &self.facts.codebook;
        let model = SpeakingModel::new(self.trainer.model(), codebook, self.facts.modality, &self.facts.special);
        let mut generator = Generator::new(model.transformer, Limits { n_running: N_RUNNING, ..Limits::default() });
        let prompt = model.encode("")?;
        let given = answers::request(&model, prompt.clone(), &self.settings, 0)?.prompt;
        for _ in 0..n {
            generator.submit(answers::request(&model, prompt.clone(), &self.settings, self.n_asked)?)?;
            self.n_asked += 1;
        }
        let mut candidates = Vec::new();
        for answer in generator.run(|_| ControlFlow::Continue(())) {
            let Finish::Stop(end) = answer.reason else { continue };
            let text = one_line(&self.facts.modality.decode(codebook, &answer.tokens).as_text());
            let key = match self.facts.modality.name() {
                "molecule" => Molecule::parse(&text).map_or(text, |molecule| molecule.canonical().to_owned()),
                _ => text,
            };
            let tokens = given.iter().chain(&answer.tokens).chain([&end]).copied().collect();
            candidates.push(Candidate { key, tokens, n_given: given.len() });
        }
        Ok(candidates)
    }

    /// Passes over the best candidates; the loss of the last.
    fn learn(&mut self) -> Outcome<f64> {
        let context_len = self.trainer.model().config().context_len;
        let mut loss = f64::NAN;
        for _ in 0..self.plan.n_passes {
            let mut losses = Vec::new();
            for batch in self.experts.batches(N_ROWS, context_len) {
                losses.push(self.trainer.step(&[batch])?.loss);
            }
            loss = mean(&losses);
        }
        Ok(loss)
    }

    /// Ends, and gives the improved model away.
    pub fn into_model(self) -> (genera_engine::model::Transformer, Vec<(String, f64)>) {
        (self.trainer.into_model(), self.scored)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
