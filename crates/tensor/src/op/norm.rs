//! y = (x − mean) / √(variance + ε) · w + b (layer norm), y = x / √(mean(x²) + ε) · w (RMS norm).

use super::check::{Checker, Input};
use crate::backend::{Norm, NormBackward, NormKind};
use crate::dtype::DType;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// Which norm, and how its result is stored.
#[derive(Clone, Copy, Debug)]
pub struct NormSpec {
    /// Layer or RMS.
    pub kind: NormKind,
    /// Added to the variance or mean square.
    pub eps: f32,
    /// Storage type of the result.
    pub out: DType,
}

/// Each row centred (layer norm only), scaled to unit variance or mean square, and multiplied by a learned weight.
///
/// # Shapes
/// x: [.., D]; weight, bias: `[D]` in f32; result: [.., D].
///
/// # Source
/// Ba, Kiros, Hinton, arXiv 1607.06450 (layer); Zhang and Sennrich, arXiv 1910.07467 (RMS).
pub fn norm(tape: &Tape<'_>, spec: NormSpec, x: &Var, weight: &Var, bias: Option<&Var>) -> Var {
    let x_tensor = x.tensor().clone();
    let mut parts = vec![("norm x", "M.. D", x_tensor.shape()), ("by weight", "D", weight.tensor().shape())];
    parts.extend(bias.map(|bias| ("and add bias", "D", bias.tensor().shape())));
    let [rows, width] = shape::sizes(&parts);
    let (kind, device) = (spec.kind, tape.device());
    let mut y = Tensor::scratch(device, x_tensor.shape(), spec.out);
    let mut statistics = [Tensor::scratch(device, [rows], DType::F32), Tensor::scratch(device, [rows], DType::F32)];
    let [rstd, mean] = &mut statistics;
    tape.kernels().norm(Norm {
        kind,
        rows,
        width,
        eps: spec.eps,
        x: x_tensor.view(),
        weight: weight.tensor().view().f32(),
        bias: bias.map(|bias| bias.tensor().view().f32()),
        out: y.view_mut(),
        rstd: rstd.view_mut().f32(),
        mean: mean.view_mut().f32(),
    });
    let (x_slot, w_slot, b_slot) = (x.slot(), weight.slot(), bias.and_then(Var::slot));
    let weight = weight.tensor().clone();
    tape.push(y, &[x_slot, w_slot, b_slot], move |sink, dy| {
        let device = sink.device().clone();
        // The kernel adds to both; they are small, so they are summed beside the parameters' gradients first.
        let mut dweight = Tensor::zeros(&device, [width], DType::F32);
        let mut dbias = b_slot.map(|_| Tensor::zeros(&device, [width], DType::F32));
        let [rstd, mean] = &statistics;
        let mut run = |dx: crate::ViewMut<'_>, accumulate_dx: bool| {
            device.kernels().norm_backward(NormBackward {
                kind,
                rows,
                width,
                x: x_tensor.view(),
                weight: weight.view().f32(),
                rstd: rstd.view().f32(),
                mean: mean.view().f32(),
                dout: dy.view(),
                dx,
                accumulate_dx,
                dweight: w_slot.map(|_| dweight.view_mut()).map(crate::ViewMut::into_f32),
                dbias: dbias.as_mut().map(Tensor::view_mut).map(crate::ViewMut::into_f32),
            });
        };
        if x_slot.is_some() {
            sink.accumulate(x_slot, run);
        } else {
            run(Tensor::scratch(&device, x_tensor.shape(), x_tensor.dtype()).view_mut(), false);
        }
        sink.add(w_slot, dweight);
        if let Some(dbias) = dbias {
            sink.add(b_slot, dbias);
        }
    })
}

pub(super) fn check(checker: &mut Checker) {
    const WIDTH: usize = 23;
    let dtype = checker.dtype();
    for (name, kind, has_bias) in [
        ("layer norm", NormKind::Layer, true),
        ("layer norm, no bias", NormKind::Layer, false),
        ("rms norm", NormKind::Rms, false),
    ] {
        let spec = NormSpec { kind, eps: 1e-3, out: dtype };
        let formula = |x: &[Vec<f64>]| {
            let bias = |j: usize| if has_bias { x[2][j] } else { 0.0 };
            let row = |row: &[f64]| {
                let n = WIDTH as f64;
                let mean = if kind == NormKind::Layer { row.iter().sum::<f64>() / n } else { 0.0 };
                let rstd = 1.0 / (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + 1e-3).sqrt();
                row.iter().enumerate().map(|(j, v)| (v - mean) * rstd * x[1][j] + bias(j)).collect::<Vec<f64>>()
            };
            x[0].chunks(WIDTH).flat_map(row).collect()
        };
        let inputs =
            [Input::f32([6, WIDTH]).around(0.5, 2.0), Input::f32([WIDTH]).around(1.0, 0.3), Input::f32([WIDTH])];
        let n_inputs = if has_bias { 3 } else { 2 };
        checker.case(name, &inputs[..n_inputs], |tape, x| norm(tape, spec, &x[0], &x[1], x.get(2)), formula);
    }
}
