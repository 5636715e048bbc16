//! Sums over a row, always in the same order.
//!
//! Four sums are kept side by side, because an addition takes several times as long as the next one could start after it.

use super::{Element, Lanes};

/// Σ x
#[inline(always)]
pub(crate) fn sum<V: Lanes, E: Element>(v: V, x: &[E]) -> f32 {
    let mut sums = [v.splat(0.0); 4];
    let blocks = x.chunks_exact(4 * V::N);
    let rest = blocks.remainder();
    for block in blocks {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = *sum + E::load(v, &block[i * V::N..]);
        }
    }
    for at in v.spans(rest.len()) {
        sums[0] = sums[0] + v.read(rest, at);
    }
    total(sums)
}

/// Σ (x − centre)²
#[inline(always)]
pub(crate) fn sum_of_squares<V: Lanes, E: Element>(v: V, x: &[E], centre: f32) -> f32 {
    let mut sums = [v.splat(0.0); 4];
    let blocks = x.chunks_exact(4 * V::N);
    let rest = blocks.remainder();
    for block in blocks {
        for (i, sum) in sums.iter_mut().enumerate() {
            let distance = E::load(v, &block[i * V::N..]) - v.splat(centre);
            *sum = distance.mul_add(distance, *sum);
        }
    }
    for at in v.spans(rest.len()) {
        let distance = v.read_or(rest, at, centre) - v.splat(centre);
        sums[0] = distance.mul_add(distance, sums[0]);
    }
    total(sums)
}

/// Σ a·b
#[inline(always)]
pub(crate) fn dot<V: Lanes, A: Element, B: Element>(v: V, a: &[A], b: &[B]) -> f32 {
    let mut sums = [v.splat(0.0); 4];
    let (blocks_a, blocks_b) = (a.chunks_exact(4 * V::N), b.chunks_exact(4 * V::N));
    let (rest_a, rest_b) = (blocks_a.remainder(), blocks_b.remainder());
    for (a, b) in blocks_a.zip(blocks_b) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = A::load(v, &a[i * V::N..]).mul_add(B::load(v, &b[i * V::N..]), *sum);
        }
    }
    for at in v.spans(rest_a.len()) {
        sums[0] = v.read(rest_a, at).mul_add(v.read(rest_b, at), sums[0]);
    }
    total(sums)
}

/// The largest element; −∞ of none.
#[inline(always)]
pub(crate) fn largest<V: Lanes, E: Element>(v: V, x: &[E]) -> f32 {
    let mut largest = [v.splat(f32::NEG_INFINITY); 4];
    let blocks = x.chunks_exact(4 * V::N);
    let rest = blocks.remainder();
    for block in blocks {
        for (i, largest) in largest.iter_mut().enumerate() {
            *largest = E::load(v, &block[i * V::N..]).max(*largest);
        }
    }
    for at in v.spans(rest.len()) {
        largest[0] = v.read_or(rest, at, f32::NEG_INFINITY).max(largest[0]);
    }
    largest[0].max(largest[1]).max(largest[2].max(largest[3])).max_lane()
}

/// Σ x² in f64
#[inline(always)]
pub(crate) fn sum_of_squares_f64<V: Lanes, E: Element>(v: V, x: &[E]) -> f64 {
    let (mut even, mut odd) = (v.no_squares(), v.no_squares());
    let blocks = x.chunks_exact(2 * V::N);
    let rest = blocks.remainder();
    for block in blocks {
        even = E::load(v, block).add_square(even);
        odd = E::load(v, &block[V::N..]).add_square(odd);
    }
    for at in v.spans(rest.len()) {
        even = v.read(rest, at).add_square(even);
    }
    V::total(even) + V::total(odd)
}

#[inline(always)]
fn total<V: Lanes>([a, b, c, d]: [V; 4]) -> f32 {
    ((a + b) + (c + d)).sum()
}
