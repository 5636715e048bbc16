//! Logits to a token.

use super::constraint::{Constraint, TokenMask};
use super::request::Finish;
use super::rules::{Place, Rules, Ruling};
use super::sampling::Sampling;
use genera_tensor::{Key, Tensor};
use genera_tokens::TokenId;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

/// Chooses the tokens of one answer, and remembers what it has chosen.
///
/// In this order, as in the Hugging Face library (`generation/logits_process.py`) where it has the step:
///
/// 1. `logit_bias` is added.
/// 2. `repetition_penalty` r: the logit of each token of the prompt and the answer is divided by r if positive, else
///    multiplied (Keskar et al., "CTRL", arXiv 1909.05858, section 4.1).
/// 3. `presence_penalty`, and `frequency_penalty` for each time, are subtracted for the tokens of the answer (the OpenAI
///    interface's definition).
/// 4. [`Rules`] and the constraint forbid tokens; a token that the rules force is the only one left, if the constraint allows it.
/// 5. `temperature` divides the logits; at 0 the largest wins, the lowest id among equals, and nothing below applies.
/// 6. `top_k`: tokens below the k-th largest logit leave; all that equal it stay.
/// 7. `top_p`: the most probable tokens stay until their sum reaches p, the one that reaches it included (Holtzman et
///    al., arXiv 1904.09751, section 3.1). Among equals the lowest id comes first.
/// 8. `min_p`: tokens less probable than min-p times the most probable one leave (Nguyen et al., arXiv 2407.01082).
/// 9. One of those left is drawn.
///
/// A token that the constraint does not confirm is forbidden then, and the steps from 5 on are gone again. Without limits that
/// draws as if it had been forbidden at 4; with them, from what the limits leave of the tokens not yet refused.
///
/// # Determinism
/// The random number is a function of (seed, which of n answers, index of the token in the answer, how many were refused
/// there). So an answer depends on its prompt and settings, not on what else is generated beside it.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    key: Key,
    n_chosen: u64,
    /// Tokens of the prompt and the answer; kept only for a repetition penalty.
    seen: HashSet<TokenId>,
    /// How often the answer holds each token; kept only for a presence or frequency penalty.
    counts: HashMap<TokenId, u32>,
    /// Kept only where there are rules.
    ruled: Option<Ruled>,
}

/// Rules, and what they look at.
#[derive(Clone, Debug)]
struct Ruled {
    rules: Rules,
    /// The prompt and the answer so far.
    text: Vec<TokenId>,
    n_prompt: usize,
    room: usize,
    stop: Vec<TokenId>,
}

/// The logits `[V]` behind one position, with ln Σ exp of them.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'l> {
    /// The logits.
    pub values: &'l [f32],
    /// Not finite where they are not all numbers below ∞, or all −∞.
    pub log_sum_exp: f32,
}

impl<'l> Logits<'l> {
    /// The logits of every row of [M, V], with memory for their sums.
    pub(super) fn rows(logits: &'l Tensor, sums: &'l mut Vec<f32>) -> impl Iterator<Item = Self> {
        let [m, v] = logits.dims();
        sums.resize(m, 0.0);
        logits.device().kernels().log_sum_exp(v, logits.view(), sums);
        logits.view().f32().chunks(v).zip(sums.iter()).map(|(values, &log_sum_exp)| Self { values, log_sum_exp })
    }

    /// Of a single row [1, V].
    pub(super) fn of_one(logits: &'l Tensor) -> Self {
        let mut sum = [0.0];
        logits.device().kernels().log_sum_exp(logits.n_elements(), logits.view(), &mut sum);
        Self { values: logits.view().f32(), log_sum_exp: sum[0] }
    }
}

/// A token with what the model thought of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: TokenId,
    /// ln p(token) in the model's own distribution, or in the one that a guided request is led to, before any setting changed it.
    pub logprob: f32,
    /// The most probable tokens with their ln p, most probable first.
    pub top_logprobs: Vec<(TokenId, f32)>,
}

/// Memory that the samplers of all requests use one after another.
#[derive(Debug)]
pub struct Scratch {
    logits: Vec<f32>,
    selected: Vec<f32>,
    candidates: Vec<Candidate>,
    mask: TokenMask,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { logits: Vec::new(), selected: Vec::new(), candidates: Vec::new(), mask: TokenMask::none(0) }
    }
}

/// A token that may be drawn.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// What it is ranked by.
    value: f32,
    /// What its probability is proportional to.
    weight: f32,
    token: TokenId,
}

impl Candidate {
    /// Larger values first, then lower ids.
    fn order(a: &Self, b: &Self) -> Ordering {
        b.value.total_cmp(&a.value).then(a.token.cmp(&b.token))
    }
}

impl Sampler {
    /// A sampler for answer number `sample` to `prompt`.
    pub fn new(sampling: &Sampling, sample: u64, prompt: &[TokenId]) -> Self {
        let is_repetition_penalised = sampling.repetition_penalty != 1.0;
        Self {
            sampling: sampling.clone(),
            key: Key::new(sampling.seed).fold(sample),
            n_chosen: 0,
            seen: prompt.iter().copied().filter(|_| is_repetition_penalised).collect(),
            counts: HashMap::new(),
            ruled: None,
        }
    }

    /// Follows rules as well, for an answer of at most `room` tokens that ends at `stop`.
    pub(super) fn with_rules(self, rules: Rules, prompt: &[TokenId], room: usize, stop: &[TokenId]) -> Self {
        let (n_prompt, is_free) = (prompt.len(), rules == Rules::default());
        let ruled = Ruled { rules, text: prompt.to_vec(), n_prompt, room, stop: stop.to_vec() };
        Self { ruled: Some(ruled).filter(|_| !is_free), ..self }
    }

    /// Whether the next token is the forced first one.
    pub(super) fn is_at_opening(&self) -> bool {
        self.ruled.as_ref().is_some_and(|ruled| ruled.rules.is_opening(&ruled.text, ruled.n_prompt))
    }

    /// Chooses the next token.
    ///
    /// # Errors
    /// [`Finish::NotFinite`] when the logits hold a NaN or +∞, or no finite number; [`Finish::NothingAllowed`] when the
    /// settings and the constraint leave no token, [`Finish::Faulty`] when that is because the constraint cannot go on.
    ///
    /// # Cost
    /// Linear in V, once more for each token that the constraint does not confirm: only the few tokens that `top_k`, `top_p` or `top_logprobs` name are sorted.
    pub fn choose(
        &mut self,
        logits: Logits<'_>,
        mut constraint: Option<&mut (dyn Constraint + 'static)>,
        n_top_logprobs: usize,
        scratch: &mut Scratch,
    ) -> Result<Choice, Finish> {
        let Logits { values: logits, log_sum_exp: log_sum } = logits;
        if !log_sum.is_finite() {
            return Err(Finish::NotFinite);
        }
        scratch.logits.clear();
        scratch.logits.extend_from_slice(logits);
        self.penalise(&mut scratch.logits);
        let forced = self.rule(&mut scratch.logits);
        if let Some(constraint) = &mut constraint {
            scratch.mask.allow_all(logits.len());
            constraint.restrict(&mut scratch.mask);
            scratch.mask.apply(&mut scratch.logits);
        }
        if let Some(token) = forced {
            keep_only(&mut scratch.logits, token);
        }
        let mut n_refused = 0;
        let token = loop {
            let Some(best) = argmax(&scratch.logits) else {
                let fault = constraint.and_then(|constraint| constraint.fault());
                return Err(fault.map_or(Finish::NothingAllowed, Finish::Faulty));
            };
            let token = if self.sampling.temperature == 0.0 { best } else { self.draw(best, n_refused, scratch) };
            if constraint.as_mut().is_none_or(|constraint| constraint.confirms(token)) {
                break token;
            }
            scratch.logits[token as usize] = f32::NEG_INFINITY;
            n_refused += 1;
        };
        let top = most_probable(logits, n_top_logprobs, &mut scratch.candidates);
        let choice = Choice {
            token,
            logprob: logits[token as usize] - log_sum,
            top_logprobs: top.iter().map(|top| (top.token, top.value - log_sum)).collect(),
        };
        self.remember(token);
        Ok(choice)
    }

    fn penalise(&self, logits: &mut [f32]) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.sampling;
        for &(token, bias) in &self.sampling.logit_bias {
            logits[token as usize] += bias;
        }
        for &token in &self.seen {
            let logit = &mut logits[token as usize];
            *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
        }
        for (&token, &count) in &self.counts {
            logits[token as usize] -= presence_penalty + frequency_penalty * count as f32;
        }
    }

    /// Forbids what the rules forbid; the token that they force, where they do.
    fn rule(&self, logits: &mut [f32]) -> Option<TokenId> {
        let Ruled { rules, text, n_prompt, room, stop } = self.ruled.as_ref()?;
        match rules.next(&Place { text, n_prompt: *n_prompt, room: *room, stop }) {
            Ruling::Forced(token) => Some(token),
            Ruling::Without(tokens) => {
                for token in tokens {
                    if let Some(logit) = logits.get_mut(token as usize) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
                None
            }
        }
    }

    /// Draws from what the settings leave; `best` is the most probable token, and so many were drawn and refused before.
    fn draw(&self, best: TokenId, n_refused: u64, scratch: &mut Scratch) -> TokenId {
        self.limit(best, scratch);
        let key = if n_refused == 0 { self.key } else { self.key.fold(n_refused) };
        pick(&scratch.candidates, unit(key.bits64(self.n_chosen))).unwrap_or(best)
    }

    /// Makes candidates of the tokens that temperature and limits leave of the changed logits.
    fn limit(&self, best: TokenId, Scratch { logits, selected, candidates, .. }: &mut Scratch) {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let largest = logits[best as usize];
        let is_limited = (1..logits.len()).contains(&top_k);
        let least = if is_limited { kth_largest(logits, top_k, selected).max(f32::MIN) } else { f32::MIN };
        let candidate = |(i, logit): (usize, &f32)| {
            // The largest becomes 0 whatever the temperature, so that its weight is 1.
            let value = (logit - largest) / temperature;
            Candidate { value, weight: value.exp(), token: i as TokenId }
        };
        candidates.clear();
        candidates.extend(logits.iter().enumerate().filter(|(_, logit)| **logit >= least).map(candidate));
        if top_p < 1.0 {
            keep_nucleus(candidates, top_p);
        }
        if min_p > 0.0 {
            candidates.retain(|candidate| candidate.weight >= min_p);
        }
    }

    fn remember(&mut self, token: TokenId) {
        self.n_chosen += 1;
        if self.sampling.repetition_penalty != 1.0 {
            self.seen.insert(token);
        }
        if self.sampling.presence_penalty != 0.0 || self.sampling.frequency_penalty != 0.0 {
            *self.counts.entry(token).or_default() += 1;
        }
        if let Some(ruled) = &mut self.ruled {
            ruled.text.push(token);
        }
    }
}

/// Forbids all but one token, unless that one is forbidden.
fn keep_only(logits: &mut [f32], token: TokenId) {
    let kept = logits[token as usize];
    if kept > f32::NEG_INFINITY {
        logits.fill(f32::NEG_INFINITY);
        logits[token as usize] = kept;
    }
}

/// The token with the largest logit, the lowest id among equals; `None` when all are −∞.
fn argmax(logits: &[f32]) -> Option<TokenId> {
    let mut best = (f32::NEG_INFINITY, None);
    for (i, &logit) in logits.iter().enumerate() {
        if logit > best.0 {
            best = (logit, Some(i as TokenId));
        }
    }
    best.1
}

/// The `n` largest logits, largest first.
fn most_probable<'c>(logits: &[f32], n: usize, candidates: &'c mut Vec<Candidate>) -> &'c [Candidate] {
    candidates.clear();
    if n > 0 {
        candidates.extend(logits.iter().enumerate().map(|(i, &value)| Candidate {
            value,
            weight: 0.0,
            token: i as TokenId,
        }));
        sort_first(candidates, n);
        candidates.truncate(n);
    }
    candidates
}

/// Brings the first `n` in order to the front.
fn sort_first(candidates: &mut [Candidate], n: usize) {
    if n < candidates.len() {
        candidates.select_nth_unstable_by(n, Candidate::order);
    }
    let n = n.min(candidates.len());
    candidates[..n].sort_unstable_by(Candidate::order);
}

fn kth_largest(logits: &[f32], k: usize, selected: &mut Vec<f32>) -> f32 {
    selected.clear();
    selected.extend_from_slice(logits);
    *selected.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
}

/// Number of candidates that are sorted in the hope that they reach `top_p`.
const FIRST_SORTED: usize = 64;

/// Keeps the most probable candidates until their share reaches `top_p`, in order.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f32) {
    let wanted = f64::from(top_p) * total_weight(candidates);
    let mut n_sorted = FIRST_SORTED;
    loop {
        sort_first(candidates, n_sorted);
        let sorted = &candidates[..n_sorted.min(candidates.len())];
        let mut reached = 0.0;
        let n_below = sorted.iter().take_while(|candidate| {
            reached += f64::from(candidate.weight);
            reached < wanted
        });
        let n_kept = n_below.count() + 1;
        if n_kept <= sorted.len() || sorted.len() == candidates.len() {
            candidates.truncate(n_kept);
            return;
        }
        n_sorted *= 8;
    }
}

/// The candidate at which the running sum of weights passes the share `at` of all.
fn pick(candidates: &[Candidate], at: f64) -> Option<TokenId> {
    let passed = at * total_weight(candidates);
    let mut reached = 0.0;
    let chosen = candidates.iter().find(|candidate| {
        reached += f64::from(candidate.weight);
        reached > passed
    });
    chosen.map(|candidate| candidate.token)
}

fn total_weight(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

/// 53 random bits as a number in [0, 1).
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
