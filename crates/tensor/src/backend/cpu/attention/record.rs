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

/// Adds what other keys gave.
#[inline(always)]
pub(super) fn add<V: Lanes>(v: V, total: &mut [f32], other: &[f32]) {
    let max = total[0].max(other[0]);
    if other[0] == f32::NEG_INFINITY {
        return;
    }
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
    (&total[VALUES..], if sum > 0.0 { 1.0 / sum } else { 0.0 })
}

/// Logarithm of the sum of the exponentials of the logits, −∞ where no key was seen.
#[inline(always)]
pub(super) fn log_sum_exp<V: Lanes>(v: V, total: &[f32]) -> f32 {
    let sum = v.load(&total[SUMS..]).sum();
    if sum > 0.0 { total[0] + sum.ln() } else { f32::NEG_INFINITY }
}
