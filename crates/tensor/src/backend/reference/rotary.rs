//! Reference rotary.

use crate::backend::*;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

pub(super) fn rotary(call: Rotary<'_>) {
    unimplemented!()
}
