//! How a token knows where it stands: the fixed tables of each scheme.

use super::transformer::Rows;
use crate::config::{ModelConfig, Position, Rotary, RotaryScaling, long_rope_factor};
use genera_tensor::op::{RotarySpec, RotaryTable, offset_bias};
use genera_tensor::{Device, Tape, Tensor, Var};
use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::Arc;

/// The fixed tables of a model's position scheme.
#[derive(Debug)]
pub(super) struct Positions {
    rotary: Option<RotaryTables>,
    sinusoids: Option<Tensor>,
    alibi: Option<Alibi>,
    buckets: Option<Buckets>,
}

#[derive(Debug)]
struct RotaryTables {
    /// Of layers that see everything.
    full: RotaryTable,
    /// Of layers with a window.
    local: RotaryTable,
    interleaved: bool,
    /// Rows longer than this find their angles `context_len` places further on.
    switch: Option<u32>,
    context_len: u32,
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
        match &config.position {
            Position::None | Position::Learned => {}
            Position::Sinusoidal => positions.sinusoids = Some(sinusoids(config.context_len, config.d_model, device)),
            Position::Rotary(rotary) => positions.rotary = Some(RotaryTables::new(rotary, config.context_len)),
            Position::Alibi => {
                positions.alibi = Some(alibi(config.last_stack().attention.n_heads, config.context_len, device));
            }
            &Position::RelativeBias { n_buckets, max_distance } => {
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
    pub(super) fn rotary(&self, heads: Range<usize>, d_head: usize, is_local: bool) -> Option<RotarySpec> {
        let tables = self.rotary.as_ref()?;
        let table = if is_local { &tables.local } else { &tables.full };
        Some(RotarySpec { table: table.clone(), d_head, heads, interleaved: tables.interleaved })
    }

    /// Where each token finds its angles: at its position, but for long documents in models with two tables.
    ///
    /// # Shapes
    /// Result: [B, T].
    pub(super) fn angles(&self, rows: &Rows) -> Arc<[u32]> {
        let Some((tables, switch)) = self.rotary.as_ref().and_then(|tables| Some((tables, tables.switch?))) else {
            return rows.positions.clone();
        };
        let of_row = |(row, positions): (usize, &[u32])| {
            let n_real = rows.lens.as_ref().map_or(rows.t, |lens| lens[row] as usize).min(rows.t);
            let segment = |i: usize| rows.segments.as_ref().map_or(0, |segments| segments[row * rows.t + i]);
            let mut angles = positions.to_vec();
            let mut start = 0;
            // Document by document: a long one is turned by other angles from its first token on.
            while start < n_real {
                let end = (start + 1..n_real).find(|&i| segment(i) != segment(start)).unwrap_or(n_real);
                if positions[end - 1] >= switch {
                    angles[start..end].iter_mut().for_each(|angle| *angle += tables.context_len);
                }
                start = end;
            }
            angles
        };
        rows.positions.chunks(rows.t.max(1)).enumerate().flat_map(of_row).collect()
    }

    /// The length beyond which all of a row is turned by other angles, if there is one.
    pub(super) fn switch(&self) -> Option<usize> {
        Some(self.rotary.as_ref()?.switch? as usize)
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

impl RotaryTables {
    fn new(rotary: &Rotary, context_len: usize) -> Self {
        let table = |frequencies: &[f64]| RotaryTable::new(context_len, frequencies);
        let base = |theta: f64| frequencies(theta, rotary.n_rotated);
        let plain = base(rotary.theta);
        let mut switch = None;
        let full = match &rotary.scaling {
            RotaryScaling::None | RotaryScaling::Dynamic { .. } => table(&plain),
            RotaryScaling::Linear { factor } => table(&plain.iter().map(|f| f / factor).collect::<Vec<_>>()),
            RotaryScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_len } => {
                let context = *original_context_len as f64;
                table(&llama3(&plain, *factor, [*low_freq_factor, *high_freq_factor], context))
            }
            RotaryScaling::Yarn { factor, attention_factor, .. } => {
                let amplitude = attention_factor.unwrap_or(if *factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 });
                table(&yarn(&plain, rotary)).amplified(amplitude)
            }
            RotaryScaling::LongRope { short, long, original_context_len, attention_factor } => {
                let stretched = context_len as f64 / *original_context_len as f64;
                let amplitude = attention_factor.unwrap_or(long_rope_factor(stretched, *original_context_len));
                let divided = |factors: &[f64]| {
                    let divided: Vec<f64> = plain.iter().zip(factors).map(|(f, factor)| f / factor).collect();
                    table(&divided).amplified(amplitude)
                };
                if context_len > *original_context_len {
                    switch = Some(*original_context_len as u32);
                    divided(short).followed_by(&divided(long))
                } else {
                    divided(short)
                }
            }
        };
        let local = match rotary.local_theta {
            // Beside two tables in a row, its own is there twice.
            Some(theta) if switch.is_some() => table(&base(theta)).followed_by(&table(&base(theta))),
            Some(theta) => table(&base(theta)),
            None => full.clone(),
        };
        Self { full, local, interleaved: rotary.interleaved, switch, context_len: context_len as u32 }
    }
}

/// θ^(−2i/n) for each pair of n features.
fn frequencies(theta: f64, n_rotated: usize) -> Vec<f64> {
    (0..n_rotated / 2).map(|i| theta.powf(-(2.0 * i as f64) / n_rotated as f64)).collect()
}

/// Low frequencies divided by `factor`, high ones kept, those between in proportion to their turns within `context`.
///
/// # Source
/// The published implementation of Llama 3.1 (Grattafiori et al., arXiv 2407.21783).
fn llama3(plain: &[f64], factor: f64, [low, high]: [f64; 2], context: f64) -> Vec<f64> {
    let scaled = |&f: &f64| {
        let turns = context * f / TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 - kept) * f / factor + kept * f
    };
    plain.iter().map(scaled).collect()
}

/// Frequencies divided by a factor where they make few turns within the original context.
///
/// # Source
/// Peng et al., "YaRN", arXiv 2309.00071, section 3.2; that the ends of the ramp are rounded is of the published
/// implementation.
fn yarn(plain: &[f64], rotary: &Rotary) -> Vec<f64> {
    let &Rotary { theta, n_rotated, ref scaling, .. } = rotary;
    let &RotaryScaling::Yarn { factor, original_context_len, beta_fast, beta_slow, truncate, .. } = scaling else {
        return plain.to_vec();
    };
    // The pair that makes so many turns within the context.
    let pair = |turns: f64| n_rotated as f64 * (original_context_len as f64 / (turns * TAU)).ln() / (2.0 * theta.ln());
    let (mut start, mut end) = (pair(beta_fast), pair(beta_slow));
    if truncate {
        (start, end) = (start.floor(), end.ceil());
    }
    (start, end) = (start.max(0.0), end.min(n_rotated as f64 - 1.0));
    if start == end {
        end += 0.001;
    }
    let scaled = |(i, f): (usize, &f64)| {
        let divided = ((i as f64 - start) / (end - start)).clamp(0.0, 1.0);
        divided * f / factor + (1.0 - divided) * f
    };
    plain.iter().enumerate().map(scaled).collect()
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

/// A number of the fixed table of sines and cosines whose rows have an even `width`.
pub(crate) fn sinusoid(position: usize, column: usize, width: usize) -> f32 {
    let half = width / 2;
    let angle = position as f64 / 10_000_f64.powf((column % half) as f64 / half as f64);
    (if column < half { angle.sin() } else { angle.cos() }) as f32
}

fn sinusoids(n_positions: usize, width: usize, device: &Device) -> Tensor {
    let values: Vec<f32> = (0..n_positions * width).map(|i| sinusoid(i / width, i % width, width)).collect();
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
