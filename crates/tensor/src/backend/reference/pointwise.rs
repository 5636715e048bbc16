//! Reference pointwise.

use crate::backend::*;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

pub(super) fn activation(kind: Activation, x: View<'_>, out: ViewMut<'_>) {
    unimplemented!()
}

pub(super) fn activation_backward(kind: Activation, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
    unimplemented!()
}

pub(super) fn gated(kind: Activation, width: usize, x: View<'_>, out: ViewMut<'_>) {
    unimplemented!()
}

pub(super) fn gated_backward(kind: Activation, width: usize, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
    unimplemented!()
}

pub(super) fn dropout(x: View<'_>, p: f32, key: Key, residual: Option<View<'_>>, out: ViewMut<'_>) {
    unimplemented!()
}

pub(super) fn scale_add(alpha: f32, x: View<'_>, beta: f32, out: ViewMut<'_>) {
    unimplemented!()
}

pub(super) fn cast(x: View<'_>, out: ViewMut<'_>) {
    unimplemented!()
}
