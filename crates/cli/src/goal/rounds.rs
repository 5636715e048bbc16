//! Rounds of making candidates, scoring them, and learning from the best.

use super::counted;
use super::external::one_line;
use super::known::Known;
use super::objective::Objective;
use crate::answers::{self, Settings};
use crate::failure::{Failure, Outcome};
use crate::model::{ModelFacts, SpeakingModel};
use crate::run::interrupt::Interrupt;
use genera_engine::generate::{Answer, Event, Finish, Generator, Limits};
use genera_engine::train::{Expert, Experts, Trainer};
use genera_modality::table;
use std::collections::BTreeMap;

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

/// Answers that may be none, or repeat known ones, for each new one that is wanted.
const MOST_REPEATED: usize = 40;

/// Answers of which at least one should have come to an end.
const MANY: usize = 64;

/// How many of the best scores are told of.
const N_BEST: usize = 100;

/// Rounds in a row, and candidates in them, of which at least one should have been scored.
const UNSCORED_ROUNDS: usize = 3;
const UNSCORED: usize = 50;

/// What came of a round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Candidates so far.
    pub n_calls: usize,
    /// Those of them that could be scored.
    pub n_scored: usize,
    /// Candidates of this round that got inf or -inf, which is no score.
    pub n_infinite: usize,
    /// Mean score of this round's candidates, of those that could be scored; `None` where none could.
    pub mean: Option<f64>,
    /// Mean score of the best of all so far, a hundred at most, and how many they are.
    pub best: Option<(f64, usize)>,
    /// Share of this round's answers that had come before.
    pub repeated: f64,
    /// Share of them that came to no end.
    pub unfinished: f64,
    /// Mean loss of the last pass, in nats a token; `None` where nothing was learned.
    pub loss: Option<f64>,
}

/// A model that is being improved.
pub struct Rounds<'r> {
    facts: &'r ModelFacts,
    trainer: Trainer,
    /// The best candidates.
    pub experts: Experts,
    /// Every candidate with its score, in order; NaN where it could not be scored.
    pub scored: Vec<(String, f64)>,
    /// How many could be scored.
    pub n_scored: usize,
    unscored: Unscored,
    best: Best,
    known: Known,
    plan: Plan,
    settings: Settings,
    n_asked: u64,
    interrupt: Interrupt,
}

/// A candidate under way.
struct Candidate {
    key: String,
    tokens: Vec<u32>,
    n_given: usize,
}

impl<'r> Rounds<'r> {
    /// Begins with a model; `facts` says how it speaks, `known` what is no candidate, and `interrupt` when to stop.
    ///
    /// # Errors
    /// When nothing ends an answer of the model.
    pub fn new(
        facts: &'r ModelFacts,
        trainer: Trainer,
        plan: Plan,
        known: Known,
        interrupt: Interrupt,
    ) -> Outcome<Self> {
        let model = SpeakingModel::new(trainer.model(), &facts.codebook, facts.modality, &facts.special);
        if model.stop_ids().is_empty() {
            return Err(Failure::new(
                "this model has no token that ends an answer, as it learned from one long text, so it makes no candidates; train \
                 it on separate documents (data.layout = \"packed\", such as JSON lines)",
            ));
        }
        let mut settings = Settings::of_recipe(&facts.defaults);
        settings.sampling.seed = plan.sampling_seed;
        // How long a row is, its columns say.
        let longest = table::of(&facts.codebook).map_or(settings.max_tokens, |table| table.max_row_len());
        settings.max_tokens = longest.min(plan.n_max_tokens);
        Ok(Self {
            facts,
            trainer,
            experts: Experts::new(plan.n_experts),
            scored: Vec::new(),
            n_scored: 0,
            unscored: Unscored::default(),
            best: Best::default(),
            known,
            plan,
            settings,
            n_asked: 0,
            interrupt,
        })
    }

    /// Whether all candidates were made and given to the objective.
    pub fn is_done(&self) -> bool {
        self.scored.len() >= self.plan.n_calls
    }

    /// The next round: makes candidates, scores them, and learns from the best so far, unless none of the new ones could be
    /// scored; `None` when somebody asked to stop.
    ///
    /// # Errors
    /// When the model makes no new candidates, the objective fails or scores nothing for several rounds, or training goes wrong;
    /// what was scored until then stays.
    pub fn next(&mut self, objective: &Objective) -> Outcome<Option<Round>> {
        let n = self.plan.n_per_round.min(self.plan.n_calls - self.scored.len());
        let (candidates, tally) = self.candidates(n)?;
        if self.interrupt.is_asked() {
            return Ok(None);
        }
        let keys: Vec<String> = candidates.iter().map(|candidate| candidate.key.clone()).collect();
        let (scores, outcome) = objective.scores(&keys, &|| self.interrupt.is_asked());
        let n_infinite = scores.iter().filter(|score| score.is_infinite()).count();
        let of_round: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
        self.take(candidates, &scores);
        outcome?;
        if self.interrupt.is_asked() {
            return Ok(None);
        }
        self.unscored.consider(scores.len(), of_round.len());
        let never = self.is_done() && self.n_scored == 0;
        if let Some(problem) = self.unscored.problem(never, keys.first().map_or("", String::as_str)) {
            return Err(Failure::new(problem));
        }
        let loss = if of_round.is_empty() { None } else { self.learn()? };
        Ok((!self.interrupt.is_asked()).then(|| Round {
            n_calls: self.scored.len(),
            n_scored: self.n_scored,
            n_infinite,
            mean: mean(&of_round),
            best: self.best_score(),
            repeated: tally.share(tally.n_repeated),
            unfinished: tally.share(tally.n_unfinished()),
            loss,
        }))
    }

    /// Keeps candidates with their scores, of which there may be fewer. What is not finite is no score.
    fn take(&mut self, candidates: Vec<Candidate>, scores: &[f64]) {
        for (Candidate { key, tokens, n_given }, &score) in candidates.into_iter().zip(scores) {
            let score = if score.is_finite() { score } else { f64::NAN };
            self.n_scored += usize::from(score.is_finite());
            self.scored.push((key.clone(), score));
            self.best.consider(score);
            self.experts.consider(Expert { key, tokens, n_given, score });
        }
    }

    /// Mean score of the best of all candidates, a hundred at most, and how many they are; `None` before any was scored.
    pub fn best_score(&self) -> Option<(f64, usize)> {
        mean(&self.best.0).map(|mean| (mean, self.best.0.len()))
    }

    /// New candidates, fewer when somebody asked to stop, and what else was answered.
    fn candidates(&mut self, n: usize) -> Outcome<(Vec<Candidate>, Tally)> {
        let (mut candidates, mut tally) = (Vec::new(), Tally::default());
        while candidates.len() < n && !self.interrupt.is_asked() {
            if let Some(problem) = tally.problem(n, self.settings.max_tokens) {
                return Err(Failure::new(problem));
            }
            let n_missing = n - candidates.len();
            tally.n_answers += n_missing;
            for answer in self.ask(n_missing)? {
                match answer {
                    Ok(candidate) if self.known.insert(&candidate.key) => candidates.push(candidate),
                    Ok(_) => tally.n_repeated += 1,
                    Err(reason) => *tally.unfinished.entry(answers::finish_name(&reason)).or_default() += 1,
                }
            }
        }
        Ok((candidates, tally))
    }

    /// So many answers, or why they are none; fewer when somebody asked to stop.
    fn ask(&mut self, n: usize) -> Outcome<Vec<Result<Candidate, Finish>>> {
        let codebook = &self.facts.codebook;
        let model = SpeakingModel::new(self.trainer.model(), codebook, self.facts.modality, &self.facts.special);
        let mut generator = Generator::new(model.transformer, Limits { n_running: N_RUNNING, ..Limits::default() });
        let prompt = model.encode("")?;
        let given = answers::request(&model, prompt.clone(), &self.settings, 0)?.prompt;
        for _ in 0..n {
            generator.submit(answers::request(&model, prompt.clone(), &self.settings, self.n_asked)?)?;
            self.n_asked += 1;
        }
        let mut answers: Vec<Answer> = Vec::new();
        while !generator.is_idle() && !self.interrupt.is_asked() {
            answers.extend(generator.step().into_iter().filter_map(|event| match event {
                Event::Finished(answer) => Some(answer),
                Event::Begun { .. } | Event::Token { .. } => None,
            }));
        }
        answers.sort_by_key(|answer| answer.id);
        let candidate = |answer: Answer| {
            let Finish::Stop(end) = answer.reason else { return Err(answer.reason) };
            let text = one_line(&self.facts.modality.decode(codebook, &answer.tokens).as_text());
            let key = self.facts.modality.key(&text);
            let tokens = given.iter().chain(&answer.tokens).chain([&end]).copied().collect();
            Ok(Candidate { key, tokens, n_given: given.len() })
        };
        Ok(answers.into_iter().map(candidate).collect())
    }

    /// Passes over the best candidates; the loss of the last, `None` when there are none or somebody asked to stop.
    fn learn(&mut self) -> Outcome<Option<f64>> {
        let context_len = self.trainer.model().config().context_len;
        let mut loss = None;
        for _ in 0..self.plan.n_passes {
            let mut losses = Vec::new();
            for batch in self.experts.batches(N_ROWS, context_len) {
                if self.interrupt.is_asked() {
                    return Ok(None);
                }
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

/// The best scores of all, best first.
#[derive(Debug, Default)]
struct Best(Vec<f64>);

impl Best {
    /// Takes a score in if it is among the best; one that is no number never is.
    fn consider(&mut self, score: f64) {
        let at = self.0.partition_point(|&other| other >= score);
        if score.is_finite() && at < N_BEST {
            self.0.insert(at, score);
            self.0.truncate(N_BEST);
        }
    }
}

/// Rounds in a row of which no candidate could be scored.
#[derive(Debug, Default)]
struct Unscored {
    n_rounds: usize,
    n_candidates: usize,
}

impl Unscored {
    /// Takes in a round of `n` candidates of which `n_scored` could be scored.
    fn consider(&mut self, n: usize, n_scored: usize) {
        *self = match n_scored {
            0 => Self { n_rounds: self.n_rounds + 1, n_candidates: self.n_candidates + n },
            _ => Self::default(),
        };
    }

    /// Why it is no use to go on: there were several such rounds, or never another. `example` is one of the candidates.
    fn problem(&self, never: bool, example: &str) -> Option<String> {
        let are_many = self.n_rounds >= UNSCORED_ROUNDS && self.n_candidates >= UNSCORED;
        (never || are_many).then(|| {
            format!(
                "the objective gave no number for any of the last {} (in {}), and there is nothing to learn from nan, inf or -inf; \
                 see what it gives for one of them, such as {example:?}",
                counted(self.n_candidates, "candidate"),
                counted(self.n_rounds, "round")
            )
        })
    }
}

/// What became of the answers of a round that are no candidates.
#[derive(Debug, Default)]
struct Tally {
    /// All answers, the candidates too.
    n_answers: usize,
    /// Those that had come before.
    n_repeated: usize,
    /// Those that came to no end, by the reason.
    unfinished: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn n_unfinished(&self) -> usize {
        self.unfinished.values().sum()
    }

    fn share(&self, n: usize) -> f64 {
        n as f64 / self.n_answers.max(1) as f64
    }

    /// Why it is no use to ask for more, where `n` candidates of at most `max_tokens` tokens are wanted.
    fn problem(&self, n: usize, max_tokens: usize) -> Option<String> {
        let (n_answers, n_unfinished) = (self.n_answers, self.n_unfinished());
        let none_ends = n_unfinished == n_answers && n_answers >= MANY.max(2 * n);
        if n_answers <= MOST_REPEATED * n && !none_ends {
            return None;
        }
        let n_new = n_answers - n_unfinished - self.n_repeated;
        let reasons: String = self.unfinished.iter().map(|(reason, n)| format!(", {n} ended by {reason}")).collect();
        let advice = if n_unfinished > self.n_repeated {
            format!(
                "only an answer that the model ends is a candidate; they may have {max_tokens} tokens (generate.max_tokens of its \
                 recipe, and its context)"
            )
        } else {
            "the model has nothing new to say; take more candidates a round, a higher temperature, or fewer calls"
                .to_owned()
        };
        Some(format!(
            "of {n_answers} answers only {n_new} were new candidates: {} had come before{reasons}; {advice}",
            self.n_repeated
        ))
    }
}

/// The mean; `None` of nothing.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_hundred_are_of_all_scores() {
        let mut best = Best::default();
        for score in (0..250).map(|i| f64::from(i * 7 % 250)).chain([f64::NAN, f64::INFINITY]) {
            best.consider(score);
        }
        assert_eq!((best.0.len(), best.0[0], best.0[99], mean(&best.0)), (100, 249.0, 150.0, Some(199.5)));
        let mut few = Best::default();
        assert_eq!(mean(&few.0), None);
        [1.0, 3.0].into_iter().for_each(|score| few.consider(score));
        assert_eq!(mean(&few.0), Some(2.0));
    }

    #[test]
    fn rounds_without_a_score_come_to_an_end() {
        let mut unscored = Unscored::default();
        unscored.consider(40, 0);
        unscored.consider(40, 1);
        assert_eq!(unscored.problem(false, "CCO"), None);
        unscored.consider(20, 0);
        let never = unscored.problem(true, "CCO").unwrap();
        assert!(never.contains("any of the last 20 candidates (in 1 round)") && never.contains("\"CCO\""), "{never}");
        unscored.consider(20, 0);
        assert_eq!(unscored.problem(false, "CCO"), None, "two rounds may be chance");
        unscored.consider(20, 0);
        assert!(unscored.problem(false, "CCO").unwrap().contains("last 60 candidates (in 3 rounds)"));
        let mut small = Unscored::default();
        (0..9).for_each(|_| small.consider(1, 0));
        assert_eq!(small.problem(false, "CCO"), None, "nine candidates say little");
    }

    #[test]
    fn answers_that_are_no_candidates_come_to_an_end_with_their_reasons() {
        let tally = |n_answers, n_repeated, n_unfinished| Tally {
            n_answers,
            n_repeated,
            unfinished: BTreeMap::from([("max_tokens", n_unfinished)]),
        };
        assert_eq!(tally(0, 0, 0).problem(250, 256), None);
        assert_eq!(tally(300, 40, 259).problem(250, 256), None, "one answer came to an end");
        let none = tally(500, 0, 500).problem(250, 256).unwrap();
        assert!(none.contains("500 ended by max_tokens") && none.contains("256 tokens"), "{none}");
        assert_eq!(tally(10, 0, 10).problem(1, 256), None, "ten answers say little");
        let repeated = tally(401, 391, 5).problem(10, 256).unwrap();
        assert!(
            repeated.contains("only 5 were new candidates: 391 had come before, 5 ended by max_tokens"),
            "{repeated}"
        );
        assert!(repeated.contains("nothing new to say"), "{repeated}");
    }
}
