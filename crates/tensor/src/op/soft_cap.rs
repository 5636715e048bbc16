//! y = c · tanh(x / c): numbers that stay between −c and c.

use super::check::{Checker, Input};
use crate::tape::{Tape, Var};

/// Keeps every element between −`cap` and `cap`; in place when nothing else uses `x`.
///
/// # Shapes
/// x and the result: any, the same.
///
/// # Source
/// Gemma Team, "Gemma 2", arXiv 2408.00118, section 2.
pub fn soft_cap(tape: &Tape<'_>, x: Var, cap: f32) -> Var {
    let slot = x.slot();
    let mut y = x.into_tensor().into_unique();
    tape.kernels().soft_cap(cap, y.view_mut());
    let saved = y.clone();
    tape.push(y, &[slot], move |sink, dy| {
        let mut dx = dy.into_unique();
        sink.device().kernels().soft_cap_backward(cap, saved.view(), dx.view_mut());
        sink.add(slot, dx);
    })
}

pub(super) fn check(checker: &mut Checker) {
    let formula = |x: &[Vec<f64>]| x[0].iter().map(|x| 1.5 * (x / 1.5).tanh()).collect();
    checker.case("soft cap", &[Input::new([5, 21])], |tape, x| soft_cap(tape, x[0].clone(), 1.5), formula);
}
