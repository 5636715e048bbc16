//! y[m] = r[m] + Σⱼ share[m, j] · x[place[m, j]]: what a token's experts make of it, by their shares.

use super::check::{Checker, Input};
use crate::dtype::DType;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Sums of k rows for each token by their shares, and the residual stream if it is given.
///
/// # Shapes
/// x: [M·k, D] in f32; shares: [M, k] in f32; places: [M, k], every row of x once; residual: [M, D] in f32; result: [M, D]
/// in f32.
pub fn mix(tape: &Tape<'_>, x: &Var, shares: &Var, places: &Arc<[u32]>, residual: Option<Var>) -> Var {
    let [m, k, _, width] =
        shape::sizes(&[("mix by shares", "M k", shares.tensor().shape()), ("rows of x", "N.. D", x.tensor().shape())]);
    assert_eq!(places.len(), m * k, "a place for each share");
    let (x_slot, s_slot, r_slot) = (x.slot(), shares.slot(), residual.as_ref().and_then(Var::slot));
    let (x, shares) = (x.tensor().clone(), shares.tensor().clone());
    let mut y = match residual {
        Some(residual) => residual.into_tensor().into_unique(),
        None => Tensor::zeros(tape.device(), [m, width], DType::F32),
    };
    let (rows, of_shares) = (x.view().f32(), shares.view().f32());
    for (token, y) in y.view_mut().into_f32().chunks_exact_mut(width).enumerate() {
        for at in token * k..(token + 1) * k {
            let row = &rows[places[at] as usize * width..][..width];
            y.iter_mut().zip(row).for_each(|(y, x)| *y += of_shares[at] * x);
        }
    }
    let places = places.clone();
    tape.push(y, &[x_slot, s_slot, r_slot], move |sink, dy| {
        let device = sink.device().clone();
        let mut dx = Tensor::scratch(&device, x.shape(), DType::F32);
        let mut dshares = Tensor::scratch(&device, shares.shape(), DType::F32);
        let (rows, of_shares, drows) = (x.view().f32(), shares.view().f32(), dx.view_mut().into_f32());
        for (at, dshare) in dshares.view_mut().into_f32().iter_mut().enumerate() {
            let place = places[at] as usize * width..(places[at] as usize + 1) * width;
            let dy = &dy.view().f32()[at / k * width..][..width];
            *dshare = rows[place.clone()].iter().zip(dy).map(|(x, dy)| x * dy).sum();
            drows[place].iter_mut().zip(dy).for_each(|(dx, dy)| *dx = of_shares[at] * dy);
        }
        sink.add(x_slot, dx);
        sink.add(s_slot, dshares);
        sink.add(r_slot, dy);
    })
}

pub(super) fn check(checker: &mut Checker) {
    const PLACES: [u32; 6] = [3, 0, 5, 1, 2, 4];
    const D: usize = 7;
    let formula = |x: &[Vec<f64>]| {
        let residual = |i: usize| x.get(2).map_or(0.0, |residual| residual[i]);
        let at = |j: usize, d: usize| x[1][j] * x[0][PLACES[j] as usize * D + d];
        (0..3 * D).map(|i| residual(i) + at(i / D * 2, i % D) + at(i / D * 2 + 1, i % D)).collect()
    };
    let inputs = [Input::f32([6, D]), Input::f32([3, 2]), Input::f32([3, D])];
    for (name, n_inputs) in [("mix", 2), ("mix and residual", 3)] {
        let operation = |tape: &Tape<'_>, x: &[Var]| mix(tape, &x[0], &x[1], &Arc::from(PLACES), x.get(2).cloned());
        checker.case(name, &inputs[..n_inputs], operation, formula);
    }
}
