//! Rotary positions.

use crate::backend::Rotary;

pub(super) fn rotary(call: Rotary<'_>) {
    let Rotary { mut x, n_heads_stored, heads, d_head, n_rotated, positions, cos, sin, interleaved, inverse } = call;
    let n_pairs = n_rotated / 2;
    for (row, &position) in positions.iter().enumerate() {
        for head in heads.clone() {
            for pair in 0..n_pairs {
                let start = (row * n_heads_stored + head) * d_head;
                let (a, b) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + n_pairs) };
                let (a, b) = (start + a, start + b);
                let angle = position as usize * n_pairs + pair;
                let (c, s) = (cos[angle], if inverse { -sin[angle] } else { sin[angle] });
                let (x_a, x_b) = (x.get(a), x.get(b));
                x.set(a, x_a * c - x_b * s);
                x.set(b, x_b * c + x_a * s);
            }
        }
    }
}
