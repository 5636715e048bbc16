//! The processor: threads, and vector instructions chosen once at run time.

mod attention;
mod blocks;
mod isa;
mod lanes;
mod matmul;
mod norm;
mod optimizer;
mod packed;
mod pointwise;
mod pool;
mod prefetch;
mod reduce;
mod rotary;
#[cfg(test)]
mod row_tests;
mod rows;
mod shared_view;
mod softmax;
mod table;

pub use isa::{Isa, UnknownIsa};
pub use matmul::stripe_rows;

use self::pool::Pool;
use crate::backend::{
    Activation, AdamW, Attention, AttentionBackward, CopyColumns, CrossEntropy, Elements, Kernels, Matmul, Matrix,
    Norm, NormBackward, PackedMatrix, PagedAttention, Rhs, Rotary, StoreInPages,
};
use crate::dtype::{View, ViewMut};
use crate::quant::{BlockRows, Half};
use crate::rng::Key;

/// The backend of the processor.
pub struct Cpu {
    pool: Pool,
    isa: Isa,
    attention: attention::Workspace,
    matmul: matmul::Workspace,
    blocks: blocks::Workspace,
}

impl Cpu {
    /// A backend with `n_threads` threads (at least 1) and the widest vector instructions there are ([`Isa::detect`]).
    pub fn new(n_threads: usize) -> Self {
        Self::with_isa(n_threads, Isa::detect())
    }

    /// A backend that uses just these vector instructions.
    ///
    /// # Panics
    /// When this processor lacks them.
    pub fn with_isa(n_threads: usize, isa: Isa) -> Self {
        assert!(isa.is_available(), "this processor lacks the instructions {}", isa.name());
        Self {
            pool: Pool::new(n_threads),
            isa,
            attention: attention::Workspace::default(),
            matmul: matmul::Workspace::default(),
            blocks: blocks::Workspace::default(),
        }
    }

    /// The vector instructions in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Runs `task(0)` … `task(n_tasks - 1)`, each once, on whichever thread is free, and returns when all are done: how every
    /// kernel shares its work, for those who want to know what that costs.
    pub fn run_tasks(&self, n_tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.pool.run(n_tasks, task);
    }
}

impl Kernels for Cpu {
    fn name(&self) -> String {
        let plural = if self.n_threads() == 1 { "" } else { "s" };
        format!("cpu, {}, {} thread{plural}", self.isa.name(), self.n_threads())
    }

    fn n_threads(&self) -> usize {
        self.pool.n_threads()
    }

    fn matmul(&self, call: Matmul<'_>) {
        match call.b {
            Rhs::Packed(packed) if packed.elements == Elements::Blocks => {
                blocks::matmul(&self.pool, self.isa, &self.blocks, call, packed);
            }
            _ => matmul::matmul(&self.pool, self.isa, &self.matmul, call),
        }
    }

    fn pack(&self, b: Matrix<'_>, k: usize, n: usize) -> PackedMatrix {
        matmul::pack(&self.pool, self.isa, b, k, n)
    }

    fn pack_blocks(&self, k: usize, parts: &[BlockRows<'_>]) -> PackedMatrix {
        match Half::of_parts(parts) {
            Some(half) => matmul::pack_halves(&self.pool, self.isa, half, k, parts),
            None => blocks::pack(&self.pool, self.isa, k, parts),
        }
    }

    fn pack_blocks_when_used(&self, k: usize, parts: Vec<BlockRows<'static>>) -> PackedMatrix {
        match Half::of_parts(&parts) {
            Some(half) => matmul::pack_halves_when_used(self.isa, half, k, parts),
            None => blocks::pack_when_used(self.isa, k, parts),
        }
    }

    fn unpack(&self, packed: &PackedMatrix, columns: &[u32], out: &mut [f32]) {
        packed.check_columns(columns, out.len());
        match packed.elements {
            Elements::Blocks => blocks::unpack(&self.pool, packed, columns, out),
            Elements::Plain(_) | Elements::Halves(_) => matmul::unpack(&self.pool, self.isa, packed, columns, out),
        }
    }

    fn attention(&self, call: Attention<'_>) {
        attention::attention(&self.pool, self.isa, &self.attention, call)
    }

    fn attention_backward(&self, call: AttentionBackward<'_>) {
        attention::attention_backward(self, call)
    }

    fn store_in_pages(&self, rows: Vec<StoreInPages<'_>>) {
        attention::store_in_pages(&self.pool, rows)
    }

    fn paged_attention(&self, call: PagedAttention<'_>) {
        attention::paged_attention(&self.pool, self.isa, &self.attention, call)
    }

    fn rotary(&self, call: Rotary<'_>) {
        rotary::rotary(self, call)
    }

    fn norm(&self, call: Norm<'_>) {
        norm::norm(self, call)
    }

    fn norm_backward(&self, call: NormBackward<'_>) {
        norm::norm_backward(self, call)
    }

    fn activation(&self, kind: Activation, x: View<'_>, out: ViewMut<'_>) {
        pointwise::activation(self, kind, x, out)
    }

    fn activation_backward(&self, kind: Activation, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
        pointwise::activation_backward(self, kind, x, dout, dx)
    }

    fn gated(&self, kind: Activation, width: usize, x: View<'_>, out: ViewMut<'_>) {
        pointwise::gated(self, kind, width, x, out)
    }

    fn gated_backward(&self, kind: Activation, width: usize, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
        pointwise::gated_backward(self, kind, width, x, dout, dx)
    }

    fn soft_cap(&self, cap: f32, x: ViewMut<'_>) {
        pointwise::soft_cap(self, cap, x)
    }

    fn soft_cap_backward(&self, cap: f32, y: View<'_>, dx: ViewMut<'_>) {
        pointwise::soft_cap_backward(self, cap, y, dx)
    }

    fn gather(&self, table: View<'_>, width: usize, ids: &[u32], scale: f32, out: ViewMut<'_>, accumulate: bool) {
        table::gather(self, table, width, ids, scale, out, accumulate)
    }

    fn scatter_add(&self, dout: View<'_>, width: usize, ids: &[u32], scale: f32, dtable: &mut [f32], accumulate: bool) {
        table::scatter_add(self, dout, width, ids, scale, dtable, accumulate)
    }

    fn softmax(&self, width: usize, x: View<'_>, out: ViewMut<'_>) {
        softmax::softmax(self, width, x, out)
    }

    fn log_sum_exp(&self, width: usize, x: View<'_>, out: &mut [f32]) {
        softmax::log_sum_exp(self, width, x, out)
    }

    fn softmax_backward(&self, width: usize, y: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
        softmax::softmax_backward(self, width, y, dout, dx)
    }

    fn cross_entropy(&self, call: CrossEntropy<'_>) {
        softmax::cross_entropy(self, call)
    }

    fn dropout(&self, x: View<'_>, p: f32, key: Key, residual: Option<View<'_>>, out: ViewMut<'_>) {
        pointwise::dropout(self, x, p, key, residual, out)
    }

    fn scale_add(&self, alpha: f32, x: View<'_>, beta: f32, out: ViewMut<'_>) {
        pointwise::scale_add(self, alpha, x, beta, out)
    }

    fn scale(&self, alpha: f32, x: ViewMut<'_>) {
        pointwise::scale(self, alpha, x)
    }

    fn cast(&self, x: View<'_>, out: ViewMut<'_>) {
        pointwise::cast(self, x, out)
    }

    fn copy_columns(&self, call: CopyColumns<'_>) {
        table::copy_columns(self, call)
    }

    fn sum_rows(&self, x: View<'_>, out: &mut [f32], accumulate: bool) {
        reduce::sum_rows(self, x, out, accumulate)
    }

    fn sum_of_squares(&self, parts: &[View<'_>]) -> f64 {
        reduce::sum_of_squares(self, parts)
    }

    fn adamw(&self, steps: Vec<AdamW<'_>>) {
        optimizer::adamw(self, steps)
    }

    fn move_averages(&self, share: f32, pairs: Vec<(&[f32], &mut [f32])>) {
        optimizer::move_averages(self, share, pairs)
    }
}
