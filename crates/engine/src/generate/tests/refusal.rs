//! What cannot be met is refused at the door, with both numbers.

use super::models::{CONTEXT_LEN, encoder_decoders, model, plain, tokens};
use crate::config::{Head, ModelConfig, Position, Shape};
use crate::generate::{
    BeamInput, BeamSettings, Generator, Guidance, Limits, Request, Sampling, ScoreSettings, Scored, WhenFull,
    beam_search, logits_of, score,
};
use genera_tensor::{DType, Device};
use genera_tokens::TokenId;

fn refusal(config: &ModelConfig, request: Request) -> String {
    let model = model(config, DType::F32, &Device::cpu(1));
    let mut generator = Generator::new(&model, Limits::default());
    let message = generator.submit(request).expect_err("must be refused").to_string();
    assert!(generator.is_idle(), "a refused request leaves nothing behind");
    message
}

#[test]
fn requests() {
    let plain = plain();
    let with_encoder = encoder_decoders().swap_remove(0).1;
    let long = CONTEXT_LEN + 5;
    assert_eq!(
        refusal(&plain, Request::new(tokens(long, 1))),
        "the prompt has 29 tokens, but the model's context holds 24, of which the answer needs at least 1; shorten the prompt"
    );
    assert!(refusal(&plain, Request::new(tokens(CONTEXT_LEN, 1))).starts_with("the prompt has 24 tokens"));
    // Positions that are added to the embeddings end with the context.
    for position in [Position::Learned, Position::Sinusoidal] {
        let going_on = Request { when_full: WhenFull::GoOn, ..Request::new(tokens(long, 1)) };
        let config = ModelConfig { position, ..plain.clone() };
        assert!(refusal(&config, going_on).starts_with("the prompt has 29 tokens, but the model's context holds 24"));
    }
    assert!(refusal(&plain, Request::new(vec![])).starts_with("the prompt is empty"));
    assert_eq!(
        refusal(&plain, Request::new(vec![1, 23])),
        "prompt: token 23 does not exist; the model has tokens 0 to 22"
    );
    assert!(refusal(&plain, Request::with_source(vec![1], vec![1])).contains("the model has no encoder"));
    assert!(refusal(&with_encoder, Request::new(vec![1])).contains("no source"));
    assert!(refusal(&with_encoder, Request::with_source(vec![], vec![1])).starts_with("the source is empty"));
    assert_eq!(
        refusal(&with_encoder, Request::with_source(tokens(long, 1), vec![1])),
        "the source has 29 tokens, but the model's context holds 24; shorten it"
    );
    assert!(refusal(&plain, Request { stop: vec![99], ..Request::new(vec![1]) }).starts_with("stop: token 99"));
    assert!(refusal(&plain, Request { max_tokens: 0, ..Request::new(vec![1]) }).starts_with("max_tokens is 0"));
    assert!(refusal(&plain, Request { top_logprobs: 24, ..Request::new(vec![1]) }).contains("at most 23"));
    let cold = Sampling { temperature: -0.5, ..Sampling::default() };
    assert!(refusal(&plain, Request { sampling: cold, ..Request::new(vec![1]) }).starts_with("temperature is -0.5"));
    let sliding = Request { when_full: WhenFull::Slide, ..Request::with_source(vec![1], vec![1]) };
    assert!(refusal(&with_encoder, sliding).contains("cannot slide"));
    let guided = |scale: f32, prompt: &[TokenId]| Some(Guidance { scale, prompt: prompt.to_vec() });
    let of_plain = |guidance: Option<Guidance>| refusal(&plain, Request { guidance, ..Request::new(vec![1]) });
    assert!(of_plain(guided(f32::NAN, &[1])).starts_with("guidance is NaN"));
    assert!(of_plain(guided(-1.0, &[1])).starts_with("guidance is -1"));
    assert!(of_plain(guided(2.0, &[])).contains("has 0 tokens"));
    assert!(of_plain(guided(2.0, &[1, 2])).contains("has 2 tokens"));
    assert!(of_plain(guided(2.0, &[23])).starts_with("guidance: token 23"));
    let guessing = Request { n_guesses: 1, guidance: guided(2.0, &[1]), ..Request::new(vec![1]) };
    assert!(refusal(&plain, guessing).contains("guessed ahead"));
    let sliding = Request { when_full: WhenFull::Slide, guidance: guided(2.0, &[1]), ..Request::new(vec![1]) };
    assert!(refusal(&plain, sliding).contains("cannot slide"));
    let translated = Request { guidance: guided(2.0, &[1]), ..Request::with_source(vec![1], vec![1]) };
    assert!(refusal(&with_encoder, translated).contains("answers its source"));
    let Shape::DecoderOnly(stack) = plain.shape.clone() else { panic!("a decoder") };
    let encoder = ModelConfig { shape: Shape::EncoderOnly(stack), head: Head::None, ..plain };
    assert!(refusal(&encoder, Request::new(vec![1])).contains("encoder-only"));
}

#[test]
fn searches_scores_and_logits() {
    let model = model(&plain(), DType::F32, &Device::cpu(1));
    let search = |settings: BeamSettings| {
        let input = BeamInput { source: None, prompt: vec![1] };
        beam_search(&model, &[input], &settings).expect_err("must be refused").to_string()
    };
    assert!(search(BeamSettings { n_beams: 0, ..BeamSettings::default() }).starts_with("n_beams is 0"));
    assert!(search(BeamSettings { n_best: 5, ..BeamSettings::default() }).contains("from 1 to n_beams, 4"));
    assert!(search(BeamSettings { length_penalty: f32::NAN, ..BeamSettings::default() }).contains("length_penalty"));
    assert!(
        search(BeamSettings { repetition_penalty: 0.0, ..BeamSettings::default() })
            .starts_with("repetition_penalty is 0")
    );
    assert!(search(BeamSettings { stop: vec![23], ..BeamSettings::default() }).starts_with("stop: token 23"));

    let scored = |scored: Scored, stride| {
        let settings = ScoreSettings { stride, ..ScoreSettings::default() };
        score(&model, &[scored], &settings).expect_err("must be refused").to_string()
    };
    let sequence = |n, n_given| Scored { source: None, tokens: tokens(n, 1), n_given };
    assert!(scored(sequence(3, 0), None).starts_with("0 of 3 tokens are given"));
    assert!(scored(sequence(3, 4), None).starts_with("4 of 3 tokens are given"));
    assert!(scored(sequence(3, 1), Some(0)).contains("from 1 to the model's context, 24"));
    assert!(scored(Scored { source: Some(vec![1]), ..sequence(3, 1) }, None).contains("encoder-decoder"));

    let logits = |rows: &[Vec<u32>]| logits_of(&model, rows, None).expect_err("must be refused").to_string();
    assert!(logits(&[]).starts_with("there are no tokens"));
    assert!(logits(&[vec![1, 2], vec![1]]).contains("equal length; found 2 and 1"));
    let learned = ModelConfig { position: Position::Learned, ..plain() };
    let learned = logits_of(&self::model(&learned, DType::F32, &Device::cpu(1)), &[tokens(25, 1)], None);
    assert!(learned.unwrap_err().to_string().starts_with("there are 25 tokens, but the model's context holds 24"));
    assert!(logits_of(&model, &[vec![1]], Some(&[vec![1]])).is_err());
}
