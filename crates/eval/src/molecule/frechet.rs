//! The Fréchet distance between two normal distributions.

/// Mean and covariance of rows of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    /// The mean, `[D]`.
    pub mean: Vec<f64>,
    /// The covariance, [D, D].
    pub covariance: Vec<f64>,
}

impl Gaussian {
    /// Of rows of `n_columns` numbers each; the covariance divides by one less than the number of rows.
    ///
    /// # Panics
    /// When there are fewer than two rows, or they do not divide evenly.
    pub fn of(rows: &[f32], n_columns: usize) -> Self {
        let n_rows = rows.len() / n_columns;
        assert!(n_rows > 1 && rows.len() == n_rows * n_columns, "a covariance needs two rows of {n_columns} numbers");
        let mut mean = vec![0.0; n_columns];
        for row in rows.chunks(n_columns) {
            mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x) / n_rows as f64);
        }
        let mut covariance = vec![0.0; n_columns * n_columns];
        let mut centred = vec![0.0; n_columns];
        for row in rows.chunks(n_columns) {
            centred.iter_mut().zip(row).zip(&mean).for_each(|((out, &x), mean)| *out = f64::from(x) - mean);
            for (i, &a) in centred.iter().enumerate() {
                let out = &mut covariance[i * n_columns..][..n_columns];
                out.iter_mut().zip(&centred).for_each(|(out, b)| *out += a * b);
            }
        }
        covariance.iter_mut().for_each(|x| *x /= (n_rows - 1) as f64);
        Self { mean, covariance }
    }
}

/// |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2·√(Σ₁·Σ₂)).
///
/// # Panics
/// When the two have different sizes.
///
/// # Source
/// Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982. With Σ₁ = L·Lᵀ the eigenvalues of
/// Σ₁·Σ₂ are those of Lᵀ·Σ₂·L, which is symmetric; the trace of the root is the sum of their roots.
pub fn frechet_distance(a: &Gaussian, b: &Gaussian) -> f64 {
    let n = a.mean.len();
    assert_eq!((n, a.covariance.len()), (b.mean.len(), b.covariance.len()), "both distributions must have one size");
    let between: f64 = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b).powi(2)).sum();
    let trace = |matrix: &[f64]| (0..n).map(|i| matrix[i * n + i]).sum::<f64>();
    let factor = cholesky(&a.covariance, n);
    let inner = product(&product(&transposed(&factor, n), &b.covariance, n), &factor, n);
    let of_roots: f64 = eigenvalues(inner, n).iter().map(|value| value.max(0.0).sqrt()).sum();
    between + trace(&a.covariance) + trace(&b.covariance) - 2.0 * of_roots
}

/// L of L·Lᵀ = A for a symmetric matrix without negative eigenvalues. A direction in which it has no extent (an input that never
/// fires) has a column of zeros.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, 4th edition, section 4.2.
fn cholesky(matrix: &[f64], n: usize) -> Vec<f64> {
    let largest = (0..n).map(|i| matrix[i * n + i]).fold(0.0, f64::max);
    let least = largest * n as f64 * f64::EPSILON;
    let mut factor = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = factor[i * n..][..j].iter().zip(&factor[j * n..][..j]).map(|(a, b)| a * b).sum();
            let left = matrix[i * n + j] - dot;
            factor[i * n + j] = match (i == j, factor[j * n + j]) {
                (true, _) if left <= least => 0.0,
                (true, _) => left.sqrt(),
                (false, 0.0) => 0.0,
                (false, pivot) => left / pivot,
            };
        }
    }
    factor
}

fn transposed(matrix: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|i| matrix[i % n * n + i / n]).collect()
}

fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut c = vec![0.0; n * n];
    for (row, out) in a.chunks(n).zip(c.chunks_mut(n)) {
        for (x, b) in row.iter().zip(b.chunks(n)).filter(|(x, _)| **x != 0.0) {
            out.iter_mut().zip(b).for_each(|(out, b)| *out += x * b);
        }
    }
    c
}

/// The eigenvalues of a symmetric matrix, in no order.
pub(super) fn eigenvalues(matrix: Vec<f64>, n: usize) -> Vec<f64> {
    let (diagonal, beside) = tridiagonal(matrix, n);
    eigenvalues_of_tridiagonal(diagonal, beside)
}

/// A symmetric matrix turned, by Householder's reflections, into one with numbers on the diagonal and beside it alone: these.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, 4th edition, algorithm 8.3.1.
fn tridiagonal(mut matrix: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut beside = vec![0.0; n];
    for k in 0..n.saturating_sub(1) {
        let mut v: Vec<f64> = (k + 1..n).map(|i| matrix[i * n + k]).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        beside[k] = if v[0] > 0.0 { -norm } else { norm };
        v[0] -= beside[k];
        let size: f64 = v.iter().map(|x| x * x).sum();
        if size == 0.0 {
            continue;
        }
        let row = |i: usize| (k + 1 + i) * n + k + 1..(k + 2 + i) * n;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut w: Vec<f64> = (0..v.len()).map(|i| 2.0 / size * dot(&matrix[row(i)], &v)).collect();
        let share = dot(&w, &v) / size;
        w.iter_mut().zip(&v).for_each(|(w, v)| *w -= share * v);
        for i in 0..v.len() {
            let (of_v, of_w) = (v[i], w[i]);
            let numbers = matrix[row(i)].iter_mut().zip(v.iter().zip(&w));
            numbers.for_each(|(x, (v, w))| *x -= of_v * w + of_w * v);
        }
    }
    ((0..n).map(|i| matrix[i * n + i]).collect(), beside)
}

/// Turns for one eigenvalue at most; two are usual.
const MOST_TURNS: usize = 60;

/// The eigenvalues of a matrix of a diagonal and the numbers beside it (the last of which is nothing), by the implicit QL method.
///
/// # Source
/// Dubrulle, Martin and Wilkinson, "The implicit QL algorithm", Numerische Mathematik 12, 1968.
fn eigenvalues_of_tridiagonal(mut diagonal: Vec<f64>, mut beside: Vec<f64>) -> Vec<f64> {
    let n = diagonal.len();
    for first in 0..n {
        for _ in 0..MOST_TURNS {
            let is_nothing =
                |i: &usize| beside[*i].abs() <= f64::EPSILON * (diagonal[*i].abs() + diagonal[*i + 1].abs());
            let last = (first..n - 1).find(is_nothing).unwrap_or(n - 1);
            if last == first {
                break;
            }
            turn(&mut diagonal, &mut beside, first, last);
        }
    }
    diagonal
}

/// One turn of the part from `first` to `last`, shifted by an estimate of its first eigenvalue.
fn turn(diagonal: &mut [f64], beside: &mut [f64], first: usize, last: usize) {
    let half = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
    let mut g = diagonal[last] - diagonal[first] + beside[first] / (half + half.hypot(1.0).copysign(half));
    let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
    for i in (first..last).rev() {
        let (f, b) = (s * beside[i], c * beside[i]);
        let r = f.hypot(g);
        beside[i + 1] = r;
        if r == 0.0 {
            diagonal[i + 1] -= p;
            beside[last] = 0.0;
            return;
        }
        (s, c) = (f / r, g / r);
        g = diagonal[i + 1] - p;
        let t = (diagonal[i] - g) * s + 2.0 * c * b;
        p = s * t;
        diagonal[i + 1] = g + p;
        g = c * t - b;
    }
    diagonal[first] -= p;
    beside[first] = g;
    beside[last] = 0.0;
}
