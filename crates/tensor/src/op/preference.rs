//! −ln σ(β · m): how far a model prefers the better of two answers, compared with a reference.

use super::check::{Checker, Input};
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// What the losses of two answers are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Preference {
    /// ln p(chosen) − ln p(rejected) of the reference.
    ///
    /// # Units
    /// Nats.
    pub reference_margin: f64,
    /// β: the factor on the difference to the reference.
    pub beta: f64,
    /// Factor on the loss, usually 1 / number of pairs in the whole step.
    pub scale: f64,
}

impl Preference {
    /// β · ((ln p(chosen) − ln p(rejected)) − the same of the reference): the difference of the implicit rewards.
    pub fn reward_margin(&self, chosen_nll: f64, rejected_nll: f64) -> f64 {
        self.beta * (rejected_nll - chosen_nll - self.reference_margin)
    }
}

/// scale · −ln σ(β · m), where m is by how much more the model prefers the chosen answer than the reference does.
///
/// # Shapes
/// chosen, rejected: `[1]`, −ln p of the whole answer in nats; result: `[1]`, all in f32.
///
/// # Source
/// Rafailov et al., "Direct preference optimization: your language model is secretly a reward model", arXiv 2305.18290,
/// equation 7.
pub fn preference(tape: &Tape<'_>, chosen: &Var, rejected: &Var, spec: Preference) -> Var {
    let nll = |var: &Var| f64::from(var.tensor().view().get(0));
    let margin = spec.reward_margin(nll(chosen), nll(rejected));
    let loss = spec.scale * softplus(-margin);
    // d softplus(−x) / dx = −σ(−x)
    let slope = spec.scale * spec.beta * sigmoid(-margin);
    let slots = [chosen.slot(), rejected.slot()];
    let result = Tensor::from_f32(tape.device(), [1], &[loss as f32]);
    tape.push(result, &slots, move |sink, dloss| {
        let slope = slope * f64::from(dloss.view().get(0));
        for (slot, slope) in slots.into_iter().zip([slope, -slope]) {
            let gradient = Tensor::from_f32(sink.device(), [1], &[slope as f32]);
            sink.add(slot, gradient);
        }
    })
}

/// ln(1 + eˣ) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn check(checker: &mut Checker) {
    let spec = Preference { reference_margin: 0.3, beta: 0.7, scale: 0.5 };
    let inputs = [Input::f32([1]).around(2.0, 0.5), Input::f32([1]).around(1.0, 0.5)];
    let operation = |tape: &Tape<'_>, x: &[Var]| preference(tape, &x[0], &x[1], spec);
    let formula = |x: &[Vec<f64>]| {
        let ratio = (-x[0][0] + x[1][0]) - spec.reference_margin;
        vec![-spec.scale * (1.0 / (1.0 + (-spec.beta * ratio).exp())).ln()]
    };
    checker.case("preference", &inputs, operation, formula);
}
