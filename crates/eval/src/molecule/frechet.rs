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
/// Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982. The trace of √(Σ₁·Σ₂) is the sum
/// of the roots of the eigenvalues of √Σ₁·Σ₂·√Σ₁, which is symmetric.
pub fn frechet_distance(a: &Gaussian, b: &Gaussian) -> f64 {
    let n = a.mean.len();
    assert_eq!((n, a.covariance.len()), (b.mean.len(), b.covariance.len()), "both distributions must have one size");
    let between: f64 = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b).powi(2)).sum();
    let trace = |matrix: &[f64]| (0..n).map(|i| matrix[i * n + i]).sum::<f64>();
    let root = root(&a.covariance, n);
    let mut inner = product(&product(&root, &b.covariance, n), &root, n);
    // What rounding made a little unsymmetric.
    for i in 0..n {
        for j in 0..i {
            let mean = 0.5 * (inner[i * n + j] + inner[j * n + i]);
            (inner[i * n + j], inner[j * n + i]) = (mean, mean);
        }
    }
    let (values, _) = eigen(inner, n);
    let of_roots: f64 = values.iter().map(|value| value.max(0.0).sqrt()).sum();
    between + trace(&a.covariance) + trace(&b.covariance) - 2.0 * of_roots
}

/// The symmetric root of a symmetric matrix without negative eigenvalues.
fn root(matrix: &[f64], n: usize) -> Vec<f64> {
    let (values, vectors) = eigen(matrix.to_vec(), n);
    let mut scaled = vectors.clone();
    for row in scaled.chunks_mut(n) {
        row.iter_mut().zip(&values).for_each(|(x, value)| *x *= value.max(0.0).sqrt());
    }
    // V · √Λ · Vᵀ
    let mut transposed = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            transposed[j * n + i] = vectors[i * n + j];
        }
    }
    product(&scaled, &transposed, n)
}

fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut c = vec![0.0; n * n];
    for (row, out) in a.chunks(n).zip(c.chunks_mut(n)) {
        for (x, b) in row.iter().zip(b.chunks(n)) {
            out.iter_mut().zip(b).for_each(|(out, b)| *out += x * b);
        }
    }
    c
}

/// Sweeps of rotations at most; ten are usual.
const MOST_SWEEPS: usize = 60;

/// Eigenvalues and, by columns, eigenvectors of a symmetric matrix, by Jacobi's rotations.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, 4th edition, section 8.5.
pub(super) fn eigen(mut matrix: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    // Vectors are kept by rows while they are rotated: rows lie together in memory.
    let mut vectors = vec![0.0; n * n];
    (0..n).for_each(|i| vectors[i * n + i] = 1.0);
    let size: f64 = matrix.iter().map(|x| x * x).sum();
    for _ in 0..MOST_SWEEPS {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| matrix[i * n + j].powi(2)).sum();
        if off <= size * 1e-24 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut matrix, &mut vectors, n, p, q);
            }
        }
    }
    let values = (0..n).map(|i| matrix[i * n + i]).collect();
    let mut by_columns = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            by_columns[i * n + j] = vectors[j * n + i];
        }
    }
    (values, by_columns)
}

/// Makes the element (p, q) vanish.
fn rotate(matrix: &mut [f64], vectors: &mut [f64], n: usize, p: usize, q: usize) {
    let (off, at_p, at_q) = (matrix[p * n + q], matrix[p * n + p], matrix[q * n + q]);
    if off.abs() <= 1e-300 || off * off <= 1e-34 * (at_p * at_q).abs() {
        return;
    }
    let theta = (at_q - at_p) / (2.0 * off);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let t = if theta == 0.0 { 1.0 } else { t };
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    turn_rows(matrix, n, p, q, c, s);
    for row in matrix.chunks_mut(n) {
        let (x, y) = (row[p], row[q]);
        (row[p], row[q]) = (c * x - s * y, s * x + c * y);
    }
    turn_rows(vectors, n, p, q, c, s);
}

fn turn_rows(matrix: &mut [f64], n: usize, p: usize, q: usize, c: f64, s: f64) {
    let (above, below) = matrix.split_at_mut(q * n);
    for (x, y) in above[p * n..][..n].iter_mut().zip(&mut below[..n]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}
