//! y = s · table[ids]: a learned vector for each token or position.

use super::check::{Checker, Input};
use crate::dtype::DType;
use crate::shape;
use crate::tape::{Slot, Tape, Var};
use crate::tensor::Tensor;
use crate::weight::Weight;
use std::sync::Arc;

/// `scale` times the row of `table` of each id, as f32: the start of the residual stream.
///
/// # Shapes
/// table: `[V, D]`; ids: `[M]`, each below V; result: `[M, D]` in f32.
pub fn embedding(tape: &Tape<'_>, table: &Weight, ids: &Arc<[u32]>, scale: f32) -> Var {
    let [_, width] = shape::sizes(&[("look up in table", "V D", table.shape())]);
    let mut y = Tensor::scratch(tape.device(), [ids.len(), width], DType::F32);
    table.gather(tape.device(), ids, scale, y.view_mut().into_f32());
    let (slot, ids) = (table.slot(), ids.clone());
    tape.push(y, &[slot], move |sink, dy| add_to_table(sink, slot, &dy, &ids, scale))
}

/// `x` plus `scale` times the row of `table` of each id: learned positions and segment types.
///
/// # Shapes
/// x and the result: `[M, D]` in f32; table: `[P, D]`; ids: `[M]`, each below P.
pub fn embedding_add(tape: &Tape<'_>, x: Var, table: &Var, ids: &Arc<[u32]>, scale: f32) -> Var {
    let rows = [ids.len()].into();
    let [_, width, _] = shape::sizes(&[
        ("add to x", "M.. D", x.tensor().shape()),
        ("rows of table", "P D", table.tensor().shape()),
        ("by ids", "M", rows),
    ]);
    let (x_slot, slot, ids) = (x.slot(), table.slot(), ids.clone());
    let mut y = x.into_tensor().into_unique();
    tape.kernels().gather(table.tensor().view(), width, &ids, scale, y.view_mut(), true);
    tape.push(y, &[x_slot, slot], move |sink, dy| {
        add_to_table(sink, slot, &dy, &ids, scale);
        sink.add(x_slot, dy);
    })
}

fn add_to_table(sink: &mut crate::tape::Sink<'_>, slot: Option<Slot>, dy: &Tensor, ids: &[u32], scale: f32) {
    sink.accumulate(slot, |mut out, is_later| {
        dy.device().kernels().scatter_add(dy.view(), dy.shape().last(), ids, scale, out.f32(), is_later);
    });
}

pub(super) fn check(checker: &mut Checker) {
    const IDS: [u32; 6] = [4, 1, 1, 0, 4, 1];
    let rows = |table: &[f64]| IDS.iter().flat_map(|&i| table[9 * i as usize..][..9].to_vec()).collect::<Vec<f64>>();
    let scaled = |x: &[Vec<f64>]| rows(&x[0]).iter().map(|x| 3.0 * x).collect();
    let look_up = |tape: &Tape<'_>, x: &[Var]| embedding(tape, &Weight::from(&x[0]), &Arc::from(IDS), 3.0);
    checker.case("embedding", &[Input::new([5, 9])], look_up, scaled);
    let added = |x: &[Vec<f64>]| rows(&x[1]).iter().zip(&x[0]).map(|(row, x)| x + row).collect();
    let look_up_and_add = |tape: &Tape<'_>, x: &[Var]| embedding_add(tape, x[0].clone(), &x[1], &Arc::from(IDS), 1.0);
    checker.case("embedding added", &[Input::f32([6, 9]), Input::new([5, 9])], look_up_and_add, added);
}
