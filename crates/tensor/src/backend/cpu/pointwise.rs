//! Element by element: activations and their gates, soft caps, dropout, scaling, casts.

use super::Cpu;
use super::lanes::{BLOCK, Lanes, Program, activate, slope, slope_of_cap, tanh, typed, uniforms};
use super::pool::view_chunks;
use super::rows::{CHUNK_LEN, chunk, rows_per_chunk};
use crate::backend::Activation;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;

pub(super) fn activation(cpu: &Cpu, kind: Activation, x: View<'_>, out: ViewMut<'_>) {
    assert_eq!(x.len(), out.len(), "an activation has as many results as arguments");
    cpu.pool.for_each(view_chunks(out, CHUNK_LEN), |i, out| {
        cpu.isa.run(Value { kind, x: chunk(x, i, CHUNK_LEN), out });
    });
}

struct Value<'a> {
    kind: Activation,
    x: View<'a>,
    out: ViewMut<'a>,
}

impl Program for Value<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { kind, x, out } = self;
        typed!(x; out => for at in v.spans(x.len()) {
            activate(kind, v.read(x, at)).write(out, at);
        });
    }
}

pub(super) fn activation_backward(cpu: &Cpu, kind: Activation, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
    assert!(x.len() == dx.len() && dout.len() == dx.len(), "an activation's gradients are as many as its arguments");
    cpu.pool.for_each(view_chunks(dx, CHUNK_LEN), |i, dx| {
        cpu.isa.run(Slope { kind, x: chunk(x, i, CHUNK_LEN), dout: chunk(dout, i, CHUNK_LEN), dx });
    });
}

struct Slope<'a> {
    kind: Activation,
    x: View<'a>,
    dout: View<'a>,
    dx: ViewMut<'a>,
}

impl Program for Slope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { kind, x, dout, dx } = self;
        typed!(x, dout; dx => for at in v.spans(x.len()) {
            (v.read(dout, at) * slope(kind, v.read(x, at))).write(dx, at);
        });
    }
}

pub(super) fn gated(cpu: &Cpu, kind: Activation, width: usize, x: View<'_>, out: ViewMut<'_>) {
    assert!(
        x.len() == 2 * out.len() && out.len().is_multiple_of(width.max(1)),
        "rows [gate, up] give rows of half the width"
    );
    let len = rows_per_chunk(width) * width;
    cpu.pool.for_each(view_chunks(out, len.max(1)), |i, out| {
        cpu.isa.run(Gated { kind, width, x: chunk(x, i, 2 * len), out });
    });
}

struct Gated<'a> {
    kind: Activation,
    width: usize,
    x: View<'a>,
    out: ViewMut<'a>,
}

impl Program for Gated<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { kind, width, x, out } = self;
        typed!(x; out => for (x, out) in x.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, up) = x.split_at(width);
            for at in v.spans(width) {
                (activate(kind, v.read(gate, at)) * v.read(up, at)).write(out, at);
            }
        });
    }
}

pub(super) fn gated_backward(cpu: &Cpu, kind: Activation, width: usize, x: View<'_>, dout: View<'_>, dx: ViewMut<'_>) {
    assert!(
        x.len() == dx.len() && x.len() == 2 * dout.len() && dout.len().is_multiple_of(width.max(1)),
        "rows [gate, up] come from rows of half the width"
    );
    let len = rows_per_chunk(width) * width;
    cpu.pool.for_each(view_chunks(dx, (2 * len).max(1)), |i, dx| {
        cpu.isa.run(GatedSlope { kind, width, x: chunk(x, i, 2 * len), dout: chunk(dout, i, len), dx });
    });
}

struct GatedSlope<'a> {
    kind: Activation,
    width: usize,
    x: View<'a>,
    dout: View<'a>,
    dx: ViewMut<'a>,
}

impl Program for GatedSlope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { kind, width, x, dout, dx } = self;
        typed!(x, dout; dx => {
            let rows = x.chunks_exact(2 * width).zip(dout.chunks_exact(width)).zip(dx.chunks_exact_mut(2 * width));
            for ((x, dout), dx) in rows {
                let ((gate, up), (dgate, dup)) = (x.split_at(width), dx.split_at_mut(width));
                for at in v.spans(width) {
                    let (dout, gate) = (v.read(dout, at), v.read(gate, at));
                    (dout * v.read(up, at) * slope(kind, gate)).write(dgate, at);
                    (dout * activate(kind, gate)).write(dup, at);
                }
            }
        });
    }
}

pub(super) fn soft_cap(cpu: &Cpu, cap: f32, x: ViewMut<'_>) {
    cpu.pool.for_each(view_chunks(x, CHUNK_LEN), |_, x| cpu.isa.run(SoftCap { cap, x }));
}

struct SoftCap<'a> {
    cap: f32,
    x: ViewMut<'a>,
}

impl Program for SoftCap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { cap, x } = self;
        typed!(; x => for at in v.spans(x.len()) {
            (tanh(v.read(x, at) * v.splat(1.0 / cap)) * v.splat(cap)).write(x, at);
        });
    }
}

pub(super) fn soft_cap_backward(cpu: &Cpu, cap: f32, y: View<'_>, dx: ViewMut<'_>) {
    assert_eq!(y.len(), dx.len(), "a soft cap has as many gradients as results");
    cpu.pool.for_each(view_chunks(dx, CHUNK_LEN), |i, dx| {
        cpu.isa.run(SoftCapSlope { cap, y: chunk(y, i, CHUNK_LEN), dx });
    });
}

struct SoftCapSlope<'a> {
    cap: f32,
    y: View<'a>,
    dx: ViewMut<'a>,
}

impl Program for SoftCapSlope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { cap, y, dx } = self;
        typed!(y; dx => for at in v.spans(y.len()) {
            (v.read(dx, at) * slope_of_cap(v.read(y, at), cap)).write(dx, at);
        });
    }
}

pub(super) fn dropout(cpu: &Cpu, x: View<'_>, p: f32, key: Key, residual: Option<View<'_>>, out: ViewMut<'_>) {
    let n_residual = residual.map_or(x.len(), |residual| residual.len());
    assert!(x.len() == out.len() && n_residual == out.len(), "dropout has as many results as arguments");
    cpu.pool.for_each(view_chunks(out, CHUNK_LEN), |i, out| {
        let (x, first) = (chunk(x, i, CHUNK_LEN), (i * CHUNK_LEN) as u64);
        match residual {
            Some(residual) => {
                cpu.isa.run(DropoutAdd { p, key, first, x, residual: chunk(residual, i, CHUNK_LEN), out });
            }
            None => cpu.isa.run(Dropout { p, key, first, x, out }),
        }
    });
}

struct Dropout<'a> {
    p: f32,
    key: Key,
    first: u64,
    x: View<'a>,
    out: ViewMut<'a>,
}

impl Program for Dropout<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { p, key, first, x, out } = self;
        typed!(x; out => for start in (0..x.len()).step_by(BLOCK) {
            let mut numbers = [0.0; BLOCK];
            uniforms(v, key, first + start as u64, &mut numbers);
            let end = x.len().min(start + BLOCK);
            let (x, out) = (&x[start..end], &mut out[start..end]);
            for at in v.spans(x.len()) {
                keep(v.read(&numbers, at), v.read(x, at), p).write(out, at);
            }
        });
    }
}

struct DropoutAdd<'a> {
    p: f32,
    key: Key,
    first: u64,
    x: View<'a>,
    residual: View<'a>,
    out: ViewMut<'a>,
}

impl Program for DropoutAdd<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { p, key, first, x, residual, out } = self;
        typed!(x, residual; out => for start in (0..x.len()).step_by(BLOCK) {
            let mut numbers = [0.0; BLOCK];
            uniforms(v, key, first + start as u64, &mut numbers);
            let end = x.len().min(start + BLOCK);
            let (x, residual, out) = (&x[start..end], &residual[start..end], &mut out[start..end]);
            for at in v.spans(x.len()) {
                (v.read(residual, at) + keep(v.read(&numbers, at), v.read(x, at), p)).write(out, at);
            }
        });
    }
}

/// `x / (1 − p)` where the uniform number is at least `p`, else 0.
#[inline(always)]
fn keep<V: Lanes>(uniform: V, x: V, p: f32) -> V {
    uniform.if_less(x.splat(p), x.splat(0.0), x * x.splat(1.0 / (1.0 - p)))
}

pub(super) fn scale_add(cpu: &Cpu, alpha: f32, x: View<'_>, beta: f32, out: ViewMut<'_>) {
    assert_eq!(x.len(), out.len(), "a sum has as many results as arguments");
    cpu.pool.for_each(view_chunks(out, CHUNK_LEN), |i, out| {
        cpu.isa.run(ScaleAdd { alpha, x: chunk(x, i, CHUNK_LEN), beta, out });
    });
}

struct ScaleAdd<'a> {
    alpha: f32,
    x: View<'a>,
    beta: f32,
    out: ViewMut<'a>,
}

impl Program for ScaleAdd<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { alpha, x, beta, out } = self;
        typed!(x; out => for at in v.spans(x.len()) {
            let scaled = v.splat(alpha) * v.read(x, at);
            // Not fused: the result is rounded as the reference rounds it.
            let sum = if beta == 0.0 { scaled } else { scaled + v.splat(beta) * v.read(out, at) };
            sum.write(out, at);
        });
    }
}

pub(super) fn scale(cpu: &Cpu, alpha: f32, x: ViewMut<'_>) {
    cpu.pool.for_each(view_chunks(x, CHUNK_LEN), |_, mut x| match alpha {
        0.0 => x.clear(),
        _ => cpu.isa.run(Scale { alpha, x }),
    });
}

struct Scale<'a> {
    alpha: f32,
    x: ViewMut<'a>,
}

impl Program for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { alpha, x } = self;
        typed!(; x => for at in v.spans(x.len()) {
            (v.splat(alpha) * v.read(x, at)).write(x, at);
        });
    }
}

pub(super) fn cast(cpu: &Cpu, x: View<'_>, out: ViewMut<'_>) {
    assert_eq!(x.len(), out.len(), "a cast has as many results as arguments");
    cpu.pool.for_each(view_chunks(out, CHUNK_LEN), |i, out| match (chunk(x, i, CHUNK_LEN), out) {
        (View::F32(x), ViewMut::F32(out)) => out.copy_from_slice(x),
        (View::Bf16(x), ViewMut::Bf16(out)) => out.copy_from_slice(x),
        (x, out) => cpu.isa.run(Cast { x, out }),
    });
}

struct Cast<'a> {
    x: View<'a>,
    out: ViewMut<'a>,
}

impl Program for Cast<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { x, out } = self;
        typed!(x; out => for at in v.spans(x.len()) {
            v.read(x, at).write(out, at);
        });
    }
}
