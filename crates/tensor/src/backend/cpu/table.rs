//! Rows and columns moved from one place to another.

use super::Cpu;
use super::lanes::{Lanes, Program, typed};
use super::pool::{Split, view_chunks};
use super::rows::{rows_per_chunk, slice_chunk};
use crate::backend::CopyColumns;
use crate::dtype::{View, ViewMut};
use std::marker::PhantomData;

pub(super) fn gather(
    cpu: &Cpu,
    table: View<'_>,
    width: usize,
    ids: &[u32],
    scale: f32,
    out: ViewMut<'_>,
    accumulate: bool,
) {
    check_ids(ids, table.len() / width.max(1));
    assert_eq!(out.len(), ids.len() * width, "one row for each id");
    let n_rows = rows_per_chunk(width);
    cpu.pool.for_each(view_chunks(out, (n_rows * width).max(1)), |i, out| {
        cpu.isa.run(Gather { table, width, ids: slice_chunk(ids, i, n_rows), scale, out, accumulate });
    });
}

fn check_ids(ids: &[u32], n_rows: usize) {
    if let Some((i, id)) = ids.iter().enumerate().find(|&(_, &id)| id as usize >= n_rows) {
        panic!("id {id} at place {i} is not a row of the table, which has {n_rows}");
    }
}

struct Gather<'a> {
    table: View<'a>,
    width: usize,
    ids: &'a [u32],
    scale: f32,
    out: ViewMut<'a>,
    accumulate: bool,
}

impl Program for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { table, width, ids, scale, out, accumulate } = self;
        typed!(table; out => for (out, &id) in out.chunks_exact_mut(width).zip(ids) {
            let row = &table[id as usize * width..][..width];
            for at in v.spans(width) {
                let scaled = v.splat(scale) * v.read(row, at);
                let sum = if accumulate { v.read(out, at) + scaled } else { scaled };
                sum.write(out, at);
            }
        });
    }
}

/// Each task owns some columns of the whole table and goes through all ids in their order: the threads share the work
/// evenly however often an id occurs, and the sums do not depend on how many there are.
pub(super) fn scatter_add(
    cpu: &Cpu,
    dout: View<'_>,
    width: usize,
    ids: &[u32],
    scale: f32,
    dtable: &mut [f32],
    accumulate: bool,
) {
    check_ids(ids, dtable.len() / width.max(1));
    assert_eq!(dout.len(), ids.len() * width, "one row for each id");
    // Whole cache lines, and not so few that fetching them in advance does not pay.
    let n_columns = width.div_ceil(cpu.pool.n_threads()).next_multiple_of(16).max(32);
    let columns = Columns { table: dtable.as_mut_ptr(), len: dtable.len(), width, n_columns, borrow: PhantomData };
    cpu.pool.for_each(columns, |_, columns| cpu.isa.run(ScatterAdd { dout, ids, scale, columns, accumulate }));
}

/// A table in blocks of columns.
struct Columns<'a> {
    table: *mut f32,
    len: usize,
    width: usize,
    n_columns: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: sharing it only lets threads take disjoint blocks of columns.
unsafe impl Sync for Columns<'_> {}

impl<'a> Split for Columns<'a> {
    type Part = ColumnBlock<'a>;

    fn n_parts(&self) -> usize {
        self.width.div_ceil(self.n_columns)
    }

    unsafe fn part(&self, i: usize) -> ColumnBlock<'a> {
        let first = i * self.n_columns;
        let n_columns = self.n_columns.min(self.width - first);
        ColumnBlock { table: self.table, len: self.len, width: self.width, first, n_columns, borrow: PhantomData }
    }
}

/// Some columns of a table that nobody else uses meanwhile.
struct ColumnBlock<'a> {
    table: *mut f32,
    len: usize,
    width: usize,
    first: usize,
    n_columns: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

impl ColumnBlock<'_> {
    /// The columns of one row.
    #[inline(always)]
    fn row(&mut self, row: usize) -> &mut [f32] {
        let start = row * self.width + self.first;
        assert!(start + self.n_columns <= self.len, "row {row} is not in the table");
        // SAFETY: the columns lie in the table, which is borrowed, and belong to this block alone.
        unsafe { std::slice::from_raw_parts_mut(self.table.add(start), self.n_columns) }
    }
}

struct ScatterAdd<'a> {
    dout: View<'a>,
    ids: &'a [u32],
    scale: f32,
    columns: ColumnBlock<'a>,
    accumulate: bool,
}

impl Program for ScatterAdd<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { dout, ids, scale, mut columns, accumulate } = self;
        let (width, first, n_columns) = (columns.width, columns.first, columns.n_columns);
        if !accumulate {
            (0..columns.len / width).for_each(|row| columns.row(row).fill(0.0));
        }
        typed!(dout; => for (i, &id) in ids.iter().enumerate() {
            let dout = &dout[i * width + first..][..n_columns];
            let row = columns.row(id as usize);
            for at in v.spans(n_columns) {
                // Not fused: the sum is rounded as the reference rounds it.
                (v.read(row, at) + v.splat(scale) * v.read(dout, at)).write(row, at);
            }
        });
    }
}

pub(super) fn copy_columns(cpu: &Cpu, call: CopyColumns<'_>) {
    let CopyColumns { rows, width, src, src_stride, src_column, dst, dst_stride, dst_column, accumulate } = call;
    assert!(
        src_column + width <= src_stride && dst_column + width <= dst_stride,
        "a block of {width} columns from {src_column} of {src_stride} to {dst_column} of {dst_stride} is too wide"
    );
    assert!(src.len() >= rows * src_stride && dst.len() == rows * dst_stride, "both matrices have {rows} rows");
    let n_rows = rows_per_chunk(width);
    cpu.pool.for_each(view_chunks(dst, (n_rows * dst_stride).max(1)), |i, dst| {
        let rows = i * n_rows..rows.min((i + 1) * n_rows);
        let src = src.slice(rows.start * src_stride..rows.end * src_stride);
        cpu.isa.run(CopyRows { width, src, src_stride, src_column, dst, dst_stride, dst_column, accumulate });
    });
}

struct CopyRows<'a> {
    width: usize,
    src: View<'a>,
    src_stride: usize,
    src_column: usize,
    dst: ViewMut<'a>,
    dst_stride: usize,
    dst_column: usize,
    accumulate: bool,
}

impl Program for CopyRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { width, src, src_stride, src_column, dst, dst_stride, dst_column, accumulate } = self;
        typed!(src; dst => for (src, dst) in src.chunks_exact(src_stride).zip(dst.chunks_exact_mut(dst_stride)) {
            let (src, dst) = (&src[src_column..][..width], &mut dst[dst_column..][..width]);
            for at in v.spans(width) {
                let x = v.read(src, at);
                let sum = if accumulate { v.read(dst, at) + x } else { x };
                sum.write(dst, at);
            }
        });
    }
}
