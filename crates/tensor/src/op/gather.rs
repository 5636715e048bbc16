//! y = x[ids]: rows picked by index.

use super::check::{Checker, Input};
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Rows of an activation, picked by index, with repetition.
///
/// # Shapes
/// x: `[N, D]`; ids: `[M]`, each below N; result: `[M, D]`.
pub fn gather_rows(tape: &Tape<'_>, x: &Var, ids: &Arc<[u32]>) -> Var {
    let width = x.tensor().shape().last();
    let mut y = Tensor::scratch(tape.device(), [ids.len(), width], x.tensor().dtype());
    tape.kernels().gather(x.tensor().view(), width, ids, 1.0, y.view_mut(), false);
    let (slot, ids, shape) = (x.slot(), ids.clone(), x.tensor().shape());
    tape.push(y, &[slot], move |sink, dy| {
        // Summed in f32 whatever the storage type, since a row may be picked often.
        let mut dx = Tensor::scratch(sink.device(), shape, crate::DType::F32);
        sink.device().kernels().scatter_add(dy.view(), width, &ids, 1.0, dx.view_mut().f32(), false);
        sink.add(slot, dx);
    })
}

pub(super) fn check(checker: &mut Checker) {
    const IDS: [u32; 5] = [2, 0, 2, 2, 3];
    let pick = |tape: &Tape<'_>, x: &[Var]| gather_rows(tape, &x[0], &Arc::from(IDS));
    let formula = |x: &[Vec<f64>]| IDS.iter().flat_map(|&i| x[0][7 * i as usize..][..7].to_vec()).collect();
    checker.case("gather rows", &[Input::new([4, 7])], pick, formula);
}
