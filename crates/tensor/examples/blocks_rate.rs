//! The rate of products with quantised weights, and with those of 16 bits, of a Transformer's shapes, for one token and for many.
//!
//! ```text
//! cargo run --release -p genera-tensor --example blocks_rate -- [threads]
//! ```

use genera_tensor::backend::cpu::Cpu;
use genera_tensor::backend::{Kernels, Matmul, Matrix, PackedMatrix, Rhs};
use genera_tensor::quant::{BlockRows, Format};
use genera_tensor::{Key, View, ViewMut};
use std::time::{Duration, Instant};

/// (N, K) of the weights of SmolLM2-135M: projections in and out, feed-forward up and down, head.
const SHAPES: [(usize, usize); 5] = [(960, 576), (576, 576), (3072, 576), (576, 1536), (49152, 576)];
const ROWS: [usize; 3] = [1, 8, 512];
const TIME: Duration = Duration::from_millis(300);

fn main() {
    let n_threads = std::env::args().nth(1).map_or(2, |arg| arg.parse().expect("a number of threads"));
    let cpu = Cpu::new(n_threads);
    println!("{}; G multiply-adds/s, and for one row GB/s of weights\n", cpu.name());
    print!("{:<8}", "");
    SHAPES.iter().for_each(|(n, k)| print!("{:>24}", format!("{k} -> {n}")));
    println!();
    let formats = [Format::Q4_0, Format::Q4_1, Format::Q8_0, Format::Q4K, Format::Q6K, Format::F16, Format::Bf16];
    for format in formats.map(Some).into_iter().chain([None]) {
        for m in ROWS {
            print!("{:<8}", format!("{} {m}", format.map_or("f32", Format::name)));
            for (n, k) in SHAPES {
                let k = if format.is_some_and(|format| format.block_len() == 256) { k / 256 * 256 } else { k };
                let rate = rate(&cpu, format, [m, n, k]);
                let bytes = format.map_or(4.0, |format| format.block_bytes() as f64 / format.block_len() as f64);
                let bandwidth = if m == 1 { format!(" ({:.0} GB/s)", rate * bytes) } else { String::new() };
                print!("{:>24}", format!("{rate:.0}{bandwidth}"));
            }
            println!();
        }
    }
}

/// Best of many calls, in G multiply-adds/s. Weights take turns, so that small ones do not stay in the nearest cache.
fn rate(cpu: &Cpu, format: Option<Format>, [m, n, k]: [usize; 3]) -> f64 {
    let n_weights = (64 << 20) / (n * k) + 1;
    let weights: Vec<PackedMatrix> = (0..n_weights as u64).map(|i| weight(cpu, format, n, k, i)).collect();
    let x: Vec<f32> = (0..(m * k) as u64).map(|i| Key::new(1).normal(i)).collect();
    let mut out = vec![0.0; m * n];
    let mut best = Duration::MAX;
    let start = Instant::now();
    let mut i = 0;
    while start.elapsed() < TIME || i < 3 {
        let n_calls = n_weights.clamp(1, (100_000_000 / (m * n * k)).max(1));
        let call = Instant::now();
        for _ in 0..n_calls {
            let a = Matrix::new(View::F32(&x), k);
            let product = Matmul::product([m, n, k], a, a, ViewMut::F32(&mut out), false);
            cpu.matmul(Matmul { b: Rhs::Packed(&weights[i % n_weights]), ..product });
            i += 1;
        }
        best = best.min(call.elapsed() / n_calls as u32);
    }
    (m * n * k) as f64 / best.as_secs_f64() / 1e9
}

fn weight(cpu: &Cpu, format: Option<Format>, n: usize, k: usize, seed: u64) -> PackedMatrix {
    let row: Vec<f32> = (0..k as u64).map(|i| Key::new(seed).normal(i)).collect();
    let Some(format) = format else { return cpu.pack(Matrix::transposed(View::F32(&row.repeat(n)), k), k, n) };
    let mut bytes = vec![0; format.bytes_of(k)];
    format.encode(&row, &mut bytes);
    cpu.pack_blocks(k, &[BlockRows::new(format, k, &bytes.repeat(n))])
}
