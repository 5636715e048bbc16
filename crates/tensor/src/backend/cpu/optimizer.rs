//! Optimizer steps and averages of weights.

use super::Cpu;
use super::lanes::{Element, Lanes, Program, typed};
use super::pool::{Beside, Chunks, ViewChunks, chunks, joined, view_chunks};
use super::rows::{CHUNK_LEN, slice_chunk};
use crate::backend::AdamW;
use crate::dtype::ViewMut;

pub(super) fn adamw(cpu: &Cpu, steps: Vec<AdamW<'_>>) {
    let (fixed, splits): (Vec<_>, Vec<_>) = steps.into_iter().map(take_apart).unzip();
    cpu.pool.for_each(joined(splits), |_, (tensor, i, ((weights, first, second), rounded))| {
        let (factors, gradient) = fixed[tensor];
        let gradient = slice_chunk(gradient, i, CHUNK_LEN);
        cpu.isa.run(AdamWPart { factors, weights, first, second, gradient, rounded });
    });
}

/// What all chunks of a tensor share, and what each has for itself.
fn take_apart(step: AdamW<'_>) -> ((Factors, &[f32]), TensorChunks<'_>) {
    let factors = Factors::of(&step);
    let AdamW { weights, rounded, first, second, gradient, .. } = step;
    let n = weights.len();
    assert!(
        first.len() == n && second.len() == n && gradient.len() == n,
        "moments and gradient are as many as the weights"
    );
    let split = (chunks(weights, CHUNK_LEN), chunks(first, CHUNK_LEN), chunks(second, CHUNK_LEN));
    ((factors, gradient), Beside(split, rounded.map(|rounded| view_chunks(rounded, CHUNK_LEN))))
}

/// Weights and both moments, and the rounded weights where there are some.
type TensorChunks<'a> = Beside<(Chunks<'a, f32>, Chunks<'a, f32>, Chunks<'a, f32>), ViewChunks<'a>>;

/// The settings of a step and what follows from them.
#[derive(Clone, Copy)]
struct Factors {
    gradient_scale: f32,
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    /// 1 − β₁ᵗ
    correction1: f32,
    /// 1 − β₂ᵗ
    correction2: f32,
    eps: f32,
    weight_decay: f32,
}

impl Factors {
    fn of(step: &AdamW<'_>) -> Self {
        let correction = |beta: f32| (1.0 - f64::from(beta).powf(step.step as f64)) as f32;
        Self {
            gradient_scale: step.gradient_scale,
            learning_rate: step.learning_rate,
            beta1: step.beta1,
            beta2: step.beta2,
            correction1: correction(step.beta1),
            correction2: correction(step.beta2),
            eps: step.eps,
            weight_decay: step.weight_decay,
        }
    }
}

struct AdamWPart<'a> {
    factors: Factors,
    weights: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradient: &'a [f32],
    rounded: Option<ViewMut<'a>>,
}

impl Program for AdamWPart<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(mut self, v: V) {
        match self.rounded.take() {
            Some(rounded) => typed!(; rounded => self.step(v, Some(rounded))),
            None => self.step(v, None::<&mut [f32]>),
        }
    }
}

impl AdamWPart<'_> {
    #[inline(always)]
    fn step<V: Lanes, E: Element>(self, v: V, mut rounded: Option<&mut [E]>) {
        let Self { factors: f, weights, first, second, gradient, .. } = self;
        for at in v.spans(weights.len()) {
            let g = v.read(gradient, at) * v.splat(f.gradient_scale);
            let m = v.splat(f.beta1).mul_add(v.read(first, at), v.splat(1.0 - f.beta1) * g);
            let s = v.splat(f.beta2).mul_add(v.read(second, at), v.splat(1.0 - f.beta2) * g * g);
            let root = (s / v.splat(f.correction2)).sqrt() + v.splat(f.eps);
            let direction = m / v.splat(f.correction1) / root;
            let w = v.read(weights, at);
            let w = w - v.splat(f.learning_rate) * v.splat(f.weight_decay).mul_add(w, direction);
            m.write(first, at);
            s.write(second, at);
            w.write(weights, at);
            if let Some(rounded) = rounded.as_deref_mut() {
                w.write(rounded, at);
            }
        }
    }
}

pub(super) fn move_averages(cpu: &Cpu, share: f32, pairs: Vec<(&[f32], &mut [f32])>) {
    let as_many = pairs.iter().all(|(x, average)| x.len() == average.len());
    assert!(as_many, "an average has as many elements as what it is of");
    let (sources, splits): (Vec<_>, Vec<_>) =
        pairs.into_iter().map(|(x, average)| (x, chunks(average, CHUNK_LEN))).unzip();
    cpu.pool.for_each(joined(splits), |_, (tensor, i, average)| {
        cpu.isa.run(MoveAverage { share, x: slice_chunk(sources[tensor], i, CHUNK_LEN), average });
    });
}

struct MoveAverage<'a> {
    share: f32,
    x: &'a [f32],
    average: &'a mut [f32],
}

impl Program for MoveAverage<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { share, x, average } = self;
        for at in v.spans(x.len()) {
            let before = v.read(average, at);
            // Not fused: the result is rounded as the reference rounds it.
            let way = v.splat(share) * (v.read(x, at) - before);
            (before + way).write(average, at);
        }
    }
}
