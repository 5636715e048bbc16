//! Reference table.

use crate::backend::*;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

pub(super) fn gather(table: View<'_>, width: usize, ids: &[u32], scale: f32, out: ViewMut<'_>, accumulate: bool) {
    unimplemented!()
}

pub(super) fn scatter_add(dout: View<'_>, width: usize, ids: &[u32], scale: f32, dtable: &mut [f32]) {
    unimplemented!()
}

pub(super) fn copy_columns(call: CopyColumns<'_>) {
    unimplemented!()
}
