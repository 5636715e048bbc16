//! How fast attention runs on this processor: `cargo run --release -p genera-tensor --example attention_rate [filter]`.
//!
//! Prints the rate of the forward pass and of the backward pass in GFLOP/s (4·T·S·K operations a head forward, 8·T·S·K
//! backward, half of that under a causal mask; the scores are computed again there, which does not count) for the best of several rounds, and decoding in bytes of cache read a second.
//! With a filter only the lines that contain it are measured.

mod shared;

use genera_tensor::DType;
use genera_tensor::backend::cpu::Cpu;
use genera_tensor::backend::{
    Attention, AttentionBackward, AttentionGradients, AttentionSizes, Heads, Kernels, Mask, Visibility,
};
use shared::{Elements, best};
use std::time::Duration;

/// How long each line is measured.
const TIME_PER_LINE: Duration = Duration::from_millis(600);

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    println!("{:46} {:>12} {:>9} {:>12} {:>9}", "", "forward µs", "GFLOP/s", "backward µs", "GFLOP/s");
    for n_threads in [1, 2] {
        let cpu = Cpu::new(n_threads);
        for dtype in [DType::F32, DType::Bf16] {
            for [b, t, h, d_head] in
                [[12, 256, 6, 64], [1, 1024, 8, 64], [1, 4096, 8, 64], [32, 128, 4, 32], [1, 1024, 8, 128]]
            {
                for visibility in [Visibility::Causal, Visibility::Full] {
                    let sizes =
                        AttentionSizes { b, t, s: t, h, g: h, d_head, scale: 1.0 / (d_head as f32).sqrt(), cap: None };
                    training(&cpu, sizes, visibility, dtype, &filter);
                }
            }
            for [b, s, h, g, d_head] in [[1, 4096, 16, 16, 64], [8, 1024, 16, 4, 128]] {
                let sizes = AttentionSizes { b, t: 1, s, h, g, d_head, scale: 1.0 / (d_head as f32).sqrt(), cap: None };
                decoding(&cpu, sizes, dtype, &filter);
            }
        }
    }
}

/// Measures both passes with as many queries as keys, all in one tensor.
fn training(cpu: &Cpu, sizes: AttentionSizes, visibility: Visibility, dtype: DType, filter: &str) {
    let AttentionSizes { b, t, h, d_head, .. } = sizes;
    let threads = cpu.n_threads();
    let label = format!("{dtype} {visibility:?} B {b} T {t} H {h} K {d_head}, {threads} threads");
    if !label.contains(filter) {
        return;
    }
    let qkv = Elements::random(b * t * 3 * h * d_head, dtype);
    let dout = Elements::random(b * t * h * d_head, dtype);
    let (mut out, mut gradient) = (dout.clone(), qkv.clone());
    let mut log_sum_exp = vec![0.0; b * h * t];
    let heads = |first_head| Heads { data: qkv.view(), n_heads_stored: 3 * h, first_head };
    let (q, k, v, mask) = (heads(0), heads(h), heads(2 * h), Mask::new(visibility));
    let forward = best(TIME_PER_LINE, || {
        let (out, log_sum_exp) = (out.view_mut(), &mut log_sum_exp[..]);
        cpu.attention(Attention { sizes, q, k, v, mask, bias: None, out, log_sum_exp });
    });
    let backward = best(TIME_PER_LINE, || {
        let into = AttentionGradients::Fused(gradient.view_mut());
        let (out, dout, log_sum_exp) = (out.view(), dout.view(), &log_sum_exp[..]);
        cpu.attention_backward(AttentionBackward {
            sizes,
            q,
            k,
            v,
            mask,
            bias: None,
            out,
            log_sum_exp,
            dout,
            into,
            dbias: None,
        });
    });
    let seen = if visibility == Visibility::Full { 1.0 } else { 0.5 };
    let products = seen * (2 * b * h * t * t * d_head) as f64;
    let rate = |n_products: f64, time: f64| n_products * products / time / 1e9;
    let (rate_forward, rate_backward) = (rate(2.0, forward), rate(4.0, backward));
    println!("{label:46} {:12.0} {rate_forward:9.0} {:12.0} {rate_backward:9.0}", forward * 1e6, backward * 1e6);
}

/// Measures one more token for each row of a cache.
fn decoding(cpu: &Cpu, sizes: AttentionSizes, dtype: DType, filter: &str) {
    let AttentionSizes { b, s, h, g, d_head, .. } = sizes;
    let threads = cpu.n_threads();
    let label = format!("{dtype} decode B {b} S {s} H {h} G {g} K {d_head}, {threads} threads");
    if !label.contains(filter) {
        return;
    }
    let (queries, keys) = (Elements::random(b * h * d_head, dtype), Elements::random(b * s * g * d_head, dtype));
    let (values, mut out) = (keys.clone(), queries.clone());
    let mut log_sum_exp = vec![0.0; b * h];
    let heads = |data, n_heads_stored| Heads { data, n_heads_stored, first_head: 0 };
    let (q, k, v) = (heads(queries.view(), h), heads(keys.view(), g), heads(values.view(), g));
    let time = best(TIME_PER_LINE, || {
        let (out, log_sum_exp) = (out.view_mut(), &mut log_sum_exp[..]);
        let mask = Mask::new(Visibility::Full);
        cpu.attention(Attention { sizes, q, k, v, mask, bias: None, out, log_sum_exp });
    });
    let bytes = 2 * keys.view().len() * dtype.size_bytes();
    println!("{label:46} {:12.0} {:6.1} GB/s", time * 1e6, bytes as f64 / time / 1e9);
}
