//! Cuts a product into tasks and runs them: packing, then tiles.

use super::epilogue::{Epilogue, Sums};
use super::kernel::{KernelSet, MAX_ROWS, TileRun};
use super::pack::{Operand, Target, Word, pack};
use super::panels::{PackedPanels, PanelLayout, SendPtr};
use super::plan::{BLOCK_ROWS, Packing, Plan, Sizes};
use super::scratch::Scratch;
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::pool::Pool;
use crate::backend::{Matmul, Rhs};
use crate::dtype::{DType, View};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Steps of K that are multiplied at a time: of a panel that long about a fifth of the second-level cache is filled.
const BLOCK_STEPS: usize = 768;
/// Rows of A, or steps of a panel, that one task packs.
const PACK_ROWS: usize = 64;
const PACK_STEPS: usize = 256;

/// Memory that calls use again: operands that all threads pack together.
#[derive(Debug, Default)]
pub(in crate::backend::cpu) struct Workspace {
    packed: Mutex<[Scratch; 2]>,
}

/// What a thread packs for itself.
#[derive(Default)]
struct Local {
    rows: Scratch,
    /// The call and the first row that `rows` was packed for.
    rows_of: (u64, usize),
    panels: Scratch,
    sums: Scratch,
}

thread_local! {
    static LOCAL: RefCell<Local> = RefCell::default();
}

/// Rows of A for the kernels.
#[derive(Clone, Copy)]
struct Rows {
    start: *const u8,
    stride_bytes: usize,
}

/// One call, prepared.
struct Product<'a> {
    isa: Isa,
    kernels: &'static KernelSet,
    m: usize,
    k: usize,
    a: Operand<'a>,
    a_word: Word,
    /// A as it lies, where the kernels can read it so.
    a_direct: Option<Rows>,
    b_word: Word,
    b: Option<Operand<'a>>,
    layout: PanelLayout,
    epilogue: Epilogue<'a>,
    plan: Plan,
    /// Tells calls apart.
    id: u64,
    /// A packed together, from row 0 on.
    a_together: *mut u32,
    /// All panels, packed before or together.
    b_panels: *mut u32,
}

// SAFETY: the tasks read the operands and write to words and elements of their own, as they say where they do.
unsafe impl Sync for Product<'_> {}

/// See [`Matmul`].
pub(in crate::backend::cpu) fn matmul(pool: &Pool, isa: Isa, workspace: &Workspace, mut call: Matmul<'_>) {
    call.check();
    if call.m == 0 || call.n == 0 {
        return;
    }
    let mut product = Product::new(pool, isa, &mut call);
    // Another caller has the workspace: its own, for once.
    let mut own = <[Scratch; 2]>::default();
    let mut shared = workspace.packed.try_lock().ok();
    let [a_packed, b_packed] = shared.as_deref_mut().unwrap_or(&mut own);
    if product.plan.a == Packing::Together {
        product.a_together = a_packed.words(product.m * product.row_words()).as_mut_ptr();
    }
    if product.plan.b == Packing::Together {
        product.b_panels = b_packed.words(product.layout.n_words()).as_mut_ptr();
    }
    product.run(pool);
}

impl<'a> Product<'a> {
    fn new(pool: &Pool, isa: Isa, call: &'a mut Matmul<'_>) -> Self {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        let rounds = call.rounds_to_bf16();
        let (kernels, a_word, b_word) = match (rounds, isa) {
            (false, _) => (KernelSet::f32(isa), Word::F32, Word::F32),
            (true, Isa::Avx512Bf16) => (KernelSet::bf16(isa), Word::Bf16Pair, Word::Bf16Pair),
            (true, _) => (KernelSet::bf16(isa), Word::RoundedF32, Word::Bf16Pair),
        };
        let (m, n, k) = (call.m, call.n, call.k);
        let layout = PanelLayout::new(kernels, n, b_word.n_steps(k));
        let (b, b_panels) = match call.b {
            Rhs::Matrix(matrix) => (Some(Operand::rhs(matrix, k)), std::ptr::null_mut()),
            Rhs::Packed(packed) => (None, PackedPanels::of(packed, pool, isa, rounds).as_ptr().cast_mut()),
        };
        let a_direct = match (call.a.data, a_word) {
            _ if call.a.transposed => None,
            (View::F32(data), Word::F32) => Some((data.as_ptr().cast::<u8>(), DType::F32)),
            (View::Bf16(data), Word::Bf16Pair) => Some((data.as_ptr().cast::<u8>(), DType::Bf16)),
            _ => None,
        };
        let stride = call.a.row_stride;
        let a_direct = a_direct.map(|(start, dtype)| Rows { start, stride_bytes: stride * dtype.size_bytes() });
        let sizes = Sizes {
            m,
            n_panels: layout.n_panels(),
            panel_width: kernels.panel_width(),
            k,
            row_bytes: 4 * a_word.n_steps(k),
            panel_bytes: 4 * layout.n_panel_words(),
            packs_a: a_direct.is_none(),
            transposes_a: call.a.transposed,
            packs_b: b.is_some(),
        };
        Self {
            isa,
            kernels,
            m,
            k,
            a: Operand::lhs(call.a, k),
            a_word,
            a_direct,
            b_word,
            b,
            layout,
            plan: Plan::new(sizes, pool.n_threads()),
            epilogue: Epilogue::new(call),
            id: CALLS.fetch_add(1, Ordering::Relaxed),
            a_together: std::ptr::null_mut(),
            b_panels,
        }
    }

    /// Words from one packed row of A to the next: an odd number of cache lines, so that rows do not fall into the same few
    /// places of a cache.
    fn row_words(&self) -> usize {
        (self.a_word.n_steps(self.k).div_ceil(16) | 1) * 16
    }

    fn run(&self, pool: &Pool) {
        let Plan { rows, panels, a, b, shared } = self.plan;
        let n_a = if a == Packing::Together { self.m.div_ceil(PACK_ROWS) } else { 0 };
        let n_parts = self.layout.n_steps.div_ceil(PACK_STEPS);
        let n_b = if b == Packing::Together { self.layout.n_panels() * n_parts } else { 0 };
        let n_row_tasks = self.m.div_ceil(rows);
        let n_tasks = n_row_tasks * self.layout.n_panels().div_ceil(panels);
        let barrier = Barrier { n_left: AtomicUsize::new(n_a + n_b) };
        let task = |i: usize| {
            if i < n_a + n_b {
                let _done = barrier.arrive();
                if i < n_a {
                    self.pack_rows_together(i)
                } else {
                    self.pack_panel_together((i - n_a) / n_parts, (i - n_a) % n_parts)
                }
                return;
            }
            barrier.wait();
            let i = i - n_a - n_b;
            let (first_row, first_panel) = (i % n_row_tasks * rows, i / n_row_tasks * panels);
            self.multiply(
                first_row..self.m.min(first_row + rows),
                first_panel..self.layout.n_panels().min(first_panel + panels),
            );
        };
        if shared { pool.run(n_a + n_b + n_tasks, &task) } else { (0..n_a + n_b + n_tasks).for_each(task) }
    }

    fn pack_rows_together(&self, part: usize) {
        let rows = part * PACK_ROWS..self.m.min((part + 1) * PACK_ROWS);
        // SAFETY: there is room for all rows, and every task packs its own.
        unsafe { self.pack_rows(rows.clone(), self.a_together.add(rows.start * self.row_words())) };
    }

    fn pack_panel_together(&self, panel: usize, part: usize) {
        let steps = part * PACK_STEPS..self.layout.n_steps.min((part + 1) * PACK_STEPS);
        // SAFETY: there is room for all panels, and every task packs steps of its own.
        unsafe { self.pack_panel(panel, steps, self.b_panels.add(self.layout.offset(panel))) };
    }

    /// # Safety
    /// The words of these rows from `start` on are valid and nobody else uses them.
    unsafe fn pack_rows(&self, rows: Range<usize>, start: *mut u32) {
        let target = Target { start, step_stride: 1, line_stride: self.row_words() };
        // SAFETY: the caller keeps the same contract; A has been checked to have the rows.
        unsafe { pack(self.isa, self.a_word, &self.a, 0..self.a_word.n_steps(self.k), rows, target) };
    }

    /// # Safety
    /// The words of the panel from `start` on are valid and nobody else uses those of the steps.
    unsafe fn pack_panel(&self, panel: usize, steps: Range<usize>, start: *mut u32) {
        let b = self.b.as_ref().expect("only an unpacked right-hand side is packed");
        // SAFETY: the caller keeps the same contract; B has been checked to have the columns.
        unsafe { self.layout.pack(self.isa, self.b_word, b, panel, steps, start) };
    }

    /// One task: these rows times these panels.
    fn multiply(&self, rows: Range<usize>, panels: Range<usize>) {
        LOCAL.with_borrow_mut(|local| {
            let a = self.rows_for(local, rows.clone());
            let offset = self.layout.offset(panels.start);
            let b = self.panels_for(local, panels.clone());
            for first in rows.clone().step_by(BLOCK_ROWS) {
                let block = first..rows.end.min(first + BLOCK_ROWS);
                for panel in panels.clone() {
                    // SAFETY: the block lies in the rows that `a` stands for, and the panel in those of `b`.
                    unsafe {
                        let a = Rows { start: a.start.add((first - rows.start) * a.stride_bytes), ..a };
                        self.multiply_block(block.clone(), panel, a, b.add(self.layout.offset(panel) - offset), local);
                    }
                }
            }
        });
    }

    /// Rows of A for the kernels, packed now if need be.
    fn rows_for(&self, local: &mut Local, rows: Range<usize>) -> Rows {
        let stride_bytes = 4 * self.row_words();
        match self.plan.a {
            Packing::None => {
                let all = self.a_direct.expect("A that is not packed is read directly");
                // SAFETY: A has been checked to have these rows.
                Rows { start: unsafe { all.start.add(rows.start * all.stride_bytes) }, ..all }
            }
            Packing::Together => {
                // SAFETY: there is room for all rows.
                let start = unsafe { self.a_together.add(rows.start * self.row_words()) };
                Rows { start: start.cast_const().cast(), stride_bytes }
            }
            Packing::Apart => {
                let start = local.rows.words(rows.len() * self.row_words()).as_mut_ptr();
                if local.rows_of != (self.id, rows.start) {
                    // SAFETY: these are this thread's own words, enough for the rows.
                    unsafe { self.pack_rows(rows.clone(), start) };
                    local.rows_of = (self.id, rows.start);
                }
                Rows { start: start.cast_const().cast(), stride_bytes }
            }
        }
    }

    /// The panels one behind the other, packed now if need be.
    fn panels_for(&self, local: &mut Local, panels: Range<usize>) -> *const u32 {
        let offset = self.layout.offset(panels.start);
        if self.plan.b != Packing::Apart {
            // SAFETY: all panels are there.
            return unsafe { self.b_panels.add(offset) };
        }
        let start = local.panels.words(panels.len() * self.layout.n_panel_words()).as_mut_ptr();
        for panel in panels {
            // SAFETY: these are this thread's own words, enough for the panels.
            unsafe { self.pack_panel(panel, 0..self.layout.n_steps, start.add(self.layout.offset(panel) - offset)) };
        }
        start
    }

    /// At most [`BLOCK_ROWS`] rows, the first of them `a`, times one panel `b`.
    ///
    /// # Safety
    /// `a` and `b` are valid over the rows, the panel's columns and all of K; no other thread has this part of the result.
    unsafe fn multiply_block(&self, rows: Range<usize>, panel: usize, a: Rows, b: *const u32, local: &mut Local) {
        let width = self.layout.width(panel);
        let tiles = local.sums.words(BLOCK_ROWS * width).as_mut_ptr().cast::<f32>();
        let step_bytes = 4 * self.a_word.n_steps(self.k) / self.layout.n_steps.max(1);
        // Read directly, an odd line of bf16 has half a word at its end.
        let n_whole =
            if self.a_direct.is_some() && self.a_word == Word::Bf16Pair { self.k / 2 } else { self.layout.n_steps };
        let n_blocks = n_whole.div_ceil(BLOCK_STEPS).max(1);
        for i in 0..n_blocks {
            let steps = n_whole * i / n_blocks..n_whole * (i + 1) / n_blocks;
            let is_last = i + 1 == n_blocks;
            for first in rows.clone().step_by(MAX_ROWS) {
                let tile_rows = first..rows.end.min(first + MAX_ROWS);
                let row = first - rows.start;
                if is_last {
                    self.epilogue.prefetch(tile_rows.clone(), self.layout.columns(panel));
                }
                // SAFETY: all pointers stay within what the caller vouches for and within the tiles of this thread.
                unsafe {
                    let run = TileRun {
                        a: a.start.add(row * a.stride_bytes + steps.start * step_bytes),
                        a_stride_bytes: a.stride_bytes,
                        a_step_bytes: step_bytes,
                        b: b.add(steps.start * width),
                        b_stride: width,
                        n_steps: steps.len(),
                        half_step: is_last && n_whole < self.layout.n_steps,
                        // Finished at once, all tiles may share one place.
                        tile: if n_blocks == 1 { tiles } else { tiles.add(row * width) },
                        tile_stride: width,
                        resume: i > 0,
                    };
                    self.kernels.kernel(tile_rows.len(), width)(&run);
                    if is_last {
                        let values = std::slice::from_raw_parts_mut(run.tile, tile_rows.len() * width);
                        let columns = self.layout.columns(panel);
                        self.epilogue.finish(self.isa, Sums { values, width, rows: tile_rows, columns });
                    }
                }
            }
        }
    }
}

/// Holds tasks back until those before them, which pack, have ended.
struct Barrier {
    n_left: AtomicUsize,
}

impl Barrier {
    /// To be dropped when the task has ended, be it by a panic.
    fn arrive(&self) -> impl Drop + '_ {
        struct Done<'a>(&'a AtomicUsize);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Release);
            }
        }
        Done(&self.n_left)
    }

    fn wait(&self) {
        let mut n_spins = 0_u32;
        while self.n_left.load(Ordering::Acquire) > 0 {
            // Whoever packs may have lost its core to another program.
            n_spins += 1;
            if n_spins.is_multiple_of(256) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}
