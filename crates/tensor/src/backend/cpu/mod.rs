//! The processor: threads, and vector instructions chosen once at run time.

mod isa;
mod lanes;
mod pool;

pub use isa::Isa;

use self::pool::Pool;
use crate::backend::reference::Reference;
use crate::backend::{
    Activation, AdamW, Attention, AttentionBackward, CopyColumns, CrossEntropy, Kernels, Matmul, Matrix, Norm,
    NormBackward, PackedMatrix, Rotary,
};
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

/// The backend of the processor.
pub struct Cpu {
    pool: Pool,
    isa: Isa,
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
        Self { pool: Pool::new(n_threads), isa }
    }

    /// The vector instructions in use.
    pub fn isa(&self) -> Isa {
        self.isa
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
        Reference.matmul(call)
    }

    fn pack(&self, b: Matrix<'_>, k: usize, n: usize) -> PackedMatrix {
        Reference.pack(b, k, n)
    }

    fn attention(&self, call: Attention<'_>) {
        Reference.attention(call)
    }

    fn attention_backward(&self, call: AttentionBackward<'_>) {
        Reference.attention_backward(call)
    }

    fn rotary(&self, call: Rotary<'_>) {
        Reference.rotary(call)
    }

    fn norm(&self, call: Norm<'_>) {
        Reference.norm(call)
    }

    fn norm_backward(&self, call: NormBackward<'_>) {
        Reference.norm_backward(call)
    }

    fn activation(&self, kind: Activation, x: View<'_>, out: ViewMut<'_>) {
        Reference.activation(kind, x, out)
    }

    fn activation_backward(&self, kind: Activation, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
        Reference.activation_backward(kind, x, dout, dx)
    }

    fn gated(&self, kind: Activation, width: usize, x: View<'_>, out: ViewMut<'_>) {
        Reference.gated(kind, width, x, out)
    }

    fn gated_backward(&self, kind: Activation, width: usize, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
        Reference.gated_backward(kind, width, x, dout, dx)
    }

    fn gather(&self, table: View<'_>, width: usize, ids: &[u32], scale: f32, out: ViewMut<'_>, accumulate: bool) {
        Reference.gather(table, width, ids, scale, out, accumulate)
    }

    fn scatter_add(&self, dout: View<'_>, width: usize, ids: &[u32], scale: f32, dtable: &mut [f32]) {
        Reference.scatter_add(dout, width, ids, scale, dtable)
    }

    fn softmax(&self, width: usize, x: View<'_>, out: ViewMut<'_>) {
        Reference.softmax(width, x, out)
    }

    fn softmax_backward(&self, width: usize, y: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
        Reference.softmax_backward(width, y, dout, dx)
    }

    fn cross_entropy(&self, call: CrossEntropy<'_>) {
        Reference.cross_entropy(call)
    }

    fn dropout(&self, x: View<'_>, p: f32, key: Key, residual: Option<View<'_>>, out: ViewMut<'_>) {
        Reference.dropout(x, p, key, residual, out)
    }

    fn scale_add(&self, alpha: f32, x: View<'_>, beta: f32, out: ViewMut<'_>) {
        Reference.scale_add(alpha, x, beta, out)
    }

    fn cast(&self, x: View<'_>, out: ViewMut<'_>) {
        Reference.cast(x, out)
    }

    fn copy_columns(&self, call: CopyColumns<'_>) {
        Reference.copy_columns(call)
    }

    fn sum_rows(&self, x: View<'_>, out: &mut [f32], accumulate: bool) {
        Reference.sum_rows(x, out, accumulate)
    }

    fn sum_of_squares(&self, x: View<'_>) -> f64 {
        Reference.sum_of_squares(x)
    }

    fn adamw(&self, call: AdamW<'_>) {
        Reference.adamw(call)
    }
}
