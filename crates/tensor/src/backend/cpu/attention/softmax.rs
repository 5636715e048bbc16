//! What happens to a row of scores between the two products.

use super::product::Product;
use super::simd::Simd;
use super::visible::Span;
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Turns scores into the logarithm, to base 2, of their exponentials.
#[derive(Clone, Copy)]
pub(super) struct Logits<'a> {
    /// Factor on the scores, times log₂ e.
    pub(super) factor: f32,
    /// Added, times log₂ e: entry for key s at `s`, 0 when absent.
    pub(super) bias: Option<*const f32>,
    /// First key of the block; the row's element 0.
    pub(super) block_start: usize,
    /// Document of each key of the row of batch.
    pub(super) key_segments: Option<&'a [u32]>,
}

impl Logits<'_> {
    /// Applies factor, bias and mask to the elements `columns` of a row of scores where they do not all amount to a plain
    /// factor, and returns the factor that remains to be applied.
    ///
    /// # Safety
    /// `scores` is a row as long as a block; `bias` reaches all its keys.
    #[inline(always)]
    pub(super) unsafe fn prepare<V: Simd>(&self, scores: *mut f32, columns: &Range<usize>, span: &Span) -> f32 {
        let keys = self.block_start + columns.start..self.block_start + columns.end;
        let is_whole = span.covers(&keys);
        if is_whole && self.bias.is_none() {
            return self.factor;
        }
        let factor = unsafe { V::splat(self.factor) };
        for column in columns.clone().step_by(V::N) {
            unsafe {
                let score = V::load(scores.add(column));
                let logit = match self.bias {
                    Some(bias) => score.fma(factor, V::load(bias.add(self.block_start + column))),
                    None => score.mul(factor),
                };
                let logit = if is_whole { logit } else { self.hide(logit, column, span) };
                logit.store(scores.add(column));
            }
        }
        1.0
    }

    /// −∞ for the keys outside the span.
    #[inline(always)]
    unsafe fn hide<V: Simd>(&self, logit: V, column: usize, span: &Span) -> V {
        let first_key = self.block_start + column;
        unsafe {
            let hidden = V::splat(f32::NEG_INFINITY);
            let lane = V::load(LANES.as_ptr());
            // Lanes `from`..`to` are inside; small numbers, so exact.
            let from = span.first.saturating_sub(first_key).min(V::N) as f32;
            let to = span.end.saturating_sub(first_key).min(V::N) as f32;
            let logit = lane.select_less(V::splat(from), hidden, logit);
            let logit = lane.select_less(V::splat(to), logit, hidden);
            let (Some(segment), Some(of_keys)) = (span.segment, self.key_segments) else { return logit };
            let mut segments = [!segment; LANES.len()];
            let seen = of_keys.get(first_key..).unwrap_or(&[]);
            let n_seen = seen.len().min(V::N);
            segments[..n_seen].copy_from_slice(&seen[..n_seen]);
            V::load(segments.as_ptr().cast()).select_same(V::splat(f32::from_bits(segment)), logit, hidden)
        }
    }
}

/// The number of each lane.
const LANES: [f32; 16] = {
    let mut lanes = [0.0; 16];
    let mut i = 0;
    while i < 16 {
        lanes[i] = i as f32;
        i += 1;
    }
    lanes
};

/// Largest of the elements `columns`.
#[inline(always)]
pub(super) unsafe fn max<V: Simd>(scores: *const f32, columns: &Range<usize>, factor: f32) -> f32 {
    unsafe {
        let factor = V::splat(factor);
        let mut max = V::splat(f32::NEG_INFINITY);
        for column in columns.clone().step_by(V::N) {
            max = V::load(scores.add(column)).mul(factor).max(max);
        }
        max.reduce_max()
    }
}

/// Stores 2^(factor · score − max) as words of `p` and adds them to the vector at `sums`.
#[inline(always)]
pub(super) unsafe fn exponentials<P: Product>(
    scores: *const f32,
    columns: &Range<usize>,
    factor: f32,
    max: f32,
    p: *mut f32,
    sums: *mut f32,
) {
    unsafe {
        let (factor, max) = (P::V::splat(factor), P::V::splat(max));
        let mut sum = P::V::load(sums);
        for column in columns.clone().step_by(P::V::N) {
            let exponential = P::V::load(scores.add(column)).mul(factor).sub(max).exp2();
            sum = sum.add(exponential);
            P::store_along(p, column, exponential);
        }
        sum.store(sums);
    }
}

/// Natural logarithm of a sum of exponentials that was computed relative to `max`, a logarithm to base 2.
pub(super) fn log_sum_exp(max: f32, sum: f32) -> f32 {
    if sum > 0.0 { max / LOG2_E + sum.ln() } else { f32::NEG_INFINITY }
}
