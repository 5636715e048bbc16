//! With a cache and in a batch as without; alone as among others; on any number of threads.

use super::models::{CONTEXT_LEN, VOCAB_SIZE, all, decoders, encoder_decoders, model, plain, tokens};
use crate::config::{ModelConfig, Position, Rotary, RotaryScaling, Shape};
use crate::generate::constraint::Allowed;
use crate::generate::{
    Answer, BeamInput, BeamSettings, Event, Finish, Generator, Guidance, Limits, Request, RequestId, Rules, Sampling,
    WhenFull, beam_search, generate_naively,
};
use crate::model::Transformer;
use genera_tensor::{DType, Device, Tensor};
use std::ops::ControlFlow;

/// Requests of different lengths and settings, `seed` telling one set from another.
fn request(config: &ModelConfig, i: usize) -> Request {
    let seed = i as u64;
    let prompt = tokens(1 + (i * 5) % 9, 100 + seed);
    let source = config.is_encoder_decoder().then(|| tokens(1 + (i * 7) % 11, 200 + seed));
    let sampling = match i % 3 {
        0 => Sampling::greedy(),
        1 => Sampling { temperature: 0.9, seed, top_k: 12, ..Sampling::default() },
        _ => Sampling { top_p: 0.9, repetition_penalty: 1.2, frequency_penalty: 0.3, seed, ..Sampling::default() },
    };
    Request {
        source,
        sampling,
        rules: if i % 5 == 2 { ruled() } else { Rules::default() },
        max_tokens: 3 + (i * 4) % 7,
        stop: if i.is_multiple_of(2) { vec![3] } else { vec![] },
        constraint: (i % 4 == 1).then(|| Box::new(Allowed::only(&[1, 2, 3, 5, 8, 13, 21], VOCAB_SIZE)) as _),
        ..Request::new(prompt)
    }
}

/// Rules that change what is chosen.
fn ruled() -> Rules {
    Rules {
        no_repeat_ngram: 2,
        bad_words: vec![vec![7], vec![3, 4]],
        suppressed_first: vec![1, 2],
        forced_first: Some(11),
        forced_last: Some(12),
        min_len: 8,
        ..Rules::default()
    }
}

/// The answers to requests that come one after another while earlier ones are running.
fn among_others(model: &Transformer, n: usize, limits: Limits) -> Vec<Answer> {
    let mut generator = Generator::new(model, limits);
    let mut answers = Vec::new();
    let mut next = 0;
    while next < n || !generator.is_idle() {
        // One, none, then two at a time.
        for _ in 0..[1, 0, 2][next % 3].max(usize::from(generator.is_idle())) {
            if next < n {
                generator.submit(request(model.config(), next)).expect("a valid request");
                next += 1;
            }
        }
        answers.extend(generator.step().into_iter().filter_map(|event| match event {
            Event::Finished(answer) => Some(answer),
            Event::Begun { .. } | Event::Token { .. } => None,
        }));
        if next < n && generator.n_running() + generator.n_waiting() > 2 {
            generator.submit(request(model.config(), next)).expect("a valid request");
            next += 1;
        }
    }
    answers.sort_by_key(|answer| answer.id);
    answers
}

fn alone(model: &Transformer, request: Request) -> Answer {
    let mut generator = Generator::new(model, Limits::default());
    generator.submit(request).expect("a valid request");
    generator.run(|_| ControlFlow::Continue(())).remove(0)
}

fn bits(answer: &Answer) -> (Vec<u32>, Vec<u32>, Finish) {
    (answer.tokens.clone(), answer.logprobs.iter().map(|logprob| logprob.to_bits()).collect(), answer.reason)
}

#[test]
fn a_cache_and_a_batch_change_nothing() {
    for (device, dtype) in
        [(Device::reference(), DType::F32), (Device::cpu(1), DType::F32), (Device::cpu(2), DType::Bf16)]
    {
        for (name, config) in all() {
            let model = model(&config, dtype, &device);
            let answers = among_others(&model, 6, Limits { n_running: 4, n_prefill_tokens: 40, ..Limits::default() });
            assert_eq!(answers.len(), 6);
            for (i, answer) in answers.iter().enumerate() {
                let naive = generate_naively(&model, request(&config, i)).expect("a valid request");
                assert_eq!(bits(answer), bits(&naive), "{name}, request {i}, {dtype} on {device:?}");
            }
        }
    }
}

/// Prompts, sources and answers longer than the model was made for, some from the start and some on the way.
#[test]
fn answers_go_on_beyond_the_context() {
    let dynamic =
        Position::Rotary(Rotary { scaling: RotaryScaling::Dynamic { factor: 4.0 }, ..Rotary::plain(100.0, 4) });
    let mut configs = all();
    configs.push(("dynamic scaling", ModelConfig { position: dynamic, ..plain() }));
    configs.retain(|(_, config)| config.longest(true) > config.context_len);
    assert_eq!(configs.len(), 21);
    for (name, config) in configs {
        let config = ModelConfig { context_len: 8, ..config };
        let model = model(&config, DType::F32, &Device::cpu(2));
        let request = |i: usize| Request {
            source: config.is_encoder_decoder().then(|| tokens([3, 11, 9, 8][i], 7)),
            max_tokens: 5,
            when_full: WhenFull::GoOn,
            n_guesses: 2,
            ..Request { stop: Vec::new(), ..Request::new(tokens([6, 3, 12, 8][i], 300 + i as u64)) }
        };
        let mut generator = Generator::new(&model, Limits { n_running: 3, n_prefill_tokens: 7, ..Limits::default() });
        (0..4).for_each(|i| {
            generator.submit(request(i)).expect("a valid request");
        });
        for (i, answer) in generator.run(|_| ControlFlow::Continue(())).iter().enumerate() {
            let naive = generate_naively(&model, request(i)).expect("a valid request");
            assert_eq!(bits(answer), bits(&naive), "{name}, request {i}");
            assert_eq!(answer.tokens.len(), 5);
        }
        let input = |i: usize| BeamInput { source: request(i).source, prompt: request(i).prompt };
        let one = BeamSettings { n_beams: 1, max_tokens: 5, goes_on: true, ..BeamSettings::default() };
        let found = beam_search(&model, &[input(0), input(2)], &one).expect("valid inputs");
        for (found, i) in found.iter().zip([0, 2]) {
            let greedy = Request { sampling: Sampling::greedy(), ..request(i) };
            assert_eq!(found[0].tokens, generate_naively(&model, greedy).expect("a valid request").tokens, "{name}");
        }
    }
}

/// Contexts longer than the blocks in which kernels work, heads as wide as real ones.
#[test]
fn long_contexts_change_nothing() {
    let Shape::DecoderOnly(mut stack) = plain().shape else { panic!("a decoder") };
    (stack.attention.d_head, stack.attention.n_kv_heads) = (32, 2);
    let config = ModelConfig { shape: Shape::DecoderOnly(stack), d_model: 96, context_len: 320, ..plain() };
    for dtype in [DType::F32, DType::Bf16] {
        let model = model(&config, dtype, &Device::cpu(2));
        let request = |i: usize| Request {
            max_tokens: 6,
            sampling: Sampling { seed: i as u64, ..Sampling::default() },
            ..Request::new(tokens([3, 255, 130, 64, 300][i], i as u64))
        };
        let mut generator = Generator::new(&model, Limits::default());
        (0..5).for_each(|i| {
            generator.submit(request(i)).expect("a valid request");
        });
        for (i, answer) in generator.run(|_| ControlFlow::Continue(())).iter().enumerate() {
            let naive = generate_naively(&model, request(i)).expect("a valid request");
            assert_eq!(bits(answer), bits(&naive), "request {i}, {dtype}");
        }
    }
}

#[test]
fn an_answer_does_not_depend_on_its_neighbours() {
    for (dtype, devices) in
        [(DType::F32, [Device::reference(), Device::cpu(1)]), (DType::Bf16, [Device::reference(), Device::cpu(2)])]
    {
        for device in devices {
            for (name, config) in
                [decoders().swap_remove(0), decoders().swap_remove(6), encoder_decoders().swap_remove(0)]
            {
                let model = model(&config, dtype, &device);
                let answers =
                    among_others(&model, 9, Limits { n_running: 5, n_prefill_tokens: 30, ..Limits::default() });
                for (i, answer) in answers.iter().enumerate() {
                    let alone = alone(&model, request(&config, i));
                    assert_eq!(bits(answer), bits(&alone), "{name}, request {i}, {dtype} on {device:?}");
                }
            }
        }
    }
}

#[test]
fn threads_and_packing_change_nothing() {
    for (name, config) in [decoders().swap_remove(0), encoder_decoders().swap_remove(1)] {
        let run = |n_threads| {
            let mut model = model(&config, DType::F32, &Device::cpu(n_threads));
            if n_threads > 1 {
                model.params_mut().pack();
            }
            let answers = among_others(&model, 6, Limits { n_running: 4, n_prefill_tokens: 100, ..Limits::default() });
            answers.iter().map(bits).collect::<Vec<_>>()
        };
        let one = run(1);
        assert!(one.iter().any(|(tokens, ..)| tokens.len() > 4), "{name}: {one:?}");
        for n_threads in [2, 3] {
            assert_eq!(run(n_threads), one, "{name} with {n_threads} threads");
        }
    }
}

/// Caches are made of memory that held other things before.
#[test]
fn what_memory_held_before_does_not_matter() {
    for (name, config) in [decoders().swap_remove(6), encoder_decoders().swap_remove(0)] {
        let device = Device::cpu(1);
        let model = model(&config, DType::F32, &device);
        let clean: Vec<_> = among_others(&model, 5, Limits::default()).iter().map(bits).collect();
        let dirty: Vec<Tensor> = (4..16)
            .flat_map(|power| vec![Tensor::from_f32(&device, [1 << power], &vec![f32::NAN; 1 << power]); 8])
            .map(|tensor| tensor.copy())
            .collect();
        drop(dirty);
        let reused: Vec<_> = among_others(&model, 5, Limits::default()).iter().map(bits).collect();
        assert_eq!(reused, clean, "{name}");
    }
}

fn sampled(seed: u64, sample: u64) -> Request {
    Request { sample, sampling: Sampling { seed, ..Sampling::default() }, max_tokens: 12, ..Request::new(tokens(3, 1)) }
}

#[test]
fn seeds_reproduce_and_samples_differ() {
    let model = model(&plain(), DType::F32, &Device::cpu(1));
    let run = |seed| {
        let mut generator = Generator::new(&model, Limits::default());
        (0..4).for_each(|sample| {
            generator.submit(sampled(seed, sample)).expect("a valid request");
        });
        generator.run(|_| ControlFlow::Continue(())).into_iter().map(|answer| answer.tokens).collect::<Vec<_>>()
    };
    let answers = run(1);
    assert_eq!(answers, run(1));
    for (i, answer) in answers.iter().enumerate() {
        assert!(!answers[..i].contains(answer), "{answers:?}");
        assert_eq!(*answer, alone(&model, sampled(1, i as u64)).tokens);
    }
    assert!(run(2).iter().all(|answer| !answers.contains(answer)));
}

#[test]
fn an_answer_ends_for_a_reason() {
    let model = model(&plain(), DType::F32, &Device::cpu(1));
    let free = alone(&model, Request { max_tokens: 6, sampling: Sampling::greedy(), ..Request::new(tokens(4, 9)) });
    assert_eq!((free.tokens.len(), free.reason), (6, Finish::MaxTokens));

    // The first token that was not there before becomes the stop token.
    let at = (1..6).find(|&i| !free.tokens[..i].contains(&free.tokens[i])).expect("an answer with two tokens");
    let stop = free.tokens[at];
    let with_stop = |n_at_least| Request {
        stop: vec![stop],
        max_tokens: 6,
        sampling: Sampling::greedy(),
        rules: Rules { min_tokens: n_at_least, ..Rules::default() },
        ..Request::new(tokens(4, 9))
    };
    let stopped = alone(&model, with_stop(0));
    assert_eq!((stopped.tokens.as_slice(), stopped.reason), (&free.tokens[..at], Finish::Stop(stop)));
    assert_eq!(stopped.logprobs.len(), at);
    let longer = alone(&model, with_stop(at + 1));
    assert!(longer.tokens.len() > at && !longer.tokens.contains(&stop), "{longer:?}");

    let full = alone(&model, Request::new(tokens(4, 9)));
    assert_eq!((full.tokens.len(), full.reason), (CONTEXT_LEN - 4, Finish::ContextFull));

    let only = |tokens: &[u32]| Some(Box::new(Allowed::stepwise(&[tokens, &[]], VOCAB_SIZE)) as _);
    let stuck = alone(&model, Request { constraint: only(&[7]), ..Request::new(vec![1]) });
    assert_eq!((stuck.tokens.as_slice(), stuck.reason), ([7].as_slice(), Finish::NothingAllowed));
}

#[test]
fn damaged_weights_end_the_answer() {
    let mut model = model(&plain(), DType::F32, &Device::cpu(1));
    let id = model.params().id("decoder.norm.weight");
    let damaged = Tensor::from_f32(model.device(), [16], &[f32::NAN; 16]);
    model.params_mut().set(id, &damaged);
    assert_eq!(alone(&model, Request::new(vec![1])).reason, Finish::NotFinite);
}

#[test]
fn a_full_context_may_slide() {
    for (name, config) in [decoders().swap_remove(0), decoders().swap_remove(3)] {
        let model = model(&config, DType::F32, &Device::cpu(1));
        let sliding = |i: u64| Request {
            max_tokens: 3 * CONTEXT_LEN,
            when_full: WhenFull::Slide,
            ..Request::new(tokens(4 + i as usize, i))
        };
        let mut generator = Generator::new(&model, Limits { n_running: 2, n_prefill_tokens: 8, ..Limits::default() });
        (0..3).for_each(|i| {
            generator.submit(sliding(i)).expect("a valid request");
        });
        for (i, answer) in generator.run(|_| ControlFlow::Continue(())).iter().enumerate() {
            assert_eq!(answer.tokens.len(), 3 * CONTEXT_LEN);
            let naive = generate_naively(&model, sliding(i as u64)).expect("a valid request");
            assert_eq!(answer.tokens, naive.tokens, "{name}, request {i}");
        }
    }
}

#[test]
fn a_request_may_be_cancelled_at_any_time() {
    let model = model(&plain(), DType::F32, &Device::cpu(1));
    let mut generator = Generator::new(&model, Limits { n_running: 2, n_prefill_tokens: 100, ..Limits::default() });
    let ids: Vec<RequestId> = (0..3).map(|i| generator.submit(sampled(7, i)).expect("a valid request")).collect();
    generator.step();
    assert_eq!((generator.n_running(), generator.n_waiting()), (2, 1));
    assert!(generator.cancel(ids[2]).expect("it waits").tokens.is_empty());
    let cancelled = generator.cancel(ids[0]).expect("it runs");
    assert_eq!((cancelled.tokens.len(), cancelled.reason), (1, Finish::Cancelled));
    assert_eq!(generator.cancel(ids[0]), None);
    let events = generator.step();
    assert!(events.iter().all(|event| event.id() == ids[1]), "{events:?}");
    let rest = generator.run(|_| ControlFlow::Continue(()));
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].tokens, alone(&model, sampled(7, 1)).tokens, "a neighbour's leaving changes nothing");
}

#[test]
fn whoever_watches_may_end_an_answer() {
    let model = model(&plain(), DType::F32, &Device::cpu(1));
    let whole = alone(&model, sampled(3, 0));
    let mut generator = Generator::new(&model, Limits::default());
    generator.submit(sampled(3, 0)).expect("a valid request");
    let mut n_seen = 0;
    let answers = generator.run(|event| {
        n_seen += usize::from(matches!(event, Event::Token { .. }));
        if n_seen == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(n_seen, 5);
    assert_eq!((answers[0].tokens.as_slice(), answers[0].reason), (&whole.tokens[..5], Finish::Cancelled));
}

#[test]
fn events_carry_the_most_probable_tokens() {
    let model = model(&plain(), DType::F32, &Device::cpu(1));
    let mut generator = Generator::new(&model, Limits::default());
    let asked = Request { top_logprobs: VOCAB_SIZE, max_tokens: 1, ..sampled(5, 0) };
    generator.submit(asked).expect("a valid request");
    let events = generator.step();
    let Event::Token { token, logprob, top_logprobs, .. } = &events[1] else { panic!("{events:?}") };
    assert!(top_logprobs.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    assert!(top_logprobs.contains(&(*token, *logprob)));
    let sum: f64 = top_logprobs.iter().map(|(_, logprob)| f64::from(*logprob).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

/// A draft model changes nothing either: neither one that guesses all right, nor one that guesses at random.
#[test]
fn a_draft_model_changes_nothing() {
    let device = Device::cpu(2);
    let configs = decoders();
    for ((name, config), (_, other)) in configs.iter().zip(configs.iter().cycle().skip(1)) {
        let model = model(config, DType::F32, &device);
        let other = ModelConfig { context_len: CONTEXT_LEN - 3, ..other.clone() };
        let other = super::models::model(&other, DType::F32, &device);
        // A draft knows no constraint and guesses beyond the end: but for that, a model guesses itself rightly.
        let long = |i: usize| Request { max_tokens: 14, stop: vec![], constraint: None, ..request(config, i) };
        let without: Vec<Answer> = (0..6).map(|i| alone(&model, long(i))).collect();
        for (draft, is_same) in [(&model, true), (&other, false)] {
            let mut generator = Generator::new(&model, Limits::default()).with_draft(draft).expect("the same tokens");
            for i in 0..6 {
                generator.submit(Request { n_guesses: i, ..long(i) }).unwrap();
            }
            let with = generator.run(|_| ControlFlow::Continue(()));
            for (without, with) in without.iter().zip(&with) {
                assert_eq!(bits(with), bits(without), "{name}");
            }
            let (n_guessed, n_right) = generator.n_guessed();
            assert!(n_guessed > 4, "{name}: {n_guessed} guesses");
            assert_eq!(n_right == n_guessed, is_same, "{name}: {n_right} of {n_guessed} were right");
        }
    }
}

/// Published models of one family have the same tokens and tables of different sizes.
#[test]
fn a_draft_model_may_have_more_or_fewer_rows() {
    let device = Device::cpu(2);
    let sized = |vocab_size| model(&ModelConfig { vocab_size, ..plain() }, DType::F32, &device);
    for (n, n_draft) in [(VOCAB_SIZE, VOCAB_SIZE + 9), (VOCAB_SIZE + 9, VOCAB_SIZE)] {
        let (model, draft) = (sized(n), sized(n_draft));
        let mut generator = Generator::new(&model, Limits::default()).with_draft(&draft).expect("the same tokens");
        let request = |i: usize| {
            let rules = Rules { forced_first: Some(n as u32 - 1), ..Rules::default() };
            let sampling = Sampling {
                repetition_penalty: 1.2,
                logit_bias: vec![(n as u32 - 1, 2.0)],
                seed: i as u64,
                ..Sampling::default()
            };
            // Of two tokens, the larger is one that only the larger table has.
            let prompt = if i == 0 { vec![n as u32 - 1, 1] } else { vec![1 + i as u32] };
            Request { max_tokens: 12, n_guesses: 3, rules, sampling, ..Request::new(prompt) }
        };
        (0..6).for_each(|i| {
            generator.submit(request(i)).unwrap();
        });
        for (i, answer) in generator.run(|_| ControlFlow::Continue(())).iter().enumerate() {
            let without = alone(&model, Request { n_guesses: 0, ..request(i) });
            assert_eq!(bits(answer), bits(&without), "{n} and {n_draft} rows, request {i}");
        }
        assert!(generator.n_guessed().0 > 0, "{n} and {n_draft} rows");
    }
}

/// Guided answers are those of the reference, among others that are not guided and put off where there are no pages, and a
/// scale of 1 leaves the model's own distribution.
#[test]
fn guidance_is_that_of_the_reference() {
    let device = Device::cpu(2);
    for (name, config) in decoders() {
        let model = model(&config, DType::F32, &device);
        let guided = |i: usize, scale: f32| {
            let plain = request(&config, i);
            let prompt = tokens(1 + i % plain.prompt.len(), 300 + i as u64);
            Request { guidance: (i % 3 < 2).then_some(Guidance { scale, prompt }), ..plain }
        };
        for limits in [Limits::default(), Limits { n_running: 3, n_prefill_tokens: 4, n_pages: 3, ..Limits::default() }]
        {
            let mut generator = Generator::new(&model, limits);
            (0..6).for_each(|i| {
                generator.submit(guided(i, 1.7)).expect("a valid request");
            });
            for (i, answer) in generator.run(|_| ControlFlow::Continue(())).iter().enumerate() {
                let naive = generate_naively(&model, guided(i, 1.7)).expect("a valid request");
                assert_eq!(bits(answer), bits(&naive), "{name}, request {i}");
            }
        }
        let (mut n_other, long) = (0, |i, scale| Request { max_tokens: 9, stop: vec![], ..guided(i, scale) });
        for i in [0, 1, 3, 4] {
            let plain = alone(&model, Request { guidance: None, ..long(i, 1.0) });
            assert_eq!(alone(&model, long(i, 1.0)).tokens, plain.tokens, "{name}, request {i}");
            n_other += usize::from(alone(&model, long(i, 3.0)).tokens != plain.tokens);
        }
        assert!(n_other > 0, "{name}: guidance changed nothing");
    }
}

/// Guessing ahead gives the same tokens and the same probabilities to the bit, alone and among others.
#[test]
fn guesses_change_nothing() {
    let device = Device::cpu(2);
    let mut n_right = 0;
    for (name, config) in all() {
        let model = model(&config, DType::F32, &device);
        let repeating = |i: usize| {
            let plain = request(&config, i);
            let prompt = plain.prompt.repeat(2);
            Request { prompt: prompt[..prompt.len().min(12)].to_vec(), max_tokens: 11, ..plain }
        };
        let without: Vec<Answer> = (0..6).map(|i| alone(&model, repeating(i))).collect();
        let mut generator = Generator::new(&model, Limits::default());
        for i in 0..6 {
            generator.submit(Request { n_guesses: i, ..repeating(i) }).unwrap();
        }
        let with = generator.run(|_| ControlFlow::Continue(()));
        for (without, with) in without.iter().zip(&with) {
            assert_eq!(bits(with), bits(without), "{name}");
        }
        n_right += generator.n_guessed().1;
    }
    assert!(n_right > 20, "{n_right} guesses were right: too few to show anything");
}
