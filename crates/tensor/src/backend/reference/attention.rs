//! Reference attention.

use crate::backend::*;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

pub(super) fn attention(call: Attention<'_>) {
    unimplemented!()
}

pub(super) fn attention_backward(call: AttentionBackward<'_>) {
    unimplemented!()
}
