//! What happens to a row of scores between the products.

use super::visible::Span;
use crate::backend::cpu::lanes::{Element, Lanes, MAX_LANES, exp};
use crate::dtype::View;
use std::ops::Range;

/// What turns a row of scores, one for each key of a block, into logits.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// Factor on the scores.
    pub(super) scale: f32,
    /// Added to the scaled scores.
    pub(super) bias: Option<&'a [f32]>,
    /// Position of the row's first key.
    pub(super) first_key: usize,
    /// Keys that are not hidden.
    pub(super) span: Span,
    /// Document of each key from key 0 on.
    pub(super) key_segments: Option<&'a [u32]>,
}

impl Row<'_> {
    /// Makes logits of the elements `columns` and returns 1; but where logits are just the scaled scores it leaves the
    /// scores as they are and returns the scale.
    #[inline(always)]
    pub(super) fn prepare<V: Lanes>(&self, v: V, scores: &mut [f32], columns: &Range<usize>) -> f32 {
        let is_whole = self.span.covers(&(self.first_key + columns.start..self.first_key + columns.end));
        if is_whole && self.bias.is_none() {
            return self.scale;
        }
        let scale = v.splat(self.scale);
        for column in steps::<V>(columns) {
            let score = v.load(&scores[column..]);
            let mut logit = match self.bias {
                Some(bias) => score.mul_add(scale, v.load(&bias[column..])),
                None => score * scale,
            };
            if !is_whole {
                logit = self.hide(logit, column);
            }
            logit.store(&mut scores[column..]);
        }
        1.0
    }

    /// −∞ for the hidden keys among those from `column` on.
    #[inline(always)]
    fn hide<V: Lanes>(&self, logit: V, column: usize) -> V {
        let first_key = self.first_key + column;
        let hidden = logit.splat(f32::NEG_INFINITY);
        // Small whole numbers, so exact as f32.
        let [start, end] =
            [self.span.first, self.span.end].map(|key| logit.splat(key.saturating_sub(first_key).min(V::N) as f32));
        let lane = logit.load(&LANES);
        let logit = lane.if_less(start, hidden, logit);
        let logit = lane.if_less(end, logit, hidden);
        match (self.span.segment, self.key_segments) {
            (Some(segment), Some(of_keys)) => {
                let of_keys = &of_keys[first_key.min(of_keys.len())..];
                logit.load(&is_other(segment, of_keys)).if_less(logit.splat(0.5), logit, hidden)
            }
            _ => logit,
        }
    }
}

/// The number of each lane.
const LANES: [f32; MAX_LANES] = {
    let mut lanes = [0.0; MAX_LANES];
    let mut i = 0;
    while i < MAX_LANES {
        lanes[i] = i as f32;
        i += 1;
    }
    lanes
};

/// 0 for each key of the segment, else 1.
fn is_other(segment: u32, of_keys: &[u32]) -> [f32; MAX_LANES] {
    std::array::from_fn(|lane| if of_keys.get(lane) == Some(&segment) { 0.0 } else { 1.0 })
}

/// First columns of the vectors in a range of whole vectors.
#[inline(always)]
pub(super) fn steps<V: Lanes>(columns: &Range<usize>) -> Steps {
    Steps { next: columns.start, end: columns.end, step: V::N }
}

/// See [`steps`]. (`step_by` divides.)
pub(super) struct Steps {
    next: usize,
    end: usize,
    step: usize,
}

impl Iterator for Steps {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let column = self.next;
        self.next += self.step;
        (column < self.end).then_some(column)
    }
}

/// Largest of factor · scores.
#[inline(always)]
pub(super) fn max<V: Lanes>(v: V, scores: &[f32], columns: &Range<usize>, factor: f32) -> f32 {
    let factor = v.splat(factor);
    let mut max = v.splat(f32::NEG_INFINITY);
    for column in steps::<V>(columns) {
        max = (v.load(&scores[column..]) * factor).max(max);
    }
    max.max_lane()
}

/// Replaces scores by exp(factor · score − max) and adds them to the vector `sums`.
#[inline(always)]
pub(super) fn exponentials<V: Lanes>(
    v: V,
    scores: &mut [f32],
    columns: &Range<usize>,
    factor: f32,
    max: f32,
    sums: &mut [f32],
) {
    let (factor, max) = (v.splat(factor), v.splat(max));
    let mut sum = v.load(sums);
    for column in steps::<V>(columns) {
        let exponential = exp(v.load(&scores[column..]) * factor - max);
        sum = sum + exponential;
        exponential.store(&mut scores[column..]);
    }
    sum.store(sums);
}

/// Multiplies the values, a multiple of `N`, by a factor.
#[inline(always)]
pub(super) fn scale<V: Lanes>(v: V, values: &mut [f32], factor: f32) {
    let factor = v.splat(factor);
    for column in steps::<V>(&(0..values.len())) {
        (v.load(&values[column..]) * factor).store(&mut values[column..]);
    }
}

/// exp(x) for one number, in the same way as for many.
#[inline(always)]
pub(super) fn exp_of<V: Lanes>(v: V, x: f32) -> f32 {
    let mut lanes = [0.0; MAX_LANES];
    exp(v.splat(x)).store(&mut lanes);
    lanes[0]
}

/// From scores in `p` and gradients of the weights in `ds` to weights and gradients of the logits:
/// p = exp(factor · score − log_sum_exp), ds = p · (dp − dot).
#[inline(always)]
pub(super) fn weights_and_gradients<V: Lanes>(
    v: V,
    p: &mut [f32],
    ds: &mut [f32],
    columns: &Range<usize>,
    [factor, log_sum_exp, dot]: [f32; 3],
) {
    let (factor, log_sum_exp, dot) = (v.splat(factor), v.splat(log_sum_exp), v.splat(dot));
    for column in steps::<V>(columns) {
        let weight = exp(v.load(&p[column..]) * factor - log_sum_exp);
        weight.store(&mut p[column..]);
        ((v.load(&ds[column..]) - dot) * weight).store(&mut ds[column..]);
    }
}

/// Adds the elements `columns` of one row to another.
#[inline(always)]
pub(super) fn add<V: Lanes>(v: V, from: &[f32], columns: &Range<usize>, to: &mut [f32]) {
    for column in steps::<V>(columns) {
        (v.load(&to[column..]) + v.load(&from[column..])).store(&mut to[column..]);
    }
}

/// Σ a·b
#[inline(always)]
pub(super) fn dot<V: Lanes>(v: V, a: View<'_>, b: View<'_>) -> f32 {
    match (a, b) {
        (View::F32(a), View::F32(b)) => dot_of(v, a, b),
        (View::F32(a), View::Bf16(b)) | (View::Bf16(b), View::F32(a)) => dot_of(v, a, b),
        (View::Bf16(a), View::Bf16(b)) => dot_of(v, a, b),
    }
}

#[inline(always)]
fn dot_of<V: Lanes, A: Element, B: Element>(v: V, a: &[A], b: &[B]) -> f32 {
    let mut sum = v.splat(0.0);
    for at in v.spans(a.len()) {
        sum = v.read(a, at).mul_add(v.read(b, at), sum);
    }
    sum.sum()
}
