//! Random numbers that are a pure function of (seed, index, position).

/// Weyl increment of SplitMix64: 2⁶⁴ divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The random choices of one example, in the order in which they are made.
///
/// # Determinism
/// Examples of the same (seed, index) get the same choices, whichever were made before.
///
/// # Source
/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; the constants of
/// the mixing function are David Stafford's variant 13.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    /// The choices of example `index` under `seed`.
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        // Mixed twice, so that neither neighbouring seeds nor neighbouring indices walk the same sequence.
        let key = mix(seed.wrapping_add(GOLDEN));
        Self { state: mix(key ^ index.wrapping_mul(0xd1b5_4a32_d192_ed03)) }
    }

    /// The next number in `0..n`, each as likely as the next to within n / 2⁶⁴.
    ///
    /// # Panics
    /// When `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "a random number below 0 was asked for");
        self.state = self.state.wrapping_add(GOLDEN);
        ((u128::from(mix(self.state)) * n as u128) >> 64) as usize
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of 20,000 numbers below 10; the standard deviation of each is 42.
    fn assert_even(draws: impl Iterator<Item = usize>) {
        let mut counts = [0_i32; 10];
        draws.for_each(|draw| counts[draw] += 1);
        assert!(counts.iter().all(|n| (n - 2_000).abs() < 210), "{counts:?}");
    }

    #[test]
    fn numbers_are_even_along_positions_indices_and_seeds() {
        let mut dice = Dice::new(1, 2);
        assert_even((0..20_000).map(|_| dice.below(10)));
        assert_even((0..20_000).map(|index| Dice::new(3, index).below(10)));
        assert_even((0..20_000).map(|seed| Dice::new(seed, 3).below(10)));
    }

    #[test]
    fn the_same_example_gets_the_same_numbers() {
        let draws = |seed, index| {
            let mut dice = Dice::new(seed, index);
            (0..8).map(|_| dice.below(1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(draws(5, 6), draws(5, 6));
        assert_ne!(draws(5, 6), draws(5, 7));
        assert_ne!(draws(5, 6), draws(6, 6));
        assert_ne!(draws(5, 6), draws(6, 5));
    }
}
