//! Measures the matrix products that `genera bench machine --json` lists with faer, or with the crate gemm under it.
//!
//! Reads that list from standard input and prints the same object with the rates of the other crate, f32 alone.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Whether faer multiplies by itself.
const OWN_KERNELS: bool = cfg!(feature = "own-kernels");

/// Time for which a rate is measured.
const TIME: Duration = Duration::from_millis(300);

fn main() -> Result<(), serde_json::Error> {
    let mut list: Value = serde_json::from_reader(std::io::stdin())?;
    let n_threads = size(&list, "n_threads");
    let mut products = Vec::new();
    for row in list["products"].as_array_mut().expect("products is an array") {
        // For a single row faer never asks gemm.
        if OWN_KERNELS || size(row, "n_tokens") > 1 {
            let mut product = row.take();
            product["f32_flops_per_s"] = rate(&product, Par::rayon(n_threads)).into();
            product.as_object_mut().expect("a product is an object").remove("bf16_flops_per_s");
            products.push(product);
        }
    }
    let (gemm, faer) = (locked_version("gemm"), locked_version("faer"));
    let device = if OWN_KERNELS { format!("faer {faer}") } else { format!("gemm {gemm}, called by faer {faer}") };
    println!("{}", json!({ "device": device, "n_threads": n_threads, "products": products }));
    Ok(())
}

/// Best rate of one product.
///
/// # Units
/// FLOP/s.
fn rate(product: &Value, threads: Par) -> f64 {
    let [n_tokens, n_in, n_out] = ["n_tokens", "n_in", "n_out"].map(|name| size(product, name));
    let [x, w, dy] = [n_tokens * n_in, n_out * n_in, n_tokens * n_out].map(numbers);
    let x = MatRef::from_row_major_slice(&x, n_tokens, n_in);
    let w = MatRef::from_row_major_slice(&w, n_out, n_in);
    let dy = MatRef::from_row_major_slice(&dy, n_tokens, n_out);
    let (a, b) = match product["product"].as_str() {
        Some("forward") => (x, w.transpose()),
        Some("input gradient") => (dy, w),
        Some("weight gradient") => (dy.transpose(), x),
        other => panic!("unknown product {other:?}"),
    };
    let (m, n) = (a.nrows(), b.ncols());
    let mut c = numbers(m * n);
    let seconds = fastest(|| {
        let c = MatMut::from_row_major_slice_mut(&mut c, m, n);
        matmul(c, Accum::Replace, a, b, 1.0, threads);
    });
    2.0 * (m * n * a.ncols()) as f64 / seconds
}

/// Seconds of the fastest of the calls that fit into [`TIME`], after one that warms up.
fn fastest(mut call: impl FnMut()) -> f64 {
    call();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    loop {
        let before = Instant::now();
        call();
        best = best.min(before.elapsed().as_secs_f64());
        if start.elapsed() > TIME {
            return best;
        }
    }
}

/// Numbers in 0..1.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 37 % 101) as f32 / 101.0).collect()
}

/// The version of a package that this is built with.
fn locked_version(package: &str) -> &'static str {
    let entry = include_str!("../Cargo.lock").split_once(&format!("name = \"{package}\"\nversion = \""));
    entry.and_then(|(_, rest)| rest.split('"').next()).expect("a locked package")
}

fn size(object: &Value, name: &str) -> usize {
    object[name].as_u64().unwrap_or_else(|| panic!("{name} is missing in {object}")) as usize
}
