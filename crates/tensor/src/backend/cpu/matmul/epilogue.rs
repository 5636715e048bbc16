//! What happens to a tile of sums on its way to memory: bias, activation, residual, accumulation, rounding.

use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::lanes::{Element, Lanes, Program, activate, typed};
use crate::backend::cpu::shared_view::{SharedView, Start, prefetch_view};
use crate::backend::{Activation, Matmul};
use crate::dtype::{View, ViewMut};
use std::ops::Range;

/// The end of a product: where its sums go and what is added to them.
pub(in crate::backend::cpu) struct Epilogue<'a> {
    c: SharedView,
    pre_activation: Option<SharedView>,
    n: usize,
    accumulate: bool,
    bias: Option<View<'a>>,
    activation: Option<Activation>,
    residual: Option<View<'a>>,
}

/// Sums of some rows and columns of the result.
pub(in crate::backend::cpu) struct Sums<'a> {
    /// Rows of `width`.
    pub(in crate::backend::cpu) values: &'a mut [f32],
    /// Columns stored, those beyond the matrix included.
    pub(in crate::backend::cpu) width: usize,
    /// Rows of the result.
    pub(in crate::backend::cpu) rows: Range<usize>,
    /// Columns of the result, at most `width`.
    pub(in crate::backend::cpu) columns: Range<usize>,
}

impl<'a> Epilogue<'a> {
    pub(in crate::backend::cpu) fn new(call: &'a mut Matmul<'_>) -> Self {
        Self {
            c: SharedView::new(call.c.reborrow()),
            pre_activation: call.pre_activation.as_mut().map(|view| SharedView::new(view.reborrow())),
            n: call.n,
            accumulate: call.accumulate,
            bias: call.bias,
            activation: call.activation,
            residual: call.residual,
        }
    }

    /// Asks for the memory that [`Epilogue::finish`] is going to read, before the sums are there; and for what it only writes where
    /// `is_long`: behind sums of few terms, asking takes longer than it saves.
    pub(super) fn prefetch(&self, rows: Range<usize>, columns: Range<usize>, is_long: bool) {
        let (first, n_rows) = (rows.start * self.n + columns.start, rows.len());
        if self.accumulate || is_long {
            self.c.prefetch(first, [n_rows, columns.len()], self.n);
        }
        if let Some(pre_activation) = self.pre_activation.filter(|_| is_long) {
            pre_activation.prefetch(first, [n_rows, columns.len()], self.n);
        }
        if let Some(residual) = self.residual {
            prefetch_view(residual, first, [n_rows, columns.len()], self.n);
        }
    }

    /// Whether sums `width` columns wide are stored as they are, with a bias at most.
    fn is_plain(&self, n_columns: usize, width: usize) -> bool {
        let changes = self.pre_activation.is_some() || self.activation.is_some() || self.residual.is_some();
        !changes && !self.accumulate && n_columns == width
    }

    /// Where a kernel may store these sums itself, `width` columns wide, in rows as long as the result's; none where anything
    /// else happens to them.
    ///
    /// # Safety
    /// The call that this was made of had been checked.
    pub(super) unsafe fn stored_by_kernel(&self, row: usize, columns: &Range<usize>, width: usize) -> Option<Start> {
        let first = row * self.n + columns.start;
        // SAFETY: the element lies in the result.
        let start = unsafe { self.c.start.add(first) };
        (self.bias.is_none() && self.is_plain(columns.len(), width)).then_some(start)
    }

    /// Finishes the sums and stores them.
    ///
    /// # Safety
    /// The processor has the instructions; the call that this was made of had been checked; nobody else uses these elements
    /// of the results.
    pub(in crate::backend::cpu) unsafe fn finish(&self, isa: Isa, sums: Sums<'_>) {
        // SAFETY: the caller's to vouch for.
        unsafe {
            match (self.is_plain(sums.columns.len(), sums.width), self.c.start) {
                (true, Start::F32(c)) => isa.run_unchecked(Store { sums, c, stride: self.n, bias: self.bias }),
                (true, Start::Bf16(c)) => isa.run_unchecked(Store { sums, c, stride: self.n, bias: self.bias }),
                _ => isa.run_unchecked(Finish { epilogue: self, sums }),
            }
        }
    }

    /// Finishes the sums of row `i`, which end in columns from `first_column` on.
    ///
    /// # Safety
    /// As for [`Epilogue::finish`].
    #[inline(always)]
    unsafe fn finish_row<V: Lanes>(&self, v: V, i: usize, first_column: usize, values: &mut [f32]) {
        let n_columns = values.len();
        let first = i * self.n + first_column;
        if let Some(bias) = self.bias {
            add(v, values, bias.slice(first_column..first_column + n_columns));
        }
        if let Some(pre_activation) = self.pre_activation {
            // SAFETY: these elements lie in row i, and the caller vouches that nobody else uses them.
            store(v, values, unsafe { pre_activation.slice(first, n_columns) });
        }
        if let Some(kind) = self.activation {
            activate_all(v, kind, values);
        }
        if let Some(residual) = self.residual {
            add(v, values, residual.slice(first..first + n_columns));
        }
        // SAFETY: as above.
        let c = unsafe { self.c.slice(first, n_columns) };
        if self.accumulate {
            add(v, values, c.as_view());
        }
        store(v, values, c);
    }
}

/// See [`Epilogue::finish`], whose contract it keeps.
struct Finish<'a> {
    epilogue: &'a Epilogue<'a>,
    sums: Sums<'a>,
}

impl Program for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Sums { values, width, rows, columns } = self.sums;
        for (i, values) in rows.zip(values.chunks_exact_mut(width)) {
            // SAFETY: whoever called `finish` vouches for it.
            unsafe { self.epilogue.finish_row(v, i, columns.start, &mut values[..columns.len()]) };
        }
    }
}

/// Stores the sums of whole vectors of columns, with a bias at most: all there is to most products.
struct Store<'a, E> {
    sums: Sums<'a>,
    /// The result, in rows of `stride` elements.
    c: *mut E,
    stride: usize,
    bias: Option<View<'a>>,
}

impl<E: Element> Program for Store<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Sums { values, width, rows, columns } = self.sums;
        let bias = self.bias.map(|bias| bias.slice(columns.clone()));
        for (i, values) in rows.zip(values.chunks_exact_mut(width)) {
            if let Some(bias) = bias {
                add(v, values, bias);
            }
            // SAFETY: whoever called `finish` vouches for these elements of row i.
            let c = unsafe { std::slice::from_raw_parts_mut(self.c.add(i * self.stride + columns.start), width) };
            // Over spans this is 2 % of a product of K = 128.
            let (mut c, mut values) = (c.chunks_exact_mut(V::N), values.chunks_exact(V::N));
            for (c, values) in c.by_ref().zip(values.by_ref()) {
                E::store(v.load(values), c);
            }
            // Kernels in plain code have narrower vectors.
            if !values.remainder().is_empty() {
                E::store_partial(v.load_partial(values.remainder(), 0.0), c.into_remainder());
            }
        }
    }
}

#[inline(always)]
fn activate_all<V: Lanes>(v: V, kind: Activation, values: &mut [f32]) {
    for at in v.spans(values.len()) {
        activate(kind, v.read(values, at)).write(values, at);
    }
}

#[inline(always)]
fn add<V: Lanes>(v: V, values: &mut [f32], other: View<'_>) {
    typed!(other; => for at in v.spans(values.len()) {
        (v.read(values, at) + v.read(other, at)).write(values, at);
    });
}

#[inline(always)]
fn store<V: Lanes>(v: V, values: &[f32], to: ViewMut<'_>) {
    typed!(; to => for at in v.spans(values.len()) {
        v.read(values, at).write(to, at);
    });
}
