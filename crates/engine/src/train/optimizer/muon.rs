//! Muon: momentum whose directions are all given the same length, for the matrices inside the blocks.
//!
//! # Source
//! Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the scale of the updates and the weight
//! decay: Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982, section 2.2.

use super::{Optimizer, Sweep, Update, Weights};
use genera_tensor::backend::{Matmul, Matrix};
use genera_tensor::{DType, Tensor, View};

/// How Muon is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonSettings {
    /// Highest learning rate. Updates are as large as AdamW's, so that one rate serves both.
    pub learning_rate: f64,
    /// How slowly earlier gradients are forgotten.
    pub momentum: f32,
    /// How much matrices shrink, times the learning rate.
    pub weight_decay: f64,
}

/// Root mean square of an update with AdamW, which Muon's are scaled to (arXiv 2502.16982, equation 4).
const UPDATE_RMS: f64 = 0.2;
/// Of the odd polynomial a·x + b·x³ + c·x⁵ that pushes singular values towards 1: its slope at 0 is as steep as can be
/// while five rounds still end between about 0.7 and 1.2.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
const N_ROUNDS: usize = 5;

/// The momentum of one matrix.
#[derive(Debug)]
pub(super) struct Muon {
    settings: MuonSettings,
    momentum: Tensor,
    /// Rows of the matrices that lie on top of each other in this one.
    blocks: Vec<usize>,
    compute: DType,
}

impl Muon {
    pub(super) fn new(settings: MuonSettings, weights: &Tensor, blocks: Vec<usize>, compute: DType) -> Self {
        assert_eq!(blocks.iter().sum::<usize>(), weights.shape().n_rows(), "the blocks cover the matrix");
        let momentum = Tensor::zeros(weights.device(), weights.shape(), DType::F32);
        Self { settings, momentum, blocks, compute }
    }

    /// Where the next step leads: g + μ·m (Nesterov), after m ← μ·m + g.
    fn direction(&mut self, gradient: &Tensor, scale: f32) -> Tensor {
        let (kernels, mu) = (gradient.device().kernels(), self.settings.momentum);
        kernels.scale_add(scale, gradient.view(), mu, self.momentum.view_mut());
        let mut direction = Tensor::scratch(gradient.device(), gradient.shape(), DType::F32);
        kernels.scale_add(scale, gradient.view(), 0.0, direction.view_mut());
        kernels.scale_add(mu, self.momentum.view(), 1.0, direction.view_mut());
        direction
    }
}

impl Optimizer for Muon {
    fn update<'s>(&'s mut self, weights: Weights<'s>, gradient: &'s Tensor, update: &Update, _: &mut Sweep<'s>) {
        let direction = self.direction(gradient, update.gradient_scale);
        let MuonSettings { learning_rate, weight_decay, .. } = self.settings;
        let rate = learning_rate * update.share;
        let (kernels, width) = (gradient.device().kernels(), gradient.shape().last());
        let mut start = 0;
        for &rows in &self.blocks {
            let elements = start * width..(start + rows) * width;
            let mut block = Tensor::scratch(gradient.device(), [rows, width], self.compute);
            normalise(direction.view().slice(elements.clone()), &mut block);
            let block = orthogonalised(block);
            let scale = UPDATE_RMS * (rows.max(width) as f64).sqrt();
            let target = weights.master.view_mut().into_slice(elements);
            kernels.scale_add((-rate * scale) as f32, block.view(), (1.0 - rate * weight_decay) as f32, target);
            start += rows;
        }
        weights.round();
    }

    fn state(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("momentum", &self.momentum)]
    }

    fn state_mut(&mut self) -> Vec<(&'static str, &mut Tensor)> {
        vec![("momentum", &mut self.momentum)]
    }
}

/// Scales a matrix so that no singular value is above 1.
fn normalise(x: View<'_>, out: &mut Tensor) {
    let device = out.device().clone();
    let norm = device.kernels().sum_of_squares(&[x]).sqrt() + 1e-7;
    device.kernels().scale_add((1.0 / norm) as f32, x, 0.0, out.view_mut());
}

/// The matrix with all singular values near 1, by rounds of x ← a·x + (b·s + c·s²)·x for s = x·xᵀ; for a tall matrix from
/// the other side with s = xᵀ·x, which is smaller.
///
/// # Shapes
/// x and the result: [M, N].
fn orthogonalised(mut x: Tensor) -> Tensor {
    let ([m, n], dtype, device) = (x.dims(), x.dtype(), x.device().clone());
    let (small, large) = (m.min(n), m.max(n));
    let kernels = device.kernels();
    let [a, b, c] = QUINTIC;
    let square = || Tensor::scratch(&device, [small, small], dtype);
    for _ in 0..N_ROUNDS {
        let (plain, turned) = (Matrix::new(x.view(), n), Matrix::transposed(x.view(), n));
        let (left, right) = if m <= n { (plain, turned) } else { (turned, plain) };
        let mut s = square();
        kernels.matmul(Matmul::product([small, small, large], left, right, s.view_mut(), false));
        let mut polynomial = square();
        let s_matrix = Matrix::new(s.view(), small);
        kernels.matmul(Matmul::product([small, small, small], s_matrix, s_matrix, polynomial.view_mut(), false));
        kernels.scale_add(b, s.view(), c, polynomial.view_mut());
        let polynomial = Matrix::new(polynomial.view(), small);
        let (left, right) = if m <= n { (polynomial, plain) } else { (plain, polynomial) };
        let mut next = Tensor::scratch(&device, [m, n], dtype);
        kernels.matmul(Matmul::product([m, n, small], left, right, next.view_mut(), false));
        kernels.scale_add(a, x.view(), 1.0, next.view_mut());
        x = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_tensor::{Device, Key};

    /// Eigenvalues of a symmetric matrix by Jacobi's rotations.
    fn eigenvalues(mut s: Vec<Vec<f64>>) -> Vec<f64> {
        let n = s.len();
        for _ in 0..30 {
            for (p, q) in (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))) {
                let angle = 0.5 * (2.0 * s[p][q]).atan2(s[q][q] - s[p][p]);
                let (sin, cos) = angle.sin_cos();
                for row in &mut s {
                    (row[p], row[q]) = (cos * row[p] - sin * row[q], sin * row[p] + cos * row[q]);
                }
                let (upper, lower) = s.split_at_mut(q);
                for (x, y) in upper[p].iter_mut().zip(&mut lower[0]) {
                    (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
                }
            }
        }
        (0..n).map(|i| s[i][i]).collect()
    }

    fn singular_values(x: &Tensor) -> Vec<f64> {
        let ([m, n], values) = (x.dims(), x.to_vec());
        let at = |i: usize, j: usize| f64::from(if m <= n { values[i * n + j] } else { values[j * n + i] });
        let (small, large) = (m.min(n), m.max(n));
        let dot = |i: usize, j: usize| (0..large).map(|p| at(i, p) * at(j, p)).sum::<f64>();
        let s = (0..small).map(|i| (0..small).map(|j| dot(i, j)).collect()).collect();
        eigenvalues(s).into_iter().map(f64::sqrt).collect()
    }

    #[test]
    fn all_directions_get_the_same_length() {
        for (m, n, dtype) in [(6, 10, DType::F32), (10, 6, DType::F32), (8, 8, DType::F32), (6, 10, DType::Bf16)] {
            for device in [Device::reference(), Device::cpu(2)] {
                let values: Vec<f32> = (0..m * n).map(|i| Key::new(3).normal(i as u64)).collect();
                let x = Tensor::from_f32(&device, [m, n], &values);
                let spread = singular_values(&x);
                assert!(spread.iter().any(|&value| value > 3.0), "nothing to do: {spread:?}");
                let mut start = Tensor::scratch(&device, [m, n], dtype);
                normalise(x.view(), &mut start);
                let found = singular_values(&orthogonalised(start));
                assert!(found.iter().all(|value| (0.6..1.25).contains(value)), "{m}x{n} {dtype}: {found:?}");
            }
        }
    }

    /// Halves of a gated matrix are independent: a gradient in one of them moves no weight of the other, and both move as
    /// far as a matrix of their own.
    #[test]
    fn blocks_are_independent() {
        let device = Device::cpu(1);
        let values: Vec<f32> = (0..48).map(|i| if i < 24 { Key::new(5).normal(i) } else { 0.0 }).collect();
        let gradient = Tensor::from_f32(&device, [8, 6], &values);
        let mut weights = Tensor::zeros(&device, [8, 6], DType::F32);
        let settings = MuonSettings { learning_rate: 1.0, momentum: 0.0, weight_decay: 0.0 };
        let mut muon = Muon::new(settings, &weights, vec![4, 4], DType::F32);
        let update = Update { step: 1, share: 1.0, gradient_scale: 1.0 };
        muon.update(Weights { master: &mut weights, rounded: None }, &gradient, &update, &mut Sweep::new());
        let moved = weights.to_vec();
        assert!(moved[24..].iter().all(|&x| x == 0.0));
        let rms = (moved[..24].iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 24.0).sqrt();
        assert!((0.1..0.3).contains(&rms), "root mean square {rms}");
    }
}
