//! Reference reduce.

use crate::backend::*;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

pub(super) fn sum_rows(x: View<'_>, out: &mut [f32], accumulate: bool) {
    unimplemented!()
}

pub(super) fn sum_of_squares(x: View<'_>) -> f64 {
    unimplemented!()
}
