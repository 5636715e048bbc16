//! Products with weights that stay in quantised blocks.
//!
//! The left-hand side is rounded to signed bytes, 32 of which share a scale ([`rows`]). Products of codes are summed in
//! whole numbers, exactly; the sums of 32 are scaled and added up in f32, in the order of K. So the result does not depend
//! on threads, on cutting, on how many rows there are, nor on which vector instructions with fused multiply-add are used.

mod kernel;
mod layout;
mod rows;
#[cfg(test)]
mod tests;

use super::isa::Isa;
use super::matmul::scratch::Scratch;
use super::matmul::{Epilogue, Sums};
use super::packed::Use;
use super::pool::{Pool, chunks};
use crate::backend::{Elements, Matmul, PackedMatrix};
use crate::quant::BlockRows;
use kernel::{Kernel, Tile};
use layout::{PackedBlocks, Source, WIDTH};
use rows::RoundedRows;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;

/// Rows that a task multiplies while a panel is in the nearest cache.
const BLOCK_ROWS: usize = 64;
/// Panels of a task that has one row, at most.
const MAX_PANELS: usize = 16;
/// Codes that a task should multiply at least: less is not worth handing out.
const TASK_CODES: usize = 32 << 10;

/// Memory that calls use again.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    rows: Mutex<RoundedRows>,
}

thread_local! {
    /// Sums, and a panel that is used but once.
    static LOCAL: RefCell<(Vec<f32>, Scratch)> = RefCell::default();
}

/// Rearranges rows of blocks, which are the matrix's columns, for repeated use.
pub(super) fn pack(pool: &Pool, isa: Isa, k: usize, parts: &[BlockRows<'_>]) -> PackedMatrix {
    matrix(k, PackedBlocks::at_once(pool, parts, Kernel::of(isa).takes_signed()))
}

/// As [`pack`], done when the matrix is used again.
pub(super) fn pack_when_used(isa: Isa, k: usize, parts: Vec<BlockRows<'static>>) -> PackedMatrix {
    matrix(k, PackedBlocks::when_used(parts, Kernel::of(isa).takes_signed()))
}

fn matrix(k: usize, blocks: PackedBlocks) -> PackedMatrix {
    let n_columns = blocks.sections.last().map_or(0, |section| section.columns.end);
    let n_bytes = blocks.sections.iter().map(|section| section.n_panels() * section.panel_bytes()).sum();
    PackedMatrix { n_rows: k, n_columns, elements: Elements::Blocks, n_bytes, panels: Box::new(blocks) }
}

/// The numbers of some columns, one behind the other.
pub(super) fn unpack(pool: &Pool, packed: &PackedMatrix, columns: &[u32], out: &mut [f32]) {
    let blocks = blocks_of(packed);
    let source = blocks.find(pool, Use::Unpack, true);
    pool.for_each(chunks(out, packed.n_rows), |i, out| blocks.unpack(columns[i] as usize, &source, out));
}

fn blocks_of(packed: &PackedMatrix) -> &PackedBlocks {
    packed.panels.downcast_ref().expect("a matrix of blocks packed by a cpu backend")
}

/// See [`Matmul`]; `packed` is its right-hand side.
///
/// # Panics
/// When the matrix was packed for instructions that take its codes otherwise.
pub(super) fn matmul(pool: &Pool, isa: Isa, workspace: &Workspace, mut call: Matmul<'_>, packed: &PackedMatrix) {
    call.check();
    if call.m == 0 || call.n == 0 {
        return;
    }
    // While another caller has the workspace, this one does without.
    let mut own = RoundedRows::default();
    let mut shared = workspace.rows.try_lock().ok();
    let rows = shared.as_deref_mut().unwrap_or(&mut own);
    rows.round(pool, isa, call.a, [call.m, call.k], Kernel::of(isa).max_rows());
    let (m, k) = (call.m, call.k);
    let (blocks, kernel) = (blocks_of(packed), Kernel::of(isa));
    assert_eq!(blocks.is_signed, kernel.takes_signed(), "a matrix is packed for other vector instructions");
    // Of more rows than a task takes, each task would pack its panels again.
    let source = blocks.find(pool, Use::Product, m <= BLOCK_ROWS);
    let product = Product { isa, kernel, blocks, source, rows, epilogue: Epilogue::new(&mut call) };
    let n_panels = product.blocks.n_panels();
    let n_rows = m.min(BLOCK_ROWS);
    let per_task =
        (TASK_CODES / (n_rows * k * WIDTH).max(1)).clamp(1, MAX_PANELS).min(n_panels.div_ceil(pool.n_threads()));
    let (n_row_tasks, n_panel_tasks) = (m.div_ceil(BLOCK_ROWS), n_panels.div_ceil(per_task));
    pool.run(n_row_tasks * n_panel_tasks, &|i| {
        let (rows, panels) = (i % n_row_tasks * BLOCK_ROWS, i / n_row_tasks * per_task);
        product.multiply(rows..m.min(rows + BLOCK_ROWS), panels..n_panels.min(panels + per_task));
    });
}

/// One call, prepared.
struct Product<'a> {
    isa: Isa,
    kernel: Kernel,
    blocks: &'a PackedBlocks,
    source: Source<'a>,
    rows: &'a RoundedRows,
    epilogue: Epilogue<'a>,
}

impl Product<'_> {
    /// One task: these rows times these panels.
    fn multiply(&self, rows: Range<usize>, panels: Range<usize>) {
        LOCAL.with_borrow_mut(|(sums, own)| {
            for panel in panels {
                let panel = self.blocks.panel(panel, &self.source, own);
                let n = rows.len() * WIDTH;
                if sums.len() < n {
                    sums.resize(n, 0.0);
                }
                let max = self.kernel.max_rows();
                for (i, out) in sums[..n].chunks_mut(max * WIDTH).enumerate() {
                    self.kernel.run(Tile { panel, rows: self.rows, first_row: rows.start + i * max, out });
                }
                let columns = panel.first..panel.first + panel.n_columns;
                let sums = Sums { values: &mut sums[..n], width: WIDTH, rows: rows.clone(), columns };
                // SAFETY: the call has been checked, and no other task has these rows and columns.
                unsafe { self.epilogue.finish(self.isa, sums) };
            }
        });
    }
}
