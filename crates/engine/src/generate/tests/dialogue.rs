//! Turn by turn, each answer is that of the whole text read at once.

use super::models::{CONTEXT_LEN, VOCAB_SIZE, decoders, model, plain, tokens};
use crate::config::{ModelConfig, Position, Rotary, RotaryScaling};
use crate::generate::{Answer, Dialogue, Event, Finish, Request, Sampling, WhenFull, generate_naively};
use crate::model::Transformer;
use genera_tensor::{DType, Device};
use genera_tokens::TokenId;

fn request(prompt: &[TokenId], seed: u64) -> Request {
    let sampling = Sampling { temperature: 0.8, seed, ..Sampling::default() };
    Request { max_tokens: 4, sampling, ..Request::new(prompt.to_vec()) }
}

/// The answer, and how many tokens of the prompt were not read again.
fn ask(dialogue: &mut Dialogue<'_>, request: Request) -> (Answer, usize) {
    let n_kept = dialogue.begin(request).unwrap();
    let mut n_tokens = 0;
    loop {
        match dialogue.step().expect("an answer goes on or ends") {
            Event::Begun { .. } => {}
            Event::Token { .. } => n_tokens += 1,
            Event::Finished(answer) => {
                assert_eq!(answer.tokens.len(), n_tokens);
                assert!(dialogue.step().is_none());
                return (answer, n_kept);
            }
        }
    }
}

fn assert_as_naive(model: &Transformer, answer: &Answer, request: Request) {
    let expected = generate_naively(model, request).unwrap();
    assert_eq!((&answer.tokens, answer.reason), (&expected.tokens, expected.reason));
    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
    assert!(answer.logprobs.iter().zip(&expected.logprobs).all(close), "{answer:?}, expected {expected:?}");
}

/// Whether the texts are read at once or in parts, shorter than the length beyond which some models turn all of a text otherwise
/// or longer.
#[test]
fn what_was_read_is_not_read_again() {
    let scaling = RotaryScaling::Dynamic { factor: 4.0 };
    let dynamic = Position::Rotary(Rotary { scaling, ..Rotary::plain(100.0, 4) });
    // Its texts grow past the context.
    let dynamic = ModelConfig { position: dynamic, context_len: 7, ..plain() };
    let configs: Vec<_> = decoders().into_iter().chain([("dynamic scaling", dynamic)]).collect();
    assert_eq!(configs.iter().filter(|(name, _)| ["long rope", "dynamic scaling"].contains(name)).count(), 2);
    for ((name, config), part_len) in
        configs.iter().flat_map(|config| [2, 3, 9, 512].map(|part_len| (config, part_len)))
    {
        let model = model(config, DType::F32, &Device::cpu(2));
        let when_full = if config.context_len < CONTEXT_LEN { WhenFull::GoOn } else { WhenFull::Stop };
        let request = |prompt: &[TokenId], seed: u64| Request { when_full, ..request(prompt, seed) };
        let mut dialogue = Dialogue::new(&model);
        dialogue.part_len = part_len;
        let about = |n_kept: usize| format!("{name}, parts of {part_len}: {n_kept}");
        let mut text = tokens(5, 1);
        for turn in 0..3 {
            let (answer, n_kept) = ask(&mut dialogue, request(&text, turn));
            let n_new = if turn == 0 { 5 } else { 3 };
            // The last token of the answer was chosen, but not read.
            assert!(n_kept == text.len() - n_new || model.switch().is_some(), "{}", about(n_kept));
            assert_as_naive(&model, &answer, request(&text, turn));
            text.extend(&answer.tokens);
            text.extend(tokens(2, 50 + turn));
        }
        // The first turn is said otherwise, then the text before again.
        let other = [&text[..3], &tokens(4, 90)].concat();
        for text in [&other, &text[..6].to_vec(), &text[..6].to_vec()] {
            let (answer, n_kept) = ask(&mut dialogue, request(text, 9));
            assert!(n_kept < text.len() && (n_kept >= 3 || model.switch().is_some()), "{}", about(n_kept));
            assert_as_naive(&model, &answer, request(text, 9));
        }
        // All of a text that is long from the start.
        let mut dialogue = Dialogue::new(&model);
        dialogue.part_len = part_len;
        let (answer, _) = ask(&mut dialogue, request(&tokens(13, 7), 5));
        assert_as_naive(&model, &answer, request(&tokens(13, 7), 5));
    }
}

/// Somebody who looks up between the parts may end the answer, and what was read stays read.
#[test]
fn a_long_text_is_read_in_parts() {
    for (name, config) in decoders() {
        let model = model(&config, DType::F32, &Device::cpu(2));
        let text = tokens(7, 4);
        let mut dialogue = Dialogue::new(&model);
        assert_eq!(dialogue.read_ahead(), None, "{name}: nothing is to be read");
        dialogue.part_len = 3;
        dialogue.begin(request(&text, 1)).unwrap();
        let lefts = [dialogue.read_ahead(), dialogue.read_ahead(), dialogue.read_ahead()];
        let is_in_parts = model.keeps(3, text.len());
        assert_eq!(lefts, if is_in_parts { [Some(4), Some(1), None] } else { [None; 3] }, "{name}");
        assert_eq!(dialogue.end().unwrap().reason, Finish::Cancelled);
        let (answer, n_kept) = ask(&mut dialogue, request(&text, 1));
        assert_eq!(n_kept, if is_in_parts { 6 } else { 0 }, "{name}");
        assert_as_naive(&model, &answer, request(&text, 1));
    }
}

/// An answer that is ended leaves what was read; one that slides over the context goes on.
#[test]
fn answers_end_and_slide() {
    let model = model(&plain(), DType::F32, &Device::cpu(1));
    let mut dialogue = Dialogue::new(&model);
    assert!(dialogue.step().is_none());
    let text = tokens(6, 3);
    dialogue.begin(request(&text, 1)).unwrap();
    let Some(Event::Token { token, .. }) = dialogue.step() else { panic!("a token") };
    let ended = dialogue.end().unwrap();
    assert_eq!((ended.tokens, ended.reason), (vec![token], Finish::Cancelled));
    let sliding = |when_full| Request { max_tokens: CONTEXT_LEN + 5, when_full, ..request(&text, 1) };
    let (answer, n_kept) = ask(&mut dialogue, sliding(WhenFull::Slide));
    assert_eq!(n_kept, 5);
    assert_as_naive(&model, &answer, sliding(WhenFull::Slide));
    assert_eq!(ask(&mut dialogue, sliding(WhenFull::Stop)).0.reason, Finish::ContextFull);
    assert!(dialogue.begin(request(&[VOCAB_SIZE as TokenId], 1)).is_err());
    assert!(dialogue.begin(request(&[], 1)).is_err());
}
