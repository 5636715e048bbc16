//! What is known of a line after some keys: the largest logit, the sum of the exponentials relative to it, lane by lane, and
//! the sum of the values that they weigh.

use super::logits;
use super::words::GRAIN;
use crate::backend::cpu::lanes::Lanes;

/// Where the parts of a record begin; the largest logit is its first element.
const SUMS: usize = GRAIN;
pub(super) const VALUES: usize = 2 * GRAIN;

/// Elements of a record whose values are `width` wide.
pub(super) fn len(width: usize) -> usize {
    VALUES + width
}

/// No key was seen.
pub(super) fn clear(record: &mut [f32]) {
    record.fill(0.0);
    record[0] = f32::NEG_INFINITY;
}

/// Begins a record with its largest logit; gives the place of the sums, which are 0.
pub(super) fn begin(record: &mut [f32], max: f32) -> &mut [f32] {
    record[0] = max;
    let sums = &mut record[SUMS..VALUES];
    sums.fill(0.0);
    sums
}

/// Ends a record whose sums are there: where no logit was a number there is no largest one, which is not as if no key was seen.
pub(super) fn end(record: &mut [f32]) {
    if record[0] == f32::NEG_INFINITY && record[SUMS..VALUES].iter().any(|sum| sum.is_nan()) {
        record[0] = f32::NAN;
    }
}

/// Adds what other keys gave.
#[inline(always)]
pub(super) fn add<V: Lanes>(v: V, total: &mut [f32], other: &[f32]) {
    if other[0] == f32::NEG_INFINITY {
        return;
    }
    // What is not a number stays.
    let max = if total[0] >= other[0] || total[0].is_nan() { total[0] } else { other[0] };
    let before = v.splat(logits::exp_of(v, total[0] - max));
    let added = v.splat(logits::exp_of(v, other[0] - max));
    total[0] = max;
    for (to, from) in total[SUMS..].chunks_exact_mut(V::N).zip(other[SUMS..].chunks_exact(V::N)) {
        v.load(from).mul_add(added, v.load(to) * before).store(to);
    }
}

/// The weighed sum of the values, and the factor that makes it their mean.
#[inline(always)]
pub(super) fn result<V: Lanes>(v: V, total: &[f32]) -> (&[f32], f32) {
    let sum = v.load(&total[SUMS..]).sum();
    (&total[VALUES..], if sum == 0.0 { 0.0 } else { 1.0 / sum })
}

/// Logarithm of the sum of the exponentials of the logits, −∞ where no key was seen.
#[inline(always)]
pub(super) fn log_sum_exp<V: Lanes>(v: V, total: &[f32]) -> f32 {
    let sum = v.load(&total[SUMS..]).sum();
    if sum == 0.0 { f32::NEG_INFINITY } else { total[0] + sum.ln() }
}
