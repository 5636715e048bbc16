//! Beam search against exhaustive search and greedy choice.

use super::models::{CONTEXT_LEN, encoder_decoders, model, plain, tokens};
use crate::config::ModelConfig;
use crate::generate::Logits;
use crate::generate::naive::logits_behind;
use crate::generate::{
    BeamInput, BeamSettings, Ending, Finish, Generator, Hypothesis, Limits, Request, Rules, Sampling, beam_search,
};
use crate::model::Transformer;
use genera_tensor::{DType, Device};
use std::ops::ControlFlow;

const STOP: u32 = 1;

fn input(config: &ModelConfig, i: usize) -> BeamInput {
    let source = config.is_encoder_decoder().then(|| tokens(2 + (3 * i) % 7, 40 + i as u64));
    BeamInput { source, prompt: tokens(1 + i % 3, 60 + i as u64) }
}

/// Rules that change what is chosen.
fn ruled() -> Rules {
    Rules {
        no_repeat_ngram: 1,
        forced_first: Some(4),
        forced_last: Some(STOP),
        suppressed: vec![6],
        min_tokens: 2,
        ..Rules::default()
    }
}

fn search(model: &Transformer, inputs: &[BeamInput], settings: &BeamSettings) -> Vec<Vec<Hypothesis>> {
    beam_search(model, inputs, settings).expect("valid inputs")
}

/// Every answer up to a length, ranked.
fn exhaustive(model: &Transformer, input: &BeamInput, settings: &BeamSettings) -> Vec<Hypothesis> {
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), 0.0)];
    while let Some((answer, logprob)) = open.pop() {
        let context = [input.prompt.as_slice(), &answer].concat();
        let logits = logits_behind(model, input.source.as_deref(), &context);
        let logits = logits.view().f32();
        let log_sum = Logits::of(logits).log_sum_exp;
        for token in (0..logits.len() as u32).filter(|token| !settings.forbidden.contains(token)) {
            let penalty = if context.contains(&token) { settings.repetition_penalty } else { 1.0 };
            let logprob = logprob + f64::from(penalty) * f64::from(logits[token as usize] - log_sum);
            let length = (answer.len() + 1) as f64;
            let score = logprob / length.powf(f64::from(settings.length_penalty));
            let longer = [answer.as_slice(), &[token]].concat();
            if token == STOP {
                found.push(Hypothesis { tokens: answer.clone(), logprob, score, is_complete: true });
            } else if longer.len() == settings.max_tokens {
                found.push(Hypothesis { tokens: longer, logprob, score, is_complete: false });
            } else {
                open.push((longer, logprob));
            }
        }
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

#[test]
fn a_wide_beam_finds_what_exhaustive_search_finds() {
    for config in [plain(), encoder_decoders().swap_remove(0).1, encoder_decoders().swap_remove(1).1] {
        let config = ModelConfig { vocab_size: 5, ..config };
        let model = model(&config, DType::F32, &Device::cpu(1));
        let small = |tokens: Vec<u32>| tokens.into_iter().map(|token| token % 5).collect::<Vec<_>>();
        let input = input(&config, 1);
        let input = BeamInput { source: input.source.map(small), prompt: small(input.prompt) };
        for (length_penalty, repetition_penalty) in
            [(1.0, 1.0), (0.0, 1.0), (-0.5, 1.3), (2.0, 1.0), (1.0, 2.0), (1.0, 0.7)]
        {
            let settings = BeamSettings {
                n_beams: 64,
                n_best: 10,
                length_penalty,
                repetition_penalty,
                max_tokens: 3,
                stop: vec![STOP],
                forbidden: vec![4],
                ending: Ending::Certain,
                ..BeamSettings::default()
            };
            let found = search(&model, std::slice::from_ref(&input), &settings).remove(0);
            assert_eq!(found.len(), 10);
            for (found, wanted) in found.iter().zip(exhaustive(&model, &input, &settings)) {
                assert_eq!(
                    (&found.tokens, found.is_complete),
                    (&wanted.tokens, wanted.is_complete),
                    "{length_penalty}"
                );
                assert!((found.score - wanted.score).abs() < 1e-5 && (found.logprob - wanted.logprob).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn one_beam_is_greedy() {
    for (config, rules) in [plain(), encoder_decoders().swap_remove(1).1]
        .iter()
        .flat_map(|config| [(config, Rules::default()), (config, ruled())])
    {
        let model = model(config, DType::F32, &Device::cpu(1));
        for i in 0..6 {
            let BeamInput { source, prompt } = input(config, i);
            let mut generator = Generator::new(&model, Limits::default());
            let request = Request {
                source,
                stop: vec![STOP],
                rules: rules.clone(),
                sampling: Sampling::greedy(),
                ..Request::new(prompt)
            };
            generator.submit(request).expect("a valid request");
            let greedy = generator.run(|_| ControlFlow::Continue(())).remove(0);
            let settings =
                BeamSettings { n_beams: 1, stop: vec![STOP], rules: rules.clone(), ..BeamSettings::default() };
            let found = search(&model, &[input(config, i)], &settings).remove(0).remove(0);
            assert_eq!(found.tokens, greedy.tokens, "input {i}");
            assert_eq!(found.is_complete, matches!(greedy.reason, Finish::Stop(STOP)), "input {i}");
        }
    }
}

#[test]
fn inputs_do_not_depend_on_each_other() {
    let config = encoder_decoders().swap_remove(0).1;
    let model = model(&config, DType::F32, &Device::cpu(2));
    let inputs: Vec<BeamInput> = (0..7).map(|i| input(&config, i)).collect();
    for n_rows in [1, 12, 128] {
        let settings = BeamSettings { n_best: 3, max_tokens: 8, stop: vec![STOP], n_rows, ..BeamSettings::default() };
        let together = search(&model, &inputs, &settings);
        for (i, found) in together.iter().enumerate() {
            assert_eq!(found.len(), 3);
            assert_eq!(*found, search(&model, &inputs[i..=i], &settings)[0], "input {i}, {n_rows} rows");
        }
    }
}

#[test]
fn a_surer_ending_finds_no_worse_and_at_times_better() {
    let config = encoder_decoders().swap_remove(1).1;
    let model = model(&config, DType::F32, &Device::cpu(1));
    let inputs: Vec<BeamInput> = (0..120).map(|i| input(&config, i)).collect();
    let scores = |ending| {
        let settings = BeamSettings { n_beams: 2, ending, max_tokens: 12, stop: vec![STOP], ..BeamSettings::default() };
        search(&model, &inputs, &settings).iter().map(|found| found[0].score).collect::<Vec<f64>>()
    };
    let [first, likely, certain] = [Ending::First, Ending::Likely, Ending::Certain].map(scores);
    for (less, more) in [(&first, &likely), (&likely, &certain)] {
        assert!(less.iter().zip(more).all(|(less, more)| less <= more), "{less:?} {more:?}");
        assert_ne!(less, more, "both end alike");
    }
}

#[test]
fn lengths_are_kept() {
    let config = plain();
    let model = model(&config, DType::F32, &Device::cpu(1));
    let settings = BeamSettings {
        n_best: 4,
        rules: Rules { min_tokens: 3, ..Rules::default() },
        max_tokens: 100,
        stop: vec![STOP],
        ..BeamSettings::default()
    };
    for found in search(&model, &[input(&config, 2)], &settings).remove(0) {
        assert!((3..=CONTEXT_LEN - 3).contains(&found.tokens.len()), "{found:?}");
        assert!(!found.tokens.contains(&STOP));
    }
}
