//! What happens to a row of scores between the products.

use super::visible::Span;
use crate::backend::cpu::lanes::{Element, Lanes, MAX_LANES, exp, slope_of_cap, tanh};
use crate::dtype::View;

/// What turns the scores of a query for consecutive keys, a multiple of [`MAX_LANES`], into logits.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// Factor on the scores.
    pub(super) scale: f32,
    /// Soft cap of the scaled scores.
    pub(super) cap: Option<f32>,
    /// Added to the scaled scores, one for each key.
    pub(super) bias: Option<&'a [f32]>,
    /// Position of the first key.
    pub(super) first_key: usize,
    /// Keys that are not hidden.
    pub(super) span: Span,
    /// Document of each key from key 0 on.
    pub(super) key_segments: Option<&'a [u32]>,
}

impl Row<'_> {
    /// Makes logits of the scores and returns 1; but where logits are just the scaled scores it leaves the scores as they
    /// are and returns the scale.
    #[inline(always)]
    pub(super) fn prepare<V: Lanes>(&self, v: V, scores: &mut [f32]) -> f32 {
        let is_whole = self.span.covers(&(self.first_key..self.first_key + scores.len()));
        let mut factor = self.scale;
        if let Some(bias) = self.bias {
            for (score, bias) in scores.chunks_exact_mut(V::N).zip(bias.chunks_exact(V::N)) {
                v.load(score).mul_add(v.splat(factor), v.load(bias)).store(score);
            }
            factor = 1.0;
        } else if let Some(cap) = self.cap {
            for score in scores.chunks_exact_mut(V::N) {
                (tanh(v.load(score) * v.splat(factor / cap)) * v.splat(cap)).store(score);
            }
            factor = 1.0;
        }
        if !is_whole {
            self.hide(v, scores, factor);
        }
        factor
    }

    /// Makes the scores of hidden keys infinitely low.
    #[inline(always)]
    fn hide<V: Lanes>(&self, v: V, scores: &mut [f32], factor: f32) {
        // So that times the factor it is −∞.
        let hidden = v.splat(if factor < 0.0 { f32::INFINITY } else { f32::NEG_INFINITY });
        let mut first_key = self.first_key;
        for score in scores.chunks_exact_mut(V::N) {
            // Small whole numbers, so exact as f32.
            let start = self.span.first.saturating_sub(first_key).min(V::N) as f32;
            let end = self.span.end.saturating_sub(first_key).min(V::N) as f32;
            let lane = v.load(&LANES);
            let mut shown = lane.if_less(v.splat(start), hidden, v.load(score));
            shown = lane.if_less(v.splat(end), shown, hidden);
            if let (Some(segment), Some(of_keys)) = (self.span.segment, self.key_segments) {
                let is_other = is_other(segment, &of_keys[first_key.min(of_keys.len())..]);
                shown = v.load(&is_other).if_less(v.splat(0.5), shown, hidden);
            }
            shown.store(score);
            first_key += V::N;
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

/// Largest of factor · scores.
#[inline(always)]
pub(super) fn max<V: Lanes>(v: V, scores: &[f32], factor: f32) -> f32 {
    let factor = v.splat(factor);
    let mut max = v.splat(f32::NEG_INFINITY);
    for score in scores.chunks_exact(V::N) {
        max = (v.load(score) * factor).max(max);
    }
    max.max_lane()
}

/// Replaces scores by exp(factor · score − max) and adds them to the vector `sums`.
#[inline(always)]
pub(super) fn exponentials<V: Lanes>(v: V, scores: &mut [f32], factor: f32, max: f32, sums: &mut [f32]) {
    let (factor, max) = (v.splat(factor), v.splat(max));
    let mut sum = v.load(sums);
    for score in scores.chunks_exact_mut(V::N) {
        let exponential = exp(v.load(score) * factor - max);
        sum = sum + exponential;
        exponential.store(score);
    }
    sum.store(sums);
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
    [factor, log_sum_exp, dot]: [f32; 3],
) {
    let (factor, log_sum_exp, dot) = (v.splat(factor), v.splat(log_sum_exp), v.splat(dot));
    for (p, ds) in p.chunks_exact_mut(V::N).zip(ds.chunks_exact_mut(V::N)) {
        let weight = exp(v.load(p) * factor - log_sum_exp);
        weight.store(p);
        ((v.load(ds) - dot) * weight).store(ds);
    }
}

/// From gradients of the weights in `ds` to (dp − dot) times the slope of the soft cap at the capped `logits`.
#[inline(always)]
pub(super) fn through_cap<V: Lanes>(v: V, logits: &[f32], ds: &mut [f32], dot: f32, cap: f32) {
    for (logit, ds) in logits.chunks_exact(V::N).zip(ds.chunks_exact_mut(V::N)) {
        ((v.load(ds) - v.splat(dot)) * slope_of_cap(v.load(logit), cap)).store(ds);
    }
}

/// Adds one row to another.
#[inline(always)]
pub(super) fn add<V: Lanes>(v: V, from: &[f32], to: &mut [f32]) {
    for (from, to) in from.chunks_exact(V::N).zip(to.chunks_exact_mut(V::N)) {
        (v.load(to) + v.load(from)).store(to);
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
