//! Gradients against finite differences, and fast kernels against plain ones.

use super::Finding;
use super::models::{PRESETS, batch, config, model};
use crate::failure::{Failure, Outcome};
use genera_engine::model::{Mode, Transformer, initial_params};
use genera_engine::params::Params;
use genera_tensor::op::check::{Checker, relative_error};
use genera_tensor::{DType, Device, Gradients, Key, ParamId, Tape, Tensor};
use genera_tokens::Batch;

/// Every operation, forward and backward.
pub(super) fn operations(quick: bool, n_threads: usize) -> Outcome<Vec<Finding>> {
    let device = Device::cpu(n_threads);
    let dtypes: &[DType] = if quick { &[DType::F32] } else { &[DType::F32, DType::Bf16] };
    let mut findings = Vec::new();
    for &dtype in dtypes {
        for (name, check) in genera_tensor::op::ALL {
            let mut checker = Checker::new(&device, dtype);
            check(&mut checker);
            let worst = |error: fn(&genera_tensor::op::check::Measured) -> f64| {
                checker.measured().iter().map(error).fold(0.0, f64::max)
            };
            let limit = Checker::tolerance(dtype);
            findings.push(Finding::new(format!("{name}, {dtype}: result"), worst(|case| case.forward_error), limit));
            findings.push(Finding::new(
                format!("{name}, {dtype}: gradients"),
                worst(|case| case.gradient_error),
                limit,
            ));
        }
    }
    Ok(findings)
}

/// The derivative of the loss along the gradient, parameter by parameter, against differences of the loss.
pub(super) fn models(quick: bool, n_threads: usize) -> Outcome<Vec<Finding>> {
    let device = if quick { Device::cpu(n_threads) } else { Device::reference() };
    let mut findings = Vec::new();
    for preset in PRESETS {
        let mut model = model(preset, DType::F32, &device)?;
        shake(&mut model);
        let batch = batch(preset, 5, 2);
        let (_, gradients) = loss_and_gradients(&model, &batch);
        let mut worst = 0.0_f64;
        for (id, gradient) in gradients.iter() {
            worst = worst.max(directional_error(preset, &model, &batch, id, gradient)?);
        }
        findings.push(Finding::new(format!("{preset}: all {} parameter tensors", model.params().len()), worst, 5e-3));
    }
    Ok(findings)
}

/// Moves every weight at random: a fresh model has zeros and ones, where mistakes hide, and weights so small that the loss
/// bends within the step of a difference.
fn shake(model: &mut Transformer) {
    let device = model.device().clone();
    let key = Key::new(12);
    let params = model.params_mut();
    for i in 0..params.len() {
        let (id, key) = (ParamId(i), key.fold(i as u64));
        let master = params.master(id);
        let shaken: Vec<f32> =
            master.to_vec().iter().enumerate().map(|(j, w)| w + 0.2 * key.normal(j as u64)).collect();
        let shaken = Tensor::from_f32(&device, master.shape(), &shaken);
        params.set(id, &shaken);
    }
}

/// Relative error between |g| and the slope of L along g: with Lₖ = L(w + k·h·g/|g|), (8·(L₁ − L₋₁) − (L₂ − L₋₂)) / 12h.
///
/// The formula's own error falls with h⁴, so that h can be large enough for the rounding of L in f32 not to matter.
fn directional_error(preset: &str, model: &Transformer, batch: &Batch, id: ParamId, gradient: &Tensor) -> Outcome<f64> {
    const STEP: f64 = 5e-3;
    // Below, rounding is all that would be compared.
    const SMALLEST: f64 = 1e-3;
    let values: Vec<f64> = gradient.to_vec().into_iter().map(f64::from).collect();
    let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let loss_at = |step: f64| -> Outcome<f64> {
        let master = model.params().master(id);
        let moved: Vec<f32> = master
            .to_vec()
            .iter()
            .zip(&values)
            .map(|(w, g)| (f64::from(*w) + step * g / norm.max(1e-30)) as f32)
            .collect();
        let mut params = copy(model.params());
        params.set(id, &Tensor::from_f32(model.device(), master.shape(), &moved));
        let moved = Transformer::new(config(preset)?, params, model.device());
        Ok(exact_loss(&moved, batch))
    };
    let difference = |k: f64| Ok::<f64, Failure>(loss_at(k * STEP)? - loss_at(-k * STEP)?);
    let slope = (8.0 * difference(1.0)? - difference(2.0)?) / (12.0 * STEP);
    Ok((slope - norm).abs() / norm.max(SMALLEST))
}

fn copy(params: &Params) -> Params {
    let masters = (0..params.len()).map(|i| params.master(ParamId(i)).copy()).collect();
    Params::new(params.specs().to_vec(), masters, params.compute_dtype())
}

/// The mean loss, summed in f64.
fn exact_loss(model: &Transformer, batch: &Batch) -> f64 {
    let tape = Tape::inference(model.device());
    let loss = model.loss(&tape, batch, 0.0, 1.0, Mode::default());
    loss.nlls.iter().map(|&nll| f64::from(nll)).sum::<f64>() / batch.n_targets() as f64
}

fn loss_and_gradients(model: &Transformer, batch: &Batch) -> (f64, Gradients) {
    let tape = Tape::new(model.device());
    let loss = model.loss(&tape, batch, 0.0, 1.0 / batch.n_targets() as f32, Mode::default());
    let mut gradients = Gradients::new(model.params().len());
    let value = loss.nlls.iter().map(|&nll| f64::from(nll)).sum::<f64>() / batch.n_targets() as f64;
    tape.backward(&loss.total, &mut gradients);
    (value, gradients)
}

/// Loss and gradients of whole models by the fast kernels and by the plain ones.
pub(super) fn against_reference(quick: bool, n_threads: usize) -> Outcome<Vec<Finding>> {
    let (fast, plain) = (Device::cpu(n_threads), Device::reference());
    let dtypes: &[(DType, f64)] =
        if quick { &[(DType::F32, 1e-4)] } else { &[(DType::F32, 1e-4), (DType::Bf16, 6e-2)] };
    let mut findings = Vec::new();
    for preset in PRESETS {
        for &(dtype, limit) in dtypes {
            let batch = batch(preset, 6, 3);
            let of = |device: &Device| -> Outcome<(f64, Gradients)> {
                let config = config(preset)?;
                let params = initial_params(&config, 11, dtype, device);
                Ok(loss_and_gradients(&Transformer::new(config, params, device), &batch))
            };
            let ((loss, gradients), (expected, expected_gradients)) = (of(&fast)?, of(&plain)?);
            let mut worst = (loss - expected).abs() / expected;
            for (id, gradient) in expected_gradients.iter() {
                let found = gradients.get(id).map_or_else(Vec::new, to_f64);
                worst = worst.max(relative_error(&found, &to_f64(gradient)));
            }
            findings.push(Finding::new(format!("{preset}, {dtype}: loss and gradients"), worst, limit));
        }
    }
    Ok(findings)
}

fn to_f64(tensor: &Tensor) -> Vec<f64> {
    tensor.to_vec().into_iter().map(f64::from).collect()
}
