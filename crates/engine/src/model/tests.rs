//! Gradients of whole models of every architecture against differences of their loss.

use super::{Mode, Transformer};
use crate::generate::tests::models::{all, model, tokens};
use crate::params::{Params, Role};
use genera_tensor::{DType, Device, Gradients, ParamId, Tape, Tensor};
use genera_tokens::{Batch, IGNORE, Source};

/// Rows of two documents, the second of which ends before the row does in one of them.
fn batch(has_source: bool) -> Batch {
    const T: usize = 12;
    let (ids, mut targets) = (tokens(2 * T, 1), tokens(2 * T, 2));
    targets[2 * T - 3..].fill(IGNORE);
    let mut batch = Batch::dense(2, T, ids, targets);
    batch.positions = [(0..5).collect::<Vec<u32>>(), (0..7).collect(), (0..9).collect(), (0..3).collect()].concat();
    batch.segments = [vec![1; 5], vec![2; 7], vec![1; 9], vec![0; 3]].concat();
    batch.source = has_source.then(|| Source { len: 6, tokens: tokens(12, 3), lens: vec![6, 4] });
    batch
}

/// The mean loss, summed in f64.
fn loss(model: &Transformer, batch: &Batch) -> f64 {
    let loss = model.loss(&Tape::inference(model.device()), batch, 0.1, 1.0, Mode::default());
    f64::from(loss.total.tensor().to_vec()[0]) / batch.n_targets() as f64
}

fn gradients(model: &Transformer, batch: &Batch, recomputed_blocks: usize) -> Gradients {
    let tape = Tape::new(model.device());
    let mode = Mode { recomputed_blocks, ..Mode::default() };
    let loss = model.loss(&tape, batch, 0.1, 1.0 / batch.n_targets() as f32, mode);
    let mut gradients = Gradients::new(model.params().len());
    tape.backward(&loss.total, &mut gradients);
    gradients
}

/// The model with one parameter moved by `step` along its gradient.
fn moved(model: &Transformer, id: ParamId, gradient: &[f32], step: f64) -> Transformer {
    let norm = length(gradient);
    let masters = (0..model.params().len()).map(|i| model.params().master(ParamId(i)).copy()).collect();
    let mut params = Params::new(model.params().specs().to_vec(), masters, DType::F32);
    let master = model.params().master(id);
    let along = |(w, g): (&f32, &f32)| (f64::from(*w) + step * f64::from(*g) / norm) as f32;
    let values: Vec<f32> = master.to_vec().iter().zip(gradient).map(along).collect();
    params.set(id, &Tensor::from_f32(model.device(), master.shape(), &values));
    Transformer::new(model.config().clone(), params, model.device())
}

fn length(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn gradients_are_slopes_of_the_loss() {
    let device = Device::cpu(1);
    for (name, config) in all() {
        let (model, batch) = (model(&config, DType::F32, &device), batch(config.is_encoder_decoder()));
        let gradients = gradients(&model, &batch, 0);
        // A token that changes its expert makes a jump, of which small steps meet few.
        let step = if name == "experts" { 5e-4 } else { 5e-3 };
        for (i, spec) in model.params().specs().iter().enumerate().filter(|(_, spec)| spec.role != Role::Fixed) {
            let id = ParamId(i);
            let gradient = gradients.get(id).map(Tensor::to_vec).unwrap_or_default();
            // What no token goes through has none; below, rounding is all that would be compared.
            if length(&gradient) < 1e-5 / step {
                continue;
            }
            let at = |k: f64| loss(&moved(&model, id, &gradient, k * step), &batch);
            let slope = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * step);
            let error = (slope - length(&gradient)).abs() / length(&gradient);
            assert!(error < 2e-2, "{name}, {}: slope {slope}, gradient {}", spec.name, length(&gradient));
        }
    }
}

#[test]
fn computing_blocks_again_changes_no_gradient() {
    let device = Device::cpu(1);
    for (name, config) in all() {
        let (model, batch) = (model(&config, DType::F32, &device), batch(config.is_encoder_decoder()));
        let [kept, again] = [0, 9].map(|n| gradients(&model, &batch, n));
        let all = |gradients: &Gradients| gradients.iter().map(|(_, gradient)| gradient.to_vec()).collect::<Vec<_>>();
        for (kept, again) in all(&kept).iter().zip(all(&again)) {
            let far = kept.iter().zip(&again).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap_or(0.0);
            assert!(far <= 1e-6 * (1.0 + length(kept) as f32), "{name}: {far}");
        }
    }
}
