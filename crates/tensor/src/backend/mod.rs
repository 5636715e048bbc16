//! [`Kernels`]: the complete list of what a device must be able to do.
//!
//! Every method works on plain element views and sizes; none knows the tape. [`mod@reference`] is the specification: plain
//! loops in f32, never optimised. Every other backend is tested against it. All arithmetic accumulates in f32; a result
//! stored as bf16 is rounded to nearest even once, at the end.
//!
//! # Determinism
//! A backend gives the same bits for the same arguments whatever its number of threads: however the work is cut among them,
//! each element of a result is one chain of operations in a fixed order, and where partial sums are added up, they are cut by
//! shape alone. An output row of [`Kernels::matmul`], [`Kernels::attention`] and the row kernels depends
//! only on its own input row, not on how many rows there are beside it.

pub mod cpu;
mod pages;
pub mod reference;

pub use pages::{PAGE_TOKENS, PageLayout, PagedAttention, StoreInPages};

use crate::dtype::{DType, View, ViewMut};
use crate::quant::{BlockRows, Half};
use crate::rng::Key;
use std::any::Any;
use std::ops::Range;

/// Target of a row that carries no loss; the same value as in token batches.
pub const IGNORE: u32 = u32::MAX;

/// The pointwise non-linearities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x·Φ(x) with the exact normal distribution function
    GeluErf,
    /// The tanh approximation of GELU: 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
    GeluTanh,
    /// x·sigmoid(x), also called swish
    Silu,
}

/// How a norm centres and scales a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Subtracts the mean, divides by the standard deviation.
    Layer,
    /// Divides by the root mean square.
    Rms,
}

/// A matrix in memory: logical element (i, j) is at `i * row_stride + j`, or at `j * row_stride + i` when transposed.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The elements.
    pub data: View<'a>,
    /// Elements from one stored row to the next.
    pub row_stride: usize,
    /// Whether the stored rows are the logical columns.
    pub transposed: bool,
}

impl<'a> Matrix<'a> {
    /// Stored as it is used, row by row, `n_columns` wide.
    pub fn new(data: View<'a>, n_columns: usize) -> Self {
        Self { data, row_stride: n_columns, transposed: false }
    }

    /// Stored row by row, `n_columns` wide, and used transposed.
    pub fn transposed(data: View<'a>, n_columns: usize) -> Self {
        Self { data, row_stride: n_columns, transposed: true }
    }

    /// Logical element (i, j).
    pub fn get(&self, i: usize, j: usize) -> f32 {
        let (row, column) = if self.transposed { (j, i) } else { (i, j) };
        self.data.get(row * self.row_stride + column)
    }
}

/// A right-hand matrix rearranged once into the form that a backend multiplies fastest, for weights that are used often.
#[derive(Debug)]
pub struct PackedMatrix {
    // Kernels trust these.
    n_rows: usize,
    n_columns: usize,
    elements: Elements,
    n_bytes: usize,
    /// The backend's own form.
    panels: Box<dyn Any + Send + Sync>,
}

impl PackedMatrix {
    /// Number of rows K of the logical matrix.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of columns N of the logical matrix.
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// What it was made of.
    pub fn elements(&self) -> Elements {
        self.elements
    }

    /// Memory that it takes, which a product with few rows reads once.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

/// What a [`PackedMatrix`] was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elements {
    /// A matrix of this storage type.
    Plain(DType),
    /// Numbers of 16 bits, which are widened to f32 as they are multiplied.
    Halves(Half),
    /// Blocks of small codes.
    Blocks,
}

/// The right-hand side of a product.
#[derive(Clone, Copy, Debug)]
pub enum Rhs<'a> {
    /// As it lies in memory.
    Matrix(Matrix<'a>),
    /// Rearranged by [`Kernels::pack`]; gives the same bits as the matrix it was made of.
    Packed(&'a PackedMatrix),
}

/// `c = activation(a·b + bias) + residual` for a: [m, k], b: [k, n], c: [m, n].
///
/// With two f32 operands the products are f32. As soon as one operand is bf16 both are rounded to bf16, and their
/// products are summed in f32. The element (i, j) is the same whatever m is and wherever row i stands.
///
/// With a right-hand side of halves, all products are f32: the result has the bits of the same numbers packed as f32.
///
/// With a right-hand side of blocks, `a` is rounded to blocks itself: 32 neighbours x of a row become `scale · code`, with
/// scale = max |x| / 127 and the code nearest to x / scale. Products of codes are summed exactly over each group, and the
/// scales (rounded to f16 on the right-hand side), offsets and sums of the groups in f32.
#[derive(Debug)]
pub struct Matmul<'a> {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Left-hand side [m, k].
    pub a: Matrix<'a>,
    /// Right-hand side [k, n].
    pub b: Rhs<'a>,
    /// The result [m, n], rows contiguous.
    pub c: ViewMut<'a>,
    /// Adds to what `c` holds instead of replacing it (only without bias, activation and residual).
    pub accumulate: bool,
    /// `[n]`, added to every row.
    pub bias: Option<View<'a>>,
    /// Applied after the bias.
    pub activation: Option<Activation>,
    /// [m, n]: receives the sum before the activation, which the backward pass needs.
    pub pre_activation: Option<ViewMut<'a>>,
    /// [m, n], added last.
    pub residual: Option<View<'a>>,
}

impl<'a> Matmul<'a> {
    /// `c = a·b`, or added to what `c` holds, of the sizes [m, n, k] and without anything more.
    pub fn product([m, n, k]: [usize; 3], a: Matrix<'a>, b: Matrix<'a>, c: ViewMut<'a>, accumulate: bool) -> Self {
        let b = Rhs::Matrix(b);
        Self { m, n, k, a, b, c, accumulate, bias: None, activation: None, pre_activation: None, residual: None }
    }
}

/// Heads inside a tensor [rows, n_heads_stored, d_head]: those from `first_head` on.
///
/// Query, key and value heads made by one product lie side by side in one tensor.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    /// The tensor's elements.
    pub data: View<'a>,
    /// Heads stored in each row.
    pub n_heads_stored: usize,
    /// The first head meant.
    pub first_head: usize,
}

/// Which keys a query may see by position alone. Query i of a row stands at position `query_offsets[row] + i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Keys at the query's position and before.
    Causal,
    /// Every key.
    Full,
    /// Causal, and besides every query sees the first `prefix_lens[row]` keys.
    Prefix,
    /// Causal, and no further back than `tokens` positions, the query's own included.
    Window {
        /// Number of keys seen at most, at least 1.
        tokens: usize,
    },
}

/// Who sees whom. A key is hidden when any part hides it; a query that sees no key gives zeros and passes no gradient.
///
/// A hidden key has the weight 0, so that it counts for nothing unless it holds a NaN or infinity, which 0 times is a NaN. Keys
/// beyond `key_lens` are not looked at and may hold anything.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    /// By position.
    pub visibility: Visibility,
    /// `[B]`: position of each row's first query (keys already in the cache); all 0 when absent.
    pub query_offsets: Option<&'a [u32]>,
    /// `[B]`: number of real keys of each row; S when absent.
    pub key_lens: Option<&'a [u32]>,
    /// `[B]`: see [`Visibility::Prefix`].
    pub prefix_lens: Option<&'a [u32]>,
    /// [B, T]: document of each query; a query sees only keys of its own document. Needs `key_segments`.
    pub query_segments: Option<&'a [u32]>,
    /// [B, S]: document of each key.
    pub key_segments: Option<&'a [u32]>,
}

impl Mask<'_> {
    /// A mask by position alone.
    pub fn new(visibility: Visibility) -> Self {
        let none = None;
        Self {
            visibility,
            query_offsets: none,
            key_lens: none,
            prefix_lens: none,
            query_segments: None,
            key_segments: None,
        }
    }
}

/// Added to the attention scores before the softmax; depends on the head and on how far the key is from the query.
///
/// Holds ALiBi slopes and T5's relative bias alike, and needs memory linear in the length.
#[derive(Clone, Copy, Debug)]
pub struct OffsetBias<'a> {
    /// [H, R]: entry (h, `origin` + key position − query position).
    pub values: &'a [f32],
    /// Number R of offsets stored.
    pub n_offsets: usize,
    /// Where offset 0 is.
    pub origin: usize,
}

/// Sizes and settings of an attention call.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSizes {
    /// Rows B.
    pub b: usize,
    /// Queries T a row.
    pub t: usize,
    /// Keys S a row (stored; see [`Mask::key_lens`] for how many are real).
    pub s: usize,
    /// Query heads H.
    pub h: usize,
    /// Key/value heads G; H is a multiple of G, and query head i uses key head i / (H / G).
    pub g: usize,
    /// Width K of a head.
    pub d_head: usize,
    /// Factor on the scores, usually 1 / √K.
    pub scale: f32,
    /// c: the scaled scores become c · tanh(score / c). Not together with a bias.
    pub cap: Option<f32>,
}

/// `out = softmax(scale · q·kᵀ + bias, over the visible keys) · v`, one pass over the keys, memory linear in T and S.
#[derive(Debug)]
pub struct Attention<'a> {
    /// Sizes.
    pub sizes: AttentionSizes,
    /// Queries, rows [B·T].
    pub q: Heads<'a>,
    /// Keys, rows [B·S].
    pub k: Heads<'a>,
    /// Values, rows [B·S].
    pub v: Heads<'a>,
    /// Who sees whom.
    pub mask: Mask<'a>,
    /// Added to the scores.
    pub bias: Option<OffsetBias<'a>>,
    /// [B, T, H, K]
    pub out: ViewMut<'a>,
    /// [B, H, T]: logarithm of the sum of exponentials of each query's scores (−∞ when it sees no key).
    pub log_sum_exp: &'a mut [f32],
}

/// Gradients of [`Attention`].
///
/// Every element of the gradient tensors is written (replaced, not added to).
#[derive(Debug)]
pub struct AttentionBackward<'a> {
    /// Sizes.
    pub sizes: AttentionSizes,
    /// As in the forward pass.
    pub q: Heads<'a>,
    /// As in the forward pass.
    pub k: Heads<'a>,
    /// As in the forward pass.
    pub v: Heads<'a>,
    /// As in the forward pass.
    pub mask: Mask<'a>,
    /// As in the forward pass.
    pub bias: Option<OffsetBias<'a>>,
    /// The result of the forward pass.
    pub out: View<'a>,
    /// From the forward pass.
    pub log_sum_exp: &'a [f32],
    /// Gradient of the result [B, T, H, K].
    pub dout: View<'a>,
    /// Where the gradients go.
    pub into: AttentionGradients<'a>,
    /// Gradient of the bias [H, R], added to what it holds.
    pub dbias: Option<&'a mut [f32]>,
}

/// Where attention's gradients go.
#[derive(Debug)]
pub enum AttentionGradients<'a> {
    /// Queries, keys and values are heads of one tensor [B·T, H + 2·G, K], in that order.
    Fused(ViewMut<'a>),
    /// Queries [B·T, H, K] in a tensor of their own; keys and values side by side in one of [B·S, 2·G, K].
    Cross {
        /// Gradient of the queries.
        dq: ViewMut<'a>,
        /// Gradient of keys, then values.
        dkv: ViewMut<'a>,
    },
}

/// Rotates pairs of features of each head by an angle that grows with the position, in place.
#[derive(Debug)]
pub struct Rotary<'a> {
    /// [rows, n_heads_stored, d_head]
    pub x: ViewMut<'a>,
    /// Heads stored in each row.
    pub n_heads_stored: usize,
    /// The heads to rotate.
    pub heads: Range<usize>,
    /// Width of a head.
    pub d_head: usize,
    /// Features of each head that take part (even, at most `d_head`); the rest is left as it is.
    pub n_rotated: usize,
    /// `[rows]`: position of each row; below the number of rows of `cos`.
    pub positions: &'a [u32],
    /// [P, n_rotated / 2]: cosine of each angle.
    pub cos: &'a [f32],
    /// [P, n_rotated / 2]: sine of each angle.
    pub sin: &'a [f32],
    /// Pairs are neighbours (2i, 2i+1) instead of (i, i + n_rotated / 2).
    pub interleaved: bool,
    /// Rotates backwards: the gradient.
    pub inverse: bool,
}

/// `out = (x − mean) · rstd · weight + bias` for each row; RMS norm has no mean.
#[derive(Debug)]
pub struct Norm<'a> {
    /// Layer or RMS.
    pub kind: NormKind,
    /// Rows.
    pub rows: usize,
    /// Width of a row.
    pub width: usize,
    /// Added to the variance or mean square.
    pub eps: f32,
    /// [rows, width]
    pub x: View<'a>,
    /// `[width]`
    pub weight: &'a [f32],
    /// `[width]`
    pub bias: Option<&'a [f32]>,
    /// [rows, width]
    pub out: ViewMut<'a>,
    /// `[rows]`: receives 1 / standard deviation (or 1 / root mean square).
    pub rstd: &'a mut [f32],
    /// `[rows]`: receives the mean (0 for RMS).
    pub mean: &'a mut [f32],
}

/// Gradients of [`Norm`].
#[derive(Debug)]
pub struct NormBackward<'a> {
    /// As in the forward pass.
    pub kind: NormKind,
    /// As in the forward pass.
    pub rows: usize,
    /// As in the forward pass.
    pub width: usize,
    /// As in the forward pass.
    pub x: View<'a>,
    /// As in the forward pass.
    pub weight: &'a [f32],
    /// From the forward pass.
    pub rstd: &'a [f32],
    /// From the forward pass.
    pub mean: &'a [f32],
    /// [rows, width]
    pub dout: View<'a>,
    /// [rows, width]
    pub dx: ViewMut<'a>,
    /// Adds to what `dx` holds.
    pub accumulate_dx: bool,
    /// `[width]`, added to what it holds.
    pub dweight: Option<&'a mut [f32]>,
    /// `[width]`, added to what it holds.
    pub dbias: Option<&'a mut [f32]>,
}

/// Loss of predicting one target per row of logits.
///
/// With smoothing ε the loss of a row is (1 − ε)·nll(target) + ε·mean over v of nll(v).
#[derive(Debug)]
pub struct CrossEntropy<'a> {
    /// Rows.
    pub rows: usize,
    /// Width V of a row.
    pub n_classes: usize,
    /// [rows, V]; overwritten by the gradient when `gradient_scale` is given and `gradient` is not.
    pub logits: ViewMut<'a>,
    /// `[rows]`; a row whose target is [`IGNORE`] has loss 0 and gradient 0.
    pub targets: &'a [u32],
    /// Label smoothing ε in [0, 1).
    pub smoothing: f32,
    /// `[rows]`: receives the loss.
    pub losses: &'a mut [f32],
    /// `[rows]`: receives −ln p(target), without smoothing.
    pub nlls: &'a mut [f32],
    /// `[rows]`: receives whether the target has the largest logit (the lowest index wins a tie), as 1 or 0.
    pub hits: &'a mut [f32],
    /// Asks for scale · ∂loss/∂logits, in place of the logits or in `gradient`.
    pub gradient_scale: Option<f32>,
    /// [rows, V]: receives the gradient, if it is wanted.
    pub gradient: Option<ViewMut<'a>>,
}

/// One step of AdamW over one tensor.
///
/// # Source
/// Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv 1711.05101, algorithm 2.
#[derive(Debug)]
pub struct AdamW<'a> {
    /// Master weights, updated.
    pub weights: &'a mut [f32],
    /// Receives the new weights rounded to bf16.
    pub rounded: Option<ViewMut<'a>>,
    /// First moment, updated.
    pub first: &'a mut [f32],
    /// Second moment, updated.
    pub second: &'a mut [f32],
    /// Gradient.
    pub gradient: &'a [f32],
    /// Factor on the gradient (from clipping).
    pub gradient_scale: f32,
    /// η of this step.
    pub learning_rate: f32,
    /// β₁
    pub beta1: f32,
    /// β₂
    pub beta2: f32,
    /// ε
    pub eps: f32,
    /// λ: weights shrink by η·λ.
    pub weight_decay: f32,
    /// Number of this step, from 1, for the bias correction.
    pub step: u64,
}

/// Copies a block of columns between two matrices.
#[derive(Debug)]
pub struct CopyColumns<'a> {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns copied.
    pub width: usize,
    /// Source.
    pub src: View<'a>,
    /// Elements from one source row to the next.
    pub src_stride: usize,
    /// First source column.
    pub src_column: usize,
    /// Destination.
    pub dst: ViewMut<'a>,
    /// Elements from one destination row to the next.
    pub dst_stride: usize,
    /// First destination column.
    pub dst_column: usize,
    /// Adds to what the destination holds.
    pub accumulate: bool,
}

/// What a device must be able to do.
pub trait Kernels: Send + Sync {
    /// Name for people: device, instruction set, threads.
    fn name(&self) -> String;

    /// Number of threads it works with.
    fn n_threads(&self) -> usize;

    /// See [`Matmul`].
    fn matmul(&self, call: Matmul<'_>);

    /// Rearranges the right-hand matrix b: [k, n] for repeated use.
    fn pack(&self, b: Matrix<'_>, k: usize, n: usize) -> PackedMatrix;

    /// Rearranges rows as a file stores them, those of `parts` one behind the other, for products with a right-hand side
    /// whose columns they are: quantised blocks, or numbers of 16 bits.
    ///
    /// # Panics
    /// When a row has another length than `k`, when a format is f32, or when one of 16 bits has others beside it.
    fn pack_blocks(&self, k: usize, parts: &[BlockRows<'_>]) -> PackedMatrix;

    /// As [`Self::pack_blocks`], but the first product and the first [`Self::unpack`] may read rows where they lie, so that a
    /// result comes without waiting for memory to be filled: whoever uses the matrix again has it packed.
    ///
    /// # Panics
    /// As [`Self::pack_blocks`].
    fn pack_blocks_when_used(&self, k: usize, parts: Vec<BlockRows<'static>>) -> PackedMatrix {
        self.pack_blocks(k, &parts)
    }

    /// The numbers of some columns of a packed matrix: [columns, k]. The scales of blocks have been rounded to f16.
    fn unpack(&self, packed: &PackedMatrix, columns: &[u32], out: &mut [f32]);

    /// See [`Attention`].
    fn attention(&self, call: Attention<'_>);

    /// See [`AttentionBackward`].
    fn attention_backward(&self, call: AttentionBackward<'_>);

    /// See [`StoreInPages`]; several rows at once.
    fn store_in_pages(&self, rows: Vec<StoreInPages<'_>>);

    /// See [`PagedAttention`].
    fn paged_attention(&self, call: PagedAttention<'_>);

    /// See [`Rotary`].
    fn rotary(&self, call: Rotary<'_>);

    /// See [`Norm`].
    fn norm(&self, call: Norm<'_>);

    /// See [`NormBackward`].
    fn norm_backward(&self, call: NormBackward<'_>);

    /// `out = activation(x)`, element by element.
    fn activation(&self, kind: Activation, x: View<'_>, out: ViewMut<'_>);

    /// `dx = dout · activation'(x)`, element by element.
    fn activation_backward(&self, kind: Activation, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>);

    /// `out = activation(gate) · up` for rows [gate, up] of x: [rows, 2·width].
    fn gated(&self, kind: Activation, width: usize, x: View<'_>, out: ViewMut<'_>);

    /// Gradient of [`Kernels::gated`]: dx [rows, 2·width] from dout [rows, width].
    fn gated_backward(&self, kind: Activation, width: usize, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>);

    /// `x = cap · tanh(x / cap)`, element by element.
    fn soft_cap(&self, cap: f32, x: ViewMut<'_>);

    /// Gradient of [`Kernels::soft_cap`] from its result `y`: `dx = dx · (1 − (y / cap)²)`.
    fn soft_cap_backward(&self, cap: f32, y: View<'_>, dx: ViewMut<'_>);

    /// `out[i] = scale · table[ids[i]]` (or added to what it holds), rows of `width`.
    ///
    /// # Panics
    /// When an id is not a row of the table.
    fn gather(&self, table: View<'_>, width: usize, ids: &[u32], scale: f32, out: ViewMut<'_>, accumulate: bool);

    /// `dtable[ids[i]] += scale · dout[i]`, in the order of i: added to what the table holds, or to zero.
    fn scatter_add(&self, dout: View<'_>, width: usize, ids: &[u32], scale: f32, dtable: &mut [f32], accumulate: bool);

    /// Softmax of each row of `width`: `out = exp(x − max) / sum`.
    fn softmax(&self, width: usize, x: View<'_>, out: ViewMut<'_>);

    /// `out[i] = ln Σ exp(x)` of each row of `width`; not finite where a row holds a NaN or +∞, or nothing but −∞.
    fn log_sum_exp(&self, width: usize, x: View<'_>, out: &mut [f32]);

    /// Gradient of [`Kernels::softmax`] from its result `y`: `dx = y · (dout − Σ y·dout)`.
    fn softmax_backward(&self, width: usize, y: View<'_>, dout: View<'_>, dx: ViewMut<'_>);

    /// See [`CrossEntropy`].
    fn cross_entropy(&self, call: CrossEntropy<'_>);

    /// `out = (residual +) x · mask / (1 − p)`, where mask\[i\] is 1 if `key.uniform(i)` ≥ p and else 0.
    fn dropout(&self, x: View<'_>, p: f32, key: Key, residual: Option<View<'_>>, out: ViewMut<'_>);

    /// `out = alpha·x + beta·out`; with beta 0 what `out` held does not count, even if it is not a number.
    fn scale_add(&self, alpha: f32, x: View<'_>, beta: f32, out: ViewMut<'_>);

    /// `x = alpha·x`; with alpha 0 what `x` held does not count, even if it is not a number.
    fn scale(&self, alpha: f32, x: ViewMut<'_>);

    /// `out = x`, rounded to nearest even where the type is narrower.
    fn cast(&self, x: View<'_>, out: ViewMut<'_>);

    /// See [`CopyColumns`].
    fn copy_columns(&self, call: CopyColumns<'_>);

    /// `out[j] (+)= Σ over i of x[i, j]`, rows of `out.len()`, in a fixed order.
    fn sum_rows(&self, x: View<'_>, out: &mut [f32], accumulate: bool);

    /// Σ x² over all elements of `parts` in f64, in a fixed order.
    fn sum_of_squares(&self, parts: &[View<'_>]) -> f64;

    /// See [`AdamW`]; several tensors in one sweep.
    fn adamw(&self, steps: Vec<AdamW<'_>>);

    /// `average += share · (x − average)` of each pair (x, average), several in one sweep. An average that x equals stays as it
    /// is.
    fn move_averages(&self, share: f32, pairs: Vec<(&[f32], &mut [f32])>);
}
