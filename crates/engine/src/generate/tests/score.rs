//! Scores and logits against one full forward pass for each token.

use super::models::{CONTEXT_LEN, all, model, plain, tokens};
use crate::config::{Head, ModelConfig, Shape};
use crate::generate::Logits;
use crate::generate::naive::logits_behind;
use crate::generate::{Score, ScoreSettings, Scored, logits_of, score, score_blocks};
use crate::model::Transformer;
use genera_tensor::{DType, Device};

fn sequences(config: &ModelConfig) -> Vec<Scored> {
    let sequence = |i: usize| Scored {
        source: config.is_encoder_decoder().then(|| tokens(1 + 4 * i, i as u64)),
        tokens: tokens([2, 9, 5, 1, CONTEXT_LEN + 1][i], 70 + i as u64),
        n_given: [1, 3, 5, 1, 1][i],
    };
    (0..5).map(sequence).collect()
}

/// Σ −ln p by a forward pass for each token over at most `n_context` tokens before it.
fn scored_naively(model: &Transformer, scored: &Scored, n_context: impl Fn(usize) -> usize) -> f64 {
    let nats = |i: usize| {
        let logits = logits_behind(model, scored.source.as_deref(), &scored.tokens[i - n_context(i)..i]);
        let logits = logits.view().f32();
        f64::from(Logits::of(logits).log_sum_exp - logits[scored.tokens[i] as usize])
    };
    (scored.n_given..scored.tokens.len()).map(nats).sum()
}

#[test]
fn a_score_is_the_sum_over_the_tokens() {
    for (name, config) in all() {
        let model = model(&config, DType::F32, &Device::cpu(1));
        if model.switch().is_some() {
            // All of a long sequence is made otherwise than its shorter beginnings.
            continue;
        }
        let sequences = sequences(&config);
        for n_batch_tokens in [1, 40, 4096] {
            let settings = ScoreSettings { n_batch_tokens, ..ScoreSettings::default() };
            let scores = score(&model, &sequences, &settings).expect("valid sequences");
            for (i, (found, scored)) in scores.iter().zip(&sequences).enumerate() {
                assert_eq!(found.n_tokens, (scored.tokens.len() - scored.n_given) as u64);
                let wanted = scored_naively(&model, scored, |i| i);
                assert!((found.nats - wanted).abs() < 1e-4, "{name}, sequence {i}: {} and {wanted}", found.nats);
                let alone = score(&model, &sequences[i..=i], &settings).expect("a valid sequence");
                assert_eq!(alone[0], *found, "{name}, sequence {i} alone");
            }
        }
    }
}

#[test]
fn a_long_sequence_is_read_by_windows() {
    let model = model(&plain(), DType::F32, &Device::cpu(1));
    let long = Scored { source: None, tokens: tokens(61, 4), n_given: 1 };
    for stride in [1, 5, CONTEXT_LEN] {
        let settings = ScoreSettings { stride: Some(stride), ..ScoreSettings::default() };
        let found = score(&model, std::slice::from_ref(&long), &settings).expect("a valid sequence")[0];
        assert_eq!(found.n_tokens, 60);
        // Window j ends at context_len + j·stride, or at the last input.
        let n_context = |i: usize| {
            let j = i.saturating_sub(CONTEXT_LEN).div_ceil(stride);
            i - (CONTEXT_LEN + j * stride).min(60).saturating_sub(CONTEXT_LEN)
        };
        let wanted = scored_naively(&model, &long, n_context);
        assert!((found.nats - wanted).abs() < 1e-4, "stride {stride}: {} and {wanted}", found.nats);
    }
}

#[test]
fn blocks_are_parts_of_a_score() {
    let config = ModelConfig { context_len: 600, ..plain() };
    let model = model(&config, DType::F32, &Device::cpu(1));
    let sequences: Vec<Scored> =
        [(1000, 1), (3, 2)].map(|(n, n_given)| Scored { source: None, tokens: tokens(n, 4), n_given }).into();
    let settings = ScoreSettings { stride: Some(300), ..ScoreSettings::default() };
    let blocks = score_blocks(&model, &sequences, &settings).expect("valid sequences");
    let sizes: Vec<Vec<u64>> = blocks.iter().map(|of| of.iter().map(|block| block.n_tokens).collect()).collect();
    assert_eq!(sizes, [vec![256, 256, 88, 256, 44, 99], vec![1]]);
    let sums = score(&model, &sequences, &settings).expect("valid sequences");
    let nats: f64 = blocks[0].iter().map(|block| block.nats).sum();
    assert!((nats - sums[0].nats).abs() < 1e-9);
}

#[test]
fn hits_are_counted_and_scores_add_up() {
    let model = model(&plain(), DType::F32, &Device::cpu(1));
    let logits = logits_behind(&model, None, &[5]);
    let best = logits.view().f32().iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("tokens").0 as u32;
    let next = |token| Scored { source: None, tokens: vec![5, token], n_given: 1 };
    let scores = score(&model, &[next(best), next((best + 1) % 23)], &ScoreSettings::default()).expect("valid");
    assert_eq!([scores[0].n_hits, scores[1].n_hits], [1, 0]);
    let mut sum = Score::default();
    scores.iter().for_each(|&score| sum += score);
    assert_eq!((sum.n_tokens, sum.n_hits), (2, 1));
    assert_eq!(sum.nats_per_token(), (scores[0].nats + scores[1].nats) / 2.0);
}

#[test]
fn logits_are_those_behind_each_token() {
    for (name, config) in all() {
        let model = model(&config, DType::F32, &Device::cpu(1));
        let rows = [tokens(4, 1), tokens(4, 2)];
        let sources = [tokens(6, 3), tokens(6, 4)];
        let has_encoder = config.is_encoder_decoder();
        let logits =
            if has_encoder { logits_of(&model, &sources, Some(&rows)) } else { logits_of(&model, &rows, None) };
        let logits = logits.expect("valid tokens");
        assert_eq!(logits.dims(), [2, 4, 23], "{name}");
        for (i, found) in logits.view().f32().chunks(23).enumerate() {
            let source = has_encoder.then_some(sources[i / 4].as_slice());
            let behind = logits_behind(&model, source, &rows[i / 4][..=i % 4]);
            let error =
                behind.view().f32().iter().zip(found).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap_or(0.0);
            assert!(error < 1e-5, "{name}, place {i}: {error}");
        }
    }
}

#[test]
fn an_encoder_gives_hidden_states() {
    let Shape::DecoderOnly(stack) = plain().shape else { panic!("a decoder") };
    let config = ModelConfig { shape: Shape::EncoderOnly(stack), head: Head::None, ..plain() };
    let model = model(&config, DType::F32, &Device::cpu(1));
    assert_eq!(logits_of(&model, &[tokens(5, 1)], None).expect("valid tokens").dims(), [1, 5, 16]);
}
