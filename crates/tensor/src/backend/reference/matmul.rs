//! Reference matmul.

use crate::backend::*;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

pub(super) fn matmul(call: Matmul<'_>) {
    unimplemented!()
}

pub(super) fn pack(b: Matrix<'_>, k: usize, n: usize) -> PackedMatrix {
    unimplemented!()
}
