//! Pages are shared, kept, given up and taken again, and no answer changes.

use super::models::{model, plain, tokens};
use crate::config::{ModelConfig, Shape};
use crate::generate::{Answer, Event, Generator, Limits, Request, Sampling};
use crate::model::Transformer;
use genera_tensor::backend::PAGE_TOKENS;
use genera_tensor::{DType, Device};
use genera_tokens::TokenId;
use std::ops::ControlFlow;

/// A model whose context holds several pages.
fn long_model(dtype: DType) -> Transformer {
    let Shape::DecoderOnly(mut stack) = plain().shape else { panic!("a decoder") };
    (stack.attention.d_head, stack.attention.n_kv_heads) = (16, 2);
    let config = ModelConfig { shape: Shape::DecoderOnly(stack), d_model: 48, context_len: 320, ..plain() };
    model(&config, dtype, &Device::cpu(2))
}

fn request(prompt: Vec<TokenId>, seed: u64) -> Request {
    Request { max_tokens: 9, sampling: Sampling { seed, ..Sampling::default() }, ..Request::new(prompt) }
}

fn bits(answer: &Answer) -> (Vec<TokenId>, Vec<u32>) {
    (answer.tokens.clone(), answer.logprobs.iter().map(|logprob| logprob.to_bits()).collect())
}

fn alone(model: &Transformer, request: Request) -> Answer {
    let mut generator = Generator::new(model, Limits::default());
    generator.submit(request).expect("a valid request");
    generator.run(|_| ControlFlow::Continue(())).remove(0)
}

#[test]
fn requests_that_find_no_page_wait_and_read_again() {
    for dtype in [DType::F32, DType::Bf16] {
        let model = long_model(dtype);
        // They begin to grow when they share six pages, and need nine.
        let prompts: Vec<Vec<TokenId>> = (0..3).map(|i| tokens(2 * PAGE_TOKENS - 3 - i, i as u64)).collect();
        let limits = Limits { n_pages: 7, n_prefill_tokens: 50, n_kept_pages: 2, ..Limits::default() };
        let mut generator = Generator::new(&model, limits);
        for (i, prompt) in prompts.iter().enumerate() {
            generator.submit(request(prompt.clone(), i as u64)).expect("a valid request");
        }
        let (mut answers, mut n_put_off, mut n_running) = (Vec::new(), 0, 0);
        while !generator.is_idle() {
            for event in generator.step() {
                if let Event::Finished(answer) = event {
                    answers.push(answer);
                }
            }
            assert!(generator.n_pages() <= 7, "{}", generator.n_pages());
            assert_eq!(generator.n_running() > 0, generator.n_pages_of_requests() > 0);
            n_put_off += usize::from(generator.n_waiting() > 0 && generator.n_running() < n_running);
            n_running = generator.n_running();
        }
        assert!(n_put_off > 0, "the limit is meant to be too small for all");
        answers.sort_by_key(|answer| answer.id);
        for (i, (answer, prompt)) in answers.iter().zip(&prompts).enumerate() {
            assert_eq!(bits(answer), bits(&alone(&model, request(prompt.clone(), i as u64))), "request {i}, {dtype}");
        }
        assert!(generator.n_pages() <= 2, "only kept pages are left: {}", generator.n_pages());
        assert_eq!(generator.n_pages_of_requests(), 0);
    }
}

#[test]
fn one_alone_goes_on_even_beyond_the_limit() {
    let model = long_model(DType::F32);
    let mut generator = Generator::new(&model, Limits { n_pages: 1, ..Limits::default() });
    for i in 0..2 {
        generator.submit(request(tokens(150, 5), i)).expect("a valid request");
    }
    let answers = generator.run(|_| ControlFlow::Continue(()));
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(bits(answer), bits(&alone(&model, request(tokens(150, 5), i as u64))));
    }
    assert_eq!(generator.n_pages(), 0, "nothing is kept unless it is asked for");
}

#[test]
fn requests_whose_pages_just_fit_go_on_together() {
    let model = long_model(DType::F32);
    let mut generator = Generator::new(&model, Limits { n_pages: 4, ..Limits::default() });
    for i in 0..2 {
        generator.submit(request(tokens(100, i), i)).expect("a valid request");
    }
    while !generator.is_idle() {
        generator.step();
        assert_eq!(generator.n_waiting(), 0, "two pages each are enough");
        assert!(generator.n_pages() <= 4, "{}", generator.n_pages());
    }
}

#[test]
fn kept_pages_that_a_request_has_are_not_given_up_in_vain() {
    let model = long_model(DType::F32);
    let mut generator = Generator::new(&model, Limits { n_pages: 2, n_kept_pages: 2, ..Limits::default() });
    generator.submit(request(tokens(150, 5), 0)).expect("a valid request");
    generator.run(|_| ControlFlow::Continue(()));
    generator.submit(request(tokens(150, 5), 1)).expect("a valid request");
    generator.run(|_| ControlFlow::Continue(()));
    assert_eq!(generator.n_reused(), 2 * PAGE_TOKENS as u64);
}

/// The second would fit if the pages did not count that the first has yet to take.
#[test]
fn nobody_is_let_in_on_pages_that_are_promised() {
    let model = long_model(DType::F32);
    let limits = Limits { n_pages: 5, n_prefill_tokens: 50, ..Limits::default() };
    let mut generator = Generator::new(&model, limits);
    for i in 0..2 {
        generator.submit(request(tokens(150, i), i)).expect("a valid request");
    }
    let mut n_ended = 0;
    while !generator.is_idle() {
        let events = generator.step();
        assert_eq!(generator.n_waiting(), usize::from(n_ended == 0), "{n_ended} of 2 had ended");
        n_ended += events.iter().filter(|event| matches!(event, Event::Finished(_))).count();
    }
}

/// Two requests of three pages each, two of them the same, need four.
#[test]
fn pages_in_common_are_counted_once_for_room() {
    let model = long_model(DType::F32);
    for are_kept in [false, true] {
        let n_kept_pages = if are_kept { 2 } else { 0 };
        let limits = Limits { n_pages: 4, n_kept_pages, ..Limits::default() };
        let mut generator = Generator::new(&model, limits);
        let prompt = |i: u64| [tokens(2 * PAGE_TOKENS, 1), tokens(20, 30 + i)].concat();
        if are_kept {
            generator.submit(request(prompt(9), 9)).expect("a valid request");
            generator.run(|_| ControlFlow::Continue(()));
            assert_eq!(generator.n_pages(), 2);
        }
        for i in 0..2 {
            generator.submit(request(prompt(i), i)).expect("a valid request");
        }
        while !generator.is_idle() {
            generator.step();
            assert_eq!(generator.n_waiting(), 0, "kept: {are_kept}");
            assert!(generator.n_pages() <= 4, "{}", generator.n_pages());
        }
    }
}

#[test]
fn a_common_beginning_is_read_once() {
    for dtype in [DType::F32, DType::Bf16] {
        let model = long_model(dtype);
        let beginning = tokens(150, 1);
        let prompt = |i: u64| [beginning.clone(), tokens(20, 30 + i)].concat();
        let mut generator = Generator::new(&model, Limits { n_kept_pages: 8, ..Limits::default() });
        // At once: the others wait for the first, and go on from the very token in which they differ.
        for i in 0..3 {
            generator.submit(request(prompt(i), i)).expect("a valid request");
        }
        let answers = generator.run(|_| ControlFlow::Continue(()));
        for (i, answer) in answers.iter().enumerate() {
            assert_eq!(bits(answer), bits(&alone(&model, request(prompt(i as u64), i as u64))), "{i} {dtype}");
        }
        assert!(generator.n_reused() >= 2 * 150, "{} tokens were reused", generator.n_reused());
        // Later: whole pages are left.
        let before = generator.n_reused();
        generator.submit(request(prompt(7), 7)).expect("a valid request");
        let answer = generator.run(|_| ControlFlow::Continue(())).remove(0);
        assert_eq!(bits(&answer), bits(&alone(&model, request(prompt(7), 7))), "{dtype}");
        assert_eq!(generator.n_reused() - before, 2 * PAGE_TOKENS as u64);
        // Others push them out.
        for i in 0..6 {
            generator.submit(request(tokens(200, 60 + i), i)).expect("a valid request");
            generator.run(|_| ControlFlow::Continue(()));
            assert!(generator.n_pages() <= 8, "{}", generator.n_pages());
        }
        let before = generator.n_reused();
        generator.submit(request(prompt(8), 8)).expect("a valid request");
        assert_eq!(bits(&generator.run(|_| ControlFlow::Continue(()))[0]), bits(&alone(&model, request(prompt(8), 8))));
        assert_eq!(generator.n_reused(), before);
    }
}

/// The same prompt many times over: read once, to its last token.
#[test]
fn samples_of_one_prompt_share_what_was_read() {
    let model = long_model(DType::F32);
    let mut generator = Generator::new(&model, Limits::default());
    for sample in 0..5 {
        generator.submit(Request { sample, ..request(tokens(100, 3), 1) }).expect("a valid request");
    }
    let answers = generator.run(|_| ControlFlow::Continue(()));
    assert_eq!(generator.n_reused(), 4 * 99);
    for (sample, answer) in answers.iter().enumerate() {
        let expected = alone(&model, Request { sample: sample as u64, ..request(tokens(100, 3), 1) });
        assert_eq!(bits(answer), bits(&expected));
    }
}

/// What the first has read by the time the second gets its share, too little to wait for, is reused all the same.
#[test]
fn what_is_reused_is_counted_when_reading_begins() {
    let model = long_model(DType::F32);
    let mut generator = Generator::new(&model, Limits { n_prefill_tokens: 50, ..Limits::default() });
    let first = tokens(100, 1);
    let second = [&first[..20], &tokens(30, 2)].concat();
    for (prompt, seed) in [(&first, 0), (&second, 1)] {
        generator.submit(request(prompt.clone(), seed)).expect("a valid request");
    }
    let mut told = Vec::new();
    let answers = generator.run(|event| {
        if let Event::Begun { id, n_reused } = event {
            told.push((id.0, *n_reused));
        }
        ControlFlow::Continue(())
    });
    assert_eq!((told, generator.n_reused()), (vec![(0, 0), (1, 20)], 20));
    assert_eq!(bits(&answers[1]), bits(&alone(&model, request(second, 1))));
}

#[test]
fn a_request_is_told_what_of_its_prompt_was_read_before() {
    let model = long_model(DType::F32);
    let mut generator = Generator::new(&model, Limits { n_kept_pages: 4, ..Limits::default() });
    let mut begun = |n: usize| {
        generator.submit(request(tokens(n, 5), 0)).expect("a valid request");
        let mut told = Vec::new();
        while !generator.is_idle() {
            for event in generator.step() {
                if let Event::Begun { n_reused, .. } = event {
                    told.push(n_reused);
                }
            }
        }
        told
    };
    assert_eq!(begun(150), [0]);
    assert_eq!(begun(150), [2 * PAGE_TOKENS], "full pages are kept");
    assert_eq!(begun(PAGE_TOKENS + 1), [PAGE_TOKENS]);
}
