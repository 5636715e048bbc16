//! Counter-based random numbers: a pure function of (key, index), the same on every device and with any number of threads.

/// A stream of random numbers that can be read at any index.
///
/// # Determinism
/// Two keys made by the same calls give the same numbers, wherever and in whatever order they are read.
///
/// # Source
/// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

pub(crate) const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
pub(crate) const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
pub(crate) const ROUNDS: u32 = 10;

impl Key {
    /// The root key of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A key of its own for the part `label` (a layer, a step, a row).
    #[must_use]
    pub fn fold(self, label: u64) -> Self {
        let [a, b, _, _] = philox(self.0, u128::from(label) | 1 << 127);
        Self(u64::from(a) | u64::from(b) << 32)
    }

    /// Four independent 32-bit numbers at `index`.
    pub fn bits(self, index: u64) -> [u32; 4] {
        philox(self.0, u128::from(index))
    }

    /// A 64-bit number at `index`.
    pub fn bits64(self, index: u64) -> u64 {
        let [a, b, _, _] = self.bits(index);
        u64::from(a) | u64::from(b) << 32
    }

    /// A number in `0..n` at `index`; the bias is below n / 2^64.
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(self, index: u64, n: u64) -> u64 {
        assert!(n > 0, "a random number below 0 was asked for");
        ((u128::from(self.bits64(index)) * u128::from(n)) >> 64) as u64
    }

    /// A number in [0, 1) with 24 random bits at `index`. Four neighbours share one block, as [`Key::uniforms`].
    pub fn uniform(self, index: u64) -> f32 {
        unit(self.bits(index / 4)[(index % 4) as usize])
    }

    /// Fills `out` with what [`Key::uniform`] gives from `first` on.
    ///
    /// # Panics
    /// When `first` is not a multiple of 4.
    pub fn uniforms(self, first: u64, out: &mut [f32]) {
        assert!(first.is_multiple_of(4), "uniforms start at a multiple of 4, not at {first}");
        for (block, values) in out.chunks_mut(4).enumerate() {
            let bits = self.bits(first / 4 + block as u64);
            values.iter_mut().zip(bits).for_each(|(value, bits)| *value = unit(bits));
        }
    }

    /// Its two words, for other ways to compute [`Key::uniform`].
    pub(crate) fn words(self) -> [u32; 2] {
        [self.0 as u32, (self.0 >> 32) as u32]
    }

    /// A normal deviate (mean 0, standard deviation 1) at `index`, by Box and Muller.
    pub fn normal(self, index: u64) -> f32 {
        let [a, b, _, _] = self.bits(index);
        // 1 − u lies in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - f64::from(unit(a))).ln()).sqrt();
        (radius * (std::f64::consts::TAU * f64::from(unit(b))).cos()) as f32
    }
}

fn unit(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

fn philox(key: u64, counter: u128) -> [u32; 4] {
    let mut key = [key as u32, (key >> 32) as u32];
    let mut x = [counter as u32, (counter >> 32) as u32, (counter >> 64) as u32, (counter >> 96) as u32];
    for _ in 0..ROUNDS {
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(x[0]);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(x[2]);
        x = [(p1 >> 32) as u32 ^ x[1] ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ x[3] ^ key[1], p0 as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with Random123 (kat_vectors, philox4x32-10).
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox(0, 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox(u64::MAX, u128::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn uniforms_equal_uniform() {
        let key = Key::new(7).fold(3);
        let mut block = [0.0; 10];
        key.uniforms(8, &mut block);
        assert!(block.iter().enumerate().all(|(i, &x)| x == key.uniform(8 + i as u64) && (0.0..1.0).contains(&x)));
    }

    #[test]
    fn normal_has_unit_variance() {
        let key = Key::new(1);
        let values: Vec<f64> = (0..20_000).map(|i| f64::from(key.normal(i))).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "mean {mean}, variance {variance}");
    }

    #[test]
    fn below_is_in_range_and_spread() {
        let mut counts = [0; 5];
        (0..5_000).for_each(|i| counts[Key::new(2).below(i, 5) as usize] += 1);
        assert!(counts.iter().all(|&n| (900..1_100).contains(&n)), "{counts:?}");
    }
}
