//! Laws of the GAN, on networks so small that a step takes a millisecond.

use super::networks::Discriminator;
use super::*;
use genera_tensor::{Gradients, ParamId};

fn config() -> GanConfig {
    let choice = |n, is_asked| Part::Choice { n, is_asked };
    let parts = vec![Part::Number, choice(2, false), choice(3, true), Part::Number, choice(2, true)];
    GanConfig { parts, d_hidden: 24, n_layers: 2, d_noise: 8, n_packed: 2 }
}

fn settings(n_steps: u64) -> GanSettings {
    GanSettings { seed: 1, learning_rate: 2e-3, n_steps, ema_decay: 0.9 }
}

/// Rows whose first choice decides the second, and whose number is 0.5 or −0.5 by it.
fn batch(step: u64) -> GanBatch {
    let mut batch = GanBatch::default();
    for i in 0..40 {
        let category = Key::new(step).below(i, 3) as usize;
        let is_first = category == 0;
        let number = if is_first { 0.5 } else { -0.5 };
        let mut row = vec![number, 1.0, 0.0, 0.0, 0.0, 0.0, number, 0.0, 0.0];
        row[3 + category] = 1.0;
        row[7 + usize::from(is_first)] = 1.0;
        let mut condition = vec![0.0; 5];
        condition[category] = 1.0;
        batch.rows.extend(row);
        batch.conditions.extend(condition);
        batch.asked.push((0, category as u32));
    }
    batch
}

fn trained(device: &Device, n_steps: u64) -> GanTrainer {
    let mut trainer = GanTrainer::new(config(), settings(n_steps), device).unwrap();
    (0..n_steps).for_each(|step| {
        trainer.step(&batch(step)).unwrap();
    });
    trainer
}

fn weights(trainer: &GanTrainer) -> Vec<Vec<f32>> {
    (0..trainer.params.len()).map(|i| trainer.params.master(ParamId(i)).to_vec()).collect()
}

#[test]
fn places_of_parts_and_conditions_agree() {
    let config = config();
    assert_eq!((config.n_features(), config.n_conditions()), (9, 5));
    assert_eq!(config.asked().collect::<Vec<_>>(), [(3..6, 0..3), (7..9, 3..5)]);
    for bad in [GanConfig { n_packed: 0, ..config.clone() }, GanConfig { d_hidden: usize::MAX, ..config.clone() }] {
        assert!(bad.validate().is_err());
    }
    let huge = Part::Choice { n: usize::MAX, is_asked: true };
    assert!(GanConfig { parts: vec![huge, huge], ..config }.validate().is_err());
}

/// The penalty's gradient against differences of the penalty in each of some weights.
#[test]
fn the_penalty_is_differentiated_exactly() {
    let device = Device::reference();
    let mut trainer = GanTrainer::new(config(), settings(1), &device).unwrap();
    let values: Vec<f32> = (0..28 * 3).map(|i| ((i * 37 % 19) as f32 - 9.0) / 10.0).collect();
    let points = Tensor::from_f32(&device, [3, 28], &values);
    let penalty = |params: &Params, gradients: &mut Gradients| {
        let discriminator = Discriminator { config: &config(), params, is_trained: true, key: Key::new(5) };
        penalty::penalise(&discriminator, &points, gradients)
    };
    let mut gradients = Gradients::new(trainer.params.len());
    penalty(&trainer.params, &mut gradients);
    for name in ["discriminator.0.weight", "discriminator.1.weight", "discriminator.out.weight"] {
        let id = trainer.params.id(name);
        let gradient = gradients.get(id).unwrap().to_vec();
        for i in [0, 7, 20] {
            let mut at = |change: f32| {
                let mut values = trainer.params.master(id).to_vec();
                let before = values[i];
                values[i] += change;
                let shape = trainer.params.master(id).shape();
                trainer.params.set(id, &Tensor::from_f32(&device, shape, &values));
                let found = penalty(&trainer.params, &mut Gradients::new(trainer.params.len()));
                values[i] = before;
                trainer.params.set(id, &Tensor::from_f32(&device, shape, &values));
                found
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!(
                (slope - f64::from(gradient[i])).abs() < 2e-3 * slope.abs().max(1.0),
                "{name} {i}: {slope} {}",
                gradient[i]
            );
        }
    }
}

#[test]
fn it_learns_what_goes_together_and_what_is_asked_for() {
    let device = Device::cpu(2);
    let mut trainer = trained(&device, 400);
    let generator = trainer.generator();
    let (mut n_asked, mut n_together) = (0, 0);
    let conditions: Vec<f32> = (0..300).flat_map(|i| (0..5).map(move |j| f32::from(j == i % 3))).collect();
    for (i, row) in generator.make(&conditions, 300, 3, 0).chunks(9).enumerate() {
        n_asked += usize::from(row[3 + i % 3] == 1.0);
        n_together += usize::from((row[3] == 1.0) == (row[0] > 0.0) && (row[3] == row[8]));
        assert!(row.iter().all(|value| (-1.0..=1.0).contains(value)));
        assert_eq!(row[3..6].iter().sum::<f32>(), 1.0);
    }
    assert!(n_asked > 285 && n_together > 240, "{n_asked} and {n_together} of 300");
}

#[test]
fn made_rows_depend_on_nothing_beside_them() {
    let mut trainer = trained(&Device::cpu(1), 2);
    let generator = trainer.generator();
    let condition = [1.0, 0.0, 0.0, 0.0, 0.0];
    let many = generator.make(&condition.repeat(7), 7, 5, 10);
    assert_eq!(generator.make(&condition, 1, 5, 13), many[27..36]);
}

#[test]
fn a_run_that_stopped_goes_on_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gan.safetensors");
    let whole = trained(&Device::cpu(1), 6);
    let mut half = GanTrainer::new(config(), settings(6), &Device::cpu(2)).unwrap();
    (0..3).for_each(|step| {
        half.step(&batch(step)).unwrap();
    });
    save_trainer(&half, &path).unwrap();
    let mut rest = load_trainer(&path, &config(), settings(6), &Device::cpu(2)).unwrap();
    assert_eq!(rest.n_steps(), 3);
    (3..6).for_each(|step| {
        rest.step(&batch(step)).unwrap();
    });
    assert!(weights(&rest) == weights(&whole));
    let other = GanConfig { d_hidden: 25, ..config() };
    assert!(load_trainer(&path, &other, settings(6), &Device::cpu(1)).is_err());
}

#[test]
fn damaged_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("generator.safetensors");
    let mut trainer = trained(&Device::cpu(1), 1);
    save_generator(&trainer.generator(), &path).unwrap();
    let device = Device::cpu(1);
    let condition = [0.0, 1.0, 0.0, 0.0, 0.0];
    let same = load_generator(&path, &device).unwrap().make(&condition, 1, 1, 0);
    assert_eq!(same, trainer.generator().make(&condition, 1, 1, 0));
    let bytes = std::fs::read(&path).unwrap();
    let mut altered = bytes.clone();
    *altered.last_mut().unwrap() ^= 1;
    for bad in [&altered[..], &bytes[..bytes.len() - 4], b"", b"{}"] {
        std::fs::write(&path, bad).unwrap();
        assert!(load_generator(&path, &device).is_err());
    }
}

#[test]
fn batches_that_cannot_be_packed_are_explained() {
    let mut trainer = GanTrainer::new(config(), settings(1), &Device::cpu(1)).unwrap();
    let mut odd = batch(0);
    odd.rows.truncate(27);
    odd.conditions.truncate(15);
    assert!(trainer.step(&odd).unwrap_err().to_string().contains("multiple"));
}

#[test]
fn a_table_without_categories_needs_no_conditions() {
    let parts = vec![Part::Number, Part::Choice { n: 2, is_asked: false }];
    let mut trainer = GanTrainer::new(GanConfig { parts, ..config() }, settings(3), &Device::cpu(1)).unwrap();
    let rows = GanBatch { rows: [0.5, 1.0, 0.0, -0.5, 0.0, 1.0].repeat(4), ..GanBatch::default() };
    (0..3).for_each(|_| {
        trainer.step(&rows).unwrap();
    });
    assert_eq!(trainer.generator().make(&[], 5, 1, 0).len(), 15);
}
