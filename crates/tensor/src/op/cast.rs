//! y = x in another storage type.

use super::check::{Checker, Input};
use crate::dtype::DType;
use crate::tape::{Tape, Var};

/// The same numbers stored as `dtype`, rounded to nearest even where that is narrower; itself if they are so already.
///
/// # Shapes
/// x and the result: any, the same.
pub fn cast(tape: &Tape<'_>, x: &Var, dtype: DType) -> Var {
    if x.tensor().dtype() == dtype {
        return x.clone();
    }
    let slot = x.slot();
    tape.push(x.tensor().cast(dtype), &[slot], move |sink, dy| sink.add(slot, dy))
}

pub(super) fn check(checker: &mut Checker) {
    let same = |x: &[Vec<f64>]| x[0].clone();
    let widen = |tape: &Tape<'_>, x: &[Var]| cast(tape, &x[0], DType::F32);
    checker.case("cast to f32", &[Input::new([3, 33])], widen, same);
}
