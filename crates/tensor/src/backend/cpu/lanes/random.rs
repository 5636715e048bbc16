//! Uniform random numbers, many at a time.

use super::Lanes;
use crate::rng::{Key, MULTIPLIERS, ROUNDS, WEYL};

/// Numbers in a block of [`uniforms`]; a whole number of vectors of any instruction set.
pub(crate) const BLOCK: usize = 64;

/// Lanes of 64 bits, half as many as `Narrow` has.
pub(crate) trait WideLanes: Copy {
    /// The lanes of 32 bits.
    type Narrow: Lanes;

    /// `value` in every lane.
    fn splat(self, value: u64) -> Self;

    /// The first numbers, as many as there are lanes.
    fn load(self, numbers: &[u64; 8]) -> Self;

    /// The full products of the lower halves.
    fn multiply_lower(self, other: Self) -> Self;

    /// The upper halves, moved down.
    fn upper(self) -> Self;

    /// Bit by bit, either but not both.
    fn xor(self, other: Self) -> Self;

    /// Numbers in [0, 1) from the upper 24 bits of the lower halves: those of lane 0 of `words` one after the other, then
    /// those of lane 2, 4 and so on; in the second vector those of the odd lanes.
    fn units(words: [Self; 4]) -> [Self::Narrow; 2];
}

/// Fills `out` with what [`Key::uniform`] gives from `first` on, a multiple of 4.
#[inline(always)]
pub(crate) fn uniforms<V: Lanes>(v: V, key: Key, first: u64, out: &mut [f32; BLOCK]) {
    debug_assert!(first.is_multiple_of(4), "blocks of four numbers start at a multiple of 4, not at {first}");
    for (i, out) in out.chunks_exact_mut(2 * V::N).enumerate() {
        let words = philox(v.wide(), key, first / 4 + (i * V::N / 2) as u64);
        let [even, odd] = V::Wide::units(words);
        even.store(out);
        odd.store(&mut out[V::N..]);
    }
}

/// The four words of as many counters from `first` on as there are wide lanes; what is above their 32 bits is garbage.
///
/// A product needs only the lower halves of its factors, so a word is never cut to its 32 bits.
#[inline(always)]
fn philox<W: WideLanes>(w: W, key: Key, first: u64) -> [W; 4] {
    // The even lanes take the first half of the counters, for `units` to put them in order.
    let half = W::Narrow::N as u64 / 4;
    let counters = std::array::from_fn(|lane| first + lane as u64 / 2 + if lane % 2 == 0 { 0 } else { half });
    let counters = w.load(&counters);
    let [mut key0, mut key1] = key.words();
    let [factor0, factor1] = MULTIPLIERS.map(|factor| w.splat(u64::from(factor)));
    let mut x = [counters, counters.upper(), w.splat(0), w.splat(0)];
    for _ in 0..ROUNDS {
        let (p0, p1) = (x[0].multiply_lower(factor0), x[2].multiply_lower(factor1));
        let x0 = p1.upper().xor(x[1]).xor(w.splat(u64::from(key0)));
        let x2 = p0.upper().xor(x[3]).xor(w.splat(u64::from(key1)));
        x = [x0, p1, x2, p0];
        (key0, key1) = (key0.wrapping_add(WEYL[0]), key1.wrapping_add(WEYL[1]));
    }
    x
}
