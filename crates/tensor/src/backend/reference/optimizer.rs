//! Reference optimizer.

use crate::backend::*;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

pub(super) fn adamw(call: AdamW<'_>) {
    unimplemented!()
}
