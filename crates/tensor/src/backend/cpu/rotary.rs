//! Rotary positions.

use super::Cpu;
use super::lanes::{Element, Lanes, Program, typed};
use super::pool::view_chunks;
use super::rows::{rows_per_chunk, slice_chunk};
use crate::backend::Rotary;
use crate::dtype::ViewMut;
use std::ops::Range;

pub(super) fn rotary(cpu: &Cpu, call: Rotary<'_>) {
    let Rotary { x, n_heads_stored, heads, d_head, n_rotated, positions, cos, sin, interleaved, inverse } = call;
    let width = n_heads_stored * d_head;
    let n_pairs = n_rotated / 2;
    assert!(x.len() == positions.len() * width, "one position for each row of heads");
    assert!(heads.end <= n_heads_stored && 2 * n_pairs <= d_head, "what is rotated is part of the heads");
    if n_pairs == 0 {
        return;
    }
    let n_positions = cos.len().min(sin.len()) / n_pairs;
    if let Some(position) = positions.iter().find(|&&position| position as usize >= n_positions) {
        panic!("position {position} is beyond the {n_positions} whose angles are known");
    }
    let n_rows = rows_per_chunk(width);
    cpu.pool.for_each(view_chunks(x, (n_rows * width).max(1)), |i, x| {
        let angles = Angles { cos, sin, n_pairs, inverse };
        let positions = slice_chunk(positions, i, n_rows);
        cpu.isa.run(RotateRows { x, n_heads_stored, heads: heads.clone(), d_head, positions, angles, interleaved });
    });
}

/// The table of angles.
#[derive(Clone, Copy)]
struct Angles<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    n_pairs: usize,
    inverse: bool,
}

impl<'a> Angles<'a> {
    /// Cosines and sines of a position.
    fn of(&self, position: u32) -> (&'a [f32], &'a [f32]) {
        let row = position as usize * self.n_pairs..(position as usize + 1) * self.n_pairs;
        (&self.cos[row.clone()], &self.sin[row])
    }

    /// What the sines are multiplied by.
    fn sign(&self) -> f32 {
        if self.inverse { -1.0 } else { 1.0 }
    }
}

struct RotateRows<'a> {
    x: ViewMut<'a>,
    n_heads_stored: usize,
    heads: Range<usize>,
    d_head: usize,
    positions: &'a [u32],
    angles: Angles<'a>,
    interleaved: bool,
}

impl Program for RotateRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { x, n_heads_stored, heads, d_head, positions, angles, interleaved } = self;
        typed!(; x => for (row, &position) in x.chunks_exact_mut(n_heads_stored * d_head).zip(positions) {
            let (cos, sin) = angles.of(position);
            for head in row[heads.start * d_head..heads.end * d_head].chunks_exact_mut(d_head) {
                let head = &mut head[..2 * angles.n_pairs];
                if interleaved {
                    rotate_neighbours(head, cos, sin, angles.sign());
                } else {
                    rotate_halves(v, head, cos, sin, angles.sign());
                }
            }
        });
    }
}

#[inline(always)]
fn rotate_halves<V: Lanes, E: Element>(v: V, head: &mut [E], cos: &[f32], sin: &[f32], sign: f32) {
    let (first, second) = head.split_at_mut(cos.len());
    for at in v.spans(cos.len()) {
        let (c, s) = (v.read(cos, at), v.read(sin, at) * v.splat(sign));
        let (a, b) = (v.read(first, at), v.read(second, at));
        (a * c - b * s).write(first, at);
        (b * c + a * s).write(second, at);
    }
}

/// The compiler makes vectors of this one.
#[inline(always)]
fn rotate_neighbours<E: Element>(head: &mut [E], cos: &[f32], sin: &[f32], sign: f32) {
    for ((pair, c), s) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
        let (a, b, s) = (pair[0].to_f32(), pair[1].to_f32(), s * sign);
        *pair = [E::from_f32(a * c - b * s), E::from_f32(b * c + a * s)];
    }
}
