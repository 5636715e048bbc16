//! Prints the rate of matrix products, shape by shape: `cargo run --release -p genera-tensor --example matmul_rate`.
//!
//! Arguments, all optional: `threads=1,2`, `dtype=bf16,f32`, `only=weight` (a part of a column's name),
//! `shape=3072,384` (the beginning of a row), `seconds=0.3`.
//! Each figure is the best of many short runs, since other programs can only make one slower.

mod shared;

use genera_tensor::DType;
use genera_tensor::backend::cpu::Cpu;
use genera_tensor::backend::{Kernels, Matmul, Matrix, PackedMatrix, Rhs};
use shared::{Elements, best};
use std::time::Duration;

/// Tokens M, outputs N and inputs K of a layer.
const LAYERS: [[usize; 3]; 9] = [
    [3072, 384, 384],
    [3072, 1536, 384],
    [3072, 384, 1536],
    [3072, 8192, 384],
    [1024, 768, 768],
    [2048, 2048, 2048],
    [4096, 128, 128],
    [4096, 512, 128],
    [4096, 128, 512],
];

/// Decoding: few rows, packed weights; N and K.
const DECODED: [[usize; 2]; 3] = [[384, 384], [2048, 2048], [8192, 4096]];

fn main() {
    let option = |name: &str, default: &str| {
        let prefix = format!("{name}=");
        std::env::args().find_map(|arg| arg.strip_prefix(&prefix).map(str::to_owned)).unwrap_or(default.to_owned())
    };
    let seconds: f64 = option("seconds", "0.3").parse().expect("seconds is a number");
    let (only, shape) = (option("only", ""), option("shape", ""));
    for threads in option("threads", "1,2").split(',') {
        let cpu = Cpu::new(threads.parse().expect("threads is a list of numbers"));
        for name in option("dtype", "bf16,f32").split(',') {
            let dtype = if name == "bf16" { DType::Bf16 } else { DType::F32 };
            let bench = Bench { cpu: &cpu, dtype, time: Duration::from_secs_f64(seconds), only: &only, shape: &shape };
            println!("\n{} · {name}: GFLOP/s", cpu.name());
            bench.layers();
            bench.decoding();
        }
    }
}

struct Bench<'a> {
    cpu: &'a Cpu,
    dtype: DType,
    time: Duration,
    only: &'a str,
    shape: &'a str,
}

impl Bench<'_> {
    fn layers(&self) {
        println!("{:>20} {:>10} {:>10} {:>10} {:>10}", "M, N, K", "forward", "packed", "d input", "d weight");
        for [m, n, k] in LAYERS.into_iter().filter(|[m, n, k]| format!("{m},{n},{k}").starts_with(self.shape)) {
            // Weights lie as [out, in], as the layers keep them.
            let [x, w, y] =
                [(m, k), (n, k), (m, n)].map(|(rows, columns)| Elements::random(rows * columns, self.dtype));
            let (x_mk, w_nk, y_mn) = (Matrix::new(x.view(), k), Matrix::new(w.view(), k), Matrix::new(y.view(), n));
            let (w_kn, y_nm) = (Matrix::transposed(w.view(), k), Matrix::transposed(y.view(), n));
            let packed = self.cpu.pack(w_kn, k, n);
            let rates = [
                self.rate("forward", [m, n, k], x_mk, Rhs::Matrix(w_kn), self.dtype),
                self.rate("packed", [m, n, k], x_mk, Rhs::Packed(&packed), self.dtype),
                self.rate("d input", [m, k, n], y_mn, Rhs::Matrix(w_nk), self.dtype),
                self.rate("d weight", [n, k, m], y_nm, Rhs::Matrix(x_mk), DType::F32),
            ];
            print!("{:>20}", format!("{m}, {n}, {k}"));
            rates.iter().for_each(|rate| print!(" {rate:>10.0}"));
            println!();
        }
    }

    fn decoding(&self) {
        println!("{:>20} {:>10} {:>10} {:>10} {:>10} · packed weights read, GB/s", "N, K", "m = 1", "2", "4", "8");
        for [n, k] in DECODED.into_iter().filter(|_| "decode".contains(self.only) && self.shape.is_empty()) {
            let w = Elements::random(n * k, self.dtype);
            let packed: PackedMatrix = self.cpu.pack(Matrix::new(w.view(), n), k, n);
            print!("{:>20}", format!("{n}, {k}"));
            for m in [1, 2, 4, 8] {
                let x = Elements::random(m * k, self.dtype);
                let rate = self.rate("decode", [m, n, k], Matrix::new(x.view(), k), Rhs::Packed(&packed), self.dtype);
                print!(" {:>10.1}", rate / (2 * m) as f64 * self.dtype.size_bytes() as f64);
            }
            println!();
        }
    }

    fn rate(&self, name: &str, [m, n, k]: [usize; 3], a: Matrix<'_>, b: Rhs<'_>, c: DType) -> f64 {
        if !name.contains(self.only) {
            return 0.0;
        }
        let mut out = Elements::random(m * n, c);
        let seconds = best(self.time, || {
            let product = Matmul::product([m, n, k], a, a, out.view_mut(), false);
            self.cpu.matmul(Matmul { b, ..product });
        });
        2.0 * (m * n * k) as f64 / seconds / 1e9
    }
}
