//! Rearranges rows of a tensor into words, in the orders that the products read.

use super::product::Product;
use super::simd::Simd;
use crate::dtype::View;
use half::bf16;
use std::ops::Range;

/// Rows of one head, or of a group of heads that lie side by side, in a tensor.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) data: View<'a>,
    /// Element at which row 0 starts.
    pub(super) first: usize,
    /// Heads that are rows one after the other, before the next row of the tensor.
    pub(super) n_group: usize,
    /// Elements from one row of the tensor to the next.
    pub(super) stride: usize,
    pub(super) d_head: usize,
}

impl Source<'_> {
    fn start(&self, row: usize) -> usize {
        self.first + row / self.n_group * self.stride + row % self.n_group * self.d_head
    }

    /// Scalar product of row `row` with that of another source.
    #[inline(always)]
    pub(super) fn dot(&self, other: &Source<'_>, row: usize) -> f32 {
        let (at, other_at) = (self.start(row), other.start(row));
        match (self.data.slice(at..at + self.d_head), other.data.slice(other_at..other_at + self.d_head)) {
            (View::F32(a), View::F32(b)) => dot(a, b),
            (View::F32(a), View::Bf16(b)) | (View::Bf16(b), View::F32(a)) => dot(a, b),
            (View::Bf16(a), View::Bf16(b)) => dot(a, b),
        }
    }
}

/// Scalar product, in 16 sums side by side.
#[inline(always)]
fn dot<A: Element, B: Element>(a: &[A], b: &[B]) -> f32 {
    let mut sums = [0.0; 16];
    for (a, b) in a.chunks(16).zip(b.chunks(16)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a.widen() * b.widen();
        }
    }
    sums.iter().sum()
}

/// How an element type becomes words.
trait Element: Copy {
    fn widen(self) -> f32;
    fn narrow(self) -> bf16;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(self) -> bf16 {
        bf16::from_f32(self)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(self) -> bf16 {
        self
    }
}

/// Rows as they are: `to` is [rows, n_steps], the steps going along the rows.
#[inline(always)]
pub(super) fn along<P: Product>(from: &Source<'_>, rows: Range<usize>, n_steps: usize, to: &mut [f32]) {
    match from.data {
        View::F32(data) => along_of::<P, _>(from, data, rows, n_steps, to),
        View::Bf16(data) => along_of::<P, _>(from, data, rows, n_steps, to),
    }
}

#[inline(always)]
fn along_of<P: Product, E: Element>(from: &Source<'_>, data: &[E], rows: Range<usize>, n_steps: usize, to: &mut [f32]) {
    for (row, words) in rows.zip(to.chunks_exact_mut(n_steps)) {
        let row = &data[from.start(row)..][..from.d_head];
        if P::STEP == 1 {
            fill(words, row, |x| x.widen());
        } else {
            fill(bytemuck::cast_slice_mut::<f32, bf16>(words), row, |x| x.narrow());
        }
    }
}

/// Writes f(x) for each element and zeros after them.
#[inline(always)]
fn fill<E: Copy, W: Copy + Default>(to: &mut [W], from: &[E], f: impl Fn(E) -> W) {
    let (to, rest) = to.split_at_mut(from.len());
    for (to, &x) in to.iter_mut().zip(from) {
        *to = f(x);
    }
    rest.fill(W::default());
}

/// Rows of words as columns: `rows` [n_rows, n_steps] to [n_steps, width], the steps still going along what were rows;
/// absent columns are 0.
#[inline(always)]
pub(super) fn across(rows: &[f32], n_steps: usize, width: usize, to: &mut [f32]) {
    let n_rows = rows.len() / n_steps;
    for (step, to) in to[..n_steps * width].chunks_exact_mut(width).enumerate() {
        for (row, to) in to[..n_rows].iter_mut().enumerate() {
            *to = rows[row * n_steps + step];
        }
        to[n_rows..].fill(0.0);
    }
}

/// Rows of words with the steps turned down the rows: `rows` [n_rows, n_steps] to [to.len() / width, width], with zeros for
/// what is absent.
#[inline(always)]
pub(super) fn down<P: Product>(rows: &[f32], n_steps: usize, width: usize, to: &mut [f32]) {
    for (step, to) in to.chunks_exact_mut(width).enumerate() {
        let rows = &rows[rows.len().min(step * P::STEP * n_steps)..];
        let (low, rest) = rows.split_at(rows.len().min(n_steps));
        if P::STEP == 1 {
            fill(to, low, |x| x);
        } else {
            pair(low, &rest[..rest.len().min(n_steps)], to);
        }
    }
}

/// Pairs each bf16 of one row with that of the next, which may be missing, as both may.
#[inline(always)]
fn pair(low: &[f32], high: &[f32], to: &mut [f32]) {
    let (to, rest) = to.split_at_mut(to.len().min(2 * low.len()));
    let mut high = high.iter().map(|x| x.to_bits());
    for (to, low) in to.chunks_mut(2).zip(low.iter().map(|x| x.to_bits())) {
        let high = high.next().unwrap_or(0);
        to[0] = f32::from_bits(low & 0xffff | high << 16);
        if let Some(to) = to.get_mut(1) {
            *to = f32::from_bits(low >> 16 | high & 0xffff_0000);
        }
    }
    rest.fill(0.0);
}

/// Width of `d_head` features in whole vectors.
pub(super) fn padded<P: Product>(d_head: usize) -> usize {
    d_head.next_multiple_of(P::V::N)
}
