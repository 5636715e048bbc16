//! How a token knows where it stands: the fixed tables of each scheme.

use crate::config::{ModelConfig, Position};
use genera_tensor::op::{RotarySpec, RotaryTable, offset_bias};
use genera_tensor::{Device, Tape, Tensor, Var};
use std::ops::Range;
use std::sync::Arc;

/// The fixed tables of a model's position scheme.
#[derive(Debug)]
pub(super) struct Positions {
    rotary: Option<(RotaryTable, bool)>,
    sinusoids: Option<Tensor>,
    alibi: Option<Alibi>,
    buckets: Option<Buckets>,
}

#[derive(Debug)]
struct Alibi {
    /// [H, 2·P − 1]
    values: Tensor,
    origin: usize,
}

#[derive(Clone, Copy, Debug)]
struct Buckets {
    n_buckets: usize,
    max_distance: usize,
}

impl Positions {
    pub(super) fn new(config: &ModelConfig, device: &Device) -> Self {
        let mut positions = Self { rotary: None, sinusoids: None, alibi: None, buckets: None };
        match config.position {
            Position::None | Position::Learned => {}
            Position::Sinusoidal => positions.sinusoids = Some(sinusoids(config.context_len, config.d_model, device)),
            Position::Rotary { theta, n_rotated, interleaved } => {
                let frequency = |i: usize| theta.powf(-(2.0 * i as f64) / n_rotated as f64);
                let frequencies: Vec<f64> = (0..n_rotated / 2).map(frequency).collect();
                positions.rotary = Some((RotaryTable::new(config.context_len, &frequencies), interleaved));
            }
            Position::Alibi => {
                positions.alibi = Some(alibi(config.last_stack().attention.n_heads, config.context_len, device));
            }
            Position::RelativeBias { n_buckets, max_distance } => {
                positions.buckets = Some(Buckets { n_buckets, max_distance });
            }
        }
        positions
    }

    /// The table of fixed sines and cosines to be added to the embeddings.
    pub(super) fn sinusoids(&self) -> Option<Var> {
        self.sinusoids.clone().map(Var::constant)
    }

    /// How to turn the given heads, when positions are rotary.
    pub(super) fn rotary(&self, heads: Range<usize>, d_head: usize) -> Option<RotarySpec> {
        let (table, interleaved) = self.rotary.clone()?;
        Some(RotarySpec { table, d_head, heads, interleaved })
    }

    /// What is added to the scores of a stack, with the index of offset 0.
    ///
    /// `table`: the stack's relative biases; `n_keys`: positions reach up to it.
    pub(super) fn bias(
        &self,
        tape: &Tape<'_>,
        table: Option<&Var>,
        n_keys: usize,
        is_causal: bool,
    ) -> Option<(Var, usize)> {
        if let Some(alibi) = &self.alibi {
            return Some((Var::constant(alibi.values.clone()), alibi.origin));
        }
        let (buckets, table) = (self.buckets?, table?);
        let origin = n_keys - 1;
        let offsets = -(origin as isize)..=origin as isize;
        let ids: Arc<[u32]> = offsets.map(|offset| buckets.bucket(offset, !is_causal)).collect();
        Some((offset_bias(tape, table, &ids), origin))
    }
}

impl Buckets {
    /// The bucket of an offset (key position − query position): half of the buckets for exact distances, the rest for
    /// logarithmically wider ones.
    ///
    /// # Source
    /// Raffel et al., arXiv 1910.10683, section 2.1 and the published implementation's definition.
    fn bucket(self, offset: isize, is_bidirectional: bool) -> u32 {
        let mut n_buckets = self.n_buckets;
        let mut base = 0;
        let mut distance = (-offset).max(0) as usize;
        if is_bidirectional {
            n_buckets /= 2;
            base = if offset > 0 { n_buckets } else { 0 };
            distance = offset.unsigned_abs();
        }
        let n_exact = n_buckets / 2;
        if distance < n_exact {
            return (base + distance) as u32;
        }
        let ratio = (distance as f32 / n_exact as f32).ln() / (self.max_distance as f32 / n_exact as f32).ln();
        let wide = n_exact + (ratio * (n_buckets - n_exact) as f32) as usize;
        (base + wide.min(n_buckets - 1)) as u32
    }
}

fn sinusoids(n_positions: usize, width: usize, device: &Device) -> Tensor {
    let half = width / 2;
    let value = |i: usize| {
        let (position, column) = ((i / width) as f64, i % width);
        let angle = position / 10_000_f64.powf((column % half) as f64 / half as f64);
        (if column < half { angle.sin() } else { angle.cos() }) as f32
    };
    let values: Vec<f32> = (0..n_positions * width).map(value).collect();
    Tensor::from_f32(device, [n_positions, width], &values)
}

fn alibi(n_heads: usize, n_positions: usize, device: &Device) -> Alibi {
    let origin = n_positions - 1;
    let n_offsets = 2 * n_positions - 1;
    let value = |i: usize| {
        let (head, offset) = (i / n_offsets, (i % n_offsets).abs_diff(origin));
        (-alibi_slope(head, n_heads) * offset as f64) as f32
    };
    let values: Vec<f32> = (0..n_heads * n_offsets).map(value).collect();
    Alibi { values: Tensor::from_f32(device, [n_heads, n_offsets], &values), origin }
}

/// Slopes 2^(−8i/n) for n a power of two; other numbers of heads take every second slope of the next power as well.
fn alibi_slope(head: usize, n_heads: usize) -> f64 {
    let base = 1 << n_heads.ilog2();
    let exponent = |i: usize, n: usize| 2_f64.powf(-8.0 * (i + 1) as f64 / n as f64);
    if head < base { exponent(head, base) } else { exponent(2 * (head - base), 2 * base) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 8 buckets up to distance 20, both ways and one way, worked out by hand from the definition.
    #[test]
    fn buckets_follow_the_definition() {
        let buckets = Buckets { n_buckets: 8, max_distance: 20 };
        let both = |offset| buckets.bucket(offset, true);
        assert_eq!([-3, -1, 0, 1, 2, 30].map(both), [2, 1, 0, 5, 6, 7]);
        let causal = |offset| buckets.bucket(offset, false);
        assert_eq!([5, 0, -3, -4, -5, -100].map(causal), [0, 0, 3, 4, 4, 7]);
    }

    #[test]
    fn slopes_for_eight_and_twelve_heads() {
        assert_eq!(alibi_slope(0, 8), 0.5);
        assert_eq!(alibi_slope(7, 8), 1.0 / 256.0);
        assert_eq!(alibi_slope(8, 12), 2_f64.powf(-0.5));
    }
}
