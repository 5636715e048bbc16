//! The sampler against its definitions, on logits made by hand.

use crate::generate::Logits;
use crate::generate::constraint::{Allowed, Constraint, TokenMask};
use crate::generate::{Choice, Finish, Sampler, Sampling, Scratch};
use genera_tensor::Key;

/// The tokens that `n` draws give, as counts.
fn counts(logits: &[f32], sampling: &Sampling, n: u64) -> Vec<u64> {
    let mut counts = vec![0; logits.len()];
    let mut scratch = Scratch::default();
    for sample in 0..n {
        let choice =
            Sampler::new(sampling, sample, &[]).choose(Logits::of(logits), None, 0, &mut scratch).expect("a choice");
        counts[choice.token as usize] += 1;
    }
    counts
}

/// Which tokens ever come.
fn support(logits: &[f32], sampling: &Sampling) -> Vec<usize> {
    let counts = counts(logits, sampling, 2000);
    (0..logits.len()).filter(|&token| counts[token] > 0).collect()
}

fn logits_of(probabilities: &[f64]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln() as f32).collect()
}

fn greedy(logits: &[f32], sampling: Sampling, prompt: &[u32], answer: &[u32]) -> u32 {
    let mut scratch = Scratch::default();
    let mut sampler = Sampler::new(&Sampling { temperature: 0.0, ..sampling }, 0, prompt);
    for &token in answer {
        let mut only = Allowed::only(&[token], logits.len());
        sampler.choose(Logits::of(logits), Some(&mut only), 0, &mut scratch).expect("a choice");
    }
    sampler.choose(Logits::of(logits), None, 0, &mut scratch).expect("a choice").token
}

/// Refuses tokens only when asked about the one that was chosen.
struct Refuses(Vec<u32>);

impl Constraint for Refuses {
    fn restrict(&mut self, _mask: &mut TokenMask) {}

    fn confirms(&mut self, token: u32) -> bool {
        !self.0.contains(&token)
    }

    fn advance(&mut self, _token: u32) {}
}

/// χ² over the four tokens that are left stays below the 99.9 % point for 3 degrees of freedom, 16.3.
#[test]
fn what_is_not_confirmed_is_drawn_as_if_it_had_been_forbidden() {
    let probabilities = [0.4, 0.25, 0.15, 0.1, 0.07, 0.03];
    let (logits, mut scratch) = (logits_of(&probabilities), Scratch::default());
    let mut choose = |sampling: &Sampling, sample, refused: &[u32]| {
        let mut sampler = Sampler::new(sampling, sample, &[]);
        sampler.choose(Logits::of(&logits), Some(&mut Refuses(refused.to_vec())), 0, &mut scratch)
    };
    let sampling = Sampling { seed: 5, ..Sampling::default() };
    let mut counts = [0_u32; 6];
    (0..20_000).for_each(|sample| counts[choose(&sampling, sample, &[0, 3]).unwrap().token as usize] += 1);
    assert_eq!((counts[0], counts[3]), (0, 0));
    let chi_squared: f64 = [1, 2, 4, 5]
        .iter()
        .map(|&token| {
            let expected = 20_000.0 * probabilities[token] / 0.5;
            (f64::from(counts[token]) - expected).powi(2) / expected
        })
        .sum();
    assert!(chi_squared < 16.3, "{counts:?}");
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    assert_eq!(choose(&greedy, 0, &[0, 1]).unwrap().token, 2);
    assert_eq!(choose(&greedy, 0, &[0, 1, 2, 3, 4, 5]), Err(Finish::NothingAllowed));
}

#[test]
fn greedy_takes_the_largest_and_the_lowest_of_equals() {
    assert_eq!(greedy(&[0.0, 2.0, 1.0, 2.0], Sampling::default(), &[], &[]), 1);
    assert_eq!(greedy(&[-3.0, -3.0], Sampling::default(), &[], &[]), 0);
    assert_eq!(greedy(&[f32::NEG_INFINITY, -3.0], Sampling::default(), &[], &[]), 1);
}

/// χ² of 20,000 draws over 6 tokens stays below the 99.9 % point for 5 degrees of freedom, 20.5.
#[test]
fn draws_follow_the_distribution() {
    let probabilities = [0.4, 0.25, 0.15, 0.1, 0.07, 0.03];
    for temperature in [1.0, 0.5, 2.0] {
        let powers: Vec<f64> = probabilities.iter().map(|p: &f64| p.powf(1.0 / f64::from(temperature))).collect();
        let total: f64 = powers.iter().sum();
        let sampling = Sampling { temperature, seed: 3, ..Sampling::default() };
        let counts = counts(&logits_of(&probabilities), &sampling, 20_000);
        let chi_squared: f64 = counts
            .iter()
            .zip(&powers)
            .map(|(&count, power)| {
                let expected = 20_000.0 * power / total;
                (count as f64 - expected).powi(2) / expected
            })
            .sum();
        assert!(chi_squared < 20.5, "temperature {temperature}: χ² {chi_squared}, {counts:?}");
    }
}

/// The same for what is left of a distribution: 0.5, 0.3, 0.2 of 1.
#[test]
fn what_is_left_is_drawn_in_proportion() {
    let logits = logits_of(&[0.25, 0.1, 0.15, 0.4, 0.1]);
    let counts = counts(&logits, &Sampling { top_k: 3, ..Sampling::default() }, 20_000);
    assert_eq!((counts[1], counts[4]), (0, 0));
    let expected = [0.25, 0.15, 0.4].map(|p| p / 0.8 * 20_000.0);
    for (count, expected) in [counts[0], counts[2], counts[3]].iter().zip(expected) {
        assert!((*count as f64 - expected).abs() < 4.0 * expected.sqrt(), "{counts:?}");
    }
}

#[test]
fn top_k_keeps_the_largest_and_all_that_equal_the_last() {
    let logits = [1.0, 3.0, 2.0, 2.0, 0.0];
    let with = |top_k| Sampling { top_k, temperature: 5.0, ..Sampling::default() };
    assert_eq!(support(&logits, &with(1)), [1]);
    assert_eq!(support(&logits, &with(2)), [1, 2, 3]);
    assert_eq!(support(&logits, &with(3)), [1, 2, 3]);
    assert_eq!(support(&logits, &with(4)), [0, 1, 2, 3]);
    for all in [0, 5, 100] {
        assert_eq!(support(&logits, &with(all)), [0, 1, 2, 3, 4]);
    }
}

#[test]
fn top_p_keeps_the_token_that_reaches_it() {
    // In order: 0.4, 0.3, 0.2, 0.1.
    let logits = logits_of(&[0.2, 0.4, 0.1, 0.3]);
    let with = |top_p| Sampling { top_p, ..Sampling::default() };
    assert_eq!(support(&logits, &with(0.01)), [1]);
    assert_eq!(support(&logits, &with(0.39)), [1]);
    assert_eq!(support(&logits, &with(0.41)), [1, 3]);
    assert_eq!(support(&logits, &with(0.69)), [1, 3]);
    assert_eq!(support(&logits, &with(0.71)), [0, 1, 3]);
    assert_eq!(support(&logits, &with(0.95)), [0, 1, 2, 3]);
    // Of equals the lowest ids stay.
    assert_eq!(support(&[0.0; 8], &with(0.3)), [0, 1, 2]);
}

/// A vocabulary in which the nucleus is wider than the first sorted stretch.
#[test]
fn a_wide_nucleus_is_found_whole() {
    let key = Key::new(8);
    let logits: Vec<f32> = (0..3000).map(|i| 0.3 * key.normal(i)).collect();
    let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    let mut order: Vec<usize> = (0..3000).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let mut sum = 0.0;
    let n_kept = 1 + order
        .iter()
        .take_while(|&&i| {
            sum += f64::from(logits[i]).exp() / total;
            sum < 0.5
        })
        .count();
    assert!(n_kept > 512, "{n_kept}");
    let allowed = &order[..n_kept];
    let came = support(&logits, &Sampling { top_p: 0.5, ..Sampling::default() });
    assert!(came.iter().all(|token| allowed.contains(token)));
    // 2,000 draws from n nearly equal tokens miss about e^(−2000/n) of them.
    assert!(came.len() > n_kept * 3 / 4, "{} of {n_kept}", came.len());
}

#[test]
fn min_p_is_relative_to_the_most_probable() {
    let logits = logits_of(&[0.5, 0.3, 0.15, 0.05]);
    let with = |min_p| Sampling { min_p, ..Sampling::default() };
    assert_eq!(support(&logits, &with(0.05)), [0, 1, 2, 3]);
    assert_eq!(support(&logits, &with(0.2)), [0, 1, 2]);
    assert_eq!(support(&logits, &with(0.59)), [0, 1]);
    assert_eq!(support(&logits, &with(1.0)), [0]);
    // Relative to the most probable of those that temperature made: 0.5² : 0.3² = 1 : 0.36.
    assert_eq!(support(&logits, &Sampling { temperature: 0.5, ..with(0.5) }), [0]);
}

#[test]
fn limits_act_one_after_another() {
    // top_k leaves 0.5, 0.3, 0.1 (5/9, 3/9, 1/9); of these top_p 0.8 leaves two.
    let logits = logits_of(&[0.5, 0.3, 0.1, 0.06, 0.04]);
    let both = Sampling { top_k: 3, top_p: 0.85, ..Sampling::default() };
    assert_eq!(support(&logits, &both), [0, 1]);
    assert_eq!(support(&logits, &Sampling { top_k: 0, ..both }), [0, 1, 2]);
}

#[test]
fn penalties_follow_their_definitions() {
    let r = |repetition_penalty| Sampling { repetition_penalty, ..Sampling::default() };
    // 3 / 2 < 2; the prompt counts.
    assert_eq!(greedy(&[3.0, 2.0], r(1.4), &[0], &[]), 0);
    assert_eq!(greedy(&[3.0, 2.0], r(1.6), &[0], &[]), 1);
    // −1 · 1.6 < −1.5
    assert_eq!(greedy(&[-1.0, -1.5], r(1.6), &[], &[0]), 1);
    // Once however often it came.
    assert_eq!(greedy(&[3.0, 2.0], r(1.4), &[0, 0], &[0, 0]), 0);

    let presence = |presence_penalty| Sampling { presence_penalty, ..Sampling::default() };
    assert_eq!(greedy(&[3.0, 2.0], presence(1.5), &[0], &[]), 0, "the prompt does not count");
    assert_eq!(greedy(&[3.0, 2.0], presence(1.5), &[], &[0]), 1);
    assert_eq!(greedy(&[3.0, 2.0], presence(0.9), &[], &[0, 0, 0]), 0, "once however often it came");
    let frequency = |frequency_penalty| Sampling { frequency_penalty, ..Sampling::default() };
    assert_eq!(greedy(&[3.0, 2.0], frequency(0.4), &[], &[0, 0]), 0);
    assert_eq!(greedy(&[3.0, 2.0], frequency(0.4), &[], &[0, 0, 0]), 1);

    let biased = |bias| Sampling { logit_bias: vec![(1, bias)], ..Sampling::default() };
    assert_eq!(greedy(&[3.0, 2.0], biased(1.5), &[], &[]), 1);
    assert_eq!(greedy(&[3.0, 5.0], biased(f32::NEG_INFINITY), &[], &[]), 0);
}

#[test]
fn logprobs_are_those_of_the_model() {
    let logits = logits_of(&[0.5, 0.3, 0.2]);
    let sampling = Sampling { temperature: 0.0, logit_bias: vec![(2, 5.0)], ..Sampling::default() };
    let choice = Sampler::new(&sampling, 0, &[]).choose(Logits::of(&logits), None, 2, &mut Scratch::default());
    let Choice { token, logprob, top_logprobs } = choice.expect("a choice");
    assert_eq!(token, 2);
    assert!((logprob - 0.2_f32.ln()).abs() < 1e-6);
    assert_eq!(top_logprobs.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [0, 1]);
    assert!((top_logprobs[1].1 - 0.3_f32.ln()).abs() < 1e-6);
}

#[test]
fn what_cannot_be_drawn_from_is_said() {
    let choose = |logits: &[f32], constraint: Option<&mut (dyn Constraint + 'static)>| {
        let sampler = &mut Sampler::new(&Sampling::default(), 0, &[]);
        sampler.choose(Logits::of(logits), constraint, 0, &mut Scratch::default()).map(|choice| choice.token)
    };
    assert_eq!(choose(&[1.0, f32::NAN], None), Err(Finish::NotFinite));
    assert_eq!(choose(&[1.0, f32::INFINITY], None), Err(Finish::NotFinite));
    assert_eq!(choose(&[f32::NEG_INFINITY; 2], None), Err(Finish::NotFinite));
    assert_eq!(choose(&[1.0, 2.0], Some(&mut Allowed::only(&[], 2))), Err(Finish::NothingAllowed));
    assert_eq!(choose(&[1.0, 90.0, 3.0], Some(&mut Allowed::only(&[2], 3))), Ok(2));
    assert_eq!(choose(&[-1e30, 1e30], None), Ok(1));
}

#[test]
fn each_token_has_a_random_number_of_its_own() {
    let sampling = Sampling { seed: 4, ..Sampling::default() };
    let mut sampler = Sampler::new(&sampling, 0, &[]);
    let mut scratch = Scratch::default();
    let tokens: Vec<u32> = (0..40)
        .map(|_| sampler.choose(Logits::of(&[0.0; 16]), None, 0, &mut scratch).expect("a choice").token)
        .collect();
    assert!(tokens.iter().any(|token| *token != tokens[0]), "{tokens:?}");
}
