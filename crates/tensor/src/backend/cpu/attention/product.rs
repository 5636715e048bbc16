//! The small matrix products of attention: c (+)= a·b with all operands in the caches.
//!
//! Operands are made of 32-bit *words*. A word holds one f32 or two neighbours of a sum as bf16; a product walks the words
//! of `a`'s rows, and each step adds a word of `a`, broadcast, times a vector of `b`'s words. So one kernel serves both,
//! and an element of `c` is summed in the order of the steps whatever the tile it falls into.

use super::simd::{Avx2, Avx512, Portable, Simd};
use std::arch::x86_64::*;

/// Rows of a tile: with [`Simd::TILE`] vectors a row as many accumulators as fit the registers.
pub(super) const TILE_ROWS: usize = 6;

/// The operands of a product. Distances count words.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// Steps of the sum.
    pub(super) n_steps: usize,
    pub(super) a: *const f32,
    pub(super) a_row: usize,
    pub(super) a_step: usize,
    pub(super) b: *const f32,
    pub(super) b_step: usize,
    pub(super) c: *mut f32,
    pub(super) c_row: usize,
    /// Adds to what `c` holds.
    pub(super) accumulate: bool,
}

/// How elements are multiplied and stored as words.
pub(super) trait Product {
    type V: Simd;
    /// Elements in a word.
    const STEP: usize;

    /// acc + a·b, for the one or two elements in each lane's word.
    unsafe fn multiply_add(a: Self::V, b: Self::V, acc: Self::V) -> Self::V;

    /// c (+)= a·b for `n_rows` rows of `n_vectors` vectors.
    unsafe fn multiply(n_rows: usize, n_vectors: usize, at: Operands);

    /// Stores the elements `first`, `first + 1` … of a row of words.
    unsafe fn store_along(self_row: *mut f32, first: usize, x: Self::V);

    /// Stores two neighbouring rows so that steps go down the rows: into one row of words, or into two.
    unsafe fn store_down(rows: *mut f32, row_stride: usize, x0: Self::V, x1: Self::V);
}

/// f32 by f32.
pub(super) struct Single<V>(V);

/// Pairs of bf16, summed in f32.
pub(super) struct Pairs;

macro_rules! single {
    ($simd:ty, $($feature:literal)?) => {
        impl Product for Single<$simd> {
            type V = $simd;
            const STEP: usize = 1;

            #[inline(always)]
            unsafe fn multiply_add(a: $simd, b: $simd, acc: $simd) -> $simd {
                unsafe { a.fma(b, acc) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn multiply(n_rows: usize, n_vectors: usize, at: Operands) {
                unsafe { multiply::<Self>(n_rows, n_vectors, at) }
            }

            #[inline(always)]
            unsafe fn store_along(row: *mut f32, first: usize, x: $simd) {
                unsafe { x.store(row.add(first)) }
            }

            #[inline(always)]
            unsafe fn store_down(rows: *mut f32, row_stride: usize, x0: $simd, x1: $simd) {
                unsafe {
                    x0.store(rows);
                    x1.store(rows.add(row_stride));
                }
            }
        }
    };
}

single!(Portable,);
single!(Avx2, "avx2,fma");
single!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl");

impl Product for Pairs {
    type V = Avx512;
    const STEP: usize = 2;

    #[inline(always)]
    unsafe fn multiply_add(a: Avx512, b: Avx512, acc: Avx512) -> Avx512 {
        unsafe { Avx512(_mm512_dpbf16_ps(acc.0, std::mem::transmute(a.0), std::mem::transmute(b.0))) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn multiply(n_rows: usize, n_vectors: usize, at: Operands) {
        unsafe { multiply::<Self>(n_rows, n_vectors, at) }
    }

    #[inline(always)]
    unsafe fn store_along(row: *mut f32, first: usize, x: Avx512) {
        unsafe {
            let narrow: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(x.0));
            _mm256_storeu_si256(row.cast::<u16>().add(first).cast(), narrow);
        }
    }

    #[inline(always)]
    unsafe fn store_down(rows: *mut f32, _row_stride: usize, x0: Avx512, x1: Avx512) {
        unsafe {
            let low: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(x0.0));
            let high: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(x1.0));
            let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high));
            _mm512_storeu_si512(rows.cast(), _mm512_or_si512(_mm512_cvtepu16_epi32(low), high));
        }
    }
}

#[inline(always)]
unsafe fn multiply<P: Product>(n_rows: usize, n_vectors: usize, at: Operands) {
    let mut row = 0;
    while row < n_rows {
        let height = match n_rows - row {
            0..2 => 1,
            2..4 => 2,
            4..6 => 4,
            _ => 6,
        };
        let mut column = 0;
        while column < n_vectors {
            let width = if n_vectors - column < P::V::TILE { 1 } else { P::V::TILE };
            unsafe {
                let at = Operands {
                    a: at.a.add(row * at.a_row),
                    b: at.b.add(column * P::V::N),
                    c: at.c.add(row * at.c_row + column * P::V::N),
                    ..at
                };
                tile_of_height::<P>(height, width, at);
            }
            column += width;
        }
        row += height;
    }
}

#[inline(always)]
unsafe fn tile_of_height<P: Product>(height: usize, width: usize, at: Operands) {
    unsafe {
        match (height, width) {
            (6, 1) => tile::<P, 6, 1>(at),
            (4, 1) => tile::<P, 4, 1>(at),
            (2, 1) => tile::<P, 2, 1>(at),
            (1, 1) => tile::<P, 1, 1>(at),
            (6, 2) => tile::<P, 6, 2>(at),
            (4, 2) => tile::<P, 4, 2>(at),
            (2, 2) => tile::<P, 2, 2>(at),
            (1, 2) => tile::<P, 1, 2>(at),
            (6, 4) => tile::<P, 6, 4>(at),
            (4, 4) => tile::<P, 4, 4>(at),
            (2, 4) => tile::<P, 2, 4>(at),
            (1, 4) => tile::<P, 1, 4>(at),
            _ => unreachable!("no such tile"),
        }
    }
}

#[inline(always)]
unsafe fn tile<P: Product, const R: usize, const C: usize>(at: Operands) {
    if C > P::V::TILE {
        unreachable!("tiles are at most {} vectors wide", P::V::TILE);
    }
    unsafe {
        let zero = P::V::splat(0.0);
        let mut sums = [[zero; C]; R];
        if at.accumulate {
            for r in 0..R {
                for c in 0..C {
                    sums[r][c] = P::V::load(at.c.add(r * at.c_row + c * P::V::N));
                }
            }
        }
        let (mut a, mut b) = (at.a, at.b);
        for _ in 0..at.n_steps {
            let mut row = [zero; C];
            for c in 0..C {
                row[c] = P::V::load(b.add(c * P::V::N));
            }
            for r in 0..R {
                let word = P::V::splat(*a.add(r * at.a_row));
                for c in 0..C {
                    sums[r][c] = P::multiply_add(word, row[c], sums[r][c]);
                }
            }
            a = a.add(at.a_step);
            b = b.add(at.b_step);
        }
        for r in 0..R {
            for c in 0..C {
                sums[r][c].store(at.c.add(r * at.c_row + c * P::V::N));
            }
        }
    }
}
