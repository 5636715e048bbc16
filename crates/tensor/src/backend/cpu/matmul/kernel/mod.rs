//! The innermost loop: a tile of the result kept in registers while K runs.
//!
//! The loop is written once, over a small trait [`Multiply`] that says how one step along K is multiplied, and compiled
//! for every instruction set and tile size. A *step* is one 32-bit word of a panel of B in every column: one f32, or two
//! consecutive bf16 (the earlier in the lower half). Two consecutive f16 share a vector instead of a word: its lower half has
//! the earlier ones of all columns, its upper half the later ones, since the instruction that widens them takes neighbours.
//! Every element of the result is one chain of multiply-adds in the
//! order of K, so its bits depend on K alone, not on the tile that it fell into.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::lanes::{Element, MAX_LANES};
use crate::backend::cpu::shared_view::Start;
use crate::quant::Half;
use half::bf16;

/// Most rows in a tile: with 4 vectors of columns 24 accumulators, 4 vectors of B and one of A fill 32 registers.
pub(crate) const MAX_ROWS: usize = 6;
/// Most vectors of columns in a tile.
pub(crate) const MAX_VECTORS: usize = 4;

/// One run of a kernel: `to = a·b`, or `to = sums + a·b`.
#[derive(Clone, Copy)]
pub(crate) struct TileRun {
    /// Row 0 of A at the first step.
    pub(crate) a: *const u8,
    /// From one row of A to the next.
    pub(crate) a_stride_bytes: usize,
    /// From one step of A to the next.
    pub(crate) a_step_bytes: usize,
    /// The panel at the first step, one word for every column.
    pub(crate) b: *const u32,
    /// Words from one step of the panel to the next.
    pub(crate) b_stride: usize,
    /// Number of steps.
    pub(crate) n_steps: usize,
    /// Whether one more step follows of which A has only the first half.
    pub(crate) half_step: bool,
    /// The sums that are continued, if they are not begun here.
    pub(crate) sums: Option<*const f32>,
    /// From one row of those to the next.
    pub(crate) sums_stride: usize,
    /// Where the sums go, which may be where they came from; to bf16 they are rounded to nearest even.
    pub(crate) to: Start,
    /// Elements from one row there to the next.
    pub(crate) to_stride: usize,
}

/// What is multiplied by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operands {
    /// f32 by f32.
    F32,
    /// bf16 by bf16.
    Bf16,
    /// f32 by numbers of 16 bits, which are widened on the way into the registers.
    F32ByHalf(Half),
}

/// A compiled kernel.
///
/// # Safety
/// The processor has the instructions it was compiled for; the pointers of the run are valid for the rows, steps and
/// columns of this kernel, and nobody else uses what it writes.
pub(crate) type Kernel = unsafe fn(&TileRun);

/// The kernels for one kind of operands on one instruction set.
pub(crate) struct KernelSet {
    /// Columns of a vector.
    pub(crate) n_lanes: usize,
    /// Vectors of columns in a full panel.
    pub(crate) n_vectors: usize,
    /// By rows − 1 and vectors − 1.
    pub(crate) kernels: [[Kernel; MAX_VECTORS]; MAX_ROWS],
}

impl KernelSet {
    /// Columns of a full panel.
    pub(crate) fn panel_width(&self) -> usize {
        self.n_lanes * self.n_vectors
    }

    /// The kernel for a tile of `rows` rows of a panel `width` columns wide.
    pub(crate) fn kernel(&self, rows: usize, width: usize) -> Kernel {
        self.kernels[rows - 1][width / self.n_lanes - 1]
    }

    /// The kernels for these operands.
    pub(crate) fn of(isa: Isa, operands: Operands) -> &'static KernelSet {
        match (operands, isa) {
            (Operands::F32, _) => Self::f32(isa),
            (Operands::F32ByHalf(Half::Bf16), Isa::Avx512Bf16) => Self::bf16(Isa::Avx512),
            (Operands::Bf16 | Operands::F32ByHalf(Half::Bf16), _) => Self::bf16(isa),
            (Operands::F32ByHalf(Half::F16), _) => Self::f16(isa),
        }
    }

    /// Kernels for f32.
    pub(crate) fn f32(isa: Isa) -> &'static KernelSet {
        match isa {
            Isa::Portable => &portable::F32,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::F32,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 => &avx512::F32,
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("a backend is made only with instructions that the processor has"),
        }
    }

    /// Kernels for bf16, with A in bf16 where [`Isa::Avx512Bf16`] multiplies it directly, and else in f32.
    pub(crate) fn bf16(isa: Isa) -> &'static KernelSet {
        match isa {
            Isa::Portable => &portable::BF16,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::BF16,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::BF16,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => &avx512::BF16_DOT,
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("a backend is made only with instructions that the processor has"),
        }
    }

    /// Kernels for f16, with A in f32.
    fn f16(isa: Isa) -> &'static KernelSet {
        match isa {
            Isa::Portable => &portable::F16,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::F16,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 => &avx512::F16,
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("a backend is made only with instructions that the processor has"),
        }
    }
}

/// How one step is multiplied. All methods are compiled into a kernel that enables the instructions they need.
pub(crate) trait Multiply {
    /// A vector of sums, one for each column.
    type Sums: Copy;
    /// The words of A or B that are multiplied at once.
    type Words: Copy;
    /// Columns of a vector.
    const N_LANES: usize;
    /// Multiply-adds that a step takes, one after the other.
    const N_PARTS: usize;

    unsafe fn zero() -> Self::Sums;
    unsafe fn load_sums(from: *const f32) -> Self::Sums;
    unsafe fn store_sums(sums: Self::Sums, to: *mut f32);
    /// As [`Multiply::store_sums`], rounded to nearest even.
    #[inline(always)]
    unsafe fn store_bf16(sums: Self::Sums, to: *mut bf16) {
        let mut values = [0.0; MAX_LANES];
        // SAFETY: the values have room for every vector; the pointer is the caller's to vouch for.
        unsafe {
            Self::store_sums(sums, values.as_mut_ptr());
            for (i, &value) in values[..Self::N_LANES].iter().enumerate() {
                to.add(i).write(<bf16 as Element>::from_f32(value));
            }
        }
    }
    /// Part `part` of the words of `N_LANES` columns.
    unsafe fn load_b(from: *const u32, part: usize) -> Self::Words;
    /// Part `part` of the step of one row, in all columns.
    unsafe fn load_a(from: *const u8, part: usize) -> Self::Words;
    /// The step of which A has only the first half, in all columns.
    unsafe fn load_half_a(from: *const u8) -> Self::Words {
        // SAFETY: the first part of a step is its first half; the caller vouches for the rest.
        unsafe { Self::load_a(from, 0) }
    }
    unsafe fn multiply_add(a: Self::Words, b: Self::Words, sums: Self::Sums) -> Self::Sums;
}

/// Writes a block out once for each row or vector of a tile, whose number is then a literal: a loop over the accumulators
/// made the compiler keep them in memory.
macro_rules! unrolled {
    ($name:ident < ROWS, $body:block) => {
        unrolled!(@ $name < ROWS, $body, 0 1 2 3 4 5)
    };
    ($name:ident < VECTORS, $body:block) => {
        unrolled!(@ $name < VECTORS, $body, 0 1 2 3)
    };
    (@ $name:ident < $bound:ident, $body:block, $($literal:literal)+) => {
        {
            $(if $literal < $bound {
                const $name: usize = $literal;
                $body
            })+
        }
    };
}

/// Runs a tile of `ROWS` rows and `VECTORS` vectors of columns.
///
/// # Safety
/// As for [`Kernel`].
#[inline(always)]
pub(crate) unsafe fn run_tile<M: Multiply, const ROWS: usize, const VECTORS: usize>(run: &TileRun) {
    // SAFETY: the caller vouches for the instructions and for the pointers over all rows, steps and columns.
    unsafe {
        let mut sums = [[M::zero(); MAX_VECTORS]; MAX_ROWS];
        if let Some(from) = run.sums {
            unrolled!(I < ROWS, {
                unrolled!(J < VECTORS, {
                    sums[I][J] = M::load_sums(from.wrapping_add(I.wrapping_mul(run.sums_stride)).add(J * M::N_LANES))
                })
            });
        }
        let mut b = run.b;
        let mut a = [run.a; MAX_ROWS];
        unrolled!(I < ROWS, { a[I] = run.a.wrapping_add(I.wrapping_mul(run.a_stride_bytes)) });
        for _ in 0..run.n_steps {
            for part in 0..M::N_PARTS {
                let mut words = [M::load_b(b, part); MAX_VECTORS];
                unrolled!(J < VECTORS, { words[J] = M::load_b(b.add(J * M::N_LANES), part) });
                unrolled!(I < ROWS, {
                    let a = M::load_a(a[I], part);
                    unrolled!(J < VECTORS, { sums[I][J] = M::multiply_add(a, words[J], sums[I][J]) });
                });
            }
            b = b.add(run.b_stride);
            unrolled!(I < ROWS, { a[I] = a[I].add(run.a_step_bytes) });
        }
        if run.half_step {
            unrolled!(I < ROWS, {
                let a = M::load_half_a(a[I]);
                unrolled!(J < VECTORS, {
                    sums[I][J] = M::multiply_add(a, M::load_b(b.add(J * M::N_LANES), 0), sums[I][J])
                });
            });
        }
        match run.to {
            Start::F32(to) => unrolled!(I < ROWS, {
                unrolled!(J < VECTORS, {
                    M::store_sums(sums[I][J], to.wrapping_add(I.wrapping_mul(run.to_stride)).add(J * M::N_LANES))
                })
            }),
            Start::Bf16(to) => unrolled!(I < ROWS, {
                unrolled!(J < VECTORS, {
                    M::store_bf16(sums[I][J], to.wrapping_add(I.wrapping_mul(run.to_stride)).add(J * M::N_LANES))
                })
            }),
        }
    }
}

/// Compiles the kernels of one [`Multiply`] with the given instructions enabled.
macro_rules! kernel_set {
    ($(#[$doc:meta])* $name:ident, $multiply:ty, $n_vectors:literal $(, $feature:literal)?) => {
        $(#[$doc])*
        pub(crate) static $name: super::KernelSet = {
            use super::{KernelSet, Multiply, TileRun, run_tile};

            $(#[target_feature(enable = $feature)])?
            unsafe fn kernel<const ROWS: usize, const VECTORS: usize>(run: &TileRun) {
                // SAFETY: the caller keeps the same contract.
                unsafe { run_tile::<$multiply, ROWS, VECTORS>(run) }
            }
            KernelSet {
                n_lanes: <$multiply as Multiply>::N_LANES,
                n_vectors: $n_vectors,
                kernels: kernel_set!(@rows kernel, $n_vectors, 1 2 3 4 5 6),
            }
        };
    };
    (@rows $kernel:ident, $n_vectors:literal, $($rows:literal)+) => {
        [$([
            $kernel::<$rows, 1>,
            $kernel::<$rows, { if $n_vectors > 1 { 2 } else { 1 } }>,
            $kernel::<$rows, { if $n_vectors > 2 { 3 } else { 1 } }>,
            $kernel::<$rows, { if $n_vectors > 3 { 4 } else { 1 } }>,
        ]),+]
    };
}

use kernel_set;
