//! Vectors of f32: an algorithm is written once over [`Lanes`] and compiled once for each instruction set.
//!
//! A kernel is a [`Program`]: [`Isa::run`] compiles its `run` for the instruction set and hands it a first vector, from
//! which all others are made. Every function between `run` and an instruction must be `#[inline(always)]`: one that is
//! not inlined keeps to the plain instructions, and is many times slower. So no closures around lanes.
//!
//! ```text
//! for at in v.spans(x.len()) {
//!     (v.read(x, at) * v.splat(alpha)).write(out, at);
//! }
//! ```

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod element;
mod functions;
mod portable;
mod random;
mod sums;

pub(crate) use element::{Element, typed};
pub(crate) use functions::{activate, exp, slope, slope_of_cap, tanh};
pub(crate) use random::{BLOCK, WideLanes, uniforms};
pub(crate) use sums::{dot, largest, sum, sum_of_squares, sum_of_squares_f64};

use super::isa::Isa;
use half::bf16;
use std::ops::{Add, Div, Mul, Sub};

/// Most lanes of any instruction set.
pub(crate) const MAX_LANES: usize = 16;

/// A vector of f32.
///
/// A value of a type that implements this exists only where the processor has its instructions: the first one comes from
/// [`Isa::run`], every other is made from one. That is what makes the methods safe.
pub(crate) trait Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Number of lanes; divides [`MAX_LANES`].
    const N: usize;

    /// Lanes of 64 bits in vectors of the same length.
    type Wide: WideLanes<Narrow = Self>;

    /// A sum of squares in f64 for every lane.
    type Squares: Copy;

    /// Zeros.
    fn wide(self) -> Self::Wide;

    /// Zeros.
    fn no_squares(self) -> Self::Squares;

    /// Adds the square of every lane.
    fn add_square(self, sums: Self::Squares) -> Self::Squares;

    /// All sums together, in an order that is always the same.
    fn total(sums: Self::Squares) -> f64;

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self;

    /// The first `N` elements.
    ///
    /// # Panics
    /// When there are fewer.
    fn load(self, data: &[f32]) -> Self;

    /// As [`Lanes::load`].
    fn load_bf16(self, data: &[bf16]) -> Self;

    /// `N` pairs of bf16, each in the bits of one f32: all first elements, the lower bits, and all second ones.
    ///
    /// # Panics
    /// When there are fewer.
    fn load_pairs(self, pairs: &[f32]) -> (Self, Self);

    /// Writes to the first `N` elements.
    ///
    /// # Panics
    /// When there are fewer.
    fn store(self, out: &mut [f32]);

    /// As [`Lanes::store`], rounded to nearest even, exactly as [`bf16::from_f32`].
    fn store_bf16(self, out: &mut [bf16]);

    /// `self · factor + term`; rounded once where the processor can.
    fn mul_add(self, factor: Self, term: Self) -> Self;

    /// The square rounded to f32, and exactly what the rounding left out.
    fn square(self) -> (Self, Self);

    /// `self` where it is greater, else `other`; so `other` where either is not a number.
    fn max(self, other: Self) -> Self;

    /// `self` where it is less, else `other`; so `other` where either is not a number.
    fn min(self, other: Self) -> Self;

    /// The magnitude.
    fn abs(self) -> Self;

    /// The square root.
    fn sqrt(self) -> Self;

    /// `then` where `self < other`, else `otherwise`.
    fn if_less(self, other: Self, then: Self, otherwise: Self) -> Self;

    /// `self · 2^power` for whole powers from −250 to 250, rounded once.
    fn scale_by_power_of_two(self, power: Self) -> Self;

    /// The sum of the lanes, in an order that is always the same.
    fn sum(self) -> f32;

    /// The largest lane.
    fn max_lane(self) -> f32;

    /// The elements (fewer than `N`) followed by `fill`.
    #[inline(always)]
    fn load_partial(self, data: &[f32], fill: f32) -> Self {
        let mut buffer = [fill; MAX_LANES];
        buffer[..data.len()].copy_from_slice(data);
        self.load(&buffer)
    }

    /// As [`Lanes::load_partial`].
    #[inline(always)]
    fn load_partial_bf16(self, data: &[bf16], fill: f32) -> Self {
        let mut buffer = [fill; MAX_LANES];
        buffer.iter_mut().zip(data).for_each(|(lane, element)| *lane = element.to_f32());
        self.load(&buffer)
    }

    /// Writes the first lanes to all of `out`, which is shorter than `N`.
    #[inline(always)]
    fn store_partial(self, out: &mut [f32]) {
        let mut buffer = [0.0; MAX_LANES];
        self.store(&mut buffer);
        out.copy_from_slice(&buffer[..out.len()]);
    }

    /// As [`Lanes::store_partial`].
    #[inline(always)]
    fn store_partial_bf16(self, out: &mut [bf16]) {
        let mut buffer = [bf16::ZERO; MAX_LANES];
        self.store_bf16(&mut buffer);
        out.copy_from_slice(&buffer[..out.len()]);
    }

    /// Cuts `len` elements into spans of `N`, the last one shorter.
    #[inline(always)]
    fn spans(self, len: usize) -> Spans {
        Spans { next: 0, len, step: Self::N }
    }

    /// The elements at a span, followed by 0 where the span is short.
    #[inline(always)]
    fn read<E: Element>(self, data: &[E], at: Span) -> Self {
        self.read_or(data, at, 0.0)
    }

    /// The elements at a span, followed by `fill` where the span is short.
    #[inline(always)]
    fn read_or<E: Element>(self, data: &[E], at: Span, fill: f32) -> Self {
        let data = &data[at.start..at.start + at.len];
        if at.len == Self::N { E::load(self, data) } else { E::load_partial(self, data, fill) }
    }

    /// Writes the first lanes to a span.
    #[inline(always)]
    fn write<E: Element>(self, out: &mut [E], at: Span) {
        let out = &mut out[at.start..at.start + at.len];
        if at.len == Self::N { E::store(self, out) } else { E::store_partial(self, out) }
    }
}

/// Up to [`Lanes::N`] neighbouring elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first element.
    pub(crate) start: usize,
    /// Number of elements.
    pub(crate) len: usize,
}

/// See [`Lanes::spans`].
pub(crate) struct Spans {
    next: usize,
    len: usize,
    step: usize,
}

impl Iterator for Spans {
    type Item = Span;

    #[inline(always)]
    fn next(&mut self) -> Option<Span> {
        let start = self.next;
        if start >= self.len {
            return None;
        }
        self.next = start + self.step;
        Some(Span { start, len: self.step.min(self.len - start) })
    }
}

/// Work that is compiled for each instruction set.
pub(crate) trait Program {
    /// What it gives.
    type Output;

    /// Does it. `v` is a vector of zeros, the first of its kind.
    ///
    /// Implementations are `#[inline(always)]`, so that they are compiled for the instruction set.
    fn run<V: Lanes>(self, v: V) -> Self::Output;
}

impl Isa {
    /// Runs a program compiled for these instructions.
    ///
    /// # Panics
    /// When this processor lacks them.
    ///
    /// # Cost
    /// Some nanoseconds for the check: call it once for a chunk of work, not for a vector.
    pub(crate) fn run<P: Program>(self, program: P) -> P::Output {
        assert!(self.is_available(), "this processor lacks the instructions {}", self.name());
        // SAFETY: just checked.
        unsafe { self.run_unchecked(program) }
    }

    /// As [`Isa::run`], for short work.
    ///
    /// # Safety
    /// This processor has the instructions.
    pub(crate) unsafe fn run_unchecked<P: Program>(self, program: P) -> P::Output {
        match self {
            // SAFETY: the caller vouches for it.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::run(program) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 => unsafe { avx512::run(program) },
            _ => program.run(portable::F32xN::ZERO),
        }
    }
}

#[cfg(test)]
mod tests;
