//! Reference norm.

use crate::backend::*;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

pub(super) fn norm(call: Norm<'_>) {
    unimplemented!()
}

pub(super) fn norm_backward(call: NormBackward<'_>) {
    unimplemented!()
}
