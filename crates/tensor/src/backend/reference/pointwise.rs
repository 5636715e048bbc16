//! Element by element: activations and their gates, soft caps, dropout, scaling, casts.

use crate::backend::Activation;
use crate::dtype::{View, ViewMut};
use crate::rng::Key;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

pub(super) fn activation(kind: Activation, x: View<'_>, mut out: ViewMut<'_>) {
    for i in 0..x.len() {
        out.set(i, activate(kind, x.get(i)));
    }
}

pub(super) fn activation_backward(kind: Activation, x: View<'_>, dout: View<'_>, mut dx: ViewMut<'_>) {
    for i in 0..x.len() {
        dx.set(i, dout.get(i) * slope(kind, x.get(i)));
    }
}

pub(super) fn gated(kind: Activation, width: usize, x: View<'_>, mut out: ViewMut<'_>) {
    for i in 0..out.len() {
        let gate = i / width * 2 * width + i % width;
        out.set(i, activate(kind, x.get(gate)) * x.get(gate + width));
    }
}

pub(super) fn gated_backward(kind: Activation, width: usize, x: View<'_>, dout: View<'_>, mut dx: ViewMut<'_>) {
    for i in 0..dout.len() {
        let gate = i / width * 2 * width + i % width;
        dx.set(gate, dout.get(i) * x.get(gate + width) * slope(kind, x.get(gate)));
        dx.set(gate + width, dout.get(i) * activate(kind, x.get(gate)));
    }
}

pub(super) fn soft_cap(cap: f32, mut x: ViewMut<'_>) {
    for i in 0..x.len() {
        x.set(i, soft_capped(x.get(i), cap));
    }
}

pub(super) fn soft_cap_backward(cap: f32, y: View<'_>, mut dx: ViewMut<'_>) {
    for i in 0..y.len() {
        dx.set(i, dx.get(i) * slope_of_cap(y.get(i), cap));
    }
}

/// The derivative of [`soft_capped`] from its value; 0 beyond the cap, where rounding may put it.
pub(super) fn slope_of_cap(y: f32, cap: f32) -> f32 {
    1.0 - (y / cap).clamp(-1.0, 1.0).powi(2)
}

/// cap · tanh(x / cap)
pub(super) fn soft_capped(x: f32, cap: f32) -> f32 {
    (f64::from(cap) * (f64::from(x) / f64::from(cap)).tanh()) as f32
}

pub(super) fn dropout(x: View<'_>, p: f32, key: Key, residual: Option<View<'_>>, mut out: ViewMut<'_>) {
    for i in 0..x.len() {
        let kept = if key.uniform(i as u64) >= p { x.get(i) * (1.0 / (1.0 - p)) } else { 0.0 };
        out.set(i, residual.map_or(kept, |residual| residual.get(i) + kept));
    }
}

pub(super) fn scale_add(alpha: f32, x: View<'_>, beta: f32, mut out: ViewMut<'_>) {
    for i in 0..x.len() {
        let scaled = alpha * x.get(i);
        out.set(i, if beta == 0.0 { scaled } else { scaled + beta * out.get(i) });
    }
}

pub(super) fn scale(alpha: f32, mut x: ViewMut<'_>) {
    for i in 0..x.len() {
        x.set(i, if alpha == 0.0 { 0.0 } else { alpha * x.get(i) });
    }
}

pub(super) fn cast(x: View<'_>, mut out: ViewMut<'_>) {
    for i in 0..x.len() {
        out.set(i, x.get(i));
    }
}

/// The value of `kind` at `x`. Not a number stays not a number.
pub(in crate::backend) fn activate(kind: Activation, x: f32) -> f32 {
    let x = f64::from(x);
    let value = match kind {
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::GeluErf => times(x, normal_distribution(x)),
        Activation::GeluTanh => times(x, sigmoid(gelu_tanh_argument(x))),
        Activation::Silu => times(x, sigmoid(x)),
    };
    value as f32
}

/// The derivative of `kind` at `x`; 0 at the corner of [`Activation::Relu`].
pub(in crate::backend) fn slope(kind: Activation, x: f32) -> f32 {
    let x = f64::from(x);
    let value = match kind {
        Activation::Relu => {
            if x > 0.0 {
                1.0
            } else {
                0.0
            }
        }
        Activation::GeluErf => normal_distribution(x) + times(x, (-0.5 * x * x).exp() / (2.0 * PI).sqrt()),
        Activation::GeluTanh => {
            sigmoid_slope(x, gelu_tanh_argument(x), GELU_TANH_FACTOR * (1.0 + 3.0 * GELU_TANH_CUBIC * x * x))
        }
        Activation::Silu => sigmoid_slope(x, x, 1.0),
    };
    value as f32
}

/// 2·√(2/π): 0.5·(1 + tanh(u)) is sigmoid(2·u).
const GELU_TANH_FACTOR: f64 = 1.595_769_121_605_730_7;
const GELU_TANH_CUBIC: f64 = 0.044_715;

fn gelu_tanh_argument(x: f64) -> f64 {
    GELU_TANH_FACTOR * x * (1.0 + GELU_TANH_CUBIC * x * x)
}

/// Derivative of x·sigmoid(u) where u has the derivative `du`.
fn sigmoid_slope(x: f64, u: f64, du: f64) -> f64 {
    let s = sigmoid(u);
    s + times(x * du, s * (1.0 - s))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// x·y, where a factor y that has vanished wins over an infinite x: the limit of all activations at −∞.
fn times(x: f64, y: f64) -> f64 {
    if y == 0.0 { 0.0 } else { x * y }
}

/// Φ(x) = erfc(−x / √2) / 2.
fn normal_distribution(x: f64) -> f64 {
    0.5 * erfc(-x * FRAC_1_SQRT_2)
}

/// 1 − erf(x), relative error below 1e-10: a series of positive terms near 0, a continued fraction in the tail.
///
/// # Source
/// Abramowitz and Stegun, "Handbook of mathematical functions", 7.1.6 and 7.1.14.
pub(in crate::backend) fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        return 1.0 - FRAC_2_SQRT_PI * (-x * x).exp() * sum;
    }
    let fraction = (1..100).rev().fold(x, |tail, n| x + f64::from(n) / 2.0 / tail);
    (-x * x).exp() * 0.5 * FRAC_2_SQRT_PI / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from tables to 10 digits.
    #[test]
    fn erfc_known_values() {
        for (x, expect) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_2),
            (1.0, 0.157_299_207_1),
            (-1.0, 1.842_700_792_9),
            (2.0, 4.677_734_981e-3),
            (3.0, 2.209_049_700e-5),
            (5.0, 1.537_459_794e-12),
            (40.0, 0.0),
        ] {
            assert!((erfc(x) - expect).abs() <= 1e-9 * expect, "erfc({x}) = {}, expected {expect}", erfc(x));
        }
    }

    #[test]
    fn activations_at_the_edges() {
        for kind in [Activation::Relu, Activation::GeluErf, Activation::GeluTanh, Activation::Silu] {
            assert_eq!(activate(kind, f32::NEG_INFINITY), 0.0, "{kind:?}");
            assert_eq!(activate(kind, f32::INFINITY), f32::INFINITY, "{kind:?}");
            assert_eq!(slope(kind, -1e30), 0.0, "{kind:?}");
            assert_eq!(slope(kind, 1e30), 1.0, "{kind:?}");
            assert!(activate(kind, f32::NAN).is_nan(), "{kind:?}");
        }
    }

    #[test]
    fn slopes_are_derivatives() {
        for kind in [Activation::GeluErf, Activation::GeluTanh, Activation::Silu] {
            for x in [-6.0, -1.5, -0.75, 0.0, 0.25, 2.0, 5.0_f32] {
                let h = 1.0 / 64.0;
                let numeric = (activate(kind, x + h) - activate(kind, x - h)) / (2.0 * h);
                assert!((numeric - slope(kind, x)).abs() < 2e-4, "{kind:?} at {x}: {numeric} and {}", slope(kind, x));
            }
        }
    }
}
