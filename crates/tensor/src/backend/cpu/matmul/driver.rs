//! Cuts a product into tasks and runs them: packing, then tiles.

use super::epilogue::{Epilogue, Sums};
use super::kernel::{MAX_ROWS, TileRun};
use super::operands::{Format, LhsRows, RhsPanels, Rows};
use super::plan::{BLOCK_ROWS, Packing, Plan, Sizes};
use super::scratch::Scratch;
use crate::backend::Matmul;
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::shared_view::Start;
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

/// What a thread packs and sums for itself.
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

/// One call, prepared.
struct Product<'a> {
    isa: Isa,
    format: Format,
    m: usize,
    lhs: LhsRows<'a>,
    rhs: RhsPanels<'a>,
    epilogue: Epilogue<'a>,
    plan: Plan,
    /// Tells calls apart.
    id: u64,
    /// A packed together, from row 0 on, and B, from panel 0 on.
    a_together: *mut u32,
    b_together: *mut u32,
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
    // While another caller has the workspace, this one does without.
    let mut own = <[Scratch; 2]>::default();
    let mut shared = workspace.packed.try_lock().ok();
    let [a_packed, b_packed] = shared.as_deref_mut().unwrap_or(&mut own);
    if product.plan.a == Packing::Together {
        product.a_together = a_packed.words(product.m * product.lhs.row_words()).as_mut_ptr();
    }
    if product.plan.b == Packing::Together {
        product.b_together = b_packed.words(product.rhs.layout.n_words()).as_mut_ptr();
    }
    product.run(pool);
}

impl<'a> Product<'a> {
    fn new(pool: &Pool, isa: Isa, call: &'a mut Matmul<'_>) -> Self {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        let format = Format::new(isa, call);
        let lhs = LhsRows::new(format, call.a, call.k);
        let rhs = RhsPanels::new(format, pool, call);
        let sizes = Sizes {
            m: call.m,
            k: call.k,
            n_panels: rhs.layout.n_panels(),
            panel_width: format.kernels.panel_width(),
            row_bytes: 4 * lhs.row_words(),
            panel_bytes: 4 * rhs.layout.n_panel_words(),
            packs_a: lhs.direct.is_none(),
            transposes_a: call.a.transposed,
            packs_b: rhs.packed().is_none(),
        };
        Self {
            isa,
            format,
            m: call.m,
            lhs,
            rhs,
            plan: Plan::new(sizes, pool.n_threads()),
            epilogue: Epilogue::new(call),
            id: CALLS.fetch_add(1, Ordering::Relaxed),
            a_together: std::ptr::null_mut(),
            b_together: std::ptr::null_mut(),
        }
    }

    /// Runs all tasks: those that pack A together, those that pack B, and when they are done those that multiply.
    fn run(&self, pool: &Pool) {
        let Plan { rows, panels, a, b, shared } = self.plan;
        let n_panels = self.rhs.layout.n_panels();
        let n_parts = self.rhs.layout.n_steps.div_ceil(PACK_STEPS);
        let n_a = if a == Packing::Together { self.m.div_ceil(PACK_ROWS) } else { 0 };
        let n_b = if b == Packing::Together { n_panels * n_parts } else { 0 };
        let n_row_tasks = self.m.div_ceil(rows);
        let n_tasks = n_a + n_b + n_row_tasks * n_panels.div_ceil(panels);
        let barrier = Barrier { n_left: AtomicUsize::new(n_a + n_b) };
        let task = |i: usize| {
            if i < n_a + n_b {
                let _arrives_when_done = barrier.arrival();
                if i < n_a {
                    self.pack_rows(i);
                } else {
                    self.pack_panel((i - n_a) / n_parts, (i - n_a) % n_parts);
                }
                return;
            }
            barrier.wait();
            let i = i - n_a - n_b;
            let (first_row, first_panel) = (i % n_row_tasks * rows, i / n_row_tasks * panels);
            self.multiply(first_row..self.m.min(first_row + rows), first_panel..n_panels.min(first_panel + panels));
        };
        if shared { pool.run(n_tasks, &task) } else { (0..n_tasks).for_each(task) }
    }

    fn pack_rows(&self, part: usize) {
        let rows = part * PACK_ROWS..self.m.min((part + 1) * PACK_ROWS);
        // SAFETY: there is room for all rows, and every task packs its own.
        unsafe { self.lhs.pack(rows.clone(), self.a_together.add(rows.start * self.lhs.row_words())) };
    }

    fn pack_panel(&self, panel: usize, part: usize) {
        let layout = &self.rhs.layout;
        let steps = part * PACK_STEPS..layout.n_steps.min((part + 1) * PACK_STEPS);
        // SAFETY: there is room for all panels, and every task packs steps of its own.
        unsafe { self.rhs.pack(panel, steps, self.b_together.add(layout.offset(panel))) };
    }

    /// One task: these rows times these panels.
    fn multiply(&self, rows: Range<usize>, panels: Range<usize>) {
        LOCAL.with_borrow_mut(|local| {
            let a = self.rows_for(local, rows.clone());
            let b = self.panels_for(local, panels.clone());
            let layout = &self.rhs.layout;
            for first in rows.clone().step_by(BLOCK_ROWS) {
                let block = first..rows.end.min(first + BLOCK_ROWS);
                for panel in panels.clone() {
                    // SAFETY: the block lies in the rows that `a` stands for, and the panel in those of `b`.
                    unsafe {
                        let b = b.add(layout.offset(panel) - layout.offset(panels.start));
                        self.multiply_block(block.clone(), panel, a.skip(first - rows.start), b, &mut local.sums);
                    }
                }
            }
        });
    }

    /// Rows of A for the kernels, packed now if need be.
    fn rows_for(&self, local: &mut Local, rows: Range<usize>) -> Rows {
        if self.plan.a == Packing::Apart {
            let start = local.rows.words(rows.len() * self.lhs.row_words()).as_mut_ptr();
            if local.rows_of != (self.id, rows.start) {
                // SAFETY: these are this thread's own words, enough for the rows.
                unsafe { self.lhs.pack(rows.clone(), start) };
                local.rows_of = (self.id, rows.start);
            }
            return self.lhs.packed(start);
        }
        let all = self.lhs.direct.unwrap_or_else(|| self.lhs.packed(self.a_together));
        // SAFETY: these are rows of A.
        unsafe { all.skip(rows.start) }
    }

    /// The panels one behind the other, packed now if need be.
    fn panels_for(&self, local: &mut Local, panels: Range<usize>) -> *const u32 {
        let layout = &self.rhs.layout;
        let offset = layout.offset(panels.start);
        if self.plan.b == Packing::Apart {
            let start = local.panels.words(panels.len() * layout.n_panel_words()).as_mut_ptr();
            for panel in panels {
                // SAFETY: these are this thread's own words, enough for the panels.
                unsafe { self.rhs.pack(panel, 0..layout.n_steps, start.add(layout.offset(panel) - offset)) };
            }
            return start;
        }
        // SAFETY: all panels are there.
        unsafe { self.rhs.packed().unwrap_or(self.b_together).add(offset) }
    }

    /// At most [`BLOCK_ROWS`] rows, the first of them `a`, times one panel `b`, K cut into blocks.
    ///
    /// # Safety
    /// `a` and `b` are valid over the rows, the panel's columns and all of K; no other thread has this part of the result.
    unsafe fn multiply_block(&self, rows: Range<usize>, panel: usize, a: Rows, b: *const u32, sums: &mut Scratch) {
        let (width, n_steps) = (self.rhs.layout.width(panel), self.lhs.n_whole_steps());
        let columns = self.rhs.layout.columns(panel);
        let sums = sums.words(BLOCK_ROWS * width).as_mut_ptr().cast::<f32>();
        let n_blocks = n_steps.div_ceil(BLOCK_STEPS).max(1);
        // SAFETY: the columns of the panel lie in the result.
        let stored = unsafe { self.epilogue.stored_by_kernel(rows.start, &columns, width) };
        for i in 0..n_blocks {
            let steps = n_steps * i / n_blocks..n_steps * (i + 1) / n_blocks;
            let is_last = i + 1 == n_blocks;
            let stored = stored.filter(|_| is_last);
            for row in (0..rows.len()).step_by(MAX_ROWS) {
                let n_rows = MAX_ROWS.min(rows.len() - row);
                let tile_rows = rows.start + row..rows.start + row + n_rows;
                if is_last && (stored.is_none() || n_blocks > 1) {
                    self.epilogue.prefetch(tile_rows.clone(), columns.clone(), n_blocks > 1);
                }
                // Finished at once, all tiles may share one place.
                let tile = if n_blocks == 1 { sums } else { sums.wrapping_add(row * width) };
                // SAFETY: all pointers stay within what the caller vouches for and within the sums of this thread.
                unsafe {
                    let run = TileRun {
                        a: a.skip(row).start.add(steps.start * self.format.step_bytes()),
                        a_stride_bytes: a.stride_bytes,
                        a_step_bytes: self.format.step_bytes(),
                        b: b.add(steps.start * width),
                        b_stride: width,
                        n_steps: steps.len(),
                        half_step: is_last && n_steps < self.rhs.layout.n_steps,
                        sums: (i > 0).then_some(tile.cast_const()),
                        sums_stride: width,
                        to: stored.map_or(Start::F32(tile), |start| start.add(row * self.rhs.layout.n)),
                        to_stride: if stored.is_some() { self.rhs.layout.n } else { width },
                    };
                    self.format.kernels.kernel(n_rows, width)(&run);
                    if is_last && stored.is_none() {
                        let values = std::slice::from_raw_parts_mut(tile, n_rows * width);
                        let sums = Sums { values, width, rows: tile_rows, columns: columns.clone() };
                        self.epilogue.finish(self.isa, sums);
                    }
                }
            }
        }
    }
}

/// Holds tasks back until those before them, which pack, are done.
struct Barrier {
    n_left: AtomicUsize,
}

/// Arrives at a [`Barrier`] when dropped, be it by a panic.
struct Arrival<'a>(&'a Barrier);

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.0.n_left.fetch_sub(1, Ordering::Release);
    }
}

impl Barrier {
    fn arrival(&self) -> Arrival<'_> {
        Arrival(self)
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
