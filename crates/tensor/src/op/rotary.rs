//! Rotary positions: each pair of features of a head is turned by an angle proportional to the position.

use super::check::{Checker, Input};
use crate::backend::Rotary;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use std::ops::Range;
use std::sync::Arc;

/// Cosine and sine of every angle, computed once per model.
///
/// # Shapes
/// cos, sin: [P, n_rotated / 2].
#[derive(Clone, Debug)]
pub struct RotaryTable {
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
    n_rotated: usize,
}

impl RotaryTable {
    /// Angles position · frequency for positions below `n_positions`; two features are turned for each frequency.
    pub fn new(n_positions: usize, frequencies: &[f64]) -> Self {
        let angles = (0..n_positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        Self::of_angles(angles, frequencies.len())
    }

    /// Given angles, `n_pairs` for each place of the table.
    pub fn of_angles(angles: impl Iterator<Item = f64>, n_pairs: usize) -> Self {
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        Self { cos: cos.into(), sin: sin.into(), n_rotated: 2 * n_pairs }
    }

    /// The same angles with every cosine and sine multiplied by `factor`, so that turned features grow by it.
    #[must_use]
    pub fn amplified(self, factor: f64) -> Self {
        if factor == 1.0 {
            return self;
        }
        let times = |values: &[f32]| values.iter().map(|&x| (f64::from(x) * factor) as f32).collect();
        Self { cos: times(&self.cos), sin: times(&self.sin), ..self }
    }

    /// The positions of this table, and behind them those of another of the same width.
    ///
    /// # Panics
    /// When the other turns another number of features.
    #[must_use]
    pub fn followed_by(&self, other: &Self) -> Self {
        assert_eq!(self.n_rotated, other.n_rotated, "joined tables turn equally many features");
        let both = |a: &[f32], b: &[f32]| [a, b].concat().into();
        Self { cos: both(&self.cos, &other.cos), sin: both(&self.sin, &other.sin), n_rotated: self.n_rotated }
    }

    /// Positions covered.
    pub fn n_positions(&self) -> usize {
        self.cos.len() * 2 / self.n_rotated.max(1)
    }
}

/// Which heads of a tensor are turned, and how.
#[derive(Clone, Debug)]
pub struct RotarySpec {
    /// The angles.
    pub table: RotaryTable,
    /// Width of a head.
    pub d_head: usize,
    /// Heads to turn, of those stored side by side.
    pub heads: Range<usize>,
    /// Pairs are neighbours (2i, 2i+1) instead of (i, i + n/2).
    pub interleaved: bool,
}

/// Turns heads of `x` by their positions; in place when nothing else uses `x`.
///
/// # Shapes
/// x and the result: [M, n_heads_stored · K]; positions: `[M]`, each below the table's.
///
/// # Source
/// Su et al., "RoFormer", arXiv 2104.09864.
pub fn rotary(tape: &Tape<'_>, x: Var, positions: &Arc<[u32]>, spec: &RotarySpec) -> Var {
    let slot = x.slot();
    let mut y = x.into_tensor().into_unique();
    turn(&mut y, positions, spec, false);
    let (positions, spec) = (positions.clone(), spec.clone());
    tape.push(y, &[slot], move |sink, dy| {
        let mut dx = dy.into_unique();
        turn(&mut dx, &positions, &spec, true);
        sink.add(slot, dx);
    })
}

fn turn(x: &mut Tensor, positions: &[u32], spec: &RotarySpec, inverse: bool) {
    let device = x.device().clone();
    let [_, width] =
        shape::sizes(&[("rotate x", "M.. H·K", x.shape()), ("to positions", "M", [positions.len()].into())]);
    device.kernels().rotary(Rotary {
        n_heads_stored: width / spec.d_head,
        heads: spec.heads.clone(),
        d_head: spec.d_head,
        n_rotated: spec.table.n_rotated,
        positions,
        cos: &spec.table.cos,
        sin: &spec.table.sin,
        interleaved: spec.interleaved,
        inverse,
        x: x.view_mut(),
    });
}

pub(super) fn check(checker: &mut Checker) {
    let (d_head, positions) = (10, [3_u32, 0, 4, 1]);
    let frequencies = [1.0, 0.3, 0.05];
    for (interleaved, amplitude) in [(false, 1.0), (true, 1.0), (false, 1.2)] {
        let table = RotaryTable::new(5, &frequencies).amplified(amplitude);
        let spec = RotarySpec { table, d_head, heads: 1..3, interleaved };
        // Heads 1 and 2 of 4 are turned, and of each only the first 6 features.
        let formula = |x: &[Vec<f64>]| {
            let mut y = x[0].clone();
            for (row, head, i) in (0..4).flat_map(|r| (1..3).flat_map(move |h| (0..3).map(move |i| (r, h, i)))) {
                let start = (row * 4 + head) * d_head;
                let (a, b) = if interleaved { (start + 2 * i, start + 2 * i + 1) } else { (start + i, start + i + 3) };
                let (sin, cos) = (f64::from(positions[row]) * frequencies[i]).sin_cos();
                (y[a], y[b]) = (x[0][a] * cos - x[0][b] * sin, x[0][a] * sin + x[0][b] * cos);
                (y[a], y[b]) = (amplitude * y[a], amplitude * y[b]);
            }
            y
        };
        let pairs = if interleaved { "neighbours" } else { "halves" };
        let name = format!("rotary, {pairs}, amplitude {amplitude}");
        let operation = move |tape: &Tape<'_>, x: &[Var]| rotary(tape, x[0].clone(), &Arc::from(positions), &spec);
        checker.case(&name, &[Input::new([4, 4 * d_head])], operation, formula);
    }
}
