//! What happens to a tile of sums on its way to memory: bias, activation, residual, accumulation, rounding.

use crate::backend::cpu::isa::Isa;
use crate::backend::reference::Reference;
use crate::backend::{Activation, Kernels, Matmul};
use crate::dtype::{View, ViewMut};
use half::bf16;
use std::ops::Range;

/// A view that several threads write to, each to elements of its own.
#[derive(Clone, Copy)]
enum Shared {
    F32(*mut f32),
    Bf16(*mut bf16),
}

impl Shared {
    fn new(view: &mut ViewMut<'_>) -> Self {
        match view {
            ViewMut::F32(data) => Shared::F32(data.as_mut_ptr()),
            ViewMut::Bf16(data) => Shared::Bf16(data.as_mut_ptr()),
        }
    }
}

/// The end of a product: where its sums go and what is added to them.
pub(super) struct Epilogue<'a> {
    c: Shared,
    pre_activation: Option<Shared>,
    n: usize,
    accumulate: bool,
    bias: Option<View<'a>>,
    activation: Option<Activation>,
    residual: Option<View<'a>>,
}

// SAFETY: the pointers are used only by `finish`, whose callers keep to elements of their own.
unsafe impl Sync for Epilogue<'_> {}

/// Sums of some rows and columns of the result.
pub(super) struct Sums<'a> {
    /// Rows of `width`.
    pub(super) values: &'a mut [f32],
    /// Columns stored, those beyond the matrix included.
    pub(super) width: usize,
    /// Rows of the result.
    pub(super) rows: Range<usize>,
    /// Columns of the result, at most `width`.
    pub(super) columns: Range<usize>,
}

impl<'a> Epilogue<'a> {
    pub(super) fn new(call: &'a mut Matmul<'_>) -> Self {
        Self {
            c: Shared::new(&mut call.c),
            pre_activation: call.pre_activation.as_mut().map(Shared::new),
            n: call.n,
            accumulate: call.accumulate,
            bias: call.bias,
            activation: call.activation,
            residual: call.residual,
        }
    }

    /// Finishes the sums and stores them.
    ///
    /// # Safety
    /// The call that this was made of had been checked; nobody else uses these elements of the results.
    pub(super) unsafe fn finish(&self, isa: Isa, sums: Sums<'_>) {
        // SAFETY: the processor has the instructions of `isa`; the rest is the caller's to vouch for.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => self.finish_avx2(sums),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx512Bf16 => self.finish_avx512(sums),
                _ => self.finish_rows(sums),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn finish_avx2(&self, sums: Sums<'_>) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.finish_rows(sums) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
    unsafe fn finish_avx512(&self, sums: Sums<'_>) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.finish_rows(sums) }
    }

    #[inline(always)]
    unsafe fn finish_rows(&self, sums: Sums<'_>) {
        let n_columns = sums.columns.len();
        for (i, values) in sums.rows.zip(sums.values.chunks_exact_mut(sums.width)) {
            let values = &mut values[..n_columns];
            let first = i * self.n + sums.columns.start;
            if let Some(bias) = self.bias {
                add(values, bias.slice(sums.columns.clone()));
            }
            if let Some(pre_activation) = self.pre_activation {
                // SAFETY: the range lies in row i, and the caller vouches that nobody else uses it.
                unsafe { store(values, pre_activation, first) };
            }
            if let Some(kind) = self.activation {
                activate(kind, values);
            }
            if let Some(residual) = self.residual {
                add(values, residual.slice(first..first + n_columns));
            }
            if self.accumulate {
                // SAFETY: as above.
                unsafe { add_stored(values, self.c, first) };
            }
            // SAFETY: as above.
            unsafe { store(values, self.c, first) };
        }
    }
}

fn activate(kind: Activation, values: &mut [f32]) {
    let before = values.to_vec();
    Reference.activation(kind, View::F32(&before), ViewMut::F32(values));
}

#[inline(always)]
fn add(values: &mut [f32], other: View<'_>) {
    match other {
        View::F32(other) => values.iter_mut().zip(other).for_each(|(value, other)| *value += other),
        View::Bf16(other) => values.iter_mut().zip(other).for_each(|(value, other)| *value += widen(*other)),
    }
}

/// Adds what is stored from element `first` on.
///
/// # Safety
/// The elements are valid and nobody else writes to them.
#[inline(always)]
unsafe fn add_stored(values: &mut [f32], stored: Shared, first: usize) {
    // SAFETY: the caller's to vouch for.
    let stored = unsafe {
        match stored {
            Shared::F32(start) => View::F32(std::slice::from_raw_parts(start.add(first), values.len())),
            Shared::Bf16(start) => View::Bf16(std::slice::from_raw_parts(start.add(first), values.len())),
        }
    };
    add(values, stored);
}

/// Stores from element `first` on.
///
/// # Safety
/// The elements are valid and nobody else uses them.
#[inline(always)]
unsafe fn store(values: &[f32], to: Shared, first: usize) {
    // SAFETY: the caller's to vouch for.
    unsafe {
        match to {
            Shared::F32(start) => {
                std::slice::from_raw_parts_mut(start.add(first), values.len()).copy_from_slice(values)
            }
            Shared::Bf16(start) => {
                let to = std::slice::from_raw_parts_mut(start.add(first), values.len());
                to.iter_mut().zip(values).for_each(|(to, &value)| *to = round(value));
            }
        }
    }
}

#[inline(always)]
fn widen(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

/// To nearest even, without a branch, so that the compiler makes vectors of it.
#[inline(always)]
fn round(value: f32) -> bf16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    // Adding could carry a not-a-number over into infinity; it keeps its sign and becomes quiet.
    let chosen = if value.is_nan() { bits | 0x40_0000 } else { rounded };
    bf16::from_bits((chosen >> 16) as u16)
}
