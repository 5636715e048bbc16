//! Random numbers that are a pure function of (seed, stream, position).

/// Weyl increment of SplitMix64: 2⁶⁴ divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// One stream of random numbers; number i can be had without the numbers before it.
///
/// # Source
/// The mixing function is that of SplitMix64: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
/// generators", OOPSLA; constants of David Stafford's variant 13.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    key: u64,
}

impl Stream {
    /// The stream of this number under this seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self { key: mix(mix(seed.wrapping_add(GOLDEN)) ^ stream.wrapping_mul(GOLDEN)) }
    }

    /// A number below `n`, each as likely as the next to within n / 2⁶⁴.
    pub(crate) fn below(self, n: usize, position: usize) -> usize {
        let bits = mix(self.key.wrapping_add((position as u64 + 1).wrapping_mul(GOLDEN)));
        ((u128::from(bits) * n as u128) >> 64) as usize
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

    #[test]
    fn numbers_are_even_and_streams_differ() {
        let (n, draws) = (10, 100_000);
        for stream in [Stream::new(1, 0), Stream::new(1, 1), Stream::new(2, 0)] {
            let mut counts = vec![0i64; n];
            (0..draws).for_each(|i| counts[stream.below(n, i)] += 1);
            // Standard deviation of a count is 95: five of them.
            assert!(counts.iter().all(|c| (c - 10_000).abs() < 475), "{counts:?}");
        }
        let draw = |seed, stream| (0..64).map(|i| Stream::new(seed, stream).below(1000, i)).collect::<Vec<_>>();
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }
}
