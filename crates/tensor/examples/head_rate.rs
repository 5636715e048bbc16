//! How fast a head and its loss train, by the size of the vocabulary.
//!
//! `cargo run --release -p genera-tensor --example head_rate [-- THREADS [ROWS [WIDTH [SECONDS]]]]`
//!
//! Prints for each vocabulary and storage type the time of one forward and backward pass over ROWS (default 1024) hidden
//! states of WIDTH (default 256), the best of several, and the rate of its three products.

mod shared;

use genera_tensor::op::{LossSpec, linear_cross_entropy};
use genera_tensor::{DType, Device, Gradients, Key, ParamId, Tape, Tensor};
use shared::best;
use std::time::Duration;

fn main() {
    let arguments: Vec<usize> =
        std::env::args().skip(1).map(|argument| argument.parse().expect("a whole number")).collect();
    let number = |i: usize, default: usize| arguments.get(i).copied().unwrap_or(default);
    let (rows, width, time) = (number(1, 1024), number(2, 256), Duration::from_secs(number(3, 4) as u64));
    let device = Device::cpu(number(0, 2));
    println!("{device:?}, [{rows}, {width}]");
    for dtype in [DType::F32, DType::Bf16] {
        for n_classes in [2_000, 8_000, 32_000, 128_000] {
            let x = random(&device, [rows, width], dtype);
            let weight = random(&device, [n_classes, width], dtype);
            let targets = (0..rows as u64).map(|i| Key::new(2).below(i, n_classes as u64) as u32).collect();
            let spec = LossSpec { targets, smoothing: 0.0, scale: 1.0, cap: None };
            let best = best(time, || pass(&device, &x, &weight, &spec));
            let rate = 6.0 * (rows * width * n_classes) as f64 / best / 1e9;
            println!("{:>4} V {n_classes:>6} {:>8.1} ms {rate:>6.0} GFLOP/s", dtype.name(), 1e3 * best);
        }
    }
}

fn pass(device: &Device, x: &Tensor, weight: &Tensor, spec: &LossSpec) {
    let tape = Tape::new(device);
    let (x, weight) = (tape.parameter(ParamId(0), x), tape.parameter(ParamId(1), weight));
    let loss = linear_cross_entropy(&tape, &x, &weight.into(), None, spec).loss;
    tape.backward(&loss, &mut Gradients::new(2));
}

fn random(device: &Device, shape: [usize; 2], dtype: DType) -> Tensor {
    let mut values = vec![0.0; shape[0] * shape[1]];
    Key::new(1).uniforms(0, &mut values);
    Tensor::from_f32(device, shape, &values).cast(dtype)
}
