//! The specification: plain loops, one file per family of kernels, never optimised.
//!
//! Long sums and special functions are taken in f64, so that a backend is compared with the truth and not with another
//! rounding of it; every result is f32 before it is stored.

// The formulas are written in indices, as in the literature.
#![allow(clippy::needless_range_loop)]

mod attention;
mod blocks;
mod matmul;
mod norm;
mod optimizer;
mod pages;
mod pointwise;
#[cfg(test)]
pub(super) use pointwise::{activate, slope};
mod reduce;
mod rotary;
mod softmax;
mod table;

use crate::backend::{
    Activation, AdamW, Attention, AttentionBackward, CopyColumns, CrossEntropy, Kernels, Matmul, Matrix, Norm,
    NormBackward, PackedMatrix, PagedAttention, Rotary, StoreInPages,
};
use crate::dtype::{View, ViewMut};
use crate::quant::BlockRows;
use crate::rng::Key;

/// The backend of plain loops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Kernels for Reference {
    fn name(&self) -> String {
        "reference".to_owned()
    }

    fn n_threads(&self) -> usize {
        1
    }

    fn matmul(&self, call: Matmul<'_>) {
        matmul::matmul(call)
    }

    fn pack(&self, b: Matrix<'_>, k: usize, n: usize) -> PackedMatrix {
        matmul::pack(b, k, n)
    }

    fn pack_blocks(&self, k: usize, parts: &[BlockRows<'_>]) -> PackedMatrix {
        matmul::pack_rows(k, parts)
    }

    fn unpack(&self, packed: &PackedMatrix, columns: &[u32], out: &mut [f32]) {
        matmul::unpack(packed, columns, out)
    }

    fn attention(&self, call: Attention<'_>) {
        attention::attention(call)
    }

    fn attention_backward(&self, call: AttentionBackward<'_>) {
        attention::attention_backward(call)
    }

    fn store_in_pages(&self, rows: Vec<StoreInPages<'_>>) {
        rows.into_iter().for_each(pages::store);
    }

    fn paged_attention(&self, call: PagedAttention<'_>) {
        pages::attention(call)
    }

    fn rotary(&self, call: Rotary<'_>) {
        rotary::rotary(call)
    }

    fn norm(&self, call: Norm<'_>) {
        norm::norm(call)
    }

    fn norm_backward(&self, call: NormBackward<'_>) {
        norm::norm_backward(call)
    }

    fn activation(&self, kind: Activation, x: View<'_>, out: ViewMut<'_>) {
        pointwise::activation(kind, x, out)
    }

    fn activation_backward(&self, kind: Activation, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
        pointwise::activation_backward(kind, x, dout, dx)
    }

    fn gated(&self, kind: Activation, width: usize, x: View<'_>, out: ViewMut<'_>) {
        pointwise::gated(kind, width, x, out)
    }

    fn gated_backward(&self, kind: Activation, width: usize, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
        pointwise::gated_backward(kind, width, x, dout, dx)
    }

    fn soft_cap(&self, cap: f32, x: ViewMut<'_>) {
        pointwise::soft_cap(cap, x)
    }

    fn soft_cap_backward(&self, cap: f32, y: View<'_>, dx: ViewMut<'_>) {
        pointwise::soft_cap_backward(cap, y, dx)
    }

    fn gather(&self, table: View<'_>, width: usize, ids: &[u32], scale: f32, out: ViewMut<'_>, accumulate: bool) {
        table::gather(table, width, ids, scale, out, accumulate)
    }

    fn scatter_add(&self, dout: View<'_>, width: usize, ids: &[u32], scale: f32, dtable: &mut [f32], accumulate: bool) {
        table::scatter_add(dout, width, ids, scale, dtable, accumulate)
    }

    fn softmax(&self, width: usize, x: View<'_>, out: ViewMut<'_>) {
        softmax::softmax(width, x, out)
    }

    fn log_sum_exp(&self, width: usize, x: View<'_>, out: &mut [f32]) {
        softmax::log_sum_exp(width, x, out)
    }

    fn softmax_backward(&self, width: usize, y: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
        softmax::softmax_backward(width, y, dout, dx)
    }

    fn cross_entropy(&self, call: CrossEntropy<'_>) {
        softmax::cross_entropy(call)
    }

    fn dropout(&self, x: View<'_>, p: f32, key: Key, residual: Option<View<'_>>, out: ViewMut<'_>) {
        pointwise::dropout(x, p, key, residual, out)
    }

    fn scale_add(&self, alpha: f32, x: View<'_>, beta: f32, out: ViewMut<'_>) {
        pointwise::scale_add(alpha, x, beta, out)
    }

    fn scale(&self, alpha: f32, x: ViewMut<'_>) {
        pointwise::scale(alpha, x)
    }

    fn cast(&self, x: View<'_>, out: ViewMut<'_>) {
        pointwise::cast(x, out)
    }

    fn copy_columns(&self, call: CopyColumns<'_>) {
        table::copy_columns(call)
    }

    fn sum_rows(&self, x: View<'_>, out: &mut [f32], accumulate: bool) {
        reduce::sum_rows(x, out, accumulate)
    }

    fn sum_of_squares(&self, parts: &[View<'_>]) -> f64 {
        reduce::sum_of_squares(parts)
    }

    fn adamw(&self, steps: Vec<AdamW<'_>>) {
        steps.into_iter().for_each(optimizer::adamw)
    }

    fn move_averages(&self, share: f32, pairs: Vec<(&[f32], &mut [f32])>) {
        pairs.into_iter().for_each(|(x, average)| optimizer::move_average(share, x, average))
    }
}
