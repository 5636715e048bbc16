//! Against values computed by SciPy and by hand.

use super::frechet::eigenvalues;
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
fn eigenvalues_are_those_that_a_matrix_was_made_of() {
    for n in [1, 2, 3, 12, 41] {
        let made_of = |i: usize| [0.0, 1e-6, 3.0, 3.0, 250.0][i % 5] + (i / 5) as f64;
        // A reflection turns the diagonal matrix into a dense one.
        let v: Vec<f64> = (0..n).map(|i| 1.0 + (i * i % 7) as f64).collect();
        let size: f64 = v.iter().map(|x| x * x).sum();
        let reflection = |i: usize, j: usize| f64::from(i == j) - 2.0 / size * v[i] * v[j];
        let entry = |i: usize, j: usize| (0..n).map(|k| reflection(i, k) * made_of(k) * reflection(k, j)).sum::<f64>();
        let matrix: Vec<f64> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
        let mut values = eigenvalues(matrix, n);
        values.sort_by(f64::total_cmp);
        let mut expected: Vec<f64> = (0..n).map(made_of).collect();
        expected.sort_by(f64::total_cmp);
        for (value, expected) in values.iter().zip(&expected) {
            assert!((value - expected).abs() < 1e-11, "{n}: {values:?}");
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
    // Directions without any extent, and two that go together.
    let a = gaussian(&[1.0, 0.0, 0.0], &[1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
    let b = gaussian(&[0.0, 0.0, 0.0], &[4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0]);
    // 1 + 2 + 8 - 2 · √(2 · 4)
    assert!((frechet_distance(&a, &b) - (11.0 - 2.0 * 8.0_f64.sqrt())).abs() < 1e-7);
    assert!((frechet_distance(&b, &a) - (11.0 - 2.0 * 8.0_f64.sqrt())).abs() < 1e-7);
    let rows = [1.0, 2.0, 3.0, 6.0, 5.0, 4.0_f32];
    let of = Gaussian::of(&rows, 2);
    assert_eq!((of.mean, of.covariance), (vec![3.0, 4.0], vec![4.0, 2.0, 2.0, 4.0]));
}
