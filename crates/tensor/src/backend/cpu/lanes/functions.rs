//! Special functions of lanes.

use super::Lanes;
use crate::backend::Activation;

/// eˣ, relative error below 3e-7; 0 below −104, ∞ above 88.8.
///
/// x = k·ln 2 + r with whole k and |r| ≤ ln 2 / 2, so eˣ = 2ᵏ·eʳ; eʳ is a polynomial of least relative error (1.05e-7).
#[inline(always)]
pub(crate) fn exp<V: Lanes>(x: V) -> V {
    // Adding it to a small number leaves a whole number in the last bits: 1.5·2²³.
    const ROUNDER: f32 = 12_582_912.0;
    // ln 2 in two parts; the product of a whole number to 256 and the upper part is exact.
    const LN_2_UPPER: f32 = 0.693_359_4;
    const LN_2_LOWER: f32 = -2.121_944_4e-4;
    // The order of the operands lets what is not a number through.
    let x = x.splat(-104.0).max(x.splat(89.0).min(x));
    let rounder = x.splat(ROUNDER);
    let k = x.mul_add(x.splat(std::f32::consts::LOG2_E), rounder) - rounder;
    let r = k.mul_add(x.splat(-LN_2_LOWER), k.mul_add(x.splat(-LN_2_UPPER), x));
    let p = polynomial(r, &[0.008_312_52, 0.041_890_156, 0.166_671_14, 0.499_992_3, 1.0, 1.0]);
    p.scale_by_power_of_two(k)
}

/// c₀·xⁿ + c₁·xⁿ⁻¹ + … + cₙ
#[inline(always)]
fn polynomial<V: Lanes, const N: usize>(x: V, coefficients: &[f32; N]) -> V {
    let mut sum = x.splat(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = sum.mul_add(x, x.splat(coefficient));
    }
    sum
}

/// tanh(x), relative error below 5e-7.
#[inline(always)]
pub(crate) fn tanh<V: Lanes>(x: V) -> V {
    let (zero, one, a) = (x.splat(0.0), x.splat(1.0), x.abs());
    // Near 0 the quotient cancels; there, the first terms of the series (the next is below 1e-7 of the sum).
    let near = x * polynomial(x * x, &[0.021_869_488, -0.053_968_254, 0.133_333_33, -0.333_333_33, 1.0]);
    let e = exp(a * x.splat(-2.0));
    let far = (one - e) / (one + e);
    a.if_less(x.splat(0.3), near, x.if_less(zero, zero - far, far))
}

/// The derivative of cap · tanh(x / cap) from its value y; 0 beyond the cap, where rounding may put it and a hidden score is.
#[inline(always)]
pub(crate) fn slope_of_cap<V: Lanes>(y: V, cap: f32) -> V {
    let share = y.splat(-1.0).max(y.splat(1.0).min(y * y.splat(1.0 / cap)));
    y.splat(1.0) - share * share
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
fn sigmoid<V: Lanes>(x: V) -> V {
    x.splat(1.0) / (x.splat(1.0) + exp(x.splat(0.0) - x))
}

/// The standard normal distribution function and √(2π) times its density at x, relative error below 1e-6, also in the tails.
///
/// For a = |x| the tail is Φ(−a) = exp(−a²/2)·t·P(t) with t = 1/(1 + 0.35·a); P is a polynomial of least relative error
/// (3.2e-8) for a ≤ 14.5. The exponent is taken to double length, or a large one would spoil the result.
#[inline(always)]
fn normal<V: Lanes>(x: V) -> (V, V) {
    let one = x.splat(1.0);
    let a = x.splat(20.0).min(x.abs());
    let t = one / a.mul_add(x.splat(0.35), one);
    let (square, rest) = a.square();
    let bell = exp(square * x.splat(-0.5));
    let bell = bell - bell * rest * x.splat(0.5);
    let p = polynomial(
        t,
        &[
            -0.029_157_897,
            0.144_030_97,
            -0.255_839_08,
            0.159_319_76,
            -0.023_212_384,
            0.105_552_51,
            0.119_821_29,
            0.139_863_52,
            0.139_621_3,
        ],
    );
    let tail = bell * t * p;
    (x.if_less(x.splat(0.0), tail, one - tail), bell)
}

/// 2·√(2/π): in the tanh form of GELU, 0.5·(1 + tanh(u)) is sigmoid(2·u).
const GELU_TANH_FACTOR: f32 = 1.595_769_2;
const GELU_TANH_CUBIC: f32 = 0.044_715;

/// The value of an activation.
#[inline(always)]
pub(crate) fn activate<V: Lanes>(kind: Activation, x: V) -> V {
    if kind == Activation::Relu {
        return x.splat(0.0).max(x);
    }
    // −∞·0 is not a number; what is this small has vanished anyway.
    let x = x.splat(-1e30).max(x);
    let gate = match kind {
        Activation::GeluErf => normal(x).0,
        Activation::GeluTanh => sigmoid(gelu_tanh_argument(x)),
        _ => sigmoid(x),
    };
    x * gate
}

/// The derivative of an activation; 0 at the corner of [`Activation::Relu`].
#[inline(always)]
pub(crate) fn slope<V: Lanes>(kind: Activation, x: V) -> V {
    let (zero, one) = (x.splat(0.0), x.splat(1.0));
    if kind == Activation::Relu {
        return zero.if_less(x, one, zero);
    }
    // Beyond, the slope is 0 or 1; within, nothing overflows.
    let x = x.splat(-100.0).max(x.splat(100.0).min(x));
    match kind {
        Activation::GeluErf => {
            let (below, bell) = normal(x);
            (x * bell).mul_add(x.splat(0.398_942_3), below)
        }
        Activation::GeluTanh => {
            let du = (x * x).mul_add(x.splat(3.0 * GELU_TANH_CUBIC * GELU_TANH_FACTOR), x.splat(GELU_TANH_FACTOR));
            sigmoid_slope(sigmoid(gelu_tanh_argument(x)), x * du)
        }
        _ => sigmoid_slope(sigmoid(x), x),
    }
}

#[inline(always)]
fn gelu_tanh_argument<V: Lanes>(x: V) -> V {
    x * (x * x).mul_add(x.splat(GELU_TANH_CUBIC * GELU_TANH_FACTOR), x.splat(GELU_TANH_FACTOR))
}

/// Derivative of x·s for s = sigmoid(u): s·(1 + x·u'·(1 − s)).
#[inline(always)]
fn sigmoid_slope<V: Lanes>(s: V, x_du: V) -> V {
    let one = s.splat(1.0);
    s * x_du.mul_add(one - s, one)
}
