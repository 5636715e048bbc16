//! −ln p(target), from logits or straight from the last hidden state.
//!
//! [`linear_cross_entropy`] never holds the logits of a whole batch: it takes a block of rows, multiplies, computes
//! loss and gradient in place, and sends the gradient on into dx and dw before the next block.

use super::check::{Checker, Input};
use super::softmax::formula as softmax_formula;
use crate::backend::{CrossEntropy, IGNORE, Matmul, Matrix};
use crate::dtype::{DType, View, ViewMut};
use crate::shape;
use crate::tape::{Sink, Slot, Tape, Var};
use crate::tensor::Tensor;
use crate::weight::Weight;
use std::sync::Arc;

/// Rows of logits held at once are chosen so that the block stays near this size, which the last-level cache holds.
const BLOCK_BYTES: usize = 16 << 20;
/// Fewest rows of logits held at once: each block arranges the weight anew and reads and writes its whole gradient.
const MIN_BLOCK_ROWS: usize = 256;

/// What is to be predicted and how the loss is summed.
#[derive(Clone, Debug)]
pub struct LossSpec {
    /// `[M]`: class of each row, or [`IGNORE`] for none.
    pub targets: Arc<[u32]>,
    /// Label smoothing ε in [0, 1): the loss is (1 − ε)·nll(target) + ε·mean of all nll.
    pub smoothing: f32,
    /// Factor on the sum of the rows' losses, usually 1 / number of targets in the whole step.
    pub scale: f32,
    /// c: the logits that [`linear_cross_entropy`] computes become c · tanh(logit / c).
    pub cap: Option<f32>,
}

/// A loss with what was measured on the way.
#[derive(Clone, Debug)]
pub struct HeadLoss {
    /// scale · Σ loss, `[1]`.
    pub loss: Var,
    /// −ln p(target) of each row without smoothing, 0 for ignored rows; `[M]`.
    ///
    /// # Units
    /// Nats.
    pub nlls: Vec<f32>,
    /// Whether the target was the most probable class, as 1 or 0; `[M]`.
    pub hits: Vec<f32>,
}

/// The loss of given logits.
///
/// # Shapes
/// logits: [M, V].
pub fn cross_entropy(tape: &Tape<'_>, logits: &Var, spec: &LossSpec) -> HeadLoss {
    let targets = [spec.targets.len()].into();
    let [rows, n_classes] =
        shape::sizes(&[("compare logits", "M V", logits.tensor().shape()), ("with targets", "M", targets)]);
    let mut gradient = logits.tensor().copy();
    let mut measured = RowLosses::new(rows);
    let wants_gradient = tape.is_recording() && logits.slot().is_some();
    measured.run(tape, 0..rows, n_classes, (gradient.view_mut(), None), spec, wants_gradient);
    let slot = logits.slot();
    let loss = tape.push(measured.total(tape, spec), &[slot], move |sink, dloss| {
        sink.add(slot, scaled(gradient, dloss.view().get(0)));
    });
    HeadLoss { loss, nlls: measured.nlls, hits: measured.hits }
}

/// The loss of the logits x · wᵀ + b, without keeping them.
///
/// # Shapes
/// x: `[M, D]`; weight: `[V, D]`; bias: `[V]` in f32.
///
/// # Cost
/// Three products when recording (logits, dx, dw), one otherwise. Memory: a block of logits, and the gradients. A block is
/// 16 MiB, or 256 rows where those are more: 33 MB for V = 32,000, 131 MB for 128,000; half as much again where the
/// products' operands are bf16, for the rounded gradient. With fewer rows the work that each block does once outweighs the
/// products: blocks of 8 MiB took 2.7 times as long for V = 128,000 in f32, 3.1 times in bf16 (D = 256, one thread of an AMD
/// EPYC; the example `head_rate` prints the times).
pub fn linear_cross_entropy(
    tape: &Tape<'_>,
    x: &Var,
    weight: &Weight,
    bias: Option<&Var>,
    spec: &LossSpec,
) -> HeadLoss {
    let mut parts = vec![("multiply x", "M.. D", x.tensor().shape()), ("by weight", "V D", weight.shape())];
    parts.extend(bias.map(|bias| ("and add bias", "V", bias.tensor().shape())));
    parts.push(("for targets", "M", [spec.targets.len()].into()));
    let [m, d, n_classes] = shape::sizes(&parts);
    let slots = [x.slot(), weight.slot(), bias.and_then(Var::slot)];
    let mut head = HeadGradients::new(tape, x.tensor(), weight, slots);
    let mut measured = RowLosses::new(m);
    let block = logits_block_rows(m, n_classes);
    let mut logits = Tensor::scratch(tape.device(), [block, n_classes], DType::F32);
    // Rounded once here, and not by each of the two products that read it. The way back through a cap needs the logits.
    let is_apart = head.is_wanted() && (x.tensor().dtype() == DType::Bf16 || spec.cap.is_some());
    let mut gradient = is_apart.then(|| Tensor::scratch(tape.device(), [block, n_classes], x.tensor().dtype()));
    for start in (0..m).step_by(block) {
        let rows = start..m.min(start + block);
        let elements = 0..rows.len() * n_classes;
        tape.kernels().matmul(Matmul {
            m: rows.len(),
            n: n_classes,
            k: d,
            a: Matrix::new(x.tensor().view().slice(rows.start * d..rows.end * d), d),
            b: weight.transposed(),
            c: logits.view_mut().into_slice(elements.clone()),
            accumulate: false,
            bias: bias.map(|bias| bias.tensor().view()),
            activation: None,
            pre_activation: None,
            residual: None,
        });
        if let Some(cap) = spec.cap {
            tape.kernels().soft_cap(cap, logits.view_mut().into_slice(elements.clone()));
        }
        let apart = gradient.as_mut().map(|gradient| gradient.view_mut().into_slice(elements.clone()));
        let block = (logits.view_mut().into_slice(elements.clone()), apart);
        measured.run(tape, rows.clone(), n_classes, block, spec, head.is_wanted());
        if let (Some(cap), Some(gradient)) = (spec.cap, &mut gradient) {
            let (capped, dlogits) = (logits.view().slice(elements.clone()), gradient.view_mut());
            tape.kernels().soft_cap_backward(cap, capped, dlogits.into_slice(elements.clone()));
        }
        let dlogits = gradient.as_ref().unwrap_or(&logits).view().slice(elements);
        head.add_block(tape, dlogits, x.tensor(), weight, rows);
    }
    let loss = tape.push(measured.total(tape, spec), &slots, move |sink, dloss| head.send(sink, dloss.view().get(0)));
    HeadLoss { loss, nlls: measured.nlls, hits: measured.hits }
}

/// Rows of logits that [`linear_cross_entropy`] holds at once, of `n_rows` in all.
pub fn logits_block_rows(n_rows: usize, n_classes: usize) -> usize {
    (BLOCK_BYTES / n_classes.saturating_mul(4).max(1)).max(MIN_BLOCK_ROWS).min(n_rows.max(1))
}

/// Losses of the rows, filled block by block.
struct RowLosses {
    losses: Vec<f32>,
    nlls: Vec<f32>,
    hits: Vec<f32>,
}

impl RowLosses {
    fn new(rows: usize) -> Self {
        Self { losses: vec![0.0; rows], nlls: vec![0.0; rows], hits: vec![0.0; rows] }
    }

    fn run(
        &mut self,
        tape: &Tape<'_>,
        rows: std::ops::Range<usize>,
        n_classes: usize,
        (logits, gradient): (ViewMut<'_>, Option<ViewMut<'_>>),
        spec: &LossSpec,
        wants_gradient: bool,
    ) {
        tape.kernels().cross_entropy(CrossEntropy {
            rows: rows.len(),
            n_classes,
            logits,
            targets: &spec.targets[rows.clone()],
            smoothing: spec.smoothing,
            losses: &mut self.losses[rows.clone()],
            nlls: &mut self.nlls[rows.clone()],
            hits: &mut self.hits[rows],
            gradient_scale: wants_gradient.then_some(spec.scale),
            gradient,
        });
    }

    /// Summed in f64, in order, so that a long batch loses nothing.
    fn total(&self, tape: &Tape<'_>, spec: &LossSpec) -> Tensor {
        let sum: f64 = self.losses.iter().map(|&loss| f64::from(loss)).sum();
        Tensor::from_f32(tape.device(), [1], &[(sum * f64::from(spec.scale)) as f32])
    }
}

/// Gradients computed together with the loss; `None` where nobody wants one.
struct HeadGradients {
    slots: [Option<Slot>; 3],
    dx: Option<Tensor>,
    dweight: Option<Tensor>,
    dbias: Option<Tensor>,
    is_first: bool,
}

impl HeadGradients {
    fn new(tape: &Tape<'_>, x: &Tensor, weight: &Weight, slots: [Option<Slot>; 3]) -> Self {
        let make = |slot: Option<Slot>, shape, dtype| slot.map(|_| Tensor::scratch(tape.device(), shape, dtype));
        Self {
            slots,
            dx: make(slots[0], x.shape(), x.dtype()),
            dweight: make(slots[1], weight.shape(), DType::F32),
            dbias: slots[2].map(|_| Tensor::zeros(tape.device(), [weight.shape().n_rows()], DType::F32)),
            is_first: true,
        }
    }

    fn is_wanted(&self) -> bool {
        self.slots.iter().any(Option::is_some)
    }

    fn add_block(
        &mut self,
        tape: &Tape<'_>,
        dlogits: View<'_>,
        x: &Tensor,
        weight: &Weight,
        rows: std::ops::Range<usize>,
    ) {
        let [n_classes, d] = weight.shape().sizes().try_into().expect("a matrix");
        let (m, kernels) = (rows.len(), tape.kernels());
        let flat = rows.start * d..rows.end * d;
        if let Some(dx) = &mut self.dx {
            let block = dx.view_mut().into_slice(flat.clone());
            weight.send_back(tape.device(), Matrix::new(dlogits, n_classes), m, block, false);
        }
        if let Some(dweight) = &mut self.dweight {
            let (dlogits, x) = (Matrix::transposed(dlogits, n_classes), Matrix::new(x.view().slice(flat), d));
            kernels.matmul(Matmul::product([n_classes, d, m], dlogits, x, dweight.view_mut(), !self.is_first));
        }
        if let Some(dbias) = &mut self.dbias {
            kernels.sum_rows(dlogits, dbias.view_mut().f32(), true);
        }
        self.is_first = false;
    }

    fn send(self, sink: &mut Sink<'_>, dloss: f32) {
        for (slot, gradient) in self.slots.into_iter().zip([self.dx, self.dweight, self.dbias]) {
            if let Some(gradient) = gradient {
                sink.add(slot, scaled(gradient, dloss));
            }
        }
    }
}

/// The loss is nearly always the root of the tape, where the factor is 1 and nothing needs to be done.
fn scaled(mut gradient: Tensor, factor: f32) -> Tensor {
    if factor != 1.0 {
        let device = gradient.device().clone();
        device.kernels().scale(factor, gradient.view_mut());
    }
    gradient
}

pub(super) fn check(checker: &mut Checker) {
    const TARGETS: [u32; 4] = [3, IGNORE, 0, 10];
    const V: usize = 11;
    for (smoothing, cap) in [(0.0, None), (0.1, None), (0.1, Some(3.0))] {
        let spec = LossSpec { targets: Arc::from(TARGETS), smoothing, scale: 0.25, cap };
        let loss = |logits: &[f64]| {
            let row = |(row, target): (&[f64], u32)| {
                let nll: Vec<f64> = softmax_formula(row).iter().map(|p| -p.ln()).collect();
                let (eps, mean) = (f64::from(smoothing), nll.iter().sum::<f64>() / V as f64);
                if target == IGNORE { 0.0 } else { (1.0 - eps) * nll[target as usize] + eps * mean }
            };
            vec![0.25 * logits.chunks(V).zip(TARGETS).map(row).sum::<f64>()]
        };
        let given = spec.clone();
        let operation = move |tape: &Tape<'_>, x: &[Var]| cross_entropy(tape, &x[0], &given).loss;
        checker
            .case(&format!("cross-entropy, smoothing {smoothing}"), &[Input::f32([4, V])], operation, |x| loss(&x[0]));

        let inputs = [Input::new([4, 6]), Input::new([V, 6]), Input::f32([V])];
        let fused = move |tape: &Tape<'_>, x: &[Var]| {
            linear_cross_entropy(tape, &x[0], &Weight::from(&x[1]), x.get(2), &spec).loss
        };
        let formula = |x: &[Vec<f64>]| {
            let logits = super::matmul::formula_nt(&x[0], &x[1], 6);
            let capped = |z: f64| cap.map_or(z, |cap| f64::from(cap) * (z / f64::from(cap)).tanh());
            loss(&logits.iter().enumerate().map(|(i, z)| capped(z + x[2][i % V])).collect::<Vec<f64>>())
        };
        let name = format!("head and cross-entropy, smoothing {smoothing}, cap {cap:?}");
        checker.case(&name, &inputs, fused, formula);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Linear, check::relative_error, linear};
    use crate::{Device, Gradients, Key, ParamId};

    /// More rows than a block holds, and a last block that is not full.
    #[test]
    fn blocks_give_what_the_whole_gives_with_any_number_of_threads() {
        let (m, d, n_classes) = (2 * MIN_BLOCK_ROWS + 9, 6, 16_400);
        assert!(logits_block_rows(m, n_classes) < m / 2);
        let targets = (0..m as u64).map(|i| Key::new(3).below(i, n_classes as u64) as u32).collect();
        let spec = LossSpec { targets, smoothing: 0.1, scale: 1.0 / m as f32, cap: None };
        let run = |n_threads: usize, in_blocks: bool| {
            let device = Device::cpu(n_threads);
            let tape = Tape::new(&device);
            let normals = |i: usize, rows: usize| {
                let values: Vec<f32> = (0..(rows * d) as u64).map(|j| Key::new(i as u64).normal(j)).collect();
                tape.parameter(ParamId(i), &Tensor::from_f32(&device, [rows, d], &values))
            };
            let (x, weight) = (normals(0, m), normals(1, n_classes));
            let head = if in_blocks {
                linear_cross_entropy(&tape, &x, &Weight::from(&weight), None, &spec)
            } else {
                cross_entropy(&tape, &linear(&tape, &x, &Weight::from(&weight), Linear::plain(DType::F32)), &spec)
            };
            let mut gradients = Gradients::new(2);
            tape.backward(&head.loss, &mut gradients);
            let gradient = |i| gradients.get(ParamId(i)).expect("both are parameters").to_vec();
            [head.loss.tensor().to_vec(), head.nlls, head.hits, gradient(0), gradient(1)]
        };
        let found = run(1, true);
        for n_threads in [2, 3] {
            assert!(run(n_threads, true) == found, "{n_threads} threads give other bits");
        }
        let f64s = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        for (found, whole) in found.iter().zip(run(1, false)) {
            assert!(relative_error(&f64s(found), &f64s(&whole)) < 1e-5);
        }
    }
}
