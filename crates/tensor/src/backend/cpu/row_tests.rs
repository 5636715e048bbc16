//! Every row kernel on every instruction set and with 1, 2 and 3 threads, against the reference.

use super::{Cpu, Isa};
use crate::backend::reference::Reference;
use crate::backend::{Activation, AdamW, CopyColumns, CrossEntropy, Kernels, Norm, NormBackward, NormKind, Rotary};
use crate::dtype::{DType, View, ViewMut};
use crate::rng::Key;
use half::bf16;
use std::panic::{AssertUnwindSafe, catch_unwind};

const DTYPES: [DType; 2] = [DType::F32, DType::Bf16];
const KINDS: [Activation; 4] = [Activation::Relu, Activation::GeluErf, Activation::GeluTanh, Activation::Silu];

/// Rows and widths: around the number of lanes, and more than one chunk of work.
const SIZES: [(usize, usize); 10] =
    [(1, 1), (3, 7), (2, 16), (5, 17), (2, 63), (3, 129), (2, 1000), (70, 384), (35, 1030), (2, 20_001)];

/// Numbers of one storage type, owned.
#[derive(Clone, Debug)]
enum Numbers {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Numbers {
    fn new(dtype: DType, values: impl IntoIterator<Item = f32>) -> Self {
        match dtype {
            DType::F32 => Numbers::F32(values.into_iter().collect()),
            DType::Bf16 => Numbers::Bf16(values.into_iter().map(bf16::from_f32).collect()),
        }
    }

    /// `n` numbers from −3 to 3.
    fn random(dtype: DType, n: usize, seed: u64) -> Self {
        Self::new(dtype, (0..n as u64).map(|i| 6.0 * Key::new(seed).uniform(i) - 3.0))
    }

    fn view(&self) -> View<'_> {
        match self {
            Numbers::F32(data) => View::F32(data),
            Numbers::Bf16(data) => View::Bf16(data),
        }
    }

    fn view_mut(&mut self) -> ViewMut<'_> {
        match self {
            Numbers::F32(data) => ViewMut::F32(data),
            Numbers::Bf16(data) => ViewMut::Bf16(data),
        }
    }

    fn f32s(&mut self) -> &mut [f32] {
        match self {
            Numbers::F32(data) => data,
            Numbers::Bf16(_) => panic!("these are bf16"),
        }
    }

    fn bits(&self) -> Vec<u32> {
        match self {
            Numbers::F32(data) => data.iter().map(|x| x.to_bits()).collect(),
            Numbers::Bf16(data) => data.iter().map(|x| u32::from(x.to_bits())).collect(),
        }
    }
}

/// How far a result may be from the reference.
#[derive(Clone, Copy, Debug)]
enum Close {
    /// Not at all.
    Exact,
    /// By this much of its size or of 1, whichever is more; a bf16 by one step besides.
    Within(f32),
}

impl Close {
    fn allows(self, found: f32, expect: f32, dtype: DType) -> bool {
        let Close::Within(error) = self else { return found.to_bits() == expect.to_bits() };
        let step = if dtype == DType::Bf16 { expect.abs() / 128.0 } else { 0.0 };
        found == expect
            || found.is_nan() && expect.is_nan()
            || (found - expect).abs() <= error * expect.abs().max(1.0) + step
    }
}

thread_local! {
    static CPUS: Vec<[Cpu; 3]> = Isa::available().map(|isa| [1, 2, 3].map(|n| Cpu::with_isa(n, isa))).collect();
}

/// Runs a kernel on every processor backend; its results are what `run` leaves in `outputs`.
fn check(name: &str, close: Close, outputs: &[Numbers], run: impl Fn(&dyn Kernels, &mut [Numbers])) {
    let on = |kernels: &dyn Kernels| {
        let mut outputs = outputs.to_vec();
        run(kernels, &mut outputs);
        outputs
    };
    let expect = on(&Reference);
    CPUS.with(|cpus| {
        for cpus in cpus {
            let [one, two, three] = cpus.each_ref().map(|cpu| on(cpu));
            let isa = cpus[0].isa().name();
            for (output, expect) in expect.iter().enumerate() {
                let bits = one[output].bits();
                assert!(bits == two[output].bits() && bits == three[output].bits(), "{name}, {isa}: threads matter");
                let (found, expect) = (one[output].view(), expect.view());
                for i in 0..expect.len() {
                    let (found, expect) = (found.get(i), expect.get(i));
                    let ok = close.allows(found, expect, outputs[output].view().dtype());
                    assert!(ok, "{name}, {isa}: output {output} at {i} is {found:e}, expected {expect:e} ({close:?})");
                }
            }
        }
    });
}

/// Each size with each pair of storage types.
fn cases() -> impl Iterator<Item = (usize, usize, DType, DType)> {
    let types = DTYPES.into_iter().flat_map(|x| DTYPES.into_iter().map(move |out| (x, out)));
    types.flat_map(|(x, out)| SIZES.into_iter().map(move |(rows, width)| (rows, width, x, out)))
}

#[test]
fn activations() {
    for (rows, width, x_type, out_type) in cases() {
        let n = rows * width;
        let (x, out) = (Numbers::random(x_type, n, 1), Numbers::random(out_type, n, 2));
        for kind in KINDS {
            let name = format!("{kind:?} of {n}, {x_type} to {out_type}");
            check(&name, Close::Within(1e-6), std::slice::from_ref(&out), |on, out| {
                on.activation(kind, x.view(), out[0].view_mut());
            });
            for dout_type in DTYPES {
                let dout = Numbers::random(dout_type, n, 3);
                check(
                    &format!("{name} backward, {dout_type}"),
                    Close::Within(1e-6),
                    std::slice::from_ref(&out),
                    |on, out| {
                        on.activation_backward(kind, x.view(), dout.view(), out[0].view_mut());
                    },
                );
            }
        }
    }
}

#[test]
fn gates() {
    for (rows, width, x_type, out_type) in cases() {
        let x = Numbers::random(x_type, 2 * rows * width, 1);
        let out = Numbers::random(out_type, rows * width, 2);
        let dx = Numbers::random(out_type, 2 * rows * width, 2);
        let kind = KINDS[width % 4];
        let name = format!("gated {kind:?} [{rows}, {width}], {x_type} to {out_type}");
        check(&name, Close::Within(1e-6), &[out], |on, out| on.gated(kind, width, x.view(), out[0].view_mut()));
        for dout_type in DTYPES {
            let dout = Numbers::random(dout_type, rows * width, 3);
            check(
                &format!("{name} backward, {dout_type}"),
                Close::Within(1e-6),
                std::slice::from_ref(&dx),
                |on, dx| {
                    on.gated_backward(kind, width, x.view(), dout.view(), dx[0].view_mut());
                },
            );
        }
    }
}

#[test]
fn dropout() {
    for (rows, width, x_type, out_type) in cases() {
        let n = rows * width;
        let (x, out) = (Numbers::random(x_type, n, 1), Numbers::random(out_type, n, 2));
        for p in [0.0, 0.3, 1.0] {
            let key = Key::new(n as u64);
            let name = format!("dropout {p} of {n}, {x_type} to {out_type}");
            check(&name, Close::Exact, std::slice::from_ref(&out), |on, out| {
                on.dropout(x.view(), p, key, None, out[0].view_mut());
            });
            for residual_type in DTYPES {
                let residual = Numbers::random(residual_type, n, 3);
                check(&format!("{name} and {residual_type}"), Close::Exact, std::slice::from_ref(&out), |on, out| {
                    on.dropout(x.view(), p, key, Some(residual.view()), out[0].view_mut());
                });
            }
        }
    }
}

#[test]
fn soft_caps() {
    for (rows, width, y_type, x_type) in cases() {
        let n = rows * width;
        let (y, x) = (Numbers::random(y_type, n, 1), Numbers::random(x_type, n, 2));
        for cap in [0.3, 2.0, 50.0] {
            let name = format!("soft cap {cap} of {n}, {y_type}, {x_type}");
            check(&name, Close::Within(1e-6), std::slice::from_ref(&x), |on, x| on.soft_cap(cap, x[0].view_mut()));
            check(&format!("{name}, backward"), Close::Within(1e-5), std::slice::from_ref(&x), |on, x| {
                let mut y = y.clone();
                on.soft_cap(cap, y.view_mut());
                on.soft_cap_backward(cap, y.view(), x[0].view_mut());
            });
        }
    }
    let extreme = [f32::NEG_INFINITY, -1e30, -0.0, 1e-30, 0.3, 90.0, f32::INFINITY];
    check("soft cap of extremes", Close::Within(1e-6), &[Numbers::new(DType::F32, extreme)], |on, x| {
        on.soft_cap(2.0, x[0].view_mut());
    });
}

#[test]
fn scaling_and_casts() {
    for (rows, width, x_type, out_type) in cases() {
        let n = rows * width;
        let (x, out) = (Numbers::random(x_type, n, 1), Numbers::random(out_type, n, 2));
        for (alpha, beta) in [(1.0, 0.0), (0.3, 0.7), (1.0, 1.0)] {
            check(
                &format!("{alpha}·{x_type} + {beta}·{out_type} of {n}"),
                Close::Exact,
                std::slice::from_ref(&out),
                |on, out| {
                    on.scale_add(alpha, x.view(), beta, out[0].view_mut());
                },
            );
        }
        check(&format!("cast of {n}, {x_type} to {out_type}"), Close::Exact, std::slice::from_ref(&out), |on, out| {
            on.cast(x.view(), out[0].view_mut());
        });
        for alpha in [0.0, -0.7] {
            check(&format!("{alpha}·{out_type} of {n}"), Close::Exact, std::slice::from_ref(&out), |on, out| {
                on.scale(alpha, out[0].view_mut());
            });
        }
    }
    let (nans, ones) = (Numbers::new(DType::F32, [f32::NAN; 40]), Numbers::new(DType::F32, [1.0; 40]));
    check("beta 0 and alpha 0 ignore what is there", Close::Exact, &[nans.clone(), nans], |on, out| {
        on.scale_add(2.0, ones.view(), 0.0, out[0].view_mut());
        on.scale(0.0, out[1].view_mut());
        assert!(out[0].f32s().iter().all(|&x| x == 2.0) && out[1].f32s().iter().all(|&x| x == 0.0));
    });
}

#[test]
fn casts_of_every_kind_of_number() {
    let bits = (0..1 << 16).map(|i: u32| i << 16 | (i.wrapping_mul(0x9e37_79b9) >> 16));
    let numbers = bits.map(f32::from_bits).filter(|x| !x.is_nan());
    let x = Numbers::new(DType::F32, numbers.chain([f32::MIN_POSITIVE / 2.0, -f32::MIN_POSITIVE / 3.0, f32::MAX]));
    let out = Numbers::new(DType::Bf16, vec![0.0; x.view().len()]);
    check("cast", Close::Exact, &[out], |on, out| on.cast(x.view(), out[0].view_mut()));
}

#[test]
fn rotary() {
    for (rows, width, x_type, _) in cases().filter(|case| case.2 == case.3) {
        let (d_head, n_heads_stored) = (width, 3);
        for n_rotated in [width / 2 * 2, width / 4 * 2] {
            let x = Numbers::random(x_type, rows * n_heads_stored * d_head, 1);
            let positions: Vec<u32> = (0..rows as u32).map(|i| (i * 5) % 7).collect();
            let angles = |offset: f32| (0..7 * n_rotated / 2).map(move |i| (i as f32 * 0.37 + offset).sin()).collect();
            let (cos, sin): (Vec<f32>, Vec<f32>) = (angles(1.57), angles(0.0));
            for (interleaved, inverse) in [(false, false), (true, false), (false, true), (true, true)] {
                let name = format!("rotary {n_rotated} of [{rows}, 3, {d_head}] {x_type} {interleaved} {inverse}");
                check(&name, Close::Exact, std::slice::from_ref(&x), |on, x| {
                    let x = x[0].view_mut();
                    let (positions, cos, sin) = (&positions[..], &cos[..], &sin[..]);
                    let heads = 1..3;
                    on.rotary(Rotary {
                        x,
                        n_heads_stored,
                        heads,
                        d_head,
                        n_rotated,
                        positions,
                        cos,
                        sin,
                        interleaved,
                        inverse,
                    });
                });
            }
        }
    }
}

#[test]
fn tables() {
    for (rows, width, x_type, out_type) in cases() {
        let table = Numbers::random(x_type, 5 * width, 1);
        let out = Numbers::random(out_type, rows * width, 2);
        let ids: Vec<u32> = (0..rows as u64).map(|i| Key::new(4).below(i, 5) as u32).collect();
        for (scale, accumulate) in [(1.0, false), (0.3, true)] {
            let name = format!("gather [{rows}, {width}], {x_type} to {out_type}, {scale} {accumulate}");
            check(&name, Close::Exact, std::slice::from_ref(&out), |on, out| {
                on.gather(table.view(), width, &ids, scale, out[0].view_mut(), accumulate);
            });
        }
        let dout = Numbers::random(out_type, rows * width, 3);
        let dtable = Numbers::random(DType::F32, 5 * width, 4);
        for accumulate in [false, true] {
            let name = format!("scatter_add [{rows}, {width}], {out_type}, {accumulate}");
            check(&name, Close::Exact, std::slice::from_ref(&dtable), |on, dtable| {
                on.scatter_add(dout.view(), width, &ids, 0.3, dtable[0].f32s(), accumulate);
            });
        }
    }
}

#[test]
fn columns() {
    for (rows, width, x_type, out_type) in cases() {
        let (src_stride, src_column, dst_stride, dst_column) = (width + 5, 2, width + 1, 1);
        let src = Numbers::random(x_type, rows * src_stride, 1);
        let dst = Numbers::random(out_type, rows * dst_stride, 2);
        for accumulate in [false, true] {
            let name = format!("copy_columns [{rows}, {width}], {x_type} to {out_type}, {accumulate}");
            check(&name, Close::Exact, std::slice::from_ref(&dst), |on, dst| {
                let (src, dst) = (src.view(), dst[0].view_mut());
                on.copy_columns(CopyColumns {
                    rows,
                    width,
                    src,
                    src_stride,
                    src_column,
                    dst,
                    dst_stride,
                    dst_column,
                    accumulate,
                });
            });
        }
    }
}

#[test]
fn softmax() {
    for (rows, width, x_type, out_type) in cases() {
        let n = rows * width;
        let (x, out) = (Numbers::random(x_type, n, 1), Numbers::random(out_type, n, 2));
        let name = format!("softmax [{rows}, {width}], {x_type} to {out_type}");
        check(&name, Close::Within(1e-6), std::slice::from_ref(&out), |on, out| {
            on.softmax(width, x.view(), out[0].view_mut())
        });
        for dout_type in DTYPES {
            let dout = Numbers::random(dout_type, n, 3);
            let y = Numbers::new(x_type, (0..n as u64).map(|i| Key::new(5).uniform(i) / width as f32));
            check(
                &format!("{name} backward, {dout_type}"),
                Close::Within(2e-6),
                std::slice::from_ref(&out),
                |on, dx| {
                    on.softmax_backward(width, y.view(), dout.view(), dx[0].view_mut());
                },
            );
        }
    }
}

#[test]
fn softmax_of_extreme_rows() {
    let infinity = f32::NEG_INFINITY;
    let rows: [[f32; 5]; 5] = [
        [0.0, infinity, 1.0, infinity, 2.0],
        [-1e30, -1e30, -1e30, 0.0, 0.0],
        [3e38, 3e38, -3e38, 0.0, infinity],
        [-1e5, -1e5 - 1.0, -1e5 - 2.0, -1e5 - 200.0, infinity],
        [1e-40, 0.0, -1e-40, f32::MIN_POSITIVE, 0.0],
    ];
    let x = Numbers::new(DType::F32, rows.into_iter().flatten());
    let out = Numbers::new(DType::F32, [0.0; 25]);
    check("softmax of extreme rows", Close::Within(1e-6), &[out], |on, out| {
        on.softmax(5, x.view(), out[0].view_mut());
        let sums: Vec<f32> = out[0].f32s().chunks(5).map(|row| row.iter().sum()).collect();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{}: rows sum to {sums:?}", on.name());
    });
}

#[test]
fn log_sum_exp() {
    for (rows, width, x_type, _) in cases().filter(|&(_, width, ..)| width > 0) {
        let x = Numbers::random(x_type, rows * width, 1);
        let out = Numbers::new(DType::F32, vec![0.0; rows]);
        let name = format!("ln of the sum of exponentials [{rows}, {width}], {x_type}");
        check(&name, Close::Within(1e-6), &[out], |on, out| {
            on.log_sum_exp(width, x.view(), out[0].view_mut().into_f32())
        });
    }
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    for strange in [[0.0, nan, 1.0], [nan; 3], [1.0, infinity, 0.0], [-infinity; 3], [-infinity, 2.0, nan]] {
        for on in [&Cpu::new(1) as &dyn Kernels, &Reference] {
            let mut out = [0.0];
            on.log_sum_exp(3, View::F32(&strange), &mut out);
            assert!(!out[0].is_finite(), "{}: {strange:?} gave {out:?}", on.name());
        }
    }
}

/// Runs cross-entropy over rows of logits; outputs are logits, losses, nlls, hits, and a gradient of its own.
fn check_cross_entropy(
    name: &str,
    width: usize,
    logits: &Numbers,
    targets: &[u32],
    smoothing: f32,
    scale: Option<f32>,
    apart: Option<DType>,
) {
    let rows = targets.len();
    let per_row = Numbers::new(DType::F32, vec![9.0; rows]);
    let mut outputs = vec![logits.clone(), per_row.clone(), per_row.clone(), per_row];
    outputs.extend(apart.map(|dtype| Numbers::new(dtype, vec![9.0; rows * width])));
    check(name, Close::Within(2e-6), &outputs, |on, outputs| {
        let [logits, losses, nlls, hits, apart @ ..] = outputs else { panic!("four outputs or five") };
        on.cross_entropy(CrossEntropy {
            rows,
            n_classes: width,
            logits: logits.view_mut(),
            targets,
            smoothing,
            losses: losses.f32s(),
            nlls: nlls.f32s(),
            hits: hits.f32s(),
            gradient_scale: scale,
            gradient: apart.first_mut().map(Numbers::view_mut),
        });
    });
}

#[test]
fn cross_entropy() {
    for (rows, width, dtype, _) in cases().filter(|case| case.2 == case.3) {
        let logits = Numbers::random(dtype, rows * width, 1);
        let target = |i: usize| if i % 4 == 3 { u32::MAX } else { Key::new(6).below(i as u64, width as u64) as u32 };
        let targets: Vec<u32> = (0..rows).map(target).collect();
        for (smoothing, scale) in [(0.0, Some(0.25)), (0.1, Some(1.0)), (0.1, None)] {
            let name = format!("cross_entropy [{rows}, {width}], {dtype}, {smoothing}, {scale:?}");
            for apart in [None, Some(DType::F32), Some(DType::Bf16)] {
                let name = format!("{name}, gradient in {apart:?}");
                check_cross_entropy(&name, width, &logits, &targets, smoothing, scale, apart);
            }
        }
    }
}

#[test]
fn cross_entropy_of_extreme_rows() {
    let infinity = f32::NEG_INFINITY;
    let rows: [[f32; 4]; 5] = [
        [1e4, -1e4, 0.0, infinity],
        [2.0, 5.0, 5.0, 1.0],
        [2.0, 5.0, 5.0, 1.0],
        [-3e38, 3e38, 0.0, 0.0],
        [f32::NAN, f32::NAN, f32::NAN, f32::NAN],
    ];
    let logits = Numbers::new(DType::F32, rows.into_iter().flatten());
    // The first of two largest counts as the largest; the last row is not looked at.
    check_cross_entropy("cross_entropy of extreme rows", 4, &logits, &[0, 1, 2, 1, u32::MAX], 0.0, Some(1.0), None);
}

#[test]
fn norms() {
    for (rows, width, x_type, out_type) in cases() {
        let n = rows * width;
        let (x, out) = (Numbers::random(x_type, n, 1), Numbers::random(out_type, n, 2));
        let (mut weight, mut bias) = (Numbers::random(DType::F32, width, 3), Numbers::random(DType::F32, width, 4));
        let (weight, bias): (&[f32], &[f32]) = (weight.f32s(), bias.f32s());
        let per_row = Numbers::new(DType::F32, vec![0.0; rows]);
        for (kind, bias) in [(NormKind::Layer, Some(bias)), (NormKind::Rms, None)] {
            let name = format!("norm {kind:?} [{rows}, {width}], {x_type} to {out_type}");
            // A row of one or of nearly equal numbers has a tiny deviation, which magnifies the rounding of its mean.
            let outputs = [out.clone(), per_row.clone(), per_row.clone()];
            check(&name, Close::Within(4e-6), &outputs, |on, outputs| {
                let [out, rstd, mean] = outputs else { panic!("three outputs") };
                let (x, out, rstd, mean) = (x.view(), out.view_mut(), rstd.f32s(), mean.f32s());
                on.norm(Norm { kind, rows, width, eps: 1e-5, x, weight, bias, out, rstd, mean });
            });
        }
    }
}

#[test]
fn norm_gradients() {
    for (rows, width, x_type, out_type) in cases() {
        let (n, kind) = (rows * width, if width % 2 == 0 { NormKind::Layer } else { NormKind::Rms });
        let (x, dx) = (Numbers::random(x_type, n, 1), Numbers::random(out_type, n, 2));
        let mut weight = Numbers::random(DType::F32, width, 3);
        let weight: &[f32] = weight.f32s();
        let rstd: Vec<f32> = (0..rows).map(|i| 0.5 + (i % 3) as f32 * 0.25).collect();
        let mean: Vec<f32> =
            (0..rows).map(|i| if kind == NormKind::Rms { 0.0 } else { (i % 5) as f32 * 0.1 }).collect();
        let per_column = Numbers::random(DType::F32, width, 5);
        for (dout_type, accumulate_dx, with_weights) in
            [(DType::F32, false, true), (DType::Bf16, true, true), (DType::F32, true, false)]
        {
            let dout = Numbers::random(dout_type, n, 6);
            let name = format!("norm {kind:?} backward [{rows}, {width}], {x_type} and {dout_type} to {out_type}");
            let outputs = [dx.clone(), per_column.clone(), per_column.clone()];
            check(&name, Close::Within(1e-5), &outputs, |on, outputs| {
                let [dx, dweight, dbias] = outputs else { panic!("three outputs") };
                on.norm_backward(NormBackward {
                    kind,
                    rows,
                    width,
                    x: x.view(),
                    weight,
                    rstd: &rstd,
                    mean: &mean,
                    dout: dout.view(),
                    dx: dx.view_mut(),
                    accumulate_dx,
                    dweight: with_weights.then(|| dweight.f32s()),
                    dbias: (with_weights && kind == NormKind::Layer).then(|| dbias.f32s()),
                });
            });
        }
    }
}

#[test]
fn norms_of_extreme_rows() {
    let rows: [[f32; 4]; 5] =
        [[0.0; 4], [5.0; 4], [1e-40, -1e-40, 0.0, 1e-41], [1e15, -1e15, 0.0, 0.0], [1e-8, 0.0, 0.0, 0.0]];
    let x = Numbers::new(DType::F32, rows.into_iter().flatten());
    let (out, per_row) = (Numbers::new(DType::F32, [0.0; 20]), Numbers::new(DType::F32, [0.0; 5]));
    for kind in [NormKind::Layer, NormKind::Rms] {
        let outputs = [out.clone(), per_row.clone(), per_row.clone()];
        check(&format!("norm {kind:?} of extreme rows"), Close::Within(1e-6), &outputs, |on, outputs| {
            let [out, rstd, mean] = outputs else { panic!("three outputs") };
            let (x, out, rstd, mean) = (x.view(), out.view_mut(), rstd.f32s(), mean.f32s());
            let (rows, width, weight) = (5, 4, &[1.0; 4]);
            on.norm(Norm { kind, rows, width, eps: 1e-5, x, weight, bias: None, out, rstd, mean });
        });
    }
}

#[test]
fn sums() {
    for (rows, width, x_type, _) in cases().filter(|case| case.2 == case.3) {
        let x = Numbers::random(x_type, rows * width, 1);
        let out = Numbers::random(DType::F32, width, 2);
        for accumulate in [false, true] {
            let name = format!("sum_rows [{rows}, {width}], {x_type}, {accumulate}");
            check(&name, Close::Within(1e-5), std::slice::from_ref(&out), |on, out| {
                on.sum_rows(x.view(), out[0].f32s(), accumulate);
            });
        }
        // The sum is f64: its upper part shows a relative error, its remainder that the threads give the same bits.
        let sum = Numbers::new(DType::F32, [0.0]);
        check(&format!("sum_of_squares of {}, {x_type}", rows * width), Close::Within(1e-7), &[sum], |on, sum| {
            sum[0].f32s()[0] = on.sum_of_squares(&[x.view()]) as f32;
        });
    }
    let (many, few) = (Numbers::random(DType::F32, 300_000, 3), Numbers::random(DType::Bf16, 5, 4));
    let expect = Reference.sum_of_squares(&[many.view(), few.view()]);
    CPUS.with(|cpus| {
        for cpus in cpus {
            let [one, two, three] = cpus.each_ref().map(|cpu| cpu.sum_of_squares(&[many.view(), few.view()]));
            assert!(
                one == two && two == three && (one - expect).abs() < 1e-12 * expect,
                "{one} {two} {three} {expect}"
            );
        }
    });
    let large = Numbers::new(DType::F32, [1e30; 3]);
    check("sum_of_squares beyond f32", Close::Exact, &[Numbers::new(DType::F32, [0.0])], |on, sum| {
        sum[0].f32s()[0] = (on.sum_of_squares(&[large.view()]) / 3e60) as f32;
    });
}

#[test]
fn adamw() {
    for (rows, width, rounded_type, _) in cases().filter(|case| case.2 == case.3) {
        // Two tensors, of which one has a rounded copy.
        let sizes = [rows * width, width];
        let of_both = |first: u64| sizes.map(|n| Numbers::random(DType::F32, n, first + n as u64));
        let [mut long_gradient, mut short_gradient] = of_both(1);
        let gradients: [&[f32]; 2] = [long_gradient.f32s(), short_gradient.f32s()];
        let positive = |n: usize| Numbers::new(DType::F32, (0..n as u64).map(|i| Key::new(2).uniform(i)));
        let rounded = Numbers::random(rounded_type, sizes[0], 5);
        let outputs: Vec<Numbers> =
            [of_both(3), of_both(4), sizes.map(positive)].into_iter().flatten().chain([rounded]).collect();
        for step in [1, 1000] {
            let name = format!("adamw of {sizes:?}, step {step}, {rounded_type}");
            check(&name, Close::Within(1e-6), &outputs, |on, outputs| {
                let [w0, w1, m0, m1, v0, v1, rounded] = outputs else { panic!("seven outputs") };
                let long = one_step([w0, m0, v0], Some(rounded.view_mut()), gradients[0], step);
                let short = one_step([w1, m1, v1], None, gradients[1], step);
                on.adamw(vec![long, short]);
            });
        }
    }
}

#[test]
fn move_averages() {
    for (rows, width, ..) in cases() {
        let sizes = [rows * width, width];
        let [mut long, mut short] = sizes.map(|n| Numbers::random(DType::F32, n, 1 + n as u64));
        let averages = sizes.map(|n| Numbers::random(DType::F32, n, 3 + n as u64));
        let (long, short): (&[f32], &[f32]) = (long.f32s(), short.f32s());
        check(&format!("averages of {sizes:?}"), Close::Exact, &averages, |on, averages| {
            let [first, second] = averages else { panic!("two outputs") };
            on.move_averages(0.3, vec![(long, first.f32s()), (short, second.f32s())]);
        });
    }
}

fn one_step<'a>(
    [weights, first, second]: [&'a mut Numbers; 3],
    rounded: Option<ViewMut<'a>>,
    gradient: &'a [f32],
    step: u64,
) -> AdamW<'a> {
    AdamW {
        weights: weights.f32s(),
        rounded,
        first: first.f32s(),
        second: second.f32s(),
        gradient,
        gradient_scale: 0.7,
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        step,
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let cpu = Cpu::new(2);
    let (x, mut out) = (Numbers::random(DType::F32, 12, 1), vec![0.0; 12]);
    let message = |call: &mut dyn FnMut()| {
        let payload = catch_unwind(AssertUnwindSafe(call)).expect_err("it is refused");
        payload.downcast_ref::<String>().cloned().expect("a message")
    };
    let gather = message(&mut || cpu.gather(x.view(), 4, &[0, 2, 3], 1.0, ViewMut::F32(&mut out), false));
    assert_eq!(gather, "id 3 at place 2 is not a row of the table, which has 3");
    let scatter = message(&mut || cpu.scatter_add(x.view(), 4, &[0, 2, 3], 1.0, &mut [0.0; 12], true));
    assert_eq!(scatter, "id 3 at place 2 is not a row of the table, which has 3");
    let cross_entropy = message(&mut || {
        let (mut losses, mut nlls, mut hits) = ([0.0; 3], [0.0; 3], [0.0; 3]);
        cpu.cross_entropy(CrossEntropy {
            rows: 3,
            n_classes: 4,
            logits: ViewMut::F32(&mut [0.0; 12]),
            targets: &[0, 4, 1],
            smoothing: 0.0,
            losses: &mut losses,
            nlls: &mut nlls,
            hits: &mut hits,
            gradient_scale: None,
            gradient: None,
        });
    });
    assert_eq!(cross_entropy, "target 4 of row 1 is not one of the 4 classes");
    let short = message(&mut || cpu.cast(x.view(), ViewMut::F32(&mut [0.0; 11])));
    assert!(short.contains("as many results"), "{short}");
}
