//! Laws of training, on models so small that a step takes a millisecond.

use super::*;
use crate::presets;
use crate::recipe::{OptimizerKind, PrivacyRecipe, TrainRecipe};
use crate::train::fixture::{V, batch, preset, recipe, rich_recipe, trainer, trainer_on, wide_trainer_on};
use genera_tensor::{DType, Device};
use genera_tokens::IGNORE;

fn weights(trainer: &Trainer) -> Vec<Vec<f32>> {
    crate::train::fixture::weights(trainer.model())
}

fn largest_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap_or(0.0)
}

#[test]
fn every_preset_learns_a_batch_by_heart() {
    for preset in presets::ALL {
        for optimizer in [OptimizerKind::AdamW, OptimizerKind::Muon] {
            let recipe = TrainRecipe { optimizer, ..recipe() };
            let mut trainer = trainer(preset, &recipe);
            let batch = [batch(preset, 3, 1)];
            let losses: Vec<f64> = (0..200).map(|_| trainer.step(&batch).unwrap().loss).collect();
            let (first, last) = (losses[0], losses[199]);
            assert!((2.0..4.0).contains(&first), "{}: starts at {first}", preset.name);
            assert!(last < 0.1, "{} with {optimizer:?}: still at {last}", preset.name);
        }
    }
}

#[test]
fn sgd_learns() {
    let recipe = TrainRecipe { optimizer: OptimizerKind::Sgd, learning_rate: 0.05, momentum: 0.9, ..recipe() };
    let mut trainer = trainer(preset("llama"), &recipe);
    let batch = [batch(preset("llama"), 3, 1)];
    let losses: Vec<f64> = (0..150).map(|_| trainer.step(&batch).unwrap().loss).collect();
    assert!(losses[149] < 0.7 * losses[0], "{} to {}", losses[0], losses[149]);
}

/// Micro-batches of 1, 2 and 3 rows, with unequal numbers of targets, against one batch of all rows.
#[test]
fn micro_batches_add_up_to_one_batch() {
    for name in ["gpt2", "t5"] {
        let whole = batch(preset(name), 6, 2);
        let parts = [whole.rows(0..1), whole.rows(1..3), whole.rows(3..6)];
        assert_ne!(parts[0].n_targets() * 6, whole.n_targets());
        let recipe = TrainRecipe { optimizer: OptimizerKind::Sgd, learning_rate: 1.0, clip: 0.0, ..recipe() };
        let (mut one, mut many) = (trainer(preset(name), &recipe), trainer(preset(name), &recipe));
        let before = weights(&one);
        let (a, b) = (one.step(&[whole]).unwrap(), many.step(&parts).unwrap());
        assert!((a.loss - b.loss).abs() < 1e-6 && (a.grad_norm - b.grad_norm).abs() < 1e-5 * a.grad_norm);
        assert_eq!((a.n_tokens, a.learning_rate), (b.n_tokens, b.learning_rate));
        let moved = largest_difference(&before, &weights(&one));
        let apart = largest_difference(&weights(&one), &weights(&many));
        assert!(apart < 1e-5 * moved, "{name}: moved {moved}, apart {apart}");
    }
}

/// Steps of a rich recipe, then all weights.
fn trained(device: &Device, preset: &presets::Preset, recipe: &TrainRecipe, compute: DType) -> Vec<Vec<f32>> {
    trained_on(trainer_on(device, preset, recipe, compute), preset, [3, 2])
}

fn trained_on(mut trainer: Trainer, preset: &presets::Preset, n_rows: [usize; 2]) -> Vec<Vec<f32>> {
    for step in 0..4 {
        let micro_batches = [batch(preset, n_rows[0], 10 + step), batch(preset, n_rows[1], 20 + step)];
        trainer.step(&micro_batches).unwrap();
    }
    trainer.with_averaged(|_| ());
    weights(&trainer)
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for name in ["llama", "marian"] {
        for compute in [DType::F32, DType::Bf16] {
            let run = |n_threads| trained(&Device::cpu(n_threads), preset(name), &rich_recipe(), compute);
            let one = run(1);
            assert!(one == run(2) && one == run(3), "{name} {compute}");
            // So wide, and with so many tokens, that products, norms and sums are shared.
            let run = |n_threads| {
                let trainer = wide_trainer_on(&Device::cpu(n_threads), preset(name), &rich_recipe(), compute);
                trained_on(trainer, preset(name), [64, 51])
            };
            let one = run(1);
            assert!(one == run(2) && one == run(3), "{name} {compute}, wide");
        }
    }
}

#[test]
fn computing_blocks_again_changes_no_bit() {
    for name in ["llama", "t5", "bert"] {
        let kept = rich_recipe();
        let run = |recipe: &TrainRecipe| trained(&Device::cpu(2), preset(name), recipe, DType::F32);
        let kept = run(&kept);
        for n in [1, 3, 100] {
            let again = TrainRecipe { recomputed_blocks: Some(n), ..rich_recipe() };
            assert!(kept == run(&again), "{name}, {n} blocks");
        }
    }
}

#[test]
fn dropout_depends_on_seed_and_step_and_micro_batch() {
    let name = preset("gpt2");
    let run = |dropout, seed| {
        let mut trainer = trainer(name, &TrainRecipe { dropout, ..recipe() });
        trainer.settings.seed = seed;
        let batches = [batch(name, 2, 1), batch(name, 2, 1)];
        [trainer.step(&batches).unwrap().loss, trainer.step(&batches[..1]).unwrap().loss]
    };
    let [plain, dropped, again, other] = [run(0.0, 1), run(0.3, 1), run(0.3, 1), run(0.3, 2)];
    assert_eq!(dropped, again);
    assert!(plain[0] != dropped[0] && dropped[0] != other[0], "{plain:?} {dropped:?} {other:?}");
    let mode = |trainer: &Trainer, index| {
        let mut sums = Sums::default();
        trainer.accumulate(&batch(name, 2, 1), index, 1.0, &mut Gradients::new(100), &mut sums).unwrap();
        sums.mean_nats()
    };
    let trainer = trainer(name, &TrainRecipe { dropout: 0.3, ..recipe() });
    assert_ne!(mode(&trainer, 0), mode(&trainer, 1));
}

/// The reported loss is that without smoothing; the gradient is that with it.
#[test]
fn label_smoothing_keeps_the_model_modest() {
    let name = preset("gpt2");
    let run = |label_smoothing| {
        let mut trainer = trainer(name, &TrainRecipe { label_smoothing, ..recipe() });
        let batch = [batch(name, 3, 1)];
        let losses: Vec<f64> = (0..200).map(|_| trainer.step(&batch).unwrap().loss).collect();
        (losses[0], losses[199])
    };
    let ((first, sure), (same, modest)) = (run(0.0), run(0.2));
    assert_eq!(first, same);
    // The best that can be done gives the target 1 − ε + ε / V.
    let best = -(1.0 - 0.2 + 0.2 / V as f64).ln();
    assert!(sure < 0.05 && (modest - best).abs() < 0.05, "{sure}, {modest} with {best} as the best");
}

#[test]
fn validation_is_the_mean_over_all_targets() {
    let name = preset("gpt2");
    let mut trainer = trainer(name, &recipe());
    let whole = batch(name, 6, 3);
    let mut parts = vec![whole.rows(0..1), whole.rows(1..6)];
    let by_step = |trainer: &Trainer, batch: &Batch| {
        let loss = trainer.model.loss(&Tape::inference(trainer.model.device()), batch, 0.0, 1.0, Mode::default());
        f64::from(loss.total.tensor().view().get(0))
    };
    let nats = by_step(&trainer, &whole);
    let one = trainer.validate([whole.clone()]).unwrap();
    let two = trainer.validate(parts.clone()).unwrap();
    assert!((one.loss - nats / 29.0).abs() < 1e-6 && (two.loss - one.loss).abs() < 1e-9);
    assert_eq!((one.n_tokens, two.n_tokens, one.n_bytes), (29, 29, 60));
    assert!((one.bits_per_byte.unwrap() - nats / 60.0 / 2.0_f64.ln()).abs() < 1e-6);
    assert_eq!(two.bits_per_byte, None);
    for _ in 0..100 {
        trainer.step(std::slice::from_ref(&whole)).unwrap();
    }
    parts.truncate(1);
    let learned = trainer.validate(parts).unwrap();
    assert_eq!(learned.accuracy, 1.0);
    assert!(trainer.validate([]).unwrap_err().to_string().contains("validation data is empty"));
}

/// Averages of weights, step by step, against the formula.
#[test]
fn averages_follow_the_weights() {
    let name = preset("llama");
    let mut trainer = trainer_on(&Device::cpu(1), name, &TrainRecipe { ema_decay: 0.3, ..recipe() }, DType::Bf16);
    let mut expect = weights(&trainer);
    for step in 1..=4 {
        trainer.step(&[batch(name, 2, step)]).unwrap();
        let decay = 0.3_f32.min((1.0 + step as f32) / (10.0 + step as f32));
        let current = weights(&trainer);
        for (average, weight) in expect.iter_mut().flatten().zip(current.iter().flatten()) {
            *average = decay * *average + (1.0 - decay) * weight;
        }
    }
    let raw = weights(&trainer);
    let loss = |trainer: &mut Trainer| trainer.validate([batch(name, 2, 9)]).unwrap().loss;
    let averaged = loss(&mut trainer);
    assert_eq!(weights(&trainer), raw, "validation gives the weights back");
    assert_eq!(loss(&mut trainer), averaged);
    let model = trainer.into_model();
    let found = crate::train::fixture::weights(&model);
    assert!(largest_difference(&found, &expect) < 1e-6);
    assert!(largest_difference(&found, &raw) > 1e-4);
    let mut sums = Sums::default();
    let batch = batch(name, 2, 9);
    sums.add(&batch, &model.loss(&Tape::inference(model.device()), &batch, 0.0, 1.0, Mode::default()));
    assert_eq!(sums.mean_nats(), averaged, "the rounded copies follow the averages");
}

/// A parameter, and what is done to it.
type Spoiled<'s> = (&'s str, &'s dyn Fn(&mut [f32]));

#[test]
fn what_is_not_finite_is_named_and_changes_nothing() {
    let name = preset("llama");
    let check_with = |recipe: &TrainRecipe, spoiled: &[Spoiled<'_>], what: &str, expect: &str| {
        let mut trainer = trainer(name, recipe);
        trainer.step(&[batch(name, 2, 1)]).unwrap();
        for (parameter, spoil) in spoiled {
            let params = trainer.model.params_mut();
            let id = params.id(parameter);
            let (master, _) = params.for_update(id);
            spoil(master.view_mut().f32());
        }
        let before = weights(&trainer);
        let error = trainer.step(&[batch(name, 2, 2)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("step 2: the {what} is not finite")) && error.contains(expect), "{error}");
        let bits = |weights: Vec<Vec<f32>>| weights.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert!(bits(weights(&trainer)) == bits(before) && trainer.n_steps() == 1);
    };
    let check = |spoiled: &[Spoiled<'_>], what: &str, expect: &str| check_with(&recipe(), spoiled, what, expect);
    let up = "decoder.1.feed_forward.up.weight";
    check(&[(up, &|w| w[0] = f32::NAN)], "loss", "the parameter decoder.1.feed_forward.up.weight");
    let norm = "decoder.0.feed_forward.norm.weight";
    check(&[(norm, &|w| w[0] = 3e38)], "loss", "the queries of decoder.1.attention");
    check(&[("head.weight", &|w| w.fill(3e38))], "loss", "it began with the logits.");
    // Ten times as much is infinite: the masks of the step are needed to see it.
    let silencing = TrainRecipe { dropout: 0.9, ..recipe() };
    check_with(&silencing, &[("embedding.weight", &|w| w.fill(1e38))], "loss", "the queries of decoder.0.attention");
    // Closed gates hide huge values on the way, not on the way back.
    let closed_gates = |w: &mut [f32]| {
        let (gate, up) = w.split_at_mut(w.len() / 2);
        gate.fill(0.0);
        up.fill(1e25);
    };
    let spoiled: &[Spoiled<'_>] = &[(up, &closed_gates), ("decoder.1.feed_forward.down.weight", &|w| w.fill(1e25))];
    check(spoiled, "gradient", "the gradient of decoder.1.feed_forward.up.weight");
}

/// The way back meets the last layer first, so of two bad gradients the later parameter's is the cause.
#[test]
fn the_first_bad_gradient_of_the_way_back_is_named() {
    let trainer = trainer(preset("llama"), &recipe());
    let params = trainer.model.params();
    let mut gradients = Gradients::new(params.len());
    for (name, value) in
        [("decoder.0.attention.qkv.weight", f32::NAN), ("decoder.1.feed_forward.up.weight", f32::INFINITY)]
    {
        *gradients.get_mut(params.id(name)) = Some(Tensor::from_f32(trainer.model.device(), [2], &[1.0, value]));
    }
    let cause = crate::train::finite::cause_of_bad_gradient(params, &gradients);
    assert_eq!(cause, "the gradient of decoder.1.feed_forward.up.weight");
}

#[test]
fn a_batch_without_targets_is_refused() {
    let name = preset("gpt2");
    let mut empty = batch(name, 1, 1);
    empty.targets.fill(IGNORE);
    let error = trainer(name, &recipe()).step(&[empty]).unwrap_err().to_string();
    assert!(error.contains("step 1: no position of the batch carries loss"), "{error}");
}

/// After the first steps, the pool serves a step without asking the system for memory.
#[test]
fn memory_is_reused() {
    let name = preset("llama");
    let mut trainer = trainer(name, &rich_recipe());
    let mut step = || {
        trainer.step(&[batch(name, 3, 1)]).unwrap();
        trainer.model.device().memory().reserved_bytes()
    };
    let reserved = [step(), step(), step(), step()];
    assert_eq!(reserved[1], reserved[3]);
}

/// A trainer with privacy and hardly any noise.
fn private_trainer(clip: f64, noise_multiplier: f64, secret: u64) -> Trainer {
    let privacy = PrivacyRecipe {
        epsilon: Some(1.0),
        noise_multiplier: Some(noise_multiplier),
        secret: Some(secret),
        ..PrivacyRecipe::default()
    };
    let train = TrainRecipe {
        optimizer: OptimizerKind::Sgd,
        learning_rate: 1.0,
        warmup_steps: Some(0),
        clip,
        batch_size: 2,
        momentum: 0.0,
        ..recipe()
    };
    let plain = trainer(preset("llama"), &train);
    let settings = TrainSettings::new(&train).unwrap().with_privacy(&privacy, &train).unwrap();
    Trainer::new(plain.into_model(), settings)
}

fn row_alone(row: Batch, clip: f64) -> Vec<Vec<f32>> {
    let mut trainer = private_trainer(clip, 1e-12, 1);
    trainer.step_private(&[row]).unwrap();
    weights(&trainer)
}

#[test]
fn a_private_step_is_the_sum_of_clipped_rows() {
    let rows = batch(preset("llama"), 2, 3);
    let before = weights(&private_trainer(0.1, 1e-12, 1));
    let alone = [0, 1].map(|i| row_alone(rows.rows(i..i + 1), 0.1));
    let mut both = private_trainer(0.1, 1e-12, 1);
    both.step_private(&[rows.rows(0..1), rows.rows(1..2)]).unwrap();
    let sum: Vec<Vec<f32>> = before
        .iter()
        .zip(alone[0].iter().zip(&alone[1]))
        .map(|(start, (a, b))| start.iter().zip(a.iter().zip(b)).map(|(start, (a, b))| a + b - start).collect())
        .collect();
    assert!(largest_difference(&weights(&both), &sum) < 1e-6);
    // Each moves the weights by clip / batch_size at most, however large its gradient.
    let moved = |weights: &[Vec<f32>]| {
        let pairs = weights.iter().flatten().zip(before.iter().flatten());
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    assert!((moved(&alone[0]) - 0.05).abs() < 1e-4, "{}", moved(&alone[0]));
}

#[test]
fn private_noise_is_a_function_of_the_secret_and_comes_without_rows_too() {
    let after = |secret| {
        let mut trainer = private_trainer(1.0, 0.5, secret);
        trainer.step_private(&[]).unwrap();
        weights(&trainer)
    };
    assert!(after(1) == after(1));
    assert!(after(1) != after(2));
    let still = weights(&private_trainer(1.0, 0.5, 1));
    let moved = after(1).iter().zip(&still).all(|(a, b)| a.iter().zip(b).any(|(a, b)| a != b));
    assert!(moved, "every parameter gets noise");
}
