//! −ln p(target), from logits or straight from the last hidden state.
//!
//! [`linear_cross_entropy`] never holds the logits of a whole batch: it takes a block of rows, multiplies, computes
//! loss and gradient in place, and sends the gradient on into dx and dw before the next block.

use super::check::{Checker, Input};
use super::matmul::product;
use super::softmax::formula as softmax_formula;
use crate::backend::{CrossEntropy, Matmul, Matrix, Rhs};
use crate::dtype::DType;
use crate::tape::{Sink, Slot, Tape, Var};
use crate::tensor::Tensor;
use std::sync::Arc;

/// A target that carries no loss; the same value as in token batches.
const IGNORE: u32 = u32::MAX;

/// Rows of logits held at once are chosen so that the block stays near this size, which the last-level cache holds.
const BLOCK_BYTES: usize = 8 << 20;

/// What is to be predicted and how the loss is summed.
#[derive(Clone, Debug)]
pub struct LossSpec {
    /// `[M]`: class of each row, or u32::MAX for none.
    pub targets: Arc<[u32]>,
    /// Label smoothing ε in [0, 1): the loss is (1 − ε)·nll(target) + ε·mean of all nll.
    pub smoothing: f32,
    /// Factor on the sum of the rows' losses, usually 1 / number of targets in the whole step.
    pub scale: f32,
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
    let [rows, n_classes] = logits.tensor().dims();
    let mut gradient = logits.tensor().copy();
    let mut measured = RowLosses::new(rows);
    let wants_gradient = tape.is_recording() && logits.slot().is_some();
    measured.run(tape, 0..rows, n_classes, &mut gradient, spec, wants_gradient);
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
/// Three products when recording (logits, dx, dw), one otherwise. Memory: a block of logits, and the gradients.
pub fn linear_cross_entropy(tape: &Tape<'_>, x: &Var, weight: &Var, bias: Option<&Var>, spec: &LossSpec) -> HeadLoss {
    let (m, d) = (x.tensor().shape().n_rows(), x.tensor().shape().last());
    let [n_classes, weight_width] = weight.tensor().dims();
    assert_eq!(d, weight_width, "hidden state {} does not fit head {}", x.tensor().shape(), weight.tensor().shape());
    let slots = [x.slot(), weight.slot(), bias.and_then(Var::slot)];
    let mut head = HeadGradients::new(tape, x.tensor(), weight.tensor(), slots);
    let mut measured = RowLosses::new(m);
    let block = (BLOCK_BYTES / (4 * n_classes)).clamp(1, m.max(1));
    let mut logits = Tensor::scratch(tape.device(), [block, n_classes], DType::F32);
    for start in (0..m).step_by(block) {
        let rows = start..m.min(start + block);
        if rows.len() < block {
            logits = Tensor::scratch(tape.device(), [rows.len(), n_classes], DType::F32);
        }
        tape.kernels().matmul(Matmul {
            m: rows.len(),
            n: n_classes,
            k: d,
            a: Matrix::new(x.tensor().view().slice(rows.start * d..rows.end * d), d),
            b: weight.packed().map_or_else(|| Rhs::Matrix(Matrix::transposed(weight.tensor().view(), d)), Rhs::Packed),
            c: logits.view_mut(),
            accumulate: false,
            bias: bias.map(|bias| bias.tensor().view()),
            activation: None,
            pre_activation: None,
            residual: None,
        });
        measured.run(tape, rows.clone(), n_classes, &mut logits, spec, head.is_wanted());
        head.add_block(tape, &logits, x.tensor(), weight.tensor(), rows);
    }
    let loss = tape.push(measured.total(tape, spec), &slots, move |sink, dloss| head.send(sink, dloss.view().get(0)));
    HeadLoss { loss, nlls: measured.nlls, hits: measured.hits }
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
        logits: &mut Tensor,
        spec: &LossSpec,
        wants_gradient: bool,
    ) {
        tape.kernels().cross_entropy(CrossEntropy {
            rows: rows.len(),
            n_classes,
            logits: logits.view_mut(),
            targets: &spec.targets[rows.clone()],
            smoothing: spec.smoothing,
            losses: &mut self.losses[rows.clone()],
            nlls: &mut self.nlls[rows.clone()],
            hits: &mut self.hits[rows],
            gradient_scale: wants_gradient.then_some(spec.scale),
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
    fn new(tape: &Tape<'_>, x: &Tensor, weight: &Tensor, slots: [Option<Slot>; 3]) -> Self {
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
        dlogits: &Tensor,
        x: &Tensor,
        weight: &Tensor,
        rows: std::ops::Range<usize>,
    ) {
        let [n_classes, d] = weight.dims();
        let (m, kernels) = (rows.len(), tape.kernels());
        let flat = rows.start * d..rows.end * d;
        if let Some(dx) = &mut self.dx {
            let (dlogits, w) = (Matrix::new(dlogits.view(), n_classes), Matrix::new(weight.view(), d));
            let block = dx.view_mut().into_slice(flat.clone());
            kernels.matmul(product([m, d, n_classes], dlogits, w, block, false));
        }
        if let Some(dweight) = &mut self.dweight {
            let (dlogits, x) = (Matrix::transposed(dlogits.view(), n_classes), Matrix::new(x.view().slice(flat), d));
            kernels.matmul(product([n_classes, d, m], dlogits, x, dweight.view_mut(), !self.is_first));
        }
        if let Some(dbias) = &mut self.dbias {
            kernels.sum_rows(dlogits.view(), dbias.view_mut().f32(), true);
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
fn scaled(gradient: Tensor, factor: f32) -> Tensor {
    if factor == 1.0 {
        return gradient;
    }
    let mut out = Tensor::scratch(gradient.device(), gradient.shape(), gradient.dtype());
    gradient.device().kernels().scale_add(factor, gradient.view(), 0.0, out.view_mut());
    out
}

pub(super) fn check(checker: &mut Checker) {
    const TARGETS: [u32; 4] = [3, IGNORE, 0, 10];
    const V: usize = 11;
    for smoothing in [0.0, 0.1] {
        let spec = LossSpec { targets: Arc::from(TARGETS), smoothing, scale: 0.25 };
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
        let fused = move |tape: &Tape<'_>, x: &[Var]| linear_cross_entropy(tape, &x[0], &x[1], x.get(2), &spec).loss;
        let formula = |x: &[Vec<f64>]| {
            let logits = super::matmul::formula_nt(&x[0], &x[1], 6);
            loss(&logits.iter().enumerate().map(|(i, z)| z + x[2][i % V]).collect::<Vec<f64>>())
        };
        checker.case(&format!("head and cross-entropy, smoothing {smoothing}"), &inputs, fused, formula);
    }
}
