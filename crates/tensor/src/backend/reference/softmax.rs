//! Reference softmax.

use crate::backend::*;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

pub(super) fn softmax(width: usize, x: View<'_>, out: ViewMut<'_>) {
    unimplemented!()
}

pub(super) fn softmax_backward(width: usize, y: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
    unimplemented!()
}

pub(super) fn cross_entropy(call: CrossEntropy<'_>) {
    unimplemented!()
}
