//! Things that must agree: caches with full passes, micro-batches with one batch, threads, resumed runs, masks.

use super::Finding;
use super::models::{PRESETS, VOCAB, WIDE_ROWS, batch, model, n_different, trainer, weight_bits, wide_trainer};
use crate::failure::{Outcome, While};
use genera_engine::checkpoint::{Checkpoints, Progress};
use genera_engine::generate::{Generator, Limits, Request, Sampling, generate_naively};
use genera_engine::model::{Mode, Rows, Transformer};
use genera_engine::recipe::TrainRecipe;
use genera_engine::train::{TrainSettings, Trainer};
use genera_tensor::{DType, Device, Tape};
use genera_tokens::Batch;
use std::ops::ControlFlow;

/// Presets that write token by token.
fn decoders() -> impl Iterator<Item = &'static str> {
    PRESETS.into_iter().filter(|preset| *preset != "bert")
}

pub(super) fn cached(_: bool, n_threads: usize) -> Outcome<Vec<Finding>> {
    let device = Device::cpu(n_threads);
    decoders()
        .map(|preset| {
            let mut model = model(preset, DType::F32, &device)?;
            let naive = generate_naively(&model, request(&model))?;
            model.params_mut().pack();
            let mut generator = Generator::new(&model, Limits::default());
            generator.submit(request(&model))?;
            let answers = generator.run(|_| ControlFlow::Continue(()));
            let differs = answers[0].tokens != naive.tokens;
            let gap = |(a, b): (&f32, &f32)| f64::from((a - b).abs());
            let error = answers[0].logprobs.iter().zip(&naive.logprobs).map(gap).max_by(f64::total_cmp).unwrap_or(0.0);
            let error = if differs { f64::INFINITY } else { error };
            Ok(Finding::new(format!("{preset}: log-probabilities of a generated answer"), error, 1e-4))
        })
        .collect()
}

fn request(model: &Transformer) -> Request {
    let mut request = if model.config().is_encoder_decoder() {
        Request::with_source(vec![3, 9, 27, 4, 11], vec![1])
    } else {
        Request::new(vec![3, 9, 27])
    };
    request.sampling = Sampling { seed: 4, ..Sampling::default() };
    request.max_tokens = 12;
    request
}

pub(super) fn accumulation(_: bool, n_threads: usize) -> Outcome<Vec<Finding>> {
    let device = Device::cpu(n_threads);
    PRESETS
        .into_iter()
        .map(|preset| {
            let whole = batch(preset, 7, 4);
            let after_step = |micro: &[Batch]| -> Outcome<f64> {
                let recipe = TrainRecipe { steps: 4, ..TrainRecipe::default() };
                let mut trainer = Trainer::new(model(preset, DType::F32, &device)?, TrainSettings::new(&recipe)?);
                Ok(trainer.step(micro)?.grad_norm)
            };
            let (one, split) =
                (after_step(std::slice::from_ref(&whole))?, after_step(&[whole.rows(0..1), whole.rows(1..4)])?);
            Ok(Finding::new(format!("{preset}: norm of the gradient"), (one - split).abs() / one, 1e-5))
        })
        .collect()
}

pub(super) fn threads(quick: bool, _: usize) -> Outcome<Vec<Finding>> {
    let dtypes: &[DType] = if quick { &[DType::F32] } else { &[DType::F32, DType::Bf16] };
    let mut findings = Vec::new();
    for preset in PRESETS {
        for &dtype in dtypes {
            let weights = [1, 2, 3].map(|n_threads| trained(preset, dtype, n_threads));
            let [one, two, three] = weights;
            let one = one?;
            let error = n_different(&one, &two?) + n_different(&one, &three?);
            findings.push(Finding::new(format!("{preset}, {dtype}: weights after 3 steps"), error, 0.0));
        }
    }
    Ok(findings)
}

fn trained(preset: &str, dtype: DType, n_threads: usize) -> Outcome<Vec<u32>> {
    let mut trainer = wide_trainer(preset, dtype, &Device::cpu(n_threads))?;
    for step in 0..3 {
        trainer.step(&[batch(preset, step, WIDE_ROWS)])?;
    }
    Ok(weight_bits(trainer.model()))
}

pub(super) fn resumed(_: bool, n_threads: usize) -> Outcome<Vec<Finding>> {
    let device = Device::cpu(n_threads);
    PRESETS
        .into_iter()
        .map(|preset| {
            let directory = tempfile::tempdir().during("cannot make a temporary directory")?;
            let mut straight = trainer(preset, DType::F32, &device)?;
            (0..4).try_for_each(|step| straight.step(&[batch(preset, step, 2)]).map(drop))?;
            let mut first = trainer(preset, DType::F32, &device)?;
            (0..2).try_for_each(|step| first.step(&[batch(preset, step, 2)]).map(drop))?;
            let settings = *first.settings();
            let progress = Progress { cursor: 2, seed: 1, recipe: "", validation_loss: None };
            let checkpoint = Checkpoints::open(directory.path())?.save(&first, &progress)?;
            drop(first);
            let mut second = checkpoint.resume(settings, DType::F32, &device)?;
            (2..4).try_for_each(|step| second.step(&[batch(preset, step, 2)]).map(drop))?;
            let error = n_different(&weight_bits(straight.model()), &weight_bits(second.model()));
            Ok(Finding::new(format!("{preset}: weights after 2 + 2 steps"), error, 0.0))
        })
        .collect()
}

pub(super) fn masks(_: bool, n_threads: usize) -> Outcome<Vec<Finding>> {
    let device = Device::cpu(n_threads);
    let mut findings = Vec::new();
    for preset in PRESETS {
        let model = model(preset, DType::F32, &device)?;
        if preset != "bert" {
            let error = change(
                &model,
                batch(preset, 8, 1),
                |batch| batch.tokens[7] = (batch.tokens[7] + 1) % VOCAB as u32,
                0..7,
            );
            findings.push(Finding::new(format!("{preset}: a later token"), error, 0.0));
            let error = change(
                &model,
                two_documents(preset),
                |batch| batch.tokens[2] = (batch.tokens[2] + 1) % VOCAB as u32,
                5..12,
            );
            findings.push(Finding::new(format!("{preset}: another document of the row"), error, 0.0));
        }
        if model.config().is_encoder_decoder() {
            let pad = |batch: &mut Batch| {
                let source = batch.source.as_mut().expect("the batch has a source");
                source.tokens[7] = (source.tokens[7] + 1) % VOCAB as u32;
            };
            let error = change(&model, batch(preset, 9, 1), pad, 0..12);
            findings.push(Finding::new(format!("{preset}: padding of the source"), error, 0.0));
        }
    }
    Ok(findings)
}

fn two_documents(preset: &str) -> Batch {
    let mut batch = batch(preset, 8, 1);
    for i in 0..batch.len {
        batch.segments[i] = if i < 5 { 1 } else { 2 };
        batch.positions[i] = if i < 5 { i } else { i - 5 } as u32;
    }
    batch
}

/// Number of bits' places in which the hidden states at `positions` differ after the change.
fn change(model: &Transformer, batch: Batch, edit: impl Fn(&mut Batch), positions: std::ops::Range<usize>) -> f64 {
    let hidden = |batch: &Batch| -> Vec<u32> {
        let tape = Tape::inference(model.device());
        let memory = batch.source.as_ref().map(|source| model.encode(&tape, &Rows::of_source(source), Mode::default()));
        let hidden = model.decode(&tape, &Rows::of_batch(batch), memory, Mode::default());
        let d = model.config().d_model;
        let values = hidden.tensor().to_vec();
        values[positions.start * d..positions.end * d].iter().map(|value| value.to_bits()).collect()
    };
    let mut edited = batch.clone();
    edit(&mut edited);
    n_different(&hidden(&batch), &hidden(&edited))
}
