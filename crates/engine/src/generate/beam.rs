//! Beam search: the most probable answers instead of a drawn one.

use super::prefill::{read, read_sources};
use super::request::{check_input, refuse_if};
use super::rules::{Place, Rules, Ruling};
use super::sampler::Logits;
use super::sampling::{Sampling, check_token};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::{CacheRow, Transformer};
use genera_tensor::Tensor;
use genera_tokens::TokenId;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What a search starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BeamInput {
    /// What the encoder reads, for a model that has one.
    pub source: Option<Vec<TokenId>>,
    /// What the decoder reads first.
    pub prompt: Vec<TokenId>,
}

/// How to search.
#[derive(Clone, Debug, PartialEq)]
pub struct BeamSettings {
    /// Answers followed at once.
    pub n_beams: usize,
    /// Answers returned for each input, at most `n_beams`.
    pub n_best: usize,
    /// α: answers are ranked by Σ ln p / lengthᵅ, the length being that of the answer with its stop token. Above 0
    /// favours long answers; 0 ranks by probability alone. The Hugging Face library's definition.
    pub length_penalty: f32,
    /// Tokens of an answer at most.
    pub max_tokens: usize,
    /// An answer ends at these.
    pub stop: Vec<TokenId>,
    /// Tokens that never come, such as padding.
    pub forbidden: Vec<TokenId>,
    /// What is asked of its tokens beside that. A forced token adds nothing to the sum that an answer is ranked by.
    pub rules: Rules,
    /// Above 1 makes every token less likely that stands in the prompt or the answer; 1 for none. It multiplies their ln p,
    /// and nothing is scaled to sum to 1 after that, as in the Hugging Face library.
    pub repetition_penalty: f32,
    /// When the search is over.
    pub ending: Ending,
    /// Whether inputs and answers may be longer than the model was made for, as far as its positions reach.
    pub goes_on: bool,
    /// Rows of the model's batch: so many inputs are searched at once as have room with their beams.
    pub n_rows: usize,
}

/// When the search for an input is over, once `n_beams` complete answers were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// At once (Hugging Face: `early_stopping=True`).
    First,
    /// When the best unfinished answer, ranked as it stands, does not beat the worst of them (`early_stopping=False`).
    #[default]
    Likely,
    /// When no unfinished answer can still beat one of them (`early_stopping="never"`). Slow with a length penalty
    /// above 0, since an answer may become much longer.
    Certain,
}

/// An answer that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, without the stop token.
    pub tokens: Vec<TokenId>,
    /// Σ ln p of its tokens and its stop token.
    pub logprob: f64,
    /// What it was ranked by.
    pub score: f64,
    /// Whether it ended with a stop token; otherwise there was no room for more.
    pub is_complete: bool,
}

impl Default for BeamSettings {
    fn default() -> Self {
        Self {
            n_beams: 4,
            n_best: 1,
            length_penalty: 1.0,
            max_tokens: 256,
            stop: Vec::new(),
            forbidden: Vec::new(),
            rules: Rules::default(),
            repetition_penalty: 1.0,
            ending: Ending::Likely,
            goes_on: false,
            n_rows: 128,
        }
    }
}

impl BeamSettings {
    fn validate(&self, config: &ModelConfig) -> Result<()> {
        refuse_if(!(1..=1000).contains(&self.n_beams), || {
            format!("n_beams is {}; it must be from 1 to 1000", self.n_beams)
        })?;
        refuse_if(!(1..=self.n_beams).contains(&self.n_best), || {
            format!("n_best is {}; it must be from 1 to n_beams, {}", self.n_best, self.n_beams)
        })?;
        refuse_if(!self.length_penalty.is_finite(), || {
            format!("length_penalty is {}; it must be a number", self.length_penalty)
        })?;
        let sampling = Sampling { repetition_penalty: self.repetition_penalty, ..Sampling::default() };
        sampling.validate(config.vocab_size)?;
        refuse_if(self.max_tokens == 0, || "max_tokens is 0; ask for at least 1 token".to_owned())?;
        let mut tokens = self.stop.iter().map(|&token| ("stop", token));
        tokens.try_for_each(|(what, token)| check_token(what, token, config.vocab_size))?;
        self.forbidden.iter().try_for_each(|&token| check_token("forbidden", token, config.vocab_size))?;
        self.rules.validate(config.vocab_size)
    }

    fn score(&self, logprob: f64, n_tokens: usize) -> f64 {
        logprob / (n_tokens.max(1) as f64).powf(f64::from(self.length_penalty))
    }
}

/// The best answers to each input, best first.
///
/// # Errors
/// [`Error::Request`] when the model cannot read an input or a setting has no meaning.
///
/// # Determinism
/// The answers to an input do not depend on the other inputs. Among equals the earlier beam, then the lower token wins.
pub fn beam_search(model: &Transformer, inputs: &[BeamInput], settings: &BeamSettings) -> Result<Vec<Vec<Hypothesis>>> {
    let mut results = vec![Vec::new(); inputs.len()];
    beam_search_by_group(model, inputs, settings, |found| {
        found.into_iter().for_each(|(i, found)| results[i] = found);
        ControlFlow::Continue(())
    })?;
    Ok(results)
}

/// As [`beam_search`], for somebody who does not wait for all inputs: `take` gets the answers to those that were searched
/// together, each with the place of its input, and says whether to go on with others.
///
/// # Errors
/// As [`beam_search`].
///
/// # Determinism
/// As [`beam_search`].
pub fn beam_search_by_group(
    model: &Transformer,
    inputs: &[BeamInput],
    settings: &BeamSettings,
    mut take: impl FnMut(Vec<(usize, Vec<Hypothesis>)>) -> ControlFlow<()>,
) -> Result<()> {
    settings.validate(model.config())?;
    for input in inputs {
        check_input(model.config(), model.config().longest(settings.goes_on), input.source.as_deref(), &input.prompt)?;
    }
    // Inputs of about equal length together waste little on padding.
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    order.sort_by_key(|&i| (inputs[i].source.as_ref().map_or(0, Vec::len), inputs[i].prompt.len()));
    for group in order.chunks((settings.n_rows / settings.n_beams).max(1)) {
        let group_inputs: Vec<&BeamInput> = group.iter().map(|&i| &inputs[i]).collect();
        let found = search_group(model, &group_inputs, settings)?;
        if take(group.iter().copied().zip(found).collect()).is_break() {
            break;
        }
    }
    Ok(())
}

fn search_group(model: &Transformer, inputs: &[&BeamInput], settings: &BeamSettings) -> Result<Vec<Vec<Hypothesis>>> {
    let config = model.config();
    let room = |input: &&BeamInput| settings.max_tokens.min(config.longest(settings.goes_on) - input.prompt.len());
    let mut searches: Vec<Search<'_>> =
        inputs.iter().map(|input| Search::new(settings, &input.prompt, room(input))).collect();
    let start: Vec<_> = inputs.iter().map(|input| (*input, input.prompt.clone())).collect();
    let (mut cache, mut logits) = read_contexts(model, &start);
    loop {
        let (mut from, mut tokens) = (Vec::new(), Vec::new());
        let mut sums = Vec::new();
        let mut rows = Logits::rows(&logits, &mut sums);
        let mut first_row = 0;
        for search in searches.iter_mut().filter(|search| !search.beams.is_empty()) {
            let n_rows = search.beams.len();
            let logits: Vec<Logits<'_>> = rows.by_ref().take(n_rows).collect();
            for Extension { parent, token } in search.extend(&logits)? {
                from.push(first_row + parent);
                tokens.push(token);
            }
            first_row += n_rows;
        }
        drop(rows);
        if tokens.is_empty() {
            return Ok(searches.into_iter().map(Search::into_best).collect());
        }
        let contexts = contexts_to_read(model, inputs, &searches);
        if !contexts.is_empty() {
            (cache, logits) = read_contexts(model, &contexts);
            continue;
        }
        cache = cache.continued(&from);
        let tokens: Vec<&[TokenId]> = tokens.chunks(1).collect();
        logits = model.logits(&model.decode_cached(&tokens, &mut cache.own, &cache.sources));
    }
}

/// The contexts of all beams, where one has become so long that the model makes all of it otherwise; else none.
fn contexts_to_read<'i>(
    model: &Transformer,
    inputs: &[&'i BeamInput],
    searches: &[Search<'_>],
) -> Vec<(&'i BeamInput, Vec<TokenId>)> {
    let Some(switch) = model.switch() else { return Vec::new() };
    let context = |input: &BeamInput, beam: &Beam| [input.prompt.as_slice(), &beam.tokens].concat();
    let of_search = |(input, search): (&&'i BeamInput, &Search<'_>)| -> Vec<_> {
        search.beams.iter().map(|beam| (*input, context(input, beam))).collect()
    };
    let contexts: Vec<_> = inputs.iter().zip(searches).flat_map(of_search).collect();
    let has_switched = |(_, context): &(_, Vec<TokenId>)| !switch.keeps(context.len() - 1, context.len());
    if contexts.iter().any(has_switched) { contexts } else { Vec::new() }
}

/// The keys and values of all beams.
struct Cache {
    own: Vec<CacheRow>,
    /// None without an encoder.
    sources: Vec<CacheRow>,
}

impl Cache {
    /// Row i goes on from row `from[i]`.
    fn continued(&self, from: &[usize]) -> Self {
        let rows = |rows: &[CacheRow]| from.iter().filter_map(|&row| rows.get(row).cloned()).collect();
        Self { own: rows(&self.own), sources: rows(&self.sources) }
    }
}

fn read_contexts(model: &Transformer, contexts: &[(&BeamInput, Vec<TokenId>)]) -> (Cache, Tensor) {
    let sources: Vec<&[TokenId]> = contexts.iter().filter_map(|(input, _)| input.source.as_deref()).collect();
    let sources = if sources.is_empty() { Vec::new() } else { read_sources(model, &sources) };
    let tokens: Vec<&[TokenId]> = contexts.iter().map(|(_, context)| context.as_slice()).collect();
    let mut own = vec![CacheRow::default(); contexts.len()];
    let hidden = read(model, &tokens, &mut own, &sources);
    (Cache { own, sources }, model.logits(&hidden))
}

/// The search for one input.
struct Search<'s> {
    settings: &'s BeamSettings,
    prompt: &'s [TokenId],
    /// Tokens that an answer may have.
    room: usize,
    /// The answers that are followed, best first; none when the search is over.
    beams: Vec<Beam>,
    /// The best complete answers, best first, at most `n_beams`.
    finished: Vec<Hypothesis>,
}

#[derive(Clone, Debug, Default)]
struct Beam {
    tokens: Vec<TokenId>,
    logprob: f64,
}

/// A beam of the next step: which beam it goes on, and with which token.
struct Extension {
    parent: usize,
    token: TokenId,
}

struct Candidate {
    logprob: f64,
    parent: usize,
    token: TokenId,
}

impl Candidate {
    /// More probable first, then the earlier beam, then the lower token.
    fn order(a: &Self, b: &Self) -> Ordering {
        b.logprob.total_cmp(&a.logprob).then((a.parent, a.token).cmp(&(b.parent, b.token)))
    }
}

impl<'s> Search<'s> {
    fn new(settings: &'s BeamSettings, prompt: &'s [TokenId], room: usize) -> Self {
        Self { settings, prompt, room, beams: vec![Beam::default()], finished: Vec::new() }
    }

    /// Takes one step with the logits behind each beam.
    fn extend(&mut self, logits: &[Logits<'_>]) -> Result<Vec<Extension>> {
        let n_beams = self.settings.n_beams;
        let mut extensions = Vec::new();
        let mut next = Vec::new();
        let candidates = self.candidates(logits)?;
        if candidates.is_empty() {
            // Nothing may follow any more.
            std::mem::take(&mut self.beams).into_iter().for_each(|beam| self.finish(beam.tokens, beam.logprob, false));
            return Ok(extensions);
        }
        for (rank, candidate) in candidates.into_iter().enumerate() {
            let Candidate { logprob, parent, token } = candidate;
            if self.settings.stop.contains(&token) {
                // A stop token that would not be followed as a beam does not end an answer either.
                if rank < n_beams {
                    self.finish(self.beams[parent].tokens.clone(), logprob, true);
                }
            } else if next.len() < n_beams {
                let tokens = [self.beams[parent].tokens.as_slice(), &[token]].concat();
                next.push(Beam { tokens, logprob });
                extensions.push(Extension { parent, token });
            }
        }
        let is_full = next.first().is_some_and(|beam| beam.tokens.len() == self.room);
        if is_full {
            next.drain(..).for_each(|beam| self.finish(beam.tokens, beam.logprob, false));
        }
        if self.is_over(next.first()) {
            next.clear();
        }
        extensions.truncate(next.len());
        self.beams = next;
        Ok(extensions)
    }

    /// The most probable extensions of all beams, best first: enough that `n_beams` remain when all others are stop
    /// tokens.
    fn candidates(&self, logits: &[Logits<'_>]) -> Result<Vec<Candidate>> {
        let n_wanted = self.settings.n_beams * (1 + self.settings.stop.len().max(1));
        let mut candidates = Vec::new();
        for (parent, (beam, logits)) in self.beams.iter().zip(logits).enumerate() {
            let Logits { values: logits, log_sum_exp: log_sum } = *logits;
            if !log_sum.is_finite() {
                return Err(Error::Request("the model's logits are not numbers; its weights are damaged".to_owned()));
            }
            let without = match self.ruling(beam) {
                Ruling::Forced(token) => {
                    candidates.push(Candidate { logprob: beam.logprob, parent, token });
                    continue;
                }
                Ruling::Without(tokens) => tokens,
            };
            let is_forbidden = |token: &TokenId| self.settings.forbidden.contains(token) || without.contains(token);
            let penalised = self.penalised(beam);
            let is_apart = |token: &TokenId| is_forbidden(token) || penalised.contains(token);
            let others = largest(logits, n_wanted, is_apart).into_iter();
            let others = others.map(|(token, logit)| (token, f64::from(logit - log_sum)));
            let penalty = f64::from(self.settings.repetition_penalty);
            let repeated = penalised.iter().filter(|token| !is_forbidden(token));
            let repeated = repeated.map(|&token| (token, penalty * f64::from(logits[token as usize] - log_sum)));
            let with_sum = |(token, logprob)| Candidate { logprob: beam.logprob + logprob, parent, token };
            candidates.extend(others.chain(repeated).map(with_sum));
        }
        candidates.sort_unstable_by(Candidate::order);
        candidates.truncate(n_wanted);
        Ok(candidates)
    }

    /// What the rules say of the token behind a beam.
    fn ruling(&self, beam: &Beam) -> Ruling {
        let text = [self.prompt, &beam.tokens].concat();
        let BeamSettings { rules, stop, .. } = self.settings;
        rules.next(&Place { text: &text, n_prompt: self.prompt.len(), room: self.room, stop })
    }

    /// The tokens of a text that are made less likely, each once.
    fn penalised(&self, beam: &Beam) -> BTreeSet<TokenId> {
        let is_idle = self.settings.repetition_penalty == 1.0;
        if is_idle { BTreeSet::new() } else { self.prompt.iter().chain(&beam.tokens).copied().collect() }
    }

    fn finish(&mut self, tokens: Vec<TokenId>, logprob: f64, is_complete: bool) {
        let score = self.settings.score(logprob, tokens.len() + usize::from(is_complete));
        let place = self.finished.partition_point(|other| other.score >= score);
        self.finished.insert(place, Hypothesis { tokens, logprob, score, is_complete });
        self.finished.truncate(self.settings.n_beams);
    }

    /// Whether following `best` and those behind it is of no more use.
    fn is_over(&self, best: Option<&Beam>) -> bool {
        let Some(best) = best else { return true };
        let Some(worst) = self.finished.get(self.settings.n_beams - 1) else { return false };
        let n_tokens = match self.settings.ending {
            Ending::First => return true,
            Ending::Certain if self.settings.length_penalty > 0.0 => self.room,
            Ending::Certain | Ending::Likely => best.tokens.len(),
        };
        self.settings.score(best.logprob, n_tokens) <= worst.score
    }

    fn into_best(mut self) -> Vec<Hypothesis> {
        self.finished.truncate(self.settings.n_best);
        self.finished
    }
}

/// The `n` largest logits that are not forbidden, largest first, the lower token first among equals.
///
/// # Cost
/// Few tokens are larger than the n-th largest before them, so nearly all are passed over after one comparison.
fn largest(logits: &[f32], n: usize, is_forbidden: impl Fn(&TokenId) -> bool) -> Vec<(TokenId, f32)> {
    let mut kept: Vec<(TokenId, f32)> = Vec::with_capacity(n + 1);
    let mut least = f32::NEG_INFINITY;
    for (token, &logit) in (0..).zip(logits) {
        if logit > least && !is_forbidden(&token) {
            let place = kept.partition_point(|&(_, other)| other >= logit);
            kept.insert(place, (token, logit));
            if kept.len() > n {
                kept.pop();
            }
            if kept.len() == n {
                least = kept[n - 1].1;
            }
        }
    }
    kept
}
