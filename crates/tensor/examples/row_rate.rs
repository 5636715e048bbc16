//! How fast the row kernels of the processor read and write memory.
//!
//! `cargo run --release -p genera-tensor --example row_rate [-- THREADS [ROWS WIDTH [FILTER]]]`
//!
//! Prints for each kernel and storage type the GB/s read and written with one thread and with THREADS (default 2), the
//! best of several runs. Every tensor counts once for each kernel that reads it and once that writes it; a row read again
//! while it lies in the cache does not. The default tensors do not fit in the caches. FILTER keeps kernels by name.

mod shared;

use genera_tensor::backend::cpu::Cpu;
use genera_tensor::backend::{AdamW, CopyColumns, CrossEntropy, Kernels, Norm, NormBackward, Rotary};
use genera_tensor::{Activation, DType, Device, Key, NormKind, Tensor};
use shared::best;
use std::time::Duration;

/// How long each kernel is measured.
const TIME_PER_LINE: Duration = Duration::from_millis(300);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).map_or(default, |a| a.parse().expect("a whole number"));
    let report = Report {
        cpus: [Cpu::new(1), Cpu::new(number(0, 2))],
        rows: number(1, 8192),
        width: number(2, 1536),
        filter: arguments.get(3).cloned().unwrap_or_default(),
    };
    println!("{} and {}, [{}, {}]", report.cpus[0].name(), report.cpus[1].name(), report.rows, report.width);
    println!("{:<24}{:>6}{:>14}{:>14}", "kernel", "", "1 thread", format!("{} threads", report.cpus[1].n_threads()));
    for dtype in [DType::F32, DType::Bf16] {
        pointwise(&report, dtype);
        rows(&report, dtype);
        tables(&report, dtype);
        sums(&report, dtype);
    }
}

struct Report {
    cpus: [Cpu; 2],
    rows: usize,
    width: usize,
    filter: String,
}

impl Report {
    fn n(&self) -> usize {
        self.rows * self.width
    }

    /// Measures `call`, which reads and writes `n_bytes`.
    fn line(&self, name: &str, dtype: DType, n_bytes: usize, mut call: impl FnMut(&Cpu)) {
        if !name.contains(&self.filter) {
            return;
        }
        let rates = self.cpus.each_ref().map(|cpu| n_bytes as f64 / best(TIME_PER_LINE, || call(cpu)) / 1e9);
        println!("{name:<24}{:>6}{:>9.1} GB/s{:>9.1} GB/s", dtype.name(), rates[0], rates[1]);
    }

    /// [rows, width] of numbers around 0.
    fn tensor(&self, dtype: DType, seed: u64) -> Tensor {
        let values: Vec<f32> = (0..self.n() as u64).map(|i| 6.0 * Key::new(seed).uniform(i) - 3.0).collect();
        let device = Device::cpu(1);
        let mut tensor = Tensor::zeros(&device, [self.rows, self.width], dtype);
        let values = Tensor::from_f32(&device, [self.rows, self.width], &values);
        device.kernels().cast(values.view(), tensor.view_mut());
        tensor
    }
}

fn pointwise(report: &Report, dtype: DType) {
    let (x, dout, mut out) = (report.tensor(dtype, 1), report.tensor(dtype, 2), report.tensor(dtype, 3));
    let pass = report.n() * dtype.size_bytes();
    report.line("cast (copy)", dtype, 2 * pass, |cpu| cpu.cast(x.view(), out.view_mut()));
    let mut other = report.tensor(if dtype == DType::F32 { DType::Bf16 } else { DType::F32 }, 4);
    let other_pass = report.n() * other.dtype().size_bytes();
    report.line("cast to the other", dtype, pass + other_pass, |cpu| cpu.cast(x.view(), other.view_mut()));
    report.line("scale_add", dtype, 3 * pass, |cpu| cpu.scale_add(0.5, x.view(), 0.5, out.view_mut()));
    for kind in [Activation::Relu, Activation::GeluErf, Activation::GeluTanh, Activation::Silu] {
        report.line(&format!("{kind:?}"), dtype, 2 * pass, |cpu| cpu.activation(kind, x.view(), out.view_mut()));
        report.line(&format!("{kind:?} backward"), dtype, 3 * pass, |cpu| {
            cpu.activation_backward(kind, x.view(), dout.view(), out.view_mut());
        });
    }
    let half = report.n() / 2;
    let (silu, width) = (Activation::Silu, report.width / 2);
    report.line("gated Silu", dtype, 3 * pass / 2, |cpu| {
        cpu.gated(silu, width, x.view(), other_half(&mut out, half));
    });
    report.line("gated Silu backward", dtype, 5 * pass / 2, |cpu| {
        cpu.gated_backward(silu, width, x.view(), dout.view().slice(0..half), out.view_mut());
    });
    let key = Key::new(9);
    report.line("dropout", dtype, 2 * pass, |cpu| cpu.dropout(x.view(), 0.1, key, None, out.view_mut()));
    report.line("dropout + residual", dtype, 3 * pass, |cpu| {
        cpu.dropout(x.view(), 0.1, key, Some(dout.view()), out.view_mut());
    });
}

/// The first `n` elements.
fn other_half(tensor: &mut Tensor, n: usize) -> genera_tensor::ViewMut<'_> {
    match tensor.view_mut() {
        genera_tensor::ViewMut::F32(data) => genera_tensor::ViewMut::F32(&mut data[..n]),
        genera_tensor::ViewMut::Bf16(data) => genera_tensor::ViewMut::Bf16(&mut data[..n]),
    }
}

fn rows(report: &Report, dtype: DType) {
    let (rows, width, pass) = (report.rows, report.width, report.n() * dtype.size_bytes());
    let (x, dout, mut out) = (report.tensor(dtype, 1), report.tensor(dtype, 2), report.tensor(dtype, 3));
    report.line("softmax", dtype, 2 * pass, |cpu| cpu.softmax(width, x.view(), out.view_mut()));
    report.line("softmax backward", dtype, 3 * pass, |cpu| {
        cpu.softmax_backward(width, x.view(), dout.view(), out.view_mut());
    });
    let (mut losses, mut nlls, mut hits) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; rows]);
    let targets: Vec<u32> = (0..rows as u64).map(|i| Key::new(5).below(i, width as u64) as u32).collect();
    report.line("cross_entropy", dtype, 2 * pass, |cpu| {
        cpu.cross_entropy(CrossEntropy {
            rows,
            n_classes: width,
            logits: out.view_mut(),
            targets: &targets,
            smoothing: 0.0,
            losses: &mut losses,
            nlls: &mut nlls,
            hits: &mut hits,
            gradient_scale: Some(1.0),
            gradient: None,
        });
    });
    let (weight, mut rstd, mut mean) = (vec![1.0; width], vec![0.0; rows], vec![0.0; rows]);
    let (mut dweight, mut dbias) = (vec![0.0; width], vec![0.0; width]);
    for kind in [NormKind::Layer, NormKind::Rms] {
        report.line(&format!("norm {kind:?}"), dtype, 2 * pass, |cpu| {
            let (x, out, rstd, mean) = (x.view(), out.view_mut(), &mut rstd[..], &mut mean[..]);
            cpu.norm(Norm { kind, rows, width, eps: 1e-5, x, weight: &weight, bias: None, out, rstd, mean });
        });
        report.line(&format!("norm {kind:?} backward"), dtype, 4 * pass, |cpu| {
            cpu.norm_backward(NormBackward {
                kind,
                rows,
                width,
                x: x.view(),
                weight: &weight,
                rstd: &rstd,
                mean: &mean,
                dout: dout.view(),
                dx: out.view_mut(),
                accumulate_dx: true,
                dweight: Some(&mut dweight),
                dbias: Some(&mut dbias),
            });
        });
    }
}

fn tables(report: &Report, dtype: DType) {
    let (rows, width, pass) = (report.rows, report.width, report.n() * dtype.size_bytes());
    let (x, mut out) = (report.tensor(dtype, 1), report.tensor(dtype, 3));
    let ids: Vec<u32> = (0..rows as u64).map(|i| Key::new(5).below(i, rows as u64) as u32).collect();
    report.line("gather", dtype, 2 * pass, |cpu| cpu.gather(x.view(), width, &ids, 1.0, out.view_mut(), false));
    let mut table = vec![0.0; report.n()];
    report.line("scatter_add", dtype, pass + 8 * report.n(), |cpu| {
        cpu.scatter_add(x.view(), width, &ids, 0.5, &mut table, true);
    });
    let half = width / 2;
    report.line("copy_columns", dtype, pass, |cpu| {
        let (src, dst) = (x.view(), out.view_mut());
        let (src_stride, dst_stride, src_column, dst_column) = (width, width, half, 0);
        let width = half;
        cpu.copy_columns(CopyColumns {
            rows,
            width,
            src,
            src_stride,
            src_column,
            dst,
            dst_stride,
            dst_column,
            accumulate: false,
        });
    });
    let positions: Vec<u32> = (0..rows as u32).map(|i| i % 512).collect();
    let (cos, sin) = (vec![0.8; 512 * 32], vec![0.6; 512 * 32]);
    for interleaved in [false, true] {
        let name = if interleaved { "rotary, interleaved" } else { "rotary" };
        report.line(name, dtype, 2 * pass, |cpu| {
            cpu.rotary(Rotary {
                x: out.view_mut(),
                n_heads_stored: width / 64,
                heads: 0..width / 64,
                d_head: 64,
                n_rotated: 64,
                positions: &positions,
                cos: &cos,
                sin: &sin,
                interleaved,
                inverse: false,
            });
        });
    }
}

fn sums(report: &Report, dtype: DType) {
    let (n, pass) = (report.n(), report.n() * dtype.size_bytes());
    let (x, mut rounded) = (report.tensor(dtype, 1), report.tensor(dtype, 3));
    let mut columns = vec![0.0; report.width];
    report.line("sum_rows", dtype, pass, |cpu| cpu.sum_rows(x.view(), &mut columns, false));
    let mut sum = 0.0;
    report.line("sum_of_squares", dtype, pass, |cpu| sum += cpu.sum_of_squares(&[x.view()]));
    let [mut weights, mut first, mut second, gradient] = [1.0, 0.0, 0.1, 0.01].map(|value| vec![value; n]);
    report.line("adamw, rounding to", dtype, 28 * n + pass, |cpu| {
        cpu.adamw(vec![AdamW {
            weights: &mut weights,
            rounded: Some(rounded.view_mut()),
            first: &mut first,
            second: &mut second,
            gradient: &gradient,
            gradient_scale: 0.5,
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            step: 10,
        }]);
    });
}
