//! Against values computed by SciPy and by hand.

use super::frechet::eigen;
use super::*;
use genera_chemistry::Fingerprint;
use std::collections::HashMap;

#[test]
fn distances_are_those_of_scipy() {
    // scipy.stats.wasserstein_distance
    assert!((wasserstein(&[0.0, 1.0, 3.0], &[5.0, 6.0, 8.0]) - 5.0).abs() < 1e-12);
    assert!((wasserstein(&[3.4, 3.9, 7.5, 7.8], &[4.5, 1.4]) - 2.7).abs() < 1e-12);
    assert!(wasserstein(&[], &[1.0]).is_nan());
    let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    let (a, b): (HashMap<_, _>, HashMap<_, _>) = (counts(&[("x", 3), ("y", 4)]), counts(&[("y", 2), ("z", 5)]));
    assert!((cosine(&a, &b) - 8.0 / (5.0 * 29.0_f64.sqrt())).abs() < 1e-12);
    assert!(cosine(&a, &HashMap::new()).is_nan());
}

#[test]
fn similarities_are_those_of_their_bits() {
    let print = |bits: &[usize]| {
        let mut all = [0; 1024];
        bits.iter().for_each(|&bit| all[bit] = 1);
        Fingerprint::from_bits(&all)
    };
    let made = [print(&[1, 2, 1000]), print(&[7])];
    assert!((nearest_similarity(&made, &[print(&[1, 2]), print(&[8, 1000])], 2) - (2.0 / 3.0) / 2.0).abs() < 1e-12);
    // Each is like itself alone.
    assert!((internal_diversity(&made, 1, 1) - 0.5).abs() < 1e-12);
    assert!((internal_diversity(&made, 2, 2) - (1.0 - 0.5_f64.sqrt())).abs() < 1e-12);
}

#[test]
fn eigenvectors_turn_a_matrix_into_its_eigenvalues() {
    let n = 12;
    let matrix: Vec<f64> =
        (0..n * n).map(|i| ((i / n + 1) * (i % n + 1) % 7) as f64 + f64::from(i / n == i % n)).collect();
    let matrix: Vec<f64> = (0..n * n).map(|i| matrix[i] + matrix[(i % n) * n + i / n]).collect();
    let (values, vectors) = eigen(matrix.clone(), n);
    for k in 0..n {
        for i in 0..n {
            let product: f64 = (0..n).map(|j| matrix[i * n + j] * vectors[j * n + k]).sum();
            assert!((product - values[k] * vectors[i * n + k]).abs() < 1e-8, "vector {k}");
        }
    }
}

#[test]
fn the_distance_of_normal_distributions_is_that_of_its_formula() {
    let gaussian = |mean: &[f64], covariance: &[f64]| Gaussian { mean: mean.to_vec(), covariance: covariance.to_vec() };
    let a = gaussian(&[0.0, 0.0], &[4.0, 0.0, 0.0, 1.0]);
    let b = gaussian(&[3.0, 4.0], &[1.0, 0.0, 0.0, 9.0]);
    // 25 + (2 - 1)² + (1 - 3)²
    assert!((frechet_distance(&a, &b) - 30.0).abs() < 1e-9);
    assert!(frechet_distance(&a, &a).abs() < 1e-9);
    let rows = [1.0, 2.0, 3.0, 6.0, 5.0, 4.0_f32];
    let of = Gaussian::of(&rows, 2);
    assert_eq!((of.mean, of.covariance), (vec![3.0, 4.0], vec![4.0, 2.0, 2.0, 4.0]));
}
